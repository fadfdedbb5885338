"""Metrics without the boundary of the fire, and the cost of a boundary that is off by pixels.

A mask is least certain at its boundary: smoke hides it, and two annotators draw it differently. The excluded band is
the trimap of Kohli, Ladicky and Torr 2009 ("Robust Higher Order Potentials for Enforcing Label Consistency"), who
evaluate inside it. A fire no thicker than twice the band is excluded whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from edge.images import Mask
from train.evaluation.metrics import count, fire_iou, fire_metrics, pooled

BOUNDARY_PX = 2
"""Width of the boundary that `boundary_iou` compares: 0.6 % of the diagonal of 224 px, where Cheng et al. take 0.5 to
2 %."""
# Half widths of the excluded band, in pixels at the model's resolution.
BANDS_PX = (0, 1, 2, 3, 5)


def boundary_band(truth: Mask, band_px: int) -> Mask:
    """Return the pixels within `band_px` of an H x W mask's boundary, which the edge of the image is not."""
    if band_px == 0:
        return np.zeros_like(truth)
    square = np.ones((2 * band_px + 1, 2 * band_px + 1), np.uint8)
    drawn = truth.astype(np.uint8)
    return cv2.dilate(drawn, square) != cv2.erode(drawn, square)


def metrics_without_boundary(masks: Mask, truths: Mask, bands_px: Sequence[int] = BANDS_PX) -> list[dict[str, Any]]:
    """Return one row of metrics for each excluded band; masks and truths are N x H x W."""
    rows = []
    for band_px in bands_px:
        total = pooled(
            count(mask[included], truth[included])
            for mask, truth in zip(masks, truths, strict=True)
            for included in [~boundary_band(truth, band_px)]
        )
        areas = {"fire_px": total.tp + total.fn, "error_px": total.fp + total.fn}
        rows.append({"excluded_px": band_px, **fire_metrics(total), **areas})
    return rows


def boundary_metrics(masks: Mask, truths: Mask) -> dict[str, float]:
    """Return `boundary_iou` and `fire_iou_without_boundary` of N x H x W masks, pooled.

    Boundary IoU (Cheng et al. 2021, arXiv 2103.16562) compares only each mask's pixels within `BOUNDARY_PX` of its own
    boundary: it shows contour errors that the area of a large fire hides. The other excludes pixels within 1 px of the
    true boundary.
    """
    rims = ([mask & boundary_band(mask, BOUNDARY_PX) for mask in both] for both in zip(masks, truths, strict=True))
    (without,) = metrics_without_boundary(masks, truths, [1])
    return {
        "boundary_iou": fire_iou(pooled(count(predicted, truth) for predicted, truth in rims)),
        "fire_iou_without_boundary": without["fire_iou"],
    }


def shifted_truth_iou(truths: Mask, shift_px: int = 1) -> float:
    """Return the pooled fire IoU of N x H x W masks with themselves, shifted vertically and horizontally.

    Pixels that leave the image do not count. Shifting down equals shifting up, because IoU is symmetric.
    """
    ahead, behind = slice(shift_px, None), slice(None, -shift_px)
    shifts = [(truths[:, ahead], truths[:, behind]), (truths[:, :, ahead], truths[:, :, behind])]
    return fire_iou(pooled(count(a, b) for a, b in shifts))
