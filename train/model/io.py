"""Model files in: a `.keras` or a `.tflite`, both as one kind of predictor, judged by one rule."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
import numpy.typing as npt

from edge.errors import UserError
from edge.files import replacing
from edge.images import Frame, Map
from edge.model.preprocess import probability_to_u8, to_model_input
from edge.model.segmenter import DEFAULT_THRESHOLD, OUTPUT_STEPS, Segmenter

MODEL_SUFFIXES = (".keras", ".tflite")


class Predictor(Protocol):
    """RGB `uint8` of any size -> `uint8` map (height, width) in steps of 1/256; fire is `map >= threshold_u8`."""

    height: int
    width: int
    threshold_u8: int

    def __call__(self, frame: Frame) -> Map: ...


class KerasPredictor:
    """A Keras model as a predictor, one frame at a time."""

    def __init__(self, model: keras.Model, threshold: float = DEFAULT_THRESHOLD) -> None:
        self.model = model
        _, self.height, self.width, _ = model.input_shape
        self.threshold_u8 = math.ceil(threshold * OUTPUT_STEPS)

    def __call__(self, frame: Frame) -> Map:
        return probability_to_u8(self.predict(to_model_input(frame, self.height, self.width)[None])[0, :, :, 0])

    def predict(self, frames: Frame) -> npt.NDArray[np.float32]:
        """N x height x width x 3 RGB bytes -> N x height x width x 1 probabilities."""
        return np.asarray(self.model.predict_on_batch(frames.astype(np.float32)))


def check_model_file(path: Path) -> None:
    """Raise `UserError` where there is no such file: before minutes go into data that nothing will use."""
    if not path.is_file():
        raise UserError(f"model {path} does not exist", "expected a .keras file as `fireseg-train fit` writes it")


def load_keras(path: Path) -> keras.Model:
    """Load a segmentation model saved by Keras 3. Raises `UserError` where it is none."""
    check_model_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"{damaged} is damaged")
        model = keras.models.load_model(path, compile=False)
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is cut short or not a Keras 3 model ({error})", "save or copy it again") from error
    except (ValueError, TypeError, OSError, KeyError, RuntimeError) as error:  # NotImplementedError is a RuntimeError
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path} could not be loaded by Keras {keras.__version__} ({reason})", "train it again"
        ) from error
    check_shapes(model, path)
    return model


def deflate(path: Path) -> None:
    """Compress what a `.keras` holds, in place: Keras only stores it, and weights shrink by a seventh."""
    with zipfile.ZipFile(path) as archive:
        members = [(member.filename, archive.read(member)) for member in archive.infolist()]
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


def check_shapes(model: keras.Model, path: Path) -> None:
    """Raise `UserError` unless the model maps (N, H, W, 3) to (N, H, W, 1) with H and W known."""
    given, made = model.input_shape, model.output_shape
    fits = (
        isinstance(given, tuple)
        and isinstance(made, tuple)
        and len(given) == len(made) == 4
        and None not in given[1:]
        and given[3] == 3
        and tuple(made[1:]) == (*given[1:3], 1)
    )
    if not fits:
        raise UserError(
            f"{path} maps {given} to {made}",
            "expected RGB frames (N, H, W, 3) of a fixed size to one probability a "
            "pixel (N, H, W, 1), as `fireseg-train fit` makes it",
        )


def load_predictor(path: Path, *, threads: int | None = None) -> Predictor:
    """Load any model file to judge or predict with. Raises `UserError`."""
    if path.suffix == ".keras":
        return KerasPredictor(load_keras(path))
    if path.suffix == ".tflite":
        return Segmenter(path, threads=threads)
    raise UserError(f"{path} is no model file that can be judged", f"expected {' or '.join(MODEL_SUFFIXES)}")
