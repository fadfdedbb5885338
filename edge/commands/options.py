"""What several commands share: arguments, and what a configuration asks to load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge.camera import CameraSettings
from edge.config import Config
from edge.detection.zones import ZoneMap
from edge.files import sha256
from edge.model.segmenter import Segmenter

ModelArgument = Annotated[Path, typer.Argument(help="A .tflite model, such as models/fireseg-base-int8.tflite.")]
RuntimeOption = Annotated[str | None, typer.Option(help="litert or tflite-runtime; the fastest installed by default.")]

CAMERA_TIMEOUT_SHARE = 0.8
"""Time-outs of a camera as a share of the stall time: its own error says more than that no frame arrived."""


def load_model(config: Config) -> tuple[Segmenter, ZoneMap, str]:
    """Return the model, the zones on its grid and the SHA-256 of its file. Raises `UserError`."""
    path = Path(config.model.path)
    segmenter = Segmenter(path, threads=config.model.threads or None)
    return segmenter, ZoneMap(config.zones, config.ignored, segmenter.height, segmenter.width), sha256(path)


def camera_settings(config: Config, segmenter: Segmenter | None) -> CameraSettings:
    """Return how to open the source; without a model, at the default model size."""
    source = config.source
    model_size = (segmenter.width, segmenter.height) if segmenter else CameraSettings.model_size
    return CameraSettings((source.width, source.height), model_size, source.fps, CAMERA_TIMEOUT_SHARE * source.stall_s)
