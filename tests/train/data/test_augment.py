"""Augmentation: reproducible from the seed, image and mask moved together, colour changes for the image alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edge.images import Frame
from train.data.augment import Augmentation, StrongAugmentation

SIDE_PX = 64
GEOMETRIC = ("RandomFlip", "RandomZoom", "RandomTranslation")
SEEDS = range(2)

Kind = type[Augmentation] | type[StrongAugmentation]
Masks = npt.NDArray[np.uint8]
both_kinds = pytest.mark.parametrize("kind", (Augmentation, StrongAugmentation))


def scenes(count: int = 3) -> tuple[Frame, Masks]:
    """Return grey images with an off-centre fire block each, so that flipping only one of the two shows."""
    rng = np.random.default_rng(3)
    images = rng.integers(60, 120, (count, SIDE_PX, SIDE_PX, 3), np.uint8)
    masks = np.zeros((count, SIDE_PX, SIDE_PX, 1), np.uint8)
    for index in range(count):
        masks[index, 12 + 4 * index : 40, 8:30] = 1
    images[masks[..., 0] == 1] = (240, 140, 40)
    return images, masks


def with_layers(*, geometric: bool) -> Augmentation:
    augmentation = Augmentation()
    augmentation.layers = [layer for layer in augmentation.layers if (type(layer).__name__ in GEOMETRIC) == geometric]
    assert augmentation.layers
    return augmentation


def alignment(augmentation: Augmentation | StrongAugmentation, seed: int) -> list[float]:
    """Return the IoU of image and mask after augmentation, where each image is a picture of its mask."""
    _, masks = scenes()
    images, moved = augmentation(np.repeat(masks * np.uint8(255), 3, axis=3), masks, seed=seed)
    return [float((a & b).sum() / (a | b).sum()) for a, b in zip(images[..., 0] > 127, moved[..., 0] == 1, strict=True)]


def strong(image: Frame, count: int = 150) -> npt.NDArray[np.float32]:
    """Augment `count` copies of one image."""
    copies = np.repeat(image, count, axis=0)
    return StrongAugmentation()(copies, np.zeros((*copies.shape[:3], 1), np.uint8), seed=0)[0]


@both_kinds
def test_the_same_seed_gives_the_same_batch_and_another_seed_another(kind: Kind) -> None:
    images, masks = scenes()
    augmentation = kind()
    first = augmentation(images, masks, seed=5)
    other = augmentation(images, masks, seed=6)
    assert np.abs(other[0] - first[0]).mean() > 1 and (other[1] != first[1]).any()
    for again in (augmentation(images, masks, seed=5), kind()(images, masks, seed=5)):
        assert (first[0] == again[0]).all() and (first[1] == again[1]).all()


@both_kinds
def test_each_image_of_a_batch_is_drawn_separately(kind: Kind) -> None:
    images, masks = scenes(1)
    changed, _ = kind()(np.repeat(images, 3, axis=0), np.repeat(masks, 3, axis=0), seed=1)
    assert all(np.abs(changed[index] - changed[0]).mean() > 1 for index in (1, 2))


@both_kinds
def test_masks_stay_0_and_1_images_within_0_to_255_and_inputs_unchanged(kind: Kind) -> None:
    images, masks = (arrays[:, :32] for arrays in scenes())  # a wide frame
    images[0], images[1] = 0, 255
    before = images.copy(), masks.copy()
    changed, moved = kind()(images, masks, seed=2)
    assert changed.dtype == moved.dtype == np.float32
    assert changed.shape == images.shape and moved.shape == masks.shape
    assert set(np.unique(moved)) == {0, 1}
    assert changed.min() >= 0 and 100 < changed.max() <= 255
    assert (images == before[0]).all() and (masks == before[1]).all()


def test_image_and_mask_move_together() -> None:
    # Each layer rounds the mask to whole pixels, but not the image: up to a pixel along the boundary.
    assert min(min(alignment(with_layers(geometric=True), seed)) for seed in SEEDS) > 0.8
    assert min(min(alignment(StrongAugmentation(), seed)) for seed in SEEDS) > 0.85


def test_the_colour_layers_change_the_image_alone_and_keep_fire_reddish() -> None:
    images, masks = scenes()
    augmentation = with_layers(geometric=False)
    for seed in SEEDS:
        changed, moved = augmentation(images, masks, seed=seed)
        assert (moved == masks).all()
        assert np.abs(changed - images).mean() > 1
        red, _, blue = changed[masks[..., 0] == 1].mean(axis=0)
        assert red > blue


def test_strong_augmentation_enlarges_shrinks_and_flips_flames() -> None:
    masks = np.zeros((200, SIDE_PX, SIDE_PX, 1), np.uint8)
    masks[:, 28:36, 20:28] = 1  # left of the centre; shifts are symmetric
    moved = StrongAugmentation()(np.repeat(masks, 3, axis=3), masks, seed=0)[1][..., 0]
    areas = moved.sum(axis=(1, 2)) / 64
    assert np.quantile(areas, 0.02) < 0.75 and 3 < areas.max() < 5
    centres = (moved * np.arange(SIDE_PX)).sum(axis=(1, 2)) / np.maximum(1, moved.sum(axis=(1, 2)))
    assert 0.35 < (centres > SIDE_PX / 2).mean() < 0.65


def test_strong_augmentation_varies_exposure_and_white_balance_both_ways() -> None:
    means = strong(np.full((1, 16, 16, 3), 110, np.uint8)).mean(axis=(1, 2))
    assert means.mean(axis=1).min() < 80 and means.mean(axis=1).max() > 150
    warmth = means[:, 0] - means[:, 2]
    assert warmth.min() < -10 and warmth.max() > 10


def test_strong_augmentation_makes_few_images_grey_and_keeps_most_fire_reddish() -> None:
    means = strong(np.full((1, 16, 16, 3), (240, 140, 40), np.uint8)).mean(axis=(1, 2))
    spread = means.max(axis=1) - means.min(axis=1)
    assert 0.01 < (spread < 25).mean() < 0.12
    assert (means[:, 0] > means[:, 2]).mean() > 0.9


def test_strong_augmentation_blurs_some_images() -> None:
    stripes = np.zeros((1, SIDE_PX, SIDE_PX, 3), np.uint8)
    stripes[:, :, ::8] = 255
    peaks = strong(stripes).max(axis=(1, 2, 3))
    assert 0.05 < (peaks < 0.75 * np.median(peaks)).mean() < 0.5
