"""A small U-Net with lively random weights, converted once to each kind, and toy networks that convert in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from edge.images import Frame
from edge.model.runtime import Runtime, find_runtime
from export.calibration import candidates_from_pairs, choose
from export.convert import KINDS, convert
from export.int8.refine import LayerEffect, Steps, refine
from export.pipeline import Exported, Options, export
from train.data.sources import find_data
from train.data.splits import Split, make_split
from train.model.unet import UNetConfig, build_unet

SIDE_PX = 64

# Rounding the weights of a whole U-Net anew takes minutes; the toy's take a second.
OPTIONS = Options(KINDS, 12, None, 5, Steps(ranges=False, weights=False), threads=2)

Step = tuple[str, int, list[None]]
Export = tuple[Exported, list[Step]]


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """The interpreter that exports are checked with."""
    return find_runtime("litert")


@pytest.fixture(scope="session")
def split(synthetic_dir: Path) -> Split:
    """The synthetic set's published split."""
    return make_split(find_data(synthetic_dir).dataset, "official")


@pytest.fixture(scope="session")
def frames(split: Split) -> Frame:
    """The training scenes that an export with `OPTIONS` calibrates on, at the small U-Net's size. Read only."""
    chosen = choose(candidates_from_pairs(split.train), OPTIONS.calibration_count, OPTIONS.seed)
    stacked = chosen.frames(SIDE_PX, SIDE_PX)
    stacked.flags.writeable = False
    return stacked


@pytest.fixture(scope="session")
def options() -> Options:
    """How the small U-Net is exported."""
    return OPTIONS


@pytest.fixture(scope="session")
def unet(frames: Frame) -> keras.Model:
    """An untrained U-Net whose every layer has something to say, and which calls about a tenth of the pixels fire."""
    keras.utils.set_random_seed(1)
    model = build_unet(UNetConfig(SIDE_PX, SIDE_PX, width=0.35), weights=None)
    rng = np.random.default_rng(1)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        channels = layer.gamma.shape[0]
        layer.gamma.assign(rng.uniform(0.6, 1.6, channels))
        layer.beta.assign(rng.normal(0.8, 0.6, channels))
        layer.momentum = 0.0  # one pass sets the statistics to what these frames have
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
def keras_path(unet: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small U-Net as a file. Shared by all tests: read it, never write into it."""
    path = tmp_path_factory.mktemp("keras") / "small.keras"
    unet.save(path)
    return path


@pytest.fixture(scope="session")
def exported(keras_path: Path, split: Split) -> Export:
    """The small U-Net in all three kinds, and the steps that were told of on the way: what, how much, and how often."""
    steps: list[Step] = []

    def on_step(description: str, total: int) -> Callable[[], None]:
        told: list[None] = []
        steps.append((description, total, told))
        return lambda: told.append(None)

    return export(keras_path, split, OPTIONS, on_step), steps


@pytest.fixture(scope="session")
def float32(exported: Export) -> bytes:
    """The small U-Net in float."""
    return exported[0].converted["float32"].flatbuffer


@pytest.fixture(scope="session")
def float16(exported: Export) -> bytes:
    """The small U-Net with half-precision weights."""
    return exported[0].converted["float16"].flatbuffer


@pytest.fixture(scope="session")
def plain_int8(unet: keras.Model, runtime: Runtime, frames: Frame) -> bytes:
    """The small U-Net in int8, its biases as the converter made them."""
    return convert(unet, "int8", runtime, calibration=frames).flatbuffer


@pytest.fixture(scope="session")
def corrected(plain_int8: bytes, float32: bytes, frames: Frame, runtime: Runtime) -> tuple[bytes, list[LayerEffect]]:
    """The small U-Net in int8 with corrected biases, and what that did to each layer."""
    return refine(plain_int8, float32, frames, runtime, steps=Steps(ranges=False, weights=False), threads=1)


@pytest.fixture(scope="session")
def toy(frames: Frame) -> keras.Model:
    """Rescaling, three convolutions of all kinds, a skip, a sigmoid: all that matters, converted in a second or two."""
    keras.utils.set_random_seed(2)
    frame = keras.Input((SIDE_PX, SIDE_PX, 3), name="frame")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(frame)
    skip = x = _conv_relu6(x, keras.layers.Conv2D(16, 3, padding="same", use_bias=False))
    x = _conv_relu6(x, keras.layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False))
    x = _conv_relu6(x, keras.layers.Conv2DTranspose(16, 2, strides=2, use_bias=False))
    x = keras.layers.Concatenate()([x, skip])
    x = keras.layers.Conv2D(1, 1)(x)
    return keras.Model(frame, keras.layers.Activation("sigmoid")(x), name="toy")


@pytest.fixture(scope="session")
def toy_keras(toy: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy as a file. Read only."""
    path = tmp_path_factory.mktemp("toy") / "toy.keras"
    toy.save(path)
    return path


@pytest.fixture(scope="session")
def toy_int8(toy: keras.Model, runtime: Runtime, frames: Frame) -> bytes:
    """The toy in int8."""
    return convert(toy, "int8", runtime, calibration=frames).flatbuffer


@pytest.fixture(scope="session")
def toy_float32(toy: keras.Model, runtime: Runtime) -> bytes:
    """The toy in float."""
    return convert(toy, "float32", runtime).flatbuffer


def _conv_relu6(x: keras.KerasTensor, layer: keras.layers.Layer) -> keras.KerasTensor:
    # Random statistics and offsets: without them the converter leaves out biases that a trained network has.
    norm = keras.layers.BatchNormalization(
        beta_initializer=keras.initializers.RandomNormal(0.5, 0.3),
        moving_mean_initializer=keras.initializers.RandomNormal(0, 0.1),
    )
    return keras.layers.ReLU(6.0)(norm(layer(x)))
