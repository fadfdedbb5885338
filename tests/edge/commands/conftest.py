"""What tests of the commands share."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.model.proof import flame_pixels
from edge.model.segmenter import Segmenter


@pytest.fixture(scope="session")
def run_folder(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, a short video, five images and two configurations. Shared."""
    folder = tmp_path_factory.mktemp("run")
    shutil.copy(models["int8"], folder / "tiny.tflite")
    writer = cv2.VideoWriter(str(folder / "noise.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 50, (64, 48))
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(30):
        image = cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (64, 48))
        writer.write(image)
        if number < 5:
            cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
    writer.release()
    (folder / "eager.toml").write_text(
        "[alarm]\non_results = 3\non_s = 0\nmin_score = -10\n"
        "require_flicker = false\nrequire_colour = false\nrequire_steady = false\n"
    )
    (folder / "impatient.toml").write_text(
        '[source]\naddress = "http://me:hunter2@127.0.0.1:9/live?key=hunter2"\nreconnect_limit = 1\n'
    )
    return folder


@pytest.fixture(autouse=True)
def prove_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prove models in this process: a fork for each run is slow."""

    def prove(path: Path, data: bytes) -> int:
        with warnings.catch_warnings(action="ignore"):
            return flame_pixels(Segmenter(path, data=data))

    monkeypatch.setattr("edge.assembly.prove_in_fork", prove)
