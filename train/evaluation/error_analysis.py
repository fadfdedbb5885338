"""Where a model errs: over thresholds, by what it says of itself, along outlines, video by video, image by image.

Thresholds and reliability are read off exact histograms: probability maps have 256 levels, and the pixels of each are
counted once by whether they burn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.files import write_json, write_text
from edge.model.segmenter import OUTPUT_STEPS
from train.data.fireseg import Pair
from train.evaluation.boundary import away_from_outlines, iou_of_moved_truth
from train.evaluation.evaluate import LEVELS, Histograms, Predictions, rounded
from train.evaluation.metrics import Counts, fire_iou, pooled, precision, recall
from train.evaluation.plots import draw_precision_recall, draw_reliability, draw_worst

WORST = 20
BINS = 16  # of a reliability curve
Row = dict[str, Any]


def counts_by_threshold(histogram: Histograms) -> list[Counts]:
    """The counts where fire is `level >= threshold`, for each threshold from 0 to 255, of a 2 x 256 histogram."""
    above = histogram[:, ::-1].cumsum(axis=1)[:, ::-1]
    total = histogram.sum(axis=1)
    return [
        Counts(tp=int(tp), fp=int(fp), fn=int(total[1] - tp), tn=int(total[0] - fp))
        for fp, tp in zip(above[0], above[1], strict=True)
    ]


def precision_recall(histogram: Histograms) -> list[Row]:
    """Precision, recall and fire IoU at each threshold, pooled over the pixels."""
    return [
        {"threshold": level / OUTPUT_STEPS, "precision": precision(c), "recall": recall(c), "fire_iou": fire_iou(c)}
        for level, c in enumerate(counts_by_threshold(histogram))
    ]


def average_precision(rows: Sequence[Row]) -> float:
    """The area under precision over recall, as steps: each gain in recall at the precision that it came with."""
    recalls = [row["recall"] for row in rows] + [0.0]
    return float(sum(row["precision"] * (recalls[at] - recalls[at + 1]) for at, row in enumerate(rows)))


def reliability(histogram: Histograms, bins: int = BINS) -> list[Row]:
    """For each stretch of levels that occurs: the mean probability, the share of pixels that burn, and their number."""
    said = (np.arange(LEVELS) + 0.5) / OUTPUT_STEPS  # a level is a probability rounded down
    rows = []
    for levels in np.array_split(np.arange(LEVELS), bins):
        by_level = histogram[:, levels].sum(axis=0)
        if pixels := int(by_level.sum()):
            predicted = float((by_level * said[levels]).sum() / pixels)
            rows.append(
                {"predicted": predicted, "burning": float(histogram[1, levels].sum() / pixels), "pixels": pixels}
            )
    return rows


def calibration_error(rows: Sequence[Row]) -> float:
    """How far a probability lies from the share that burns, on average over the pixels: expected calibration error."""
    pixels = sum(row["pixels"] for row in rows)
    return float(sum(row["pixels"] * abs(row["predicted"] - row["burning"]) for row in rows) / pixels)


def by_video(pairs: Sequence[Pair], per_image: Sequence[Counts]) -> list[Row]:
    """The metrics of each video, pooled over its images, the worst first."""
    videos: dict[str, list[Counts]] = {}
    for pair, counts in zip(pairs, per_image, strict=True):
        videos.setdefault(pair.video, []).append(counts)
    rows = []
    for video, images in videos.items():
        total = pooled(images)
        rows.append(
            {
                "video": video,
                "images": len(images),
                "fire_iou": fire_iou(total),
                "precision": precision(total),
                "recall": recall(total),
            }
        )
    return sorted(rows, key=lambda row: (row["fire_iou"], row["video"]))


def worst_images(per_image: Sequence[Counts], count: int = WORST) -> list[int]:
    """The indices of the images of the lowest fire IoU; of equals, those with more wrong pixels come first."""
    return sorted(
        range(len(per_image)), key=lambda at: (fire_iou(per_image[at]), -per_image[at].fp - per_image[at].fn, at)
    )[:count]


def write_details(pairs: Sequence[Pair], judgement: Predictions, threshold: float, out: Path) -> Row:
    """Write curves, tables and pictures of one judgement into `out`; returns what fits a report.

    The best threshold is that of these very images: it says what there is to gain, and flatters as a figure.
    """
    if judgement.histograms is None:
        raise ValueError("expected a judgement with histograms, as `evaluate` makes it")
    histogram, per_image = judgement.histograms.sum(axis=0), judgement.per_image
    curve, sure = precision_recall(histogram), reliability(histogram)
    best = max(curve, key=lambda row: row["fire_iou"])
    summary: Row = {
        "average_precision": average_precision(curve),
        "best_threshold": best["threshold"],
        "best_fire_iou": best["fire_iou"],
        "calibration_error": calibration_error(sure),
    }
    summary = rounded(summary, 6)
    videos = [rounded(row, 6) for row in by_video(pairs, per_image)]
    outlines = [rounded(row, 6) for row in away_from_outlines(judgement.masks, judgement.truth)]
    worst = worst_images(per_image)
    write_json(out / "precision-recall.json", {**summary, "thresholds": [rounded(row, 6) for row in curve]})
    write_json(out / "reliability.json", [rounded(row, 6) for row in sure])
    write_json(out / "videos.json", videos)
    write_text(out / "videos.md", markdown(videos))
    moved = {"fire_iou_of_truth_moved_1_px": round(iou_of_moved_truth(judgement.truth), 6)}
    write_json(out / "outlines.json", {**moved, "bands": outlines})
    write_text(out / "outlines.md", markdown(outlines))
    draw_precision_recall(curve, threshold, out / "precision-recall.png")
    draw_reliability(sure, out / "reliability.png")
    draw_worst(pairs, judgement, worst, out / "worst.png")
    return {**summary, **moved, "outlines": outlines, "videos": videos, "worst": [judgement.names[at] for at in worst]}


def markdown(rows: Sequence[Row]) -> str:
    """Rows of one kind as a Markdown table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|---" + "|---:" * (len(rows[0]) - 1) + "|"]
    for row in rows:
        cells = [f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
