"""Splits: no video is in both training and test, unless the split's name says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import UserError
from train.data.fireseg import Dataset, Pair, Part, load_dataset
from train.data.splits import (
    FOLDS,
    hold_out_videos,
    make_split,
    repeat,
    split_from_name,
    split_held_out,
    with_clean,
)

HELD_OUT_OF_30 = ["v5", "v7", "v8", "v9", "v11", "v13", "v16", "v21"]  # of v0 to v29
seeds = st.integers(0, 2**31)
quick = settings(max_examples=15)


def pair(video: str, index: int, part: Part = "all") -> Pair:
    name = f"{part}/{video}-{index}"
    return Pair(name, Path(name + ".jpg"), Path(name + ".png"), part, video)


def dataset_of(pairs: Sequence[Pair]) -> Dataset:
    return Dataset(Path("data"), "folders", tuple(pairs))


def datasets(min_videos: int = FOLDS) -> st.SearchStrategy[Dataset]:
    """Return data sets with videos of random lengths and frames in random order."""
    lengths = st.lists(st.integers(1, 8), min_size=min_videos, max_size=20)
    frames = lengths.map(lambda sizes: [pair(f"v{v:02d}", i) for v, n in enumerate(sizes) for i in range(n)])
    return frames.flatmap(st.permutations).map(dataset_of)


def names(pairs: Sequence[Pair]) -> list[str]:
    return sorted(pair.name for pair in pairs)


def assert_whole_videos(dataset: Dataset, train: Sequence[Pair], test: Sequence[Pair]) -> None:
    assert not {pair.video for pair in train} & {pair.video for pair in test}
    assert names([*train, *test]) == names(dataset.pairs)


def official_dataset() -> Dataset:
    train = [pair(video, i, "train") for video in ("v01", "v02") for i in range(3)]
    return dataset_of(train + [pair(video, i, "test") for video in ("v02", "v03") for i in range(3, 5)])


LEAKY = dataset_of([pair("v01", 0, "train"), pair("v01", 1, "test")])


@quick
@given(datasets(), seeds)
def test_the_folds_test_every_video_once_whatever_the_order_of_the_pairs(dataset: Dataset, seed: int) -> None:
    splits = [make_split(dataset, "by-video", fold=fold, seed=seed) for fold in range(FOLDS)]
    backwards = dataset_of(dataset.pairs[::-1])
    for fold, split in enumerate(splits):
        assert split.train and split.test
        assert_whole_videos(dataset, split.train, split.test)
        assert names(split.test) == names(make_split(backwards, "by-video", fold=fold, seed=seed).test)
    assert names([pair for split in splits for pair in split.test]) == names(dataset.pairs)


@quick
@given(datasets(), st.sampled_from(["by-video", "random"]), st.integers(0, FOLDS - 1), seeds)
def test_a_split_is_restored_from_its_name(dataset: Dataset, name: str, fold: int, seed: int) -> None:
    split = make_split(dataset, name, fold=fold, seed=seed)
    assert split_from_name(dataset, split.name) == split


def test_another_seed_gives_another_split_and_name() -> None:
    dataset = dataset_of([pair(f"v{v:02d}", 0) for v in range(20)])
    splits = [make_split(dataset, "by-video", seed=seed) for seed in range(5)]
    assert len({frozenset(names(split.test)) for split in splits}) == len({split.name for split in splits}) == 5


@quick
@given(datasets(min_videos=2), seeds, st.floats(0.01, 0.99))
def test_validation_holds_whole_videos_and_leaves_some_for_training(dataset: Dataset, seed: int, share: float) -> None:
    train, validation = hold_out_videos(dataset.pairs, seed=seed, share=share)
    assert train and validation
    assert_whole_videos(dataset, train, validation)


def test_validation_holds_about_its_share_and_a_share_of_0_none() -> None:
    pairs = [pair(f"v{v:02d}", i) for v in range(20) for i in range(30)]
    assert len(hold_out_videos(pairs, seed=0, share=0.15)[1]) == 90  # three whole videos
    assert hold_out_videos(pairs, seed=0, share=0) == (pairs, [])


@pytest.mark.parametrize("seed", range(6))
def test_a_video_that_is_most_of_the_data_is_never_held_out_for_validation(seed: int) -> None:
    pairs = [
        pair(video, i) for video, frames in (("long", 800), ("a", 50), ("b", 50), ("c", 50)) for i in range(frames)
    ]
    train, validation = hold_out_videos(pairs, seed=seed, share=0.15)
    assert "long" in {p.video for p in train}
    assert 50 <= len(validation) <= 150


@quick
@given(datasets(min_videos=1), datasets(min_videos=1))
def test_held_out_videos_are_whole_and_independent_of_other_videos(one: Dataset, other: Dataset) -> None:
    train, test = split_held_out(one.pairs)
    assert_whole_videos(one, train, test)
    train_of_both, test_of_both = split_held_out([*one.pairs, *other.pairs])
    assert set(train) <= set(train_of_both) and set(test) <= set(test_of_both)


def test_the_sha256_of_a_video_s_name_holds_out_20_percent() -> None:
    _, test = split_held_out([pair(f"v{v}", 0) for v in range(1000)])
    assert [p.video for p in test if int(p.video[1:]) < 30] == HELD_OUT_OF_30, "the same on every machine"
    assert 0.17 < len(test) / 1000 < 0.23


def test_official_is_the_published_split_and_official_clean_removes_its_leak() -> None:
    dataset = official_dataset()
    official, clean = (make_split(dataset, name) for name in ("official", "official-clean"))
    assert (len(official.train), len(official.test)) == (6, 4)
    assert {p.video for p in official.train} & {p.video for p in official.test} == {"v02"}
    assert clean.train == official.train
    assert [p.video for p in clean.test] == ["v03", "v03"]


def test_official_is_evaluated_with_official_clean_if_it_has_clean_videos() -> None:
    dataset = official_dataset()
    official, clean = (make_split(dataset, name) for name in ("official", "official-clean"))
    assert with_clean(dataset, official) == [official, clean]
    assert with_clean(dataset, clean) == [clean]
    assert [split.name for split in with_clean(LEAKY, make_split(LEAKY, "official"))] == ["official"]


def test_a_random_split_tests_on_20_percent_and_says_that_it_leaks() -> None:
    dataset = dataset_of([pair(f"v{number // 10:02d}", number) for number in range(100)])
    split = make_split(dataset, "random", seed=3)
    assert "leaking" in split.name
    assert (len(split.train), len(split.test)) == (80, 20)
    assert names(split.train + split.test) == names(dataset.pairs)
    assert {p.video for p in split.test} & {p.video for p in split.train}
    assert make_split(dataset, "random", seed=4).test != split.test


@pytest.mark.parametrize(
    ("dataset", "name", "fold", "expected"),
    [
        (LEAKY, "official-clean", 0, "leaves no test images"),
        (dataset_of([pair("v01", 0)]), "official", 0, "use --split by-video"),
        (dataset_of([pair("v01", 0)]), "official-clean", 0, "use --split by-video"),
        (LEAKY, "lucky", 0, "'lucky': expected one of official, official-clean, by-video, random"),
        (dataset_of([pair("v01", 0)]), "random", 0, "at least 2 pairs"),
        (LEAKY, "by-video", -1, "no fold -1: expected 0 to 4"),
        (LEAKY, "by-video", FOLDS, "no fold 5: expected 0 to 4"),
        (LEAKY, "by-video", 0, f"at least {FOLDS} videos.* holds 1"),
    ],
)
def test_an_impossible_split_is_an_error_that_says_what_was_expected(
    dataset: Dataset, name: str, fold: int, expected: str
) -> None:
    with pytest.raises(UserError, match=expected):
        make_split(dataset, name, fold=fold)


def test_validation_needs_a_second_video() -> None:
    with pytest.raises(UserError, match="expected 2 or more"):
        hold_out_videos([pair("v01", i) for i in range(10)], seed=0)


def test_the_real_fireseg_loses_only_v17_in_its_clean_split(fireseg_dir: Path) -> None:
    dataset = load_dataset(fireseg_dir)
    official, clean = make_split(dataset, "official"), make_split(dataset, "official-clean")
    assert (len(official.train), len(official.test)) == (500, 100)
    assert (len(clean.train), len(clean.test)) == (500, 90)
    assert {p.name for p in official.test} - {p.name for p in clean.test} == {f"test/img({n})" for n in range(1, 11)}


@given(count=st.integers(0, 60), share=st.floats(0, 0.9), others=st.integers(0, 600))
def test_repeated_pairs_are_their_share_of_an_epoch_and_no_more_than_needed(
    count: int, share: float, others: int
) -> None:
    pairs = [pair("v1", number) for number in range(count)]
    repeated = repeat(pairs, share, others)
    assert set(repeated) == set(pairs)
    if not count:
        return
    assert len(repeated) % count == 0
    assert len(repeated) >= share * (len(repeated) + others) - 1e-6
    fewer = len(repeated) - count
    assert fewer == 0 or fewer < share * (fewer + others) + 1e-6
