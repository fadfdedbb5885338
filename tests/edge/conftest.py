"""Models and recordings for the tests of `edge`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge.model.card import CARD_FORMAT, INPUT_LAYOUT, INPUT_RANGE, Card, attach
from edge.model.shipped import SHIPPED
from tests.support.tiny_models import FOLDER, HEIGHT, WIDTH


@pytest.fixture(scope="session")
def card() -> Card:
    """The least that a card of ours says. Shared: copy it to change it."""
    return {
        "format": CARD_FORMAT,
        "input": {"height": HEIGHT, "width": WIDTH, "layout": INPUT_LAYOUT, "range": INPUT_RANGE},
        "threshold": 0.5,
        "keras_sha256": "ab" * 32,
    }


@pytest.fixture(scope="session")
def models(card: Card, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`float32`, `float16` and `int8` of one network, each with its card. Shared: never write into them."""
    folder = tmp_path_factory.mktemp("models")
    paths = {kind: folder / f"tiny-{kind}.tflite" for kind in ("float32", "float16", "int8")}
    for kind, path in paths.items():
        path.write_bytes(attach((FOLDER / f"{kind}.tflite").read_bytes(), card))
    return paths


@pytest.fixture(scope="session")
def videos_dir() -> Path:
    """The folder of recordings with and without fire: FIRESEG_VIDEOS, else beside FireSeg; skips without it."""
    beside = Path(os.environ.get("FIRESEG_DIR", "none")).parent / "videos"
    folder = Path(os.environ.get("FIRESEG_VIDEOS") or beside)
    if not (folder / "visifire_housefire_14.avi").is_file():
        pytest.skip("set FIRESEG_VIDEOS to the folder of visifire_housefire_14.avi and others to run this test")
    return folder


@pytest.fixture(scope="session")
def shipped_model() -> Path:
    """The default model."""
    return SHIPPED["base"]


@pytest.fixture(scope="session")
def plain_models(models: dict[str, Path]) -> dict[str, Path]:
    """Models of other tools, without a card, by name: some supported, some not. Shared: never write into them."""
    return {path.stem: path for path in FOLDER.glob("*.tflite") if path.stem not in models}
