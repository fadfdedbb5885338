"""Splits: no video is in both training and test, unless the split's name says so."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import UserError
from train.data.fireseg import Dataset, Pair, Part, content_hash, load_dataset
from train.data.splits import (
    FOLDS,
    find_shared,
    hold_out_videos,
    make_split,
    split_from_name,
    split_held_out,
    with_clean,
)


def pair(video: str, index: int, part: Part = "all") -> Pair:
    name = f"{part}/{video}-{index}"
    return Pair(name, Path(name + ".jpg"), Path(name + ".png"), part, video)


def dataset_of(pairs: list[Pair]) -> Dataset:
    return Dataset(Path("data"), "folders", tuple(pairs))


def datasets(min_videos: int = FOLDS) -> st.SearchStrategy[Dataset]:
    """Return data sets with videos of random lengths and frames in random order."""
    lengths = st.lists(st.integers(1, 8), min_size=min_videos, max_size=20)
    frames = lengths.map(lambda sizes: [pair(f"v{v:02d}", i) for v, n in enumerate(sizes) for i in range(n)])
    return frames.flatmap(st.permutations).map(dataset_of)


HELD_OUT_OF_30 = ["v5", "v7", "v8", "v9", "v11", "v13", "v16", "v21"]  # of v0 to v29
folds = st.integers(0, FOLDS - 1)
seeds = st.integers(0, 2**31)


@given(datasets(), folds, seeds)
def test_by_video_keeps_every_video_in_one_part(dataset: Dataset, fold: int, seed: int) -> None:
    split = make_split(dataset, "by-video", fold=fold, seed=seed)
    assert split.train and split.test
    assert not {p.video for p in split.train} & {p.video for p in split.test}
    assert sorted(p.name for p in split.train + split.test) == sorted(p.name for p in dataset.pairs)


@given(datasets(), seeds)
def test_the_folds_test_every_pair_exactly_once(dataset: Dataset, seed: int) -> None:
    tested = [p.name for fold in range(FOLDS) for p in make_split(dataset, "by-video", fold=fold, seed=seed).test]
    assert sorted(tested) == sorted(p.name for p in dataset.pairs)


@given(datasets(), st.sampled_from(["by-video", "random"]), folds, seeds)
def test_a_split_is_restored_from_its_name(dataset: Dataset, name: str, fold: int, seed: int) -> None:
    split = make_split(dataset, name, fold=fold, seed=seed)
    assert split_from_name(dataset, split.name) == split


@given(datasets(), folds, seeds)
def test_a_split_does_not_depend_on_the_order_of_the_pairs(dataset: Dataset, fold: int, seed: int) -> None:
    backwards = dataset_of(list(dataset.pairs[::-1]))
    one, other = (make_split(d, "by-video", fold=fold, seed=seed) for d in (dataset, backwards))
    assert {p.name for p in one.test} == {p.name for p in other.test}
    assert one.name == other.name


def test_another_seed_gives_another_split_and_name() -> None:
    dataset = dataset_of([pair(f"v{v:02d}", 0) for v in range(20)])
    splits = [make_split(dataset, "by-video", seed=seed) for seed in range(5)]
    assert len({frozenset(p.video for p in split.test) for split in splits}) == 5
    assert len({split.name for split in splits}) == 5


@given(datasets(min_videos=2), seeds, st.floats(0.01, 0.99))
def test_validation_holds_whole_videos_and_leaves_some_for_training(dataset: Dataset, seed: int, share: float) -> None:
    train, validation = hold_out_videos(dataset.pairs, seed=seed, share=share)
    assert train and validation
    assert not {p.video for p in train} & {p.video for p in validation}
    assert sorted(p.name for p in train + validation) == sorted(p.name for p in dataset.pairs)


def test_validation_holds_about_its_share_and_a_share_of_0_none() -> None:
    pairs = [pair(f"v{v:02d}", i) for v in range(20) for i in range(30)]
    assert len(hold_out_videos(pairs, seed=0, share=0.15)[1]) == 90  # three whole videos
    assert hold_out_videos(pairs, seed=0, share=0) == (pairs, [])


def test_validation_needs_a_second_video() -> None:
    with pytest.raises(UserError, match="expected 2 or more"):
        hold_out_videos([pair("v01", i) for i in range(10)], seed=0)


def names(pairs: list[Pair]) -> set[str]:
    return {p.name for p in pairs}


@given(datasets(min_videos=1))
def test_held_out_videos_are_whole_and_every_pair_is_in_one_part(dataset: Dataset) -> None:
    train, test = split_held_out(dataset.pairs)
    assert not {p.video for p in train} & {p.video for p in test}
    assert sorted(p.name for p in train + test) == sorted(p.name for p in dataset.pairs)


@given(datasets(min_videos=1), datasets(min_videos=1))
def test_a_held_out_video_stays_so_whatever_is_added_or_removed(one: Dataset, other: Dataset) -> None:
    both = {p.name: p for p in one.pairs + other.pairs}.values()
    train, test = split_held_out(one.pairs)
    train_of_both, test_of_both = split_held_out(list(both))
    assert names(train) <= names(train_of_both) and names(test) <= names(test_of_both)


def test_the_sha256_of_a_video_s_name_holds_out_20_percent() -> None:
    _, test = split_held_out([pair(f"v{v}", 0) for v in range(2000)])
    assert [p.video for p in test if int(p.video[1:]) < 30] == HELD_OUT_OF_30, "the same on every machine"
    assert 0.17 < len(test) / 2000 < 0.23


def test_test_images_are_recognised_by_content_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "test.jpg").write_bytes(b"a picture")
    test = [Pair("test/img(1)", tmp_path / "test.jpg", None, "test", "v01")]
    digest = hashlib.sha256(b"a picture").hexdigest()
    assert find_shared([("copy", digest), ("other", "00" * 32)], test) == ["copy is test/img(1)"]
    assert find_shared([("copy", digest)], []) == []


def official_dataset() -> Dataset:
    train = [pair(video, i, "train") for video in ("v01", "v02") for i in range(3)]
    test = [pair(video, i, "test") for video in ("v02", "v03") for i in range(3, 5)]
    return dataset_of(train + test)


def test_official_is_the_published_split_with_its_leak() -> None:
    split = make_split(official_dataset(), "official")
    assert (len(split.train), len(split.test)) == (6, 4)
    assert {p.video for p in split.train} & {p.video for p in split.test} == {"v02"}


def test_official_clean_removes_the_leaked_video_from_the_test_alone() -> None:
    split = make_split(official_dataset(), "official-clean")
    assert len(split.train) == 6
    assert [p.video for p in split.test] == ["v03", "v03"]


def test_official_clean_without_a_clean_test_video_is_an_error() -> None:
    dataset = dataset_of([pair("v01", 0, "train"), pair("v01", 1, "test")])
    with pytest.raises(UserError, match="leaves no test images"):
        make_split(dataset, "official-clean")


def test_official_is_evaluated_with_official_clean_if_it_has_clean_videos() -> None:
    dataset = official_dataset()
    official, clean = (make_split(dataset, name) for name in ("official", "official-clean"))
    assert with_clean(dataset, official) == [official, clean]
    assert with_clean(dataset, clean) == [clean]
    leaky = dataset_of([pair("v01", 0, "train"), pair("v01", 1, "test")])
    official = make_split(leaky, "official")
    assert with_clean(leaky, official) == [official]


@pytest.mark.parametrize("name", ["official", "official-clean"])
def test_a_data_set_without_published_parts_has_no_official_split(name: str) -> None:
    with pytest.raises(UserError, match="use --split by-video"):
        make_split(dataset_of([pair("v01", 0)]), name)


def test_an_unknown_split_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="'lucky': expected one of official, official-clean, by-video, random"):
        make_split(official_dataset(), "lucky")


def test_a_random_split_tests_on_20_percent_and_says_that_it_leaks() -> None:
    dataset = dataset_of([pair(f"v{number // 10:02d}", number) for number in range(100)])
    split = make_split(dataset, "random", seed=3)
    assert "leaking" in split.name
    assert (len(split.train), len(split.test)) == (80, 20)
    assert {p.name for p in split.train + split.test} == {p.name for p in dataset.pairs}
    assert {p.video for p in split.test} & split.train_videos
    assert make_split(dataset, "random", seed=3) == split
    assert make_split(dataset, "random", seed=4).test != split.test


def test_a_random_split_of_a_single_pair_is_an_error() -> None:
    with pytest.raises(UserError, match="at least 2 pairs"):
        make_split(dataset_of([pair("v01", 0)]), "random")


@pytest.mark.parametrize("fold", [-1, FOLDS])
def test_a_fold_out_of_range_is_an_error(fold: int) -> None:
    dataset = dataset_of([pair(f"v{v}", 0) for v in range(FOLDS)])
    with pytest.raises(UserError, match=f"no fold {fold}: expected 0 to {FOLDS - 1}"):
        make_split(dataset, "by-video", fold=fold)


def test_fewer_videos_than_folds_is_an_error_with_the_number() -> None:
    dataset = dataset_of([pair(f"v{v}", 0) for v in range(FOLDS - 1)])
    with pytest.raises(UserError, match=f"at least {FOLDS} videos.* holds {FOLDS - 1}"):
        make_split(dataset, "by-video")


def test_the_hash_of_a_split_is_that_of_its_test_pairs_in_any_order(tmp_path: Path) -> None:
    dataset = official_dataset()
    pairs = [replace(p, image=tmp_path / p.name.replace("/", "-"), mask=None) for p in dataset.pairs]
    for p in pairs:
        p.image.write_text(p.name)
    split, backwards = (make_split(dataset_of(order), "official-clean") for order in (pairs, pairs[::-1]))
    assert split.sha256 == backwards.sha256 == content_hash(split.test)
    assert split.sha256 != make_split(dataset_of(pairs), "official").sha256


def test_the_real_fireseg_loses_only_v17_in_its_clean_split(fireseg_dir: Path) -> None:
    dataset = load_dataset(fireseg_dir)
    official, clean = make_split(dataset, "official"), make_split(dataset, "official-clean")
    assert (len(official.train), len(official.test)) == (500, 100)
    assert (len(clean.train), len(clean.test)) == (500, 90)
    assert {p.name for p in official.test} - {p.name for p in clean.test} == {f"test/img({n})" for n in range(1, 11)}
