"""The tiny networks in `tests/support/models`, which spare the fast tests TensorFlow.

Run `python -m tests.support.tiny_models` to convert them again after a change.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).with_name("models")
HEIGHT, WIDTH = 32, 48
SEED = 7  # this network predicts fire on two thirds of a random frame, with most byte values


def convert_all() -> dict[str, bytes]:
    """Return the flatbuffer of each tiny network by name: three exports of ours, then other tools' models."""
    import keras
    import tensorflow as tf

    from edge.model.runtime import find_runtime
    from export.convert import KINDS, convert

    grey, frame, other = (keras.Input(batch_shape=(1, HEIGHT, WIDTH, channels)) for channels in (1, 3, 3))
    free, first = keras.Input((None, None, 3)), keras.Input((3, HEIGHT, WIDTH))
    with warnings.catch_warnings(action="ignore"):
        ours = {
            kind: convert(_network(), kind, find_runtime("litert"), calibration=_calibration()).flatbuffer
            for kind in KINDS
        }
    return ours | {
        "int8-in-and-out": _convert(_network(), tf.int8),
        "another-output-scale": _convert(_network(last="relu6"), tf.uint8),
        "two-inputs": _convert(keras.Model([frame, other], keras.layers.Add()([frame, other])[..., :1])),
        "two-outputs": _convert(keras.Model(frame, [frame[..., :1], frame[..., 1:2]])),
        "grey-frames": _convert(keras.Model(grey, keras.layers.Activation("sigmoid")(grey))),
        "smaller-map": _convert(keras.Model(frame, keras.layers.AveragePooling2D(2)(frame)[..., :1])),
        "no-scale": _convert(keras.Model(frame, keras.ops.cast(frame[..., :1] > 127, "uint8"))),
        "free-size": _convert(keras.Model(free, keras.layers.Activation("sigmoid")(free[..., :1]))),
        "channels-first": _convert(keras.Model(first, keras.layers.Activation("sigmoid")(first[:, :1]))),
        "logits": _convert(_redness(last="linear")),
        "frames-in-0-1": _convert(_redness()),
        "frames-in-0-255": _convert(_redness(scale=1 / 255)),
        "int8-logits": _convert(_network(last="tanh"), tf.int8),
        "one-number": _convert(keras.Model(frame, keras.layers.GlobalAveragePooling2D()(frame)[..., :1])),
    }


def without_weights(data: bytes) -> bytes:
    """Return a flatbuffer whose largest constant is missing: it loads, and inference fails."""

    def number(form: str, at: int) -> int:
        return int(struct.unpack_from(form, data, at)[0])

    def field(table: int, index: int) -> int:
        vtable = table - number("<i", table)
        offset = number("<H", vtable + 4 + 2 * index) if number("<H", vtable) > 4 + 2 * index else 0
        return table + offset if offset else 0

    at = field(number("<I", 0), 4)
    first = at + number("<I", at) + 4  # of the buffers; it is empty
    sizes = {}
    for entry in range(first, first + 4 * number("<I", first - 4), 4):
        if at := field(entry + number("<I", entry), 0):
            sizes[number("<I", at + number("<I", at))] = entry
    largest = sizes[max(sizes)]
    changed = bytearray(data)
    struct.pack_into("<i", changed, largest, first + number("<I", first) - largest)
    return bytes(changed)


def _network(last: str = "sigmoid") -> Any:
    """Return a model from RGB 0..255 to a map, with `last` as its last activation."""
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


def _redness(*, scale: float = 1.0, last: str = "sigmoid") -> Any:
    """Return a model that predicts fire where red times `scale` exceeds blue by 0.4."""
    import keras

    frame = keras.Input((HEIGHT, WIDTH, 3))
    excess = (frame[..., :1] - frame[..., 2:]) * scale - 0.4
    return keras.Model(frame, keras.layers.Activation(last)(20.0 * excess))


def _calibration() -> np.ndarray:
    import cv2

    noise = np.random.default_rng(SEED).integers(0, 256, (8, 9, 16, 3), np.uint8)
    return np.stack([cv2.resize(frame, (WIDTH, HEIGHT)) for frame in noise])


def _convert(model: Any, integer_dtype: Any = None) -> bytes:
    """Convert with TensorFlow's converter alone, as other people do."""
    import keras
    import tensorflow as tf

    from edge.quiet import quiet

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


if __name__ == "__main__":
    for name, flatbuffer in convert_all().items():
        (FOLDER / f"{name}.tflite").write_bytes(flatbuffer)
