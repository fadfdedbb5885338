"""Batches: a pure function of seed, epoch and index, which is what lets a killed run go on to the same curve."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import UserError
from edge.images import write_picture
from edge.model.preprocess import to_model_input, to_model_mask
from train.data.batches import Batches, Examples, decode
from train.data.fireseg import load_dataset

SIDE_PX = 32


def examples(count: int = 10) -> Examples:
    """Each image is filled with its own number, so that it can be told from the others."""
    numbers = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    images = np.broadcast_to(numbers * 20, (count, SIDE_PX, SIDE_PX, 3)).copy()
    masks = np.zeros((count, SIDE_PX, SIDE_PX, 1), np.uint8)
    masks[:, 8:20, 4:16] = 1
    return Examples(images, masks)


def unaugmented(batches: Batches) -> list[list[int]]:
    """The numbers of the images in each batch of the epoch, as they are drawn."""
    batches.plainly.layers.clear()
    return [[int(image[0, 0, 0]) // 20 for image in batches[index][0]] for index in range(len(batches))]


def assert_same_epoch(one: Batches, other: Batches) -> None:
    for index in range(len(one)):
        for a, b in zip(one[index], other[index], strict=True):
            assert (a == b).all()


@pytest.mark.parametrize("strong", [False, True])
def test_a_run_started_at_a_later_epoch_draws_what_the_long_run_draws_there(strong: bool) -> None:
    long, resumed = (Batches(examples(), 4, seed=3, strong=strong) for _ in range(2))
    for epoch in (0, 1):  # of its second epoch it draws a part only
        long.start_epoch(epoch)
        for index in range(len(long) - epoch):
            long[index]
    for epoch in (2, 3):
        long.start_epoch(epoch)
        resumed.start_epoch(epoch)
        assert_same_epoch(long, resumed)


def test_keras_own_hooks_do_not_move_the_epoch() -> None:
    batches = Batches(examples(), 4, seed=3)
    before = batches[1]
    batches.on_epoch_begin()
    batches.on_epoch_end()
    assert (batches[1][0] == before[0]).all()


@pytest.mark.parametrize("strong", [False, True])
def test_a_batch_does_not_depend_on_those_drawn_before_it(strong: bool) -> None:
    one, other = (Batches(examples(), 4, seed=3, strong=strong) for _ in range(2))
    forwards = [one[index] for index in range(3)]
    backwards = [other[index] for index in (2, 1, 0)][::-1]
    for a, b in zip(forwards, backwards, strict=True):
        assert (a[0] == b[0]).all() and (a[1] == b[1]).all()


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_every_example_comes_once_an_epoch_and_the_last_smaller_batch_is_kept(epoch: int) -> None:
    batches = Batches(examples(10), 4, seed=1)
    batches.start_epoch(epoch)
    assert len(batches) == 3
    drawn = unaugmented(batches)
    assert [len(batch) for batch in drawn] == [4, 4, 2]
    assert sorted(number for batch in drawn for number in batch) == list(range(10))


def test_another_epoch_and_another_seed_shuffle_anew() -> None:
    orders = set()
    for seed in range(3):
        batches = Batches(examples(), 4, seed=seed)
        for epoch in range(3):
            batches.start_epoch(epoch)
            orders.add(tuple(batches.order))
    assert len(orders) == 9


def test_another_epoch_augments_anew() -> None:
    alike = Examples(np.full((4, SIDE_PX, SIDE_PX, 3), 128, np.uint8), examples(4).masks)
    batches = Batches(alike, 4, seed=0)
    first = batches[0]
    batches.start_epoch(1)
    second = batches[0]
    assert (first[0] != second[0]).any() and (first[1] != second[1]).any()


def test_each_batch_of_an_epoch_is_augmented_its_own_way() -> None:
    alike = Examples(np.full((8, SIDE_PX, SIDE_PX, 3), 128, np.uint8), examples(8).masks)
    batches = Batches(alike, 4, seed=0)
    assert (batches[0][0] != batches[1][0]).any() and (batches[0][1] != batches[1][1]).any()


def test_image_and_mask_of_a_batch_belong_together() -> None:
    numbered = examples(6)
    for index in range(6):
        numbered.masks[index] = 0
        numbered.masks[index, : index + 1] = 1
    batches = Batches(numbered, 4, seed=2)
    batches.plainly.layers.clear()
    for images, masks in (batches[0], batches[1]):
        for image, mask in zip(images, masks, strict=True):
            assert mask[:, 0, 0].sum() == image[0, 0, 0] / 20 + 1


def test_validation_comes_untouched_in_order_and_the_same_every_epoch() -> None:
    given = examples(5)
    batches = Batches(given, 2)
    for epoch in range(2):
        batches.start_epoch(epoch)
        images = np.concatenate([batches[index][0] for index in range(len(batches))])
        masks = np.concatenate([batches[index][1] for index in range(len(batches))])
        assert images.dtype == masks.dtype == np.float32
        assert (images == given.images).all() and (masks == given.masks).all()


def test_decoding_is_the_preprocessing_contract(synthetic_dir: Path) -> None:
    pairs = load_dataset(synthetic_dir).pairs[:5]
    steps: list[None] = []
    decoded = decode(pairs, 64, 96, on_progress=lambda: steps.append(None))
    assert decoded.images.shape == (5, 64, 96, 3) and decoded.images.dtype == np.uint8
    assert decoded.masks.shape == (5, 64, 96, 1) and decoded.masks.dtype == np.uint8
    assert len(decoded) == len(steps) == 5
    for index, pair in enumerate(pairs):
        frame, mask = pair.read()
        assert (decoded.images[index] == to_model_input(frame, 64, 96)).all()
        assert (decoded.masks[index, :, :, 0] == to_model_mask(mask, 64, 96)).all()


def test_frames_of_unlike_sizes_decode_side_by_side(tmp_path: Path) -> None:
    for stem, (height, width) in {"a": (20, 50), "b": (100, 40)}.items():
        write_picture(tmp_path / "images" / f"{stem}.png", np.full((height, width, 3), (250, 20, 10), np.uint8))
        write_picture(tmp_path / "masks" / f"{stem}.png", np.full((height, width), 255, np.uint8))
    decoded = decode(load_dataset(tmp_path).pairs, 32, 32)
    assert (decoded.images == (250, 20, 10)).all(), "RGB, not OpenCV's BGR"
    assert (decoded.masks == 1).all()


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    frame = cv2.imencode(".jpg", np.zeros((20, 20, 3), np.uint8))[1].tobytes()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(frame[:-40])
    write_picture(tmp_path / "masks" / "a.png", np.zeros((20, 20), np.uint8))
    with pytest.raises(UserError, match=r"a\.jpg is cut short"):
        decode(load_dataset(tmp_path).pairs, 32, 32)


def test_strong_batches_hold_flames_that_their_images_did_not_and_the_examples_stay_as_they_were() -> None:
    given = examples(16)
    given.masks[1:] = 0  # only the first one burns
    before = given.images.copy(), given.masks.copy()
    plain, strong = (Batches(given, 16, seed=0, strong=strong)[0][1] for strong in (False, True))
    assert (plain.max(axis=(1, 2, 3)) > 0).sum() <= 1
    assert (strong.max(axis=(1, 2, 3)) > 0).sum() >= 4
    assert (given.images == before[0]).all() and (given.masks == before[1]).all()


def test_validation_is_never_augmented_even_where_strong_is_asked_for() -> None:
    given = examples(4)
    images, masks = Batches(given, 4, strong=True)[0]
    assert (images == given.images).all() and (masks == given.masks).all()
