"""The gate of fine-tuned models: what a model may lose against the one that its training started from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge.files import sha256, write_json
from export.fine_tuning import FineTuning, compare_with_start
from export.report import Gate
from train.data.splits import Split
from train.evaluation.provenance import read_keras_card

TEST = "0f" * 32


class Official(Split):
    """The official test, by its hash alone."""

    sha256 = TEST


OFFICIAL, OTHER = Official("official", (), ()), Split("by-video fold 0 seed 0", (), ())


def fine_tuned(folder: Path, start: Any, *, fire_iou: float = 0.71, test: str = TEST) -> Path:
    """Write a model whose card names its start and has its own figure on the official test."""
    model = folder / "best.keras"
    model.write_bytes(b"weights")
    metrics = {"official": {"sha256": test, "fire_iou": fire_iou}}
    write_json(model.with_suffix(".json"), {"sha256": sha256(model), "start": start, "metrics": metrics})
    return model


def start(fire_iou: float = 0.72, test: str = TEST) -> dict[str, Any]:
    metrics = {"official": {"sha256": test, "fire_iou": fire_iou}}
    return {"name": "fireseg-base.keras", "sha256": "ab", "metrics": metrics}


@pytest.mark.parametrize(("drop", "passes"), [(-0.1, True), (0.0, True), (0.005, True), (0.0051, False)])
def test_the_gate_passes_a_loss_of_half_a_point_and_refuses_more(drop: float, passes: bool) -> None:
    assert (Gate().start_failures(FineTuning("fireseg-base.keras", drop)) == []) is passes


def test_the_refusal_is_one_sentence_with_the_loss_and_its_limit() -> None:
    assert Gate().start_failures(FineTuning("fireseg-base.keras", 0.0312)) == [
        "keras: fire_iou on the official test is 3.12 points below fireseg-base.keras, from which it was fine-tuned, "
        "more than 0.5"
    ]


def test_on_the_official_test_the_measured_figure_counts_elsewhere_that_of_the_card(tmp_path: Path) -> None:
    model = fine_tuned(tmp_path, start(0.72), fire_iou=0.71)
    for split, drop in ((OFFICIAL, 0.02), (OTHER, 0.01)):
        compared = compare_with_start(model, split, 0.70)
        assert compared is not None and compared.start == "fireseg-base.keras"
        assert compared.drop == pytest.approx(drop)


@pytest.mark.parametrize(
    "before",
    [
        {"name": "mine.keras", "sha256": "cd"},
        {"name": "mine.keras", "sha256": "cd", "metrics": {"by-video": {}}},
        {"name": "mine.keras", "sha256": "cd", "metrics": {"official": {"fire_iou": "high"}}},
        start(test="another test"),
    ],
)
def test_without_figures_on_the_same_test_nothing_is_compared_and_nothing_refused(
    tmp_path: Path, before: dict[str, Any]
) -> None:
    compared = compare_with_start(fine_tuned(tmp_path, before), OTHER, 0.1)
    assert compared is not None and compared.drop is None
    assert Gate().start_failures(compared) == []


@pytest.mark.parametrize("before", [None, "fireseg-base.keras"])
def test_a_model_that_was_not_fine_tuned_has_nothing_to_lose(tmp_path: Path, before: Any) -> None:
    assert compare_with_start(fine_tuned(tmp_path, before), OFFICIAL, 0.1) is None


def test_a_card_of_another_file_says_nothing(tmp_path: Path) -> None:
    model = fine_tuned(tmp_path, start())
    model.write_bytes(b"others")
    assert read_keras_card(model) == {}
    assert compare_with_start(model, OFFICIAL, 0.1) is None
