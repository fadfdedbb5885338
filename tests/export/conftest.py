"""A shipped model, a toy network that converts in seconds, and a small U-Net with random weights; each made once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge.images import Frame
from edge.model.card import split_model
from edge.model.runtime import Runtime, find_runtime
from export.calibration import candidates_from_pairs, choose
from tests.export.interpreting import SHIPPED
from tests.support.run_export import run, run_here  # noqa: F401  (fixtures)
from train.data.sources import find_data
from train.data.splits import Split, make_split

if TYPE_CHECKING:
    import keras

    from export.int8.refine import LayerEffect

SIDE_PX = 64
CALIBRATION_COUNT, SEED = 12, 5

Once = Callable[[str, Callable[[], bytes]], bytes]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Return the named bytes, made by the first of the parallel test processes that asks for them."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all processes

    def read_or_make(name: str, make: Callable[[], bytes]) -> bytes:
        path = folder / f"once-{name}"
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not path.stat().st_size:
                file.write(make())
        return path.read_bytes()

    return read_or_make


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """The interpreter that exports are checked with."""
    return find_runtime("litert")


@pytest.fixture(scope="session")
def shipped_int8() -> bytes:
    """The flatbuffer of the small int8 model that ships: a real network without a conversion."""
    return split_model(SHIPPED / "fireseg-small-int8.tflite")[0]


@pytest.fixture(scope="session")
def split(synthetic_dir: Path) -> Split:
    """The synthetic set's official split."""
    return make_split(find_data(synthetic_dir).dataset, "official")


@pytest.fixture(scope="session")
def frames(split: Split) -> Frame:
    """Twelve calibration frames of `SIDE_PX`. Read only."""
    stacked = choose(candidates_from_pairs(split.train), CALIBRATION_COUNT, SEED).frames(SIDE_PX, SIDE_PX)
    stacked.flags.writeable = False
    return stacked


@pytest.fixture(scope="session")
def toy() -> keras.Model:
    """Rescaling, convolutions of each kind, a skip connection and a sigmoid, in a name that a card can read."""
    import keras

    # Keras numbers layers of the same kind: other tests must not change the names in what `once` shares.
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(2)
    frame = keras.Input((SIDE_PX, SIDE_PX, 3), name="frame")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(frame)
    skip = x = _conv_relu6(x, keras.layers.Conv2D(16, 3, padding="same", use_bias=False))
    x = _conv_relu6(x, keras.layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False))
    x = _conv_relu6(x, keras.layers.Conv2DTranspose(16, 2, strides=2, use_bias=False))
    x = keras.layers.Concatenate()([x, skip])
    x = keras.layers.Conv2D(1, 1)(x)
    return keras.Model(frame, keras.layers.Activation("sigmoid")(x), name="unet_toy_transposed")


@pytest.fixture(scope="session")
def toy_keras(toy: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy as a file. Read only."""
    path = tmp_path_factory.mktemp("toy") / "toy.keras"
    toy.save(path)
    return path


@pytest.fixture(scope="session")
def toy_int8(once: Once, request: pytest.FixtureRequest, runtime: Runtime, frames: Frame) -> bytes:
    """The toy in int8, as converted."""
    from export.convert import convert

    def make() -> bytes:
        return convert(request.getfixturevalue("toy"), "int8", runtime, calibration=frames).flatbuffer

    return once("toy-int8", make)


@pytest.fixture(scope="session")
def toy_float32(once: Once, request: pytest.FixtureRequest, runtime: Runtime) -> bytes:
    """The toy in float32."""
    from export.convert import convert

    return once("toy-float32", lambda: convert(request.getfixturevalue("toy"), "float32", runtime).flatbuffer)


@pytest.fixture(scope="session")
def unet(frames: Frame) -> keras.Model:
    """An untrained U-Net with BatchNorm statistics of the frames; about a tenth of the pixels are positive."""
    import keras

    from train.model.unet import UNetConfig, build_unet

    keras.utils.set_random_seed(1)
    model = build_unet(UNetConfig(SIDE_PX, SIDE_PX, width=0.35), weights=None)
    rng = np.random.default_rng(1)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        channels = layer.gamma.shape[0]
        layer.gamma.assign(rng.uniform(0.6, 1.6, channels))
        layer.beta.assign(rng.normal(0.8, 0.6, channels))
        layer.momentum = 0.0  # one pass sets the statistics
    model(frames.astype(np.float32), training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    head = model.get_layer("head_logits")
    kernel, bias = head.get_weights()
    head.set_weights([kernel * 3, bias])
    probability = np.clip(model.predict_on_batch(frames.astype(np.float32)), 1e-6, 1 - 1e-6)
    logits = np.log(probability / (1 - probability))
    head.set_weights([kernel * 3, bias - np.quantile(logits, 0.9)])
    return model


@pytest.fixture(scope="session")
def unet_float32(once: Once, request: pytest.FixtureRequest, runtime: Runtime) -> bytes:
    """The U-Net in float32."""
    from export.convert import convert

    return once("unet-float32", lambda: convert(request.getfixturevalue("unet"), "float32", runtime).flatbuffer)


@pytest.fixture(scope="session")
def unet_int8(once: Once, request: pytest.FixtureRequest, runtime: Runtime, frames: Frame) -> bytes:
    """The U-Net in int8, as converted."""
    from export.convert import convert

    def make() -> bytes:
        return convert(request.getfixturevalue("unet"), "int8", runtime, calibration=frames).flatbuffer

    return once("unet-int8", make)


@pytest.fixture(scope="session")
def corrected(
    unet_int8: bytes, unet_float32: bytes, frames: Frame, runtime: Runtime
) -> tuple[bytes, list[LayerEffect]]:
    """The U-Net in int8 with corrected biases, and the effect on each layer."""
    from export.int8.refine import Refinement, refine

    refinement = Refinement(weight_rounding=False)
    return refine(unet_int8, unet_float32, frames, runtime, refinement=refinement, threads=1)


def _conv_relu6(x: Any, layer: Any) -> Any:
    import keras

    # Random statistics: without them the converter drops biases that a trained network has.
    norm = keras.layers.BatchNormalization(
        beta_initializer=keras.initializers.RandomNormal(0.5, 0.3),
        moving_mean_initializer=keras.initializers.RandomNormal(0, 0.1),
    )
    return keras.layers.ReLU(6.0)(norm(layer(x)))
