"""Tiny models for the tests of the Pi's room, made by the converter that makes the real ones."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.config import DEFAULT_MODEL
from edge.model.card import CARD_FORMAT, INPUT_LAYOUT, INPUT_RANGE, Card, attach

HEIGHT, WIDTH = 32, 48
SEED = 7  # a network that calls two thirds of a random frame fire, with most values there are


@pytest.fixture(scope="session")
def card() -> Card:
    """The least that a card of ours says. Shared: copy it to change it."""
    return {
        "format": CARD_FORMAT,
        "input": {"height": HEIGHT, "width": WIDTH, "layout": INPUT_LAYOUT, "range": INPUT_RANGE},
        "threshold": 0.5,
    }


@pytest.fixture(scope="session")
def models(card: Card, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`float32`, `float16` and `int8` of one network, each with its card. Shared: never write into them."""
    from edge.model.runtime import find_runtime
    from export.convert import KINDS, convert

    folder, model, runtime = tmp_path_factory.mktemp("models"), _network(), find_runtime("litert")
    paths: dict[str, Path] = {}
    for kind in KINDS:
        with warnings.catch_warnings(action="ignore"):
            converted = convert(model, kind, runtime, calibration=_calibration())
        paths[kind] = folder / f"tiny-{kind}.tflite"
        paths[kind].write_bytes(attach(converted.flatbuffer, card))
    return paths


@pytest.fixture(scope="session")
def videos_dir() -> Path:
    """The recordings with and without fire, where there is a copy: FIRESEG_VIDEOS, else beside FireSeg."""
    beside = Path(os.environ.get("FIRESEG_DIR", "none")).parent / "videos"
    folder = Path(os.environ.get("FIRESEG_VIDEOS") or beside)
    if not (folder / "visifire_housefire_14.avi").is_file():
        pytest.skip("set FIRESEG_VIDEOS to the folder of visifire_housefire_14.avi and others to run this test")
    return folder


@pytest.fixture(scope="session")
def shipped_model() -> Path:
    """The int8 model that runs where none is named."""
    path = Path(__file__).parents[2] / DEFAULT_MODEL
    if not path.is_file():
        pytest.skip(f"{DEFAULT_MODEL} is missing: export one to run this test")
    return path


@pytest.fixture(scope="session")
def plain_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models of other people, without a card: some that can be served, and some that cannot."""
    import keras
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("plain-models")
    grey, frame, other = (keras.Input(batch_shape=(1, HEIGHT, WIDTH, channels)) for channels in (1, 3, 3))
    made = {
        "int8-in-and-out": _convert(_network(), tf.int8),
        "another-output-scale": _convert(_network(last="relu6"), tf.uint8),
        "two-inputs": _convert(keras.Model([frame, other], keras.layers.Add()([frame, other])[..., :1])),
        "two-outputs": _convert(keras.Model(frame, [frame[..., :1], frame[..., 1:2]])),
        "grey-frames": _convert(keras.Model(grey, keras.layers.Activation("sigmoid")(grey))),
        "smaller-map": _convert(keras.Model(frame, keras.layers.AveragePooling2D(2)(frame)[..., :1])),
        "no-scale": _convert(keras.Model(frame, keras.ops.cast(frame[..., :1] > 127, "uint8"))),
        "one-number": _convert(keras.Model(frame, keras.layers.GlobalAveragePooling2D()(frame)[..., :1])),
    }
    paths = {name: folder / f"{name}.tflite" for name in made}
    for name, path in paths.items():
        path.write_bytes(made[name])
    return paths


def _network(last: str = "sigmoid") -> Any:
    """RGB in 0..255 -> a map that takes most of its values. `last` is the function that ends it."""
    import keras

    def weights(seed: int, stddev: float) -> Any:
        return keras.initializers.RandomNormal(stddev=stddev, seed=SEED + seed)

    frame = keras.Input((HEIGHT, WIDTH, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(frame)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", kernel_initializer=weights(0, 0.5))(x)
    x = keras.layers.ReLU(6)(x)
    x = keras.layers.Conv2D(1, 1, kernel_initializer=weights(1, 1.0))(x)
    x = keras.layers.UpSampling2D(2, interpolation="bilinear")(x)
    return keras.Model(frame, keras.layers.Activation(last)(x))


def _calibration() -> np.ndarray:
    import cv2

    noise = np.random.default_rng(SEED).integers(0, 256, (8, 9, 16, 3), np.uint8)
    return np.stack([cv2.resize(frame, (WIDTH, HEIGHT)) for frame in noise])


def _convert(model: Any, integer_dtype: Any = None) -> bytes:
    """By TensorFlow's converter alone, as other people do."""
    import keras
    import tensorflow as tf

    from edge.console import quiet

    inputs = [keras.Input(batch_shape=(1, *shape.shape[1:])) for shape in model.inputs]
    converter = tf.lite.TFLiteConverter.from_keras_model(
        keras.Model(inputs, model(inputs if len(inputs) > 1 else inputs[0]))
    )

    def representative() -> Iterator[list[np.ndarray]]:
        for image in _calibration():
            yield [image[None].astype(np.float32)]

    if integer_dtype is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = integer_dtype
    with quiet(), warnings.catch_warnings(action="ignore"):
        return bytes(converter.convert())
