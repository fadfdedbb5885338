"""Load `.keras`, `.h5` and `.tflite` files as predictors with one interface."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from edge.errors import UserError
from edge.files import replacing
from edge.images import Frame, Map, Mask
from edge.model.preprocess import probability_to_u8, to_model_input
from edge.model.segmenter import DEFAULT_THRESHOLD, OUTPUT_STEPS, Segmenter
from train.model import keras_file


class Predictor(Protocol):
    """A model that maps one RGB `uint8` frame of any size to fire at its own resolution, height x width."""

    height: int
    width: int
    threshold_u8: int

    def __call__(self, frame: Frame) -> Map:
        """Return the probability map, `uint8` in steps of 1/256."""

    def mask(self, frame: Frame) -> Mask:
        """Return the boolean fire mask: the map is at least `threshold_u8`."""


class KerasPredictor:
    """A Keras model as a predictor, one frame at a time."""

    threshold_u8 = math.ceil(DEFAULT_THRESHOLD * OUTPUT_STEPS)

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        _, self.height, self.width, _ = model.input_shape

    def __call__(self, frame: Frame) -> Map:
        batch = to_model_input(frame, self.height, self.width)[None].astype(np.float32)
        return probability_to_u8(np.asarray(self.model.predict_on_batch(batch))[0, :, :, 0])

    def mask(self, frame: Frame) -> Mask:
        return self(frame) >= self.threshold_u8


def check_keras_file(path: Path) -> Any:
    """Check a Keras model file without loading it, and return its configuration. Raises `UserError`."""
    if os.path.isdir(path):  # noqa: PTH112  also False for a name that is too long
        raise UserError(
            f"model {path} is a folder", "expected a .keras file; a SavedModel must be saved again as .keras"
        )
    if not os.path.isfile(path):  # noqa: PTH113
        raise UserError(f"model {path} does not exist", "expected a .keras file as `fireseg-train fit` writes it")
    if path.suffix.lower() not in keras_file.SUFFIXES:
        raise UserError(f"{path} is not a Keras model", f"expected {' or '.join(keras_file.SUFFIXES)}")
    config = keras_file.read_config(path)
    keras_file.check_config(path, config)
    return config


def load_keras(path: Path) -> keras.Model:
    """Load a segmentation model from a `.keras` or HDF5 file, uncompiled. Raises `UserError`."""
    config = check_keras_file(path)
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras and its layers raise whatever a strange configuration leads to
        if unknown := keras_file.unknown_classes(config):
            raise UserError(
                f"{path} needs {', '.join(unknown)}, which Keras {keras.__version__} does not have",
                "only Keras' own layers can be loaded; rebuild the network with those and save it again",
            ) from error
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} could not be loaded by Keras {keras.__version__} ({reason})", "retrain it") from error
    keras_file.check_weights(path, model)
    match model.input_shape, model.output_shape:
        case (_, int(height), int(width), 3), (_, *output) if output == [height, width, 1]:
            return model
    raise UserError(
        f"{path} maps {model.input_shape} to {model.output_shape}",
        "expected RGB frames (N, H, W, 3) of a fixed size to one probability per pixel (N, H, W, 1), "
        "as `fireseg-train fit` writes it",
    )


def deflate(path: Path) -> None:
    """Compress a `.keras` file in place: Keras stores its members uncompressed; weights shrink by a seventh."""
    with zipfile.ZipFile(path) as archive:
        members = [(member.filename, archive.read(member)) for member in archive.infolist()]
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


def load_predictor(path: Path, *, threads: int | None = None) -> Predictor:
    """Load a `.keras`, `.h5` or `.tflite` file. Raises `UserError`.

    Example:
        >>> load_predictor(Path("models/fireseg-small-int8.tflite")).mask(frame)
    """
    if path.suffix.lower() in keras_file.SUFFIXES:
        return KerasPredictor(load_keras(path))
    if path.suffix == ".tflite":
        return Segmenter(path, threads=threads)
    raise UserError(f"{path} is not a model file", "expected .keras, .h5 or .tflite")
