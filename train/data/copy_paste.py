"""Flames of one example pasted onto another: small ones, far ones, and ones in places where nothing burnt.

A flame shines, so it is laid over as light (a screen blend) and not as paint; soot makes it a little opaque too, which
keeps it visible before a bright sky. The edge is soft, since a hard one would be learnt in place of the flame.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edge.images import Frame
from edge.model.preprocess import to_model_input, to_model_mask

CHANCE_WHERE_NOTHING_BURNS = 0.5  # the other half has to stay without fire, or nothing else is learnt from it
CHANCE_WHERE_IT_BURNS = 0.2
FIRE_SHARES = (0.002, 0.5)  # of a frame: less has no shape, more leaves nothing to paste onto
LONGEST_SHARES = (0.05, 0.6)  # of the frame's shorter side, that the longer side of a pasted flame takes
MAX_ENLARGEMENT = 1.5  # beyond it a flame is a blur
OPACITIES = (0.2, 0.8)
MARGIN_PX = 3  # around a flame, for its soft edge

Draw = np.random.Generator
Masks = npt.NDArray[np.uint8]  # N x H x W x 1, of 0 and 1


class FlamePaster:
    """Pastes flames of the examples it was made with onto batches, in place, by the caller's generator."""

    def __init__(self, images: Frame, masks: Masks) -> None:
        self.images, self.masks = images, masks
        shares = masks.mean(axis=(1, 2, 3)) if len(masks) else np.empty(0)
        self.donors = np.flatnonzero((shares >= FIRE_SHARES[0]) & (shares <= FIRE_SHARES[1]))

    def __call__(self, images: Frame, masks: Masks, draw: Draw) -> None:
        """Change N x H x W x 3 RGB and N x H x W x 1 masks of 0 and 1."""
        if not self.donors.size:
            return
        for image, mask in zip(images, masks, strict=True):
            chance = CHANCE_WHERE_IT_BURNS if mask.any() else CHANCE_WHERE_NOTHING_BURNS
            if draw.random() < chance:
                for _ in range(draw.integers(1, 3)):
                    self._paste_one(image, mask, draw)

    def _paste_one(self, image: Frame, mask: Masks, draw: Draw) -> None:
        flame, burning = cut_out(self.images, self.masks, int(draw.choice(self.donors)))
        shorter = min(image.shape[:2])
        longest = np.exp(draw.uniform(*np.log(LONGEST_SHARES))) * shorter  # as many small ones as large ones
        scale = min(MAX_ENLARGEMENT, longest / max(burning.shape))
        height, width = (max(1, round(side * scale)) for side in burning.shape)
        flame, burning = to_model_input(flame, height, width), to_model_mask(burning, height, width)
        if draw.random() < 0.5:
            flame, burning = flame[:, ::-1], burning[:, ::-1]
        top, left = (
            int(draw.integers(0, outer - inner + 1))
            for outer, inner in zip(image.shape[:2], (height, width), strict=True)
        )
        place = np.s_[top : top + height, left : left + width]
        image[place] = shine(image[place], flame, burning, opacity=draw.uniform(*OPACITIES))
        mask[place][burning] = 1


def cut_out(images: Frame, masks: Masks, index: int) -> tuple[Frame, npt.NDArray[np.bool_]]:
    """The part of an example that burns, with a small margin: RGB and boolean mask."""
    burning = masks[index, :, :, 0] > 0
    sides = []
    for axis in (1, 0):
        found = np.flatnonzero(burning.any(axis=axis))
        sides.append(slice(max(0, int(found[0]) - MARGIN_PX), int(found[-1]) + 1 + MARGIN_PX))
    return images[index][sides[0], sides[1]], burning[sides[0], sides[1]]


def shine(behind: Frame, flame: Frame, burning: npt.NDArray[np.bool_], *, opacity: float) -> Frame:
    """Lay a flame over what is behind it, all of one size: dimmed by `opacity`, then lit (a screen blend)."""
    soft = cv2.GaussianBlur(burning.astype(np.float32), (3, 3), 0)[..., None]
    dimmed = behind * np.float32(1 - opacity)
    lit = 255 - (255 - dimmed) * (255 - flame.astype(np.float32)) / 255
    return (behind + soft * (lit - behind) + np.float32(0.5)).astype(np.uint8)
