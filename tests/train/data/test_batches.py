"""Batches: a pure function of seed, epoch and index, so that an interrupted training resumes to the same curve."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from edge.errors import UserError
from edge.images import write_image
from edge.model.preprocess import to_model_input, to_model_mask
from train.data.augment import Augmentation
from train.data.batches import Batches, Examples, decode, warn_of_masks
from train.data.fireseg import load_dataset

SIDE_PX = 32

pytestmark = pytest.mark.filterwarnings("ignore:.*has no groups.csv")


def examples(count: int = 10) -> Examples:
    """Fill each image with 20 times its number, and `number + 1` rows of its mask."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1) * 20, (count, SIDE_PX, SIDE_PX, 3))
    masks = np.zeros((count, SIDE_PX, SIDE_PX, 1), np.uint8)
    for number in range(count):
        masks[number, : number + 1] = 1
    return Examples(images.copy(), masks)


def unaugmented(seed: int, epoch: int) -> Batches:
    batches = Batches(examples(), 4, seed=seed)
    assert isinstance(batches.augment, Augmentation)
    batches.augment.layers.clear()
    batches.start_epoch(epoch)
    return batches


@pytest.mark.parametrize("strong", [False, True])
@pytest.mark.slow
def test_a_resumed_run_draws_the_batches_of_an_uninterrupted_one_in_any_order(strong: bool) -> None:
    uninterrupted, resumed = (Batches(examples(), 4, seed=3, strong=strong) for _ in range(2))
    uninterrupted[0]
    for epoch in (1, 2):
        uninterrupted.start_epoch(epoch)
        expected = [array for index in range(3) for array in uninterrupted[index]]
        resumed.start_epoch(epoch)
        backwards = {index: resumed[index] for index in (2, 1, 0)}
        drawn = [array for index in range(3) for array in backwards[index]]
        assert all((a == b).all() for a, b in zip(expected, drawn, strict=True))


def test_keras_hooks_do_not_change_the_epoch() -> None:
    batches = Batches(examples(), 4, seed=3)
    before = batches[1]
    batches.on_epoch_begin()
    batches.on_epoch_end()
    assert (batches[1][0] == before[0]).all()


@pytest.mark.parametrize("epoch", [0, 7])
def test_every_example_comes_once_an_epoch_with_its_mask_the_last_batch_smaller(epoch: int) -> None:
    batches = unaugmented(1, epoch)
    drawn = [batches[index] for index in range(len(batches))]
    assert [len(images) for images, _ in drawn] == [4, 4, 2]
    numbers = [int(image[0, 0, 0]) // 20 for images, _ in drawn for image in images]
    assert sorted(numbers) == list(range(10))
    assert [int(mask[:, 0, 0].sum()) - 1 for _, masks in drawn for mask in masks] == numbers


def test_every_epoch_and_seed_has_its_own_order() -> None:
    orders = set()
    for seed in range(2):
        batches = Batches(examples(), 4, seed=seed)
        for epoch in range(3):
            batches.start_epoch(epoch)
            orders.add(tuple(batches.order))
    assert len(orders) == 6


def test_every_batch_and_epoch_is_augmented_differently() -> None:
    masks = np.repeat(examples(4).masks[2:3], 8, axis=0)
    batches = Batches(Examples(np.full((8, SIDE_PX, SIDE_PX, 3), 128, np.uint8), masks), 4, seed=0)
    first, second = batches[0], batches[1]
    batches.start_epoch(1)
    third = batches[0]
    for other in (second, third):
        assert (first[0] != other[0]).any() and (first[1] != other[1]).any()


@pytest.mark.parametrize("strong", [False, True])
def test_validation_is_unchanged_in_order_and_the_same_every_epoch(strong: bool) -> None:
    validation = examples(5)
    batches = Batches(validation, 2, strong=strong)
    for epoch in range(2):
        batches.start_epoch(epoch)
        images, masks = (np.concatenate(arrays) for arrays in zip(*(batches[i] for i in range(3)), strict=True))
        assert images.dtype == masks.dtype == np.float32
        assert (images == validation.images).all() and (masks == validation.masks).all()


def test_strong_batches_contain_pasted_flames_and_leave_the_examples_unchanged() -> None:
    donors = examples(16)
    donors.masks[1:] = 0
    donors.masks[0, 8:20, 4:16] = 1
    before = donors.images.copy(), donors.masks.copy()
    plain, strong = (Batches(donors, 16, seed=0, strong=strong)[0][1] for strong in (False, True))
    assert (plain.max(axis=(1, 2, 3)) > 0).sum() <= 1
    assert (strong.max(axis=(1, 2, 3)) > 0).sum() >= 4
    assert (donors.images == before[0]).all() and (donors.masks == before[1]).all()


def test_decoding_follows_the_preprocessing_contract(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for stem, (height, width) in {"a": (20, 50), "b": (100, 40)}.items():
        write_image(tmp_path / "images" / f"{stem}.png", rng.integers(0, 256, (height, width, 3), np.uint8))
        write_image(tmp_path / "masks" / f"{stem}.png", rng.integers(0, 2, (height, width), np.uint8) * 255)
    pairs, steps = load_dataset(tmp_path).pairs, list[None]()
    decoded = decode(pairs, 64, 96, on_progress=lambda: steps.append(None))
    assert decoded.images.shape == (2, 64, 96, 3) and decoded.images.dtype == np.uint8
    assert decoded.masks.shape == (2, 64, 96, 1) and decoded.masks.dtype == np.uint8
    assert len(decoded) == len(steps) == 2
    for index, pair in enumerate(pairs):
        frame, mask = pair.read()
        assert (decoded.images[index] == to_model_input(frame, 64, 96)).all()
        assert (decoded.masks[index, :, :, 0] == to_model_mask(mask, 64, 96)).all()


@pytest.mark.parametrize(("fire_rows", "expected"), [(0, 0), (1, None), (15, None), (30, 94)])
def test_masks_with_no_fire_or_mostly_fire_are_a_warning(fire_rows: int, expected: int | None) -> None:
    masks = np.zeros((2, SIDE_PX, SIDE_PX, 1), np.uint8)
    masks[:, :fire_rows] = 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_masks(Examples(np.zeros((2, SIDE_PX, SIDE_PX, 3), np.uint8), masks))
    texts = [str(warning.message) for warning in caught]
    assert texts == (
        [] if expected is None else [f"fire covers {expected}% of the training masks; see `fireseg-train check`"]
    )


def test_a_mask_that_is_fire_everywhere_is_a_warning() -> None:
    masks = np.zeros((4, SIDE_PX, SIDE_PX, 1), np.uint8)
    masks[0] = 1
    with pytest.warns(UserWarning, match="1 of the training masks are fire everywhere"):
        warn_of_masks(Examples(np.zeros((4, SIDE_PX, SIDE_PX, 3), np.uint8), masks))


def test_all_broken_files_are_listed_and_counted_before_training(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_image(tmp_path / "images" / f"{name}.png", np.zeros((8, 8, 3), np.uint8))
        write_image(tmp_path / "masks" / f"{name}.png", np.zeros((8, 8), np.uint8))
    for name in ("a", "c"):
        (tmp_path / "images" / f"{name}.png").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        decode(load_dataset(tmp_path).pairs, 8, 8)
    first, second, count = caught.value.lines
    assert "a.png is not a readable image" in first and "c.png" in second
    assert count == "2 of 3 images cannot be used: repair or remove them"
