"""Augmentation: the same draw for the same seed, image and mask moved as one, colour for the image alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edge.images import Frame
from train.data.augment import Augmentation, StrongAugmentation

SIDE_PX = 64
GEOMETRIC = ("RandomFlip", "RandomZoom", "RandomTranslation")
SEEDS = range(6)
KINDS = (Augmentation, StrongAugmentation)
Kind = type[Augmentation] | type[StrongAugmentation]


def scenes(count: int = 4) -> tuple[Frame, npt.NDArray[np.uint8]]:
    """Grey pictures with a block of fire each, off the middle, where a lone flip of either would show."""
    rng = np.random.default_rng(3)
    images = rng.integers(60, 120, (count, SIDE_PX, SIDE_PX, 3), np.uint8)
    masks = np.zeros((count, SIDE_PX, SIDE_PX, 1), np.uint8)
    for index in range(count):
        masks[index, 12 + 4 * index : 40, 8:30] = 1
    images[masks[..., 0] == 1] = (240, 140, 40)
    return images, masks


def only(*, geometric: bool) -> Augmentation:
    augmentation = Augmentation()
    augmentation.layers = [layer for layer in augmentation.layers if (type(layer).__name__ in GEOMETRIC) == geometric]
    assert augmentation.layers
    return augmentation


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_batch_from_the_same_augmentation_and_from_another(kind: Kind) -> None:
    images, masks = scenes()
    augmentation = kind()
    first = augmentation(images, masks, seed=5)
    augmentation(images, masks, seed=6)  # what was drawn in between does not matter
    for again in (augmentation(images, masks, seed=5), kind()(images, masks, seed=5)):
        assert (first[0] == again[0]).all()
        assert (first[1] == again[1]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_gives_another_batch(kind: Kind) -> None:
    images, masks = scenes()
    augmentation = kind()
    drawn = [augmentation(images, masks, seed=seed) for seed in SEEDS]
    for index in range(1, len(drawn)):
        assert np.abs(drawn[index][0] - drawn[0][0]).mean() > 1
        assert (drawn[index][1] != drawn[0][1]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_each_image_of_a_batch_is_drawn_for_itself(kind: Kind) -> None:
    images, masks = scenes(1)
    same = np.repeat(images, 4, axis=0), np.repeat(masks, 4, axis=0)
    changed, _ = kind()(*same, seed=1)
    assert all(np.abs(changed[index] - changed[0]).mean() > 1 for index in range(1, 4))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_masks_stay_0_and_1_and_images_within_0_to_255(seed: int, kind: Kind) -> None:
    images, masks = scenes()
    changed, moved = kind()(images, masks, seed=seed)
    assert changed.dtype == moved.dtype == np.float32
    assert changed.shape == images.shape and moved.shape == masks.shape
    assert set(np.unique(moved)) == {0, 1}
    assert changed.min() >= 0 and changed.max() <= 255
    assert changed.max() > 100, "the images are in 0..255, not in 0..1"


@pytest.mark.parametrize("kind", KINDS)
def test_black_and_white_stay_within_range_too(kind: Kind) -> None:
    _, masks = scenes(2)
    for value in (0, 255):
        changed, _ = kind()(np.full((2, SIDE_PX, SIDE_PX, 3), value, np.uint8), masks, seed=2)
        assert changed.min() >= 0 and changed.max() <= 255


def alignment(augmentation: Augmentation | StrongAugmentation, seed: int) -> list[float]:
    """The IoU of what an image shows and what its mask says, where the image is a painting of the mask."""
    _, masks = scenes()
    images, moved = augmentation(np.repeat(masks * np.uint8(255), 3, axis=3), masks, seed=seed)
    seen, meant = images[..., 0] > 127, moved[..., 0] == 1
    return [float((a & b).sum() / (a | b).sum()) for a, b in zip(seen, meant, strict=True)]


@pytest.mark.parametrize("seed", SEEDS)
def test_what_moves_an_image_moves_its_mask_alike(seed: int) -> None:
    ious = alignment(only(geometric=True), seed)
    # The mask is rounded to whole pixels by each layer, the image is not: up to a pixel along the outline.
    assert min(ious) > 0.8
    assert np.mean(ious) > 0.9


@pytest.mark.parametrize("kind", GEOMETRIC)
def test_each_geometric_layer_keeps_image_and_mask_together(kind: str) -> None:
    augmentation = Augmentation()
    augmentation.layers = [layer for layer in augmentation.layers if type(layer).__name__ == kind]
    assert min(min(alignment(augmentation, seed)) for seed in SEEDS) > 0.93


def test_the_colour_layers_change_the_image_and_leave_the_mask_alone() -> None:
    images, masks = scenes()
    for seed in SEEDS:
        changed, kept = only(geometric=False)(images, masks, seed=seed)
        assert (kept == masks).all()
        assert np.abs(changed - images).mean() > 1


def test_a_flame_stays_the_colour_of_fire() -> None:
    images, masks = scenes()
    for seed in SEEDS:
        changed, _ = only(geometric=False)(images, masks, seed=seed)
        red, _, blue = changed[masks[..., 0] == 1].mean(axis=0)
        assert red > blue


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_is_given_stays_as_it_was(kind: Kind) -> None:
    images, masks = scenes()
    before = images.copy(), masks.copy()
    kind()(images, masks, seed=4)
    assert (images == before[0]).all() and (masks == before[1]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_wide_frame_is_augmented_too(kind: Kind) -> None:
    images, masks = np.zeros((2, 32, 64, 3), np.uint8), np.zeros((2, 32, 64, 1), np.uint8)
    changed, moved = kind()(images, masks, seed=0)
    assert changed.shape == (2, 32, 64, 3) and moved.shape == (2, 32, 64, 1)


def strong(images: Frame, count: int = 200) -> npt.NDArray[np.float32]:
    """Many draws of one picture, by the strong augmentation."""
    many = np.repeat(images[:1], count, axis=0)
    return StrongAugmentation()(many, np.zeros((*many.shape[:3], 1), np.uint8), seed=0)[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_strong_one_moves_image_and_mask_alike(seed: int) -> None:
    assert min(alignment(StrongAugmentation(), seed)) > 0.9


def test_the_strong_one_shows_flames_larger_and_smaller() -> None:
    masks = np.zeros((300, SIDE_PX, SIDE_PX, 1), np.uint8)
    masks[:, 28:36, 28:36] = 1
    areas = StrongAugmentation()(np.repeat(masks, 3, axis=3), masks, seed=0)[1].sum(axis=(1, 2, 3)) / 64
    assert np.quantile(areas, 0.02) < 0.75
    assert 3 < areas.max() < 5
    assert not np.allclose(areas, areas[0])


def test_the_strong_one_flips_half_of_the_pictures() -> None:
    masks = np.zeros((200, SIDE_PX, SIDE_PX, 1), np.uint8)
    masks[:, 30:34, 20:28] = 1  # left of the middle, and shifts are as often to either side
    moved = StrongAugmentation()(np.repeat(masks, 3, axis=3), masks, seed=1)[1][..., 0]
    middles = (moved * np.arange(SIDE_PX)).sum(axis=(1, 2)) / np.maximum(1, moved.sum(axis=(1, 2)))
    assert 0.35 < (middles > SIDE_PX / 2).mean() < 0.65


def test_the_strong_one_changes_exposure_and_the_colour_of_the_light_both_ways() -> None:
    seen = strong(np.full((1, 16, 16, 3), 110, np.uint8)).mean(axis=(1, 2))
    assert seen.mean(axis=1).min() < 80 and seen.mean(axis=1).max() > 150
    warmth = seen[:, 0] - seen[:, 2]
    assert warmth.min() < -10 and warmth.max() > 10


def test_the_strong_one_leaves_few_pictures_grey_and_most_flames_the_colour_of_fire() -> None:
    seen = strong(np.full((1, 16, 16, 3), (240, 140, 40), np.uint8)).mean(axis=(1, 2))
    spread = seen.max(axis=1) - seen.min(axis=1)
    assert 0.01 < (spread < 25).mean() < 0.12
    assert (seen[:, 0] > seen[:, 2]).mean() > 0.9


def test_the_strong_one_blurs_some_pictures() -> None:
    stripes = np.zeros((1, SIDE_PX, SIDE_PX, 3), np.uint8)
    stripes[:, :, ::8] = 255
    drawn = strong(stripes).max(axis=(1, 2, 3))
    assert 0.05 < (drawn < 0.75 * np.median(drawn)).mean() < 0.5
