"""Fixtures shared by the tests of training and of `fireseg-train`. Only those of models load Keras."""

from __future__ import annotations

import shutil
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.images import write_image
from tests.support.run_cli import Done, Here
from train.cli import run


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Here:
    """Run the command in this process, where Keras is loaded once: a tenth of the time of a new one."""

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["fireseg-train", *map(str, arguments)])
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("FIRESEG_DIR", raising=False)
        capfd.readouterr()
        with warnings.catch_warnings(), pytest.raises(SystemExit) as left:
            run()
        code = left.value.code
        return Done(code if isinstance(code, int) else 0, *capfd.readouterr())

    return call


@pytest.fixture
def broken_dir(synthetic_dir: Path, tmp_path: Path) -> Path:
    """A data set with a truncated JPEG and a mask of another size."""
    root = tmp_path / "broken"
    shutil.copytree(synthetic_dir, root)
    image = root / "images_prepped_train" / "img(2).jpg"
    image.write_bytes(image.read_bytes()[:2000])
    cv2.imwrite(str(root / "annotations_prepped_train" / "img(5).png"), np.zeros((9, 9), np.uint8))
    return root


@pytest.fixture
def negatives(tmp_path: Path) -> Path:
    """Twelve pictures without flames."""
    for number in range(12):
        write_image(tmp_path / "sunsets" / f"sun{number}.png", np.full((40, 40, 3), 100 + number, np.uint8))
    return tmp_path / "sunsets"


@pytest.fixture(scope="session")
def red_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from keras import Input, Model, layers

    frame = Input((32, 48, 3))
    red = layers.Conv2D(1, 1, activation="sigmoid")
    network = Model(frame, red(layers.Rescaling(1 / 255)(frame)))
    red.set_weights([np.array([20, -10, -10], np.float32).reshape(1, 1, 3, 1), np.array([-8], np.float32)])
    path = tmp_path_factory.mktemp("model") / "red.keras"
    network.save(path)
    return path


@pytest.fixture
def model(red_model: Path, tmp_path: Path) -> Path:
    """A model that predicts fire where a frame is bright red."""
    return Path(shutil.copy(red_model, tmp_path))


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run that was never interrupted. Shared: do not write into it."""
    from tests.support import tiny_run

    out = tmp_path_factory.mktemp("recipe") / "run"
    tiny_run.train(out)
    return out
