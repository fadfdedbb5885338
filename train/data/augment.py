"""Augment images and masks, reproducibly from a seed, so that an interrupted training resumes to the same curve.

Geometric transformations move image and mask together, the mask by nearest neighbour, so it stays 0 or 1; colour
transformations change the image alone.
"""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from edge.images import Frame

Arrays = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]  # images in 0..255 and masks of 0 and 1

VALUE_RANGE = (0, 255)
LUMA = (0.299, 0.587, 0.114)  # weights of R, G and B in grey
GREY_CHANCE = 0.05
BLUR_CHANCE = 0.25


class Augmentation:
    """Keras' layers: flip, zoom and shift (a random crop), brightness, contrast and hue, drawn for each image."""

    def __init__(self) -> None:
        self.layers: list[keras.Layer] = [
            layers.RandomFlip("horizontal"),
            # A negative factor zooms in: flames grow more often than they shrink.
            layers.RandomZoom((-0.5, 0.15), fill_mode="reflect"),
            layers.RandomTranslation(0.15, 0.15, fill_mode="reflect"),
            layers.RandomBrightness(0.2, value_range=VALUE_RANGE),
            layers.RandomContrast(0.25, value_range=VALUE_RANGE),
            # Colour identifies fire: shift the hue by a few degrees only.
            layers.RandomHue(0.03, value_range=VALUE_RANGE),
        ]

    def __call__(self, images: Frame, masks: npt.NDArray[np.uint8], seed: int) -> Arrays:
        """Transform N x H x W x 3 RGB in 0..255 and N x H x W x 1 masks of 0 and 1, as drawn by `seed`."""
        data = {"images": images.astype(np.float32), "segmentation_masks": masks.astype(np.float32)}
        for index, layer in enumerate(self.layers):
            layer.generator.state.assign(np.array([seed, index], np.uint32))
            data = layer(data, training=True)
        changed, moved = (ops.convert_to_numpy(data[name]) for name in ("images", "segmentation_masks"))
        return np.clip(changed, *VALUE_RANGE), moved


class StrongAugmentation:
    """Wider ranges, and also tilt, exposure, white balance, saturation and blur, without Keras' layers for speed."""

    def __call__(self, images: Frame, masks: npt.NDArray[np.uint8], seed: int) -> Arrays:
        """Transform as `Augmentation` does."""
        draw = np.random.default_rng(seed)
        transforms = _transforms(draw, *images.shape[:3])
        images = ops.image.affine_transform(images.astype(np.float32), transforms, "bilinear", fill_mode="reflect")
        masks = ops.image.affine_transform(masks.astype(np.float32), transforms, "nearest", fill_mode="reflect")
        return ops.convert_to_numpy(_degrade(_recolour(images, draw), draw)), ops.convert_to_numpy(masks)


def _transforms(draw: np.random.Generator, count: int, height: int, width: int) -> npt.NDArray[np.float32]:
    """Return the N x 8 transforms of `ops.image.affine_transform`, from output to input pixels."""
    zoom = draw.uniform(0.5, 1.3, count)  # below 1 enlarges flames
    stretch = np.exp(draw.uniform(-0.15, 0.15, count))
    angle = np.deg2rad(draw.uniform(-8, 8, count))
    side = np.where(draw.random(count) < 0.5, -1, 1)
    across, down = draw.uniform(-0.15, 0.15, (2, count)) * [[width], [height]]
    a, b = side * zoom * stretch * np.cos(angle), -zoom * np.sin(angle)
    c, d = side * zoom * stretch * np.sin(angle), zoom * np.cos(angle)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    x = centre_x + across - a * centre_x - b * centre_y
    y = centre_y + down - c * centre_x - d * centre_y
    zero = np.zeros(count)
    return np.stack([a, b, x, c, d, y, zero, zero], axis=1).astype(np.float32)


def _recolour(images: keras.KerasTensor, draw: np.random.Generator) -> keras.KerasTensor:
    """Apply exposure, white balance, saturation and contrast as one matrix an image, then a mid-tone curve."""
    count = images.shape[0]
    gain = np.exp(draw.uniform(-0.45, 0.35, (count, 1)))  # exposure
    warmth = draw.uniform(-0.15, 0.15, (count, 1)) * [1, 0, -1]  # red against blue: colour temperature
    tint = draw.uniform(-0.05, 0.05, (count, 1)) * [0, 1, 0]
    saturation = np.where(draw.random((count, 1, 1)) < GREY_CHANCE, 0, draw.uniform(0.5, 1.4, (count, 1, 1)))
    contrast = draw.uniform(0.6, 1.4, (count, 1, 1))
    grey = np.broadcast_to(np.array(LUMA).reshape(3, 1), (3, 3))
    matrix = contrast * (grey + saturation * (np.eye(3) - grey)) * (gain * np.exp(warmth + tint))[:, None, :]
    offset = (1 - contrast) * 127.5
    bend = draw.uniform(-0.5, 0.5, (count, 1, 1, 1))
    flat = ops.reshape(images, (count, -1, 3))
    mixed = ops.reshape(ops.matmul(flat, _tensor(matrix)) + _tensor(offset), images.shape)
    level = ops.clip(mixed / 255, 0, 1)
    # A parabola shifts the mid-tones like gamma, at a fraction of the cost of a power.
    return 255 * level * (1 + _tensor(bend) * (1 - level))


def _degrade(images: keras.KerasTensor, draw: np.random.Generator) -> keras.KerasTensor:
    """Blur some images, like a poor lens or strong compression."""
    strength = np.where(draw.random((len(images), 1, 1, 1)) < BLUR_CHANCE, draw.uniform(0.4, 1.0), 0)
    smooth = ops.average_pool(images, 3, 1, padding="same")
    return images + _tensor(strength) * (smooth - images)


def _tensor(values: npt.NDArray[np.float64]) -> keras.KerasTensor:
    """Convert for the backend: PyTorch does not compute with NumPy arrays."""
    return ops.convert_to_tensor(values.astype(np.float32))
