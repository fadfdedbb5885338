"""Error analysis: every value is a pure function of counted pixels and agrees with counting again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.images import Map, Mask, write_image
from train.data.fireseg import Pair, load_dataset
from train.evaluation.error_analysis import (
    average_precision,
    by_video,
    calibration_error,
    precision_recall,
    reliability,
    worst_images,
    write_error_analysis,
)
from train.evaluation.evaluate import LEVELS, Predictions, histogram
from train.evaluation.metrics import Counts, count, fire_iou, fire_metrics, summarise

maps = hnp.arrays(np.uint8, (6, 7))
masks = hnp.arrays(np.bool_, (6, 7))
counts = st.builds(Counts, *[st.integers(0, 50)] * 4)


def pair(video: str, index: int) -> Pair:
    return Pair(f"{video}-{index}", Path(f"{video}-{index}.jpg"), None, "all", video)


@given(maps, masks, st.integers(0, 255))
def test_metrics_at_a_threshold_are_those_of_its_mask(levels: Map, truth: Mask, threshold: int) -> None:
    expected = {"threshold": threshold / 256, **fire_metrics(count(levels >= threshold, truth))}
    assert precision_recall(histogram(levels, truth))[threshold] == expected


@given(maps, masks)
def test_recall_is_1_at_threshold_0_and_falls_as_it_rises(levels: Map, truth: Mask) -> None:
    rows = precision_recall(histogram(levels, truth))
    recalls = [row["recall"] for row in rows]
    assert len(rows) == LEVELS and recalls[0] == 1
    assert recalls == sorted(recalls, reverse=True)
    assert rows[0]["precision"] == pytest.approx(truth.mean())
    assert [row["threshold"] for row in rows][128] == 0.5


def test_average_precision_of_a_perfect_a_blind_and_a_known_ranking() -> None:
    truth = np.array([[True, False, True, False]])
    perfect = np.array([[200, 10, 150, 0]], np.uint8)
    assert average_precision(precision_recall(histogram(perfect, truth))) == 1
    assert average_precision(precision_recall(histogram(np.full((1, 4), 9, np.uint8), truth))) == 0.5
    # Ranked fire, background, fire: half the recall at precision 1, half at 2/3.
    known = np.array([[200, 150, 100, 50]], np.uint8)
    assert average_precision(precision_recall(histogram(known, truth))) == pytest.approx(0.5 + 0.5 * 2 / 3)


@given(maps, masks, st.sampled_from([1, 4, 16, 256]))
def test_every_pixel_is_in_one_bin_of_the_reliability_curve(levels: Map, truth: Mask, bins: int) -> None:
    rows = reliability(histogram(levels, truth), bins)
    assert sum(row["pixels"] for row in rows) == levels.size
    assert sum(row["pixels"] * row["observed"] for row in rows) == pytest.approx(truth.sum())
    predicted = [row["predicted"] for row in rows]
    assert predicted == sorted(predicted) and all(0 < value < 1 for value in predicted)
    assert 0 <= calibration_error(rows) <= 1


def test_a_calibrated_model_has_no_calibration_error_and_an_overconfident_one_has() -> None:
    fire = 2 * np.arange(LEVELS) + 1  # of 512 pixels at each level
    assert calibration_error(reliability(np.stack([512 - fire, fire]))) < 1e-9
    overconfident = np.zeros((2, LEVELS), np.int64)
    overconfident[:, 255] = 10
    assert calibration_error(reliability(overconfident)) == pytest.approx(0.5, abs=0.01)


@given(st.lists(st.tuples(st.sampled_from("abcd"), counts), min_size=1, max_size=20))
def test_videos_hold_all_images_and_come_worst_first(images: list[tuple[str, Counts]]) -> None:
    rows = by_video([pair(video, at) for at, (video, _) in enumerate(images)], [counts for _, counts in images])
    assert sum(row["images"] for row in rows) == len(images)
    assert {row["video"] for row in rows} == {video for video, _ in images}
    ious = [row["fire_iou"] for row in rows]
    assert ious == sorted(ious)
    for row in rows:
        expected = summarise([counts for video, counts in images if video == row["video"]])
        assert all(row[name] == expected[name] for name in ("fire_iou", "precision", "recall"))


@given(st.lists(counts, max_size=30), st.integers(0, 40))
def test_no_other_image_is_worse_than_the_worst(images: list[Counts], number: int) -> None:
    chosen = worst_images(images, number)
    assert len(set(chosen)) == len(chosen) == min(number, len(images))
    ious = [fire_iou(image) for image in images]
    others = [ious[at] for at in range(len(images)) if at not in chosen]
    assert not chosen or not others or max(ious[at] for at in chosen) <= min(others)


def test_of_equally_bad_images_the_one_with_more_wrong_pixels_comes_first() -> None:
    assert worst_images([Counts(fp=2), Counts(tn=9), Counts(fn=7), Counts(fp=3, fn=3)], 3) == [2, 3, 0]


@pytest.mark.slow
def test_the_files_agree_with_the_summary(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / "set" / "images" / f"f{number}.png", np.full((16, 16, 3), 80, np.uint8))
        write_image(tmp_path / "set" / "masks" / f"f{number}.png", np.eye(16, dtype=np.uint8) * 255)
    (tmp_path / "set" / "groups.csv").write_text("stem,group\nf0,a\nf1,a\nf2,b\n")
    pairs = load_dataset(tmp_path / "set").pairs
    truth = np.stack([pair.read()[1] for pair in pairs])
    levels = np.where(truth, 90, 10).astype(np.uint8)  # perfect at a lower threshold, but for the third image
    levels[2] = 200
    histograms = np.stack([histogram(*both) for both in zip(levels, truth, strict=True)])
    predictions = Predictions(tuple(pair.name for pair in pairs), levels >= 128, truth, histograms)
    summary = write_error_analysis(pairs, predictions, 0.5, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "precision-recall.json").read_text())
    assert len(written["thresholds"]) == LEVELS
    for name in ("average_precision", "best_threshold", "best_fire_iou", "calibration_error"):
        assert written[name] == summary[name]
    assert written["best_fire_iou"] == max(row["fire_iou"] for row in written["thresholds"])
    assert 10 / 256 < summary["best_threshold"] <= 90 / 256
    boundary = json.loads((tmp_path / "out" / "boundary.json").read_text())
    assert boundary["bands"] == summary["boundary"]
    assert boundary["fire_iou_of_truth_shifted_1_px"] == summary["fire_iou_of_truth_shifted_1_px"] == 0  # a diagonal
    assert json.loads((tmp_path / "out" / "videos.json").read_text()) == summary["videos"]
    assert [(row["video"], row["images"], row["recall"]) for row in summary["videos"]] == [("a", 2, 0.0), ("b", 1, 1.0)]
    assert summary["worst"] == ["f0", "f1", "f2"]
