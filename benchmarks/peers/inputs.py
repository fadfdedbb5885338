"""What all peers are given: the test's frames, and the frames that calibrated our int8 model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.console import OnStep
from edge.files import make_folder
from edge.images import Frame
from edge.model.card import Card
from edge.model.preprocess import to_model_input
from export import CALIBRATION_COUNT
from export.calibration import assert_disjoint, candidates_from_pairs, choose
from train.data.fireseg import Pair
from train.data.splits import Split


def write_frames(pairs: Sequence[Pair], height: int, width: int, path: Path) -> None:
    """Write the images at the model's size, N x height x width x 3, for processes that have no OpenCV."""
    make_folder(path.parent)
    np.save(path, np.stack([to_model_input(pair.read()[0], height, width) for pair in pairs]))


def calibration_frames(
    card: Card, split: Split, height: int, width: int, on_step: OnStep
) -> tuple[Frame, dict[str, Any]]:
    """The frames that calibrated the int8 model with this card, as far as this data has them, and what they are.

    `same_as_int8` says whether they are the very ones: on other data they cannot be.
    """
    noted = card.get("calibration") or {}
    done = on_step("reading training images", len(split.train))
    candidates = candidates_from_pairs(split.train, done)
    chosen = choose(candidates, noted.get("images", CALIBRATION_COUNT), noted.get("seed", 0))
    assert_disjoint(chosen.images, split.test)
    facts = {
        "images": len(chosen.images),
        "sha256": chosen.sha256,
        "same_as_int8": chosen.sha256 == noted.get("sha256"),
    }
    return chosen.frames(height, width), facts
