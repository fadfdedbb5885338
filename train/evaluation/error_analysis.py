"""Error analysis: by threshold, by predicted probability, at the boundary, by video and by image.

Curves are exact: probability maps have 256 levels, and a histogram counts fire and background pixels of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.files import write_json
from edge.model.segmenter import OUTPUT_STEPS
from train.data.fireseg import Pair
from train.evaluation.boundary import metrics_without_boundary, shifted_truth_iou
from train.evaluation.evaluate import LEVELS, Histograms, Predictions, rounded
from train.evaluation.metrics import Counts, fire_iou, fire_metrics, pooled
from train.evaluation.plots import draw_images, draw_precision_recall, draw_reliability

WORST = 20
Row = dict[str, Any]


def precision_recall(histogram: Histograms) -> list[Row]:
    """Return precision, recall and fire IoU at each threshold from 0 to 255/256, of a 2 x 256 histogram."""
    above = histogram[:, ::-1].cumsum(axis=1)[:, ::-1].tolist()  # fire is `level >= threshold`
    background_px, fire_px = above[0][0], above[1][0]
    return [
        {"threshold": level / OUTPUT_STEPS, **fire_metrics(Counts(tp, fp, fire_px - tp, background_px - fp))}
        for level, (fp, tp) in enumerate(zip(*above, strict=True))
    ]


def average_precision(rows: Sequence[Row]) -> float:
    """Return the area under the precision-recall curve, summed in steps: gain in recall times precision."""
    recalls = [row["recall"] for row in rows] + [0.0]
    return float(sum(row["precision"] * (recalls[at] - recalls[at + 1]) for at, row in enumerate(rows)))


def reliability(histogram: Histograms, bins: int = 16) -> list[Row]:
    """Return mean predicted probability, observed share of fire and pixel count for each bin that has pixels."""
    probability = (np.arange(LEVELS) + 0.5) / OUTPUT_STEPS  # a level is a probability rounded down
    rows = []
    for levels in np.array_split(np.arange(LEVELS), bins):
        by_level = histogram[:, levels].sum(axis=0)
        if pixels := int(by_level.sum()):
            predicted = float((by_level * probability[levels]).sum() / pixels)
            observed = float(histogram[1, levels].sum() / pixels)
            rows.append({"predicted": predicted, "observed": observed, "pixels": pixels})
    return rows


def calibration_error(rows: Sequence[Row]) -> float:
    """Return the expected calibration error: mean distance of predicted and observed, weighted by pixels."""
    pixels = sum(row["pixels"] for row in rows)
    return float(sum(row["pixels"] * abs(row["predicted"] - row["observed"]) for row in rows) / pixels)


def by_video(pairs: Sequence[Pair], per_image: Sequence[Counts]) -> list[Row]:
    """Return the metrics of each video, pooled over its images, worst first."""
    videos: dict[str, list[Counts]] = {}
    for pair, counts in zip(pairs, per_image, strict=True):
        videos.setdefault(pair.video, []).append(counts)
    rows: list[Row] = [
        {"video": video, "images": len(images), **fire_metrics(pooled(images))} for video, images in videos.items()
    ]
    return sorted(rows, key=lambda row: (row["fire_iou"], row["video"]))


def worst_images(per_image: Sequence[Counts], count: int = WORST) -> list[int]:
    """Return the indices of the images of lowest fire IoU; on a tie, those with more wrong pixels first."""
    return sorted(
        range(len(per_image)), key=lambda at: (fire_iou(per_image[at]), -per_image[at].fp - per_image[at].fn, at)
    )[:count]


def write_error_analysis(pairs: Sequence[Pair], predictions: Predictions, threshold: float, out: Path) -> Row:
    """Write curves, tables and plots into `out`; returns a summary for a report.

    The best threshold is chosen on these very images: it shows the possible gain, and is optimistic as a result.
    """
    assert predictions.histograms is not None, "expected predictions as `evaluate` returns them"
    histogram, per_image = predictions.histograms.sum(axis=0), predictions.per_image
    curve, reliability_rows = precision_recall(histogram), reliability(histogram)
    best = max(curve, key=lambda row: row["fire_iou"])
    summary = {
        "average_precision": round(average_precision(curve), 6),
        "best_threshold": best["threshold"],
        "best_fire_iou": round(best["fire_iou"], 6),
        "calibration_error": round(calibration_error(reliability_rows), 6),
    }
    videos = [rounded(row, 6) for row in by_video(pairs, per_image)]
    bands = [rounded(row, 6) for row in metrics_without_boundary(predictions.masks, predictions.truth)]
    shifted = {"fire_iou_of_truth_shifted_1_px": round(shifted_truth_iou(predictions.truth), 6)}
    worst = worst_images(per_image)
    write_json(out / "precision-recall.json", {**summary, "thresholds": [rounded(row, 6) for row in curve]})
    write_json(out / "reliability.json", [rounded(row, 6) for row in reliability_rows])
    write_json(out / "videos.json", videos)
    write_json(out / "boundary.json", {**shifted, "bands": bands})
    draw_precision_recall(curve, threshold, out / "precision-recall.png")
    draw_reliability(reliability_rows, out / "reliability.png")
    draw_images(pairs, predictions, worst, out / "worst.png", frames=True)
    names = [predictions.names[at] for at in worst]
    return {**summary, **shifted, "boundary": bands, "videos": videos, "worst": names}
