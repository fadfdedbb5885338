"""How much of what a model gets wrong lies along the fire's outline, and how much an outline is worth at all.

A mask's outline is its least certain part: smoke veils it, and two people draw it differently. The band about it is the
trimap of Kohli, Ladicky and Torr 2009 ("Robust Higher Order Potentials for Enforcing Label Consistency"), who judge
inside it; here it is left out. A fire no thicker than twice the band falls out whole, found or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from train.evaluation.metrics import count, fire_iou, pooled, precision, recall

BANDS_PX = (0, 1, 2, 3, 5)
"""How far to either side of the true outline pixels are left out, at the model's size."""

Mask = npt.NDArray[np.bool_]


def near_outline(truth: Mask, band_px: int) -> Mask:
    """The pixels of an H x W mask within so many pixels of its outline, to either side and over corners.

    The picture's edge is no outline.
    """
    if band_px == 0:
        return np.zeros_like(truth)
    square = np.ones((2 * band_px + 1, 2 * band_px + 1), np.uint8)
    drawn = truth.astype(np.uint8)
    return cv2.dilate(drawn, square) != cv2.erode(drawn, square)


def away_from_outlines(masks: Mask, truth: Mask, bands_px: Sequence[int] = BANDS_PX) -> list[dict[str, Any]]:
    """The metrics without the pixels near the true outlines, for each band; masks and truth are N x H x W."""
    rows = []
    for band_px in bands_px:
        total = pooled(
            count(mask[judged], true[judged])
            for mask, true in zip(masks, truth, strict=True)
            for judged in [~near_outline(true, band_px)]
        )
        rows.append(
            {
                "left_out_px": band_px,
                "fire_iou": fire_iou(total),
                "precision": precision(total),
                "recall": recall(total),
                "burning_px": total.tp + total.fn,
                "wrong_px": total.fp + total.fn,
            }
        )
    return rows


def iou_of_moved_truth(truth: Mask, by_px: int = 1) -> float:
    """The fire IoU that N x H x W true masks have with themselves, moved up, down, left and right by 1 pixel or more.

    What leaves the picture is not counted.
    """
    kept, moved = slice(by_px, None), slice(None, -by_px)
    ways = [(truth[:, kept], truth[:, moved]), (truth[:, :, kept], truth[:, :, moved])]
    # Up is down with the parts exchanged, and the IoU asks not which is which.
    return fire_iou(pooled(count(a, b) for a, b in ways))
