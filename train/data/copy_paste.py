"""Copy-paste augmentation: flames of one example pasted onto another, at new sizes and positions.

A flame emits light, so it is blended as light (screen blend). Some opacity, as of soot, keeps it visible against a
bright sky. The boundary is soft: the model would train on a hard one instead of the flame.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edge.images import Frame
from edge.model.preprocess import to_model_input, to_model_mask

CHANCE_WITHOUT_FIRE = 0.5  # the other half must remain negative
CHANCE_WITH_FIRE = 0.2
FIRE_SHARES = (0.002, 0.5)  # fire area of a donor: less has no shape, more leaves no background
LONGEST_SHARES = (0.05, 0.6)  # longer side of a pasted flame, as a fraction of the frame's shorter side
MAX_ENLARGEMENT = 1.5  # beyond it a flame is blurred
OPACITIES = (0.2, 0.8)
MARGIN_PX = 3  # around a flame, for its soft boundary

Draw = np.random.Generator
Masks = npt.NDArray[np.uint8]  # N x H x W x 1, of 0 and 1


class FlamePaster:
    """Pastes flames of the donor examples onto batches, in place."""

    def __init__(self, images: Frame, masks: Masks) -> None:
        self.images, self.masks = images, masks
        shares = masks.mean(axis=(1, 2, 3)) if len(masks) else np.empty(0)
        self.donors = np.flatnonzero((shares >= FIRE_SHARES[0]) & (shares <= FIRE_SHARES[1]))

    def __call__(self, images: Frame, masks: Masks, draw: Draw) -> None:
        """Modify N x H x W x 3 RGB and N x H x W x 1 masks of 0 and 1."""
        if not self.donors.size:
            return
        for image, mask in zip(images, masks, strict=True):
            chance = CHANCE_WITH_FIRE if mask.any() else CHANCE_WITHOUT_FIRE
            if draw.random() < chance:
                for _ in range(draw.integers(1, 3)):
                    self._paste_flame(image, mask, draw)

    def _paste_flame(self, image: Frame, mask: Masks, draw: Draw) -> None:
        flame, fire = cut_out(self.images, self.masks, int(draw.choice(self.donors)))
        shorter = min(image.shape[:2])
        longest = np.exp(draw.uniform(*np.log(LONGEST_SHARES))) * shorter  # log-uniform: small as often as large
        scale = min(MAX_ENLARGEMENT, longest / max(fire.shape))
        height, width = (max(1, round(side * scale)) for side in fire.shape)
        flame, fire = to_model_input(flame, height, width), to_model_mask(fire, height, width)
        if draw.random() < 0.5:
            flame, fire = flame[:, ::-1], fire[:, ::-1]
        top, left = (
            int(draw.integers(0, outer - inner + 1))
            for outer, inner in zip(image.shape[:2], (height, width), strict=True)
        )
        region = np.s_[top : top + height, left : left + width]
        image[region] = shine(image[region], flame, fire, opacity=draw.uniform(*OPACITIES))
        mask[region][fire] = 1


def cut_out(images: Frame, masks: Masks, index: int) -> tuple[Frame, npt.NDArray[np.bool_]]:
    """Return the fire region of an example with a small margin: RGB and boolean mask."""
    fire = masks[index, :, :, 0] > 0
    left, top, width, height = cv2.boundingRect(masks[index])
    rows, columns = (
        slice(max(0, start - MARGIN_PX), start + size + MARGIN_PX) for start, size in ((top, height), (left, width))
    )
    return images[index, rows, columns], fire[rows, columns]


def shine(background: Frame, flame: Frame, fire: npt.NDArray[np.bool_], *, opacity: float) -> Frame:
    """Return the background dimmed by `opacity` and screen-blended with the flame. All arrays have one size."""
    soft = cv2.GaussianBlur(fire.astype(np.float32), (3, 3), 0)[..., None]
    dimmed = background * np.float32(1 - opacity)
    lit = 255 - (255 - dimmed) * (255 - flame.astype(np.float32)) / 255
    return (background + soft * (lit - background) + np.float32(0.5)).astype(np.uint8)
