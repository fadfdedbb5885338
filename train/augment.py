"""Augmentation with Keras' own preprocessing layers, for image and mask alike.

The geometric layers move both by one random transformation (the mask by nearest neighbour, so it stays 0 or 1); the
colour layers touch the image alone. The layers' generators are set from a number the caller chooses, so that a batch
looks the same whenever it is made again: an interrupted training resumes to the same curve.
"""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from edge.images import Frame

VALUE_RANGE = (0, 255)


class Augmentation:
    """Flips, zoom and shift (together a random crop), brightness, contrast and hue, each image its own."""

    def __init__(self) -> None:
        self.layers: list[keras.Layer] = [
            layers.RandomFlip("horizontal"),
            # A negative factor zooms in: flames get larger far more often than smaller.
            layers.RandomZoom((-0.5, 0.15), fill_mode="reflect"),
            layers.RandomTranslation(0.15, 0.15, fill_mode="reflect"),
            layers.RandomBrightness(0.2, value_range=VALUE_RANGE),
            layers.RandomContrast(0.25, value_range=VALUE_RANGE),
            # Colour is what fire is known by: more than a few degrees of hue and a flame is none.
            layers.RandomHue(0.03, value_range=VALUE_RANGE),
        ]

    def __call__(
        self, images: Frame, masks: npt.NDArray[np.uint8], seed: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Transform N x H x W x 3 RGB in 0..255 and N x H x W x 1 masks of 0 and 1 by the draw of `seed`.

        Both come back as float32, the images still in 0..255.
        """
        data = {"images": images.astype(np.float32), "segmentation_masks": masks.astype(np.float32)}
        for index, layer in enumerate(self.layers):
            layer.generator.state.assign(np.array([seed, index], np.uint32))
            data = layer(data, training=True)
        return (
            np.clip(keras.ops.convert_to_numpy(data["images"]), *VALUE_RANGE),
            keras.ops.convert_to_numpy(data["segmentation_masks"]),
        )
