"""No video ever learns on one side and judges on the other."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import UserError
from train.data.fireseg import Dataset, Pair, Part, load_dataset
from train.data.splits import FOLDS, find_shared, hold_out_fifth, hold_out_videos, make_split, split_called, with_clean


def pair(video: str, index: int, part: Part = "all") -> Pair:
    name = f"{part}/{video}-{index}"
    return Pair(name, Path(name + ".jpg"), Path(name + ".png"), part, video)


def dataset_of(pairs: list[Pair]) -> Dataset:
    return Dataset(Path("data"), "folders", tuple(pairs))


def datasets(min_videos: int = FOLDS) -> st.SearchStrategy[Dataset]:
    """Videos of random lengths, their frames in random order."""
    lengths = st.lists(st.integers(1, 8), min_size=min_videos, max_size=20)
    frames = lengths.map(lambda found: [pair(f"v{v:02d}", i) for v, n in enumerate(found) for i in range(n)])
    return frames.flatmap(st.permutations).map(dataset_of)


HELD_OUT_OF_30 = ["v5", "v7", "v8", "v9", "v11", "v13", "v16", "v21"]  # of v0 to v29
folds = st.integers(0, FOLDS - 1)
seeds = st.integers(0, 2**31)


@given(datasets(), folds, seeds)
def test_by_video_keeps_every_video_on_one_side(dataset: Dataset, fold: int, seed: int) -> None:
    split = make_split(dataset, "by-video", fold=fold, seed=seed)
    assert split.train and split.test
    assert not {p.video for p in split.train} & {p.video for p in split.test}
    assert sorted(p.name for p in split.train + split.test) == sorted(p.name for p in dataset.pairs)


@given(datasets(), seeds)
def test_the_folds_judge_every_pair_exactly_once(dataset: Dataset, seed: int) -> None:
    judged = [p.name for fold in range(FOLDS) for p in make_split(dataset, "by-video", fold=fold, seed=seed).test]
    assert sorted(judged) == sorted(p.name for p in dataset.pairs)


@given(datasets(), st.sampled_from(["by-video", "random"]), folds, seeds)
def test_a_split_is_found_again_by_its_name(dataset: Dataset, name: str, fold: int, seed: int) -> None:
    split = make_split(dataset, name, fold=fold, seed=seed)
    assert split_called(dataset, split.name) == split


@given(datasets(), folds, seeds)
def test_the_same_seed_gives_the_same_split_whatever_the_order_of_the_pairs(
    dataset: Dataset, fold: int, seed: int
) -> None:
    backwards = dataset_of(list(dataset.pairs[::-1]))
    one, other = (make_split(d, "by-video", fold=fold, seed=seed) for d in (dataset, backwards))
    assert {p.name for p in one.test} == {p.name for p in other.test}
    assert one.name == other.name


def test_another_seed_gives_another_split_of_another_name() -> None:
    dataset = dataset_of([pair(f"v{v:02d}", 0) for v in range(20)])
    splits = [make_split(dataset, "by-video", seed=seed) for seed in range(5)]
    assert len({frozenset(p.video for p in split.test) for split in splits}) == 5
    assert len({split.name for split in splits}) == 5


@given(datasets(min_videos=2), seeds, st.floats(0.01, 0.99))
def test_validation_holds_whole_videos_and_leaves_some_to_learn_from(dataset: Dataset, seed: int, share: float) -> None:
    learn, validate = hold_out_videos(dataset.pairs, seed=seed, share=share)
    assert learn and validate
    assert not {p.video for p in learn} & {p.video for p in validate}
    assert sorted(p.name for p in learn + validate) == sorted(p.name for p in dataset.pairs)


def test_validation_holds_about_its_share() -> None:
    pairs = [pair(f"v{v:02d}", i) for v in range(20) for i in range(30)]
    _, validate = hold_out_videos(pairs, seed=0, share=0.15)
    assert len(validate) == 90  # three whole videos


def test_validation_needs_a_second_video() -> None:
    with pytest.raises(UserError, match="expected 2 or more"):
        hold_out_videos([pair("v01", i) for i in range(10)], seed=0)


def names(pairs: list[Pair]) -> set[str]:
    return {p.name for p in pairs}


@given(datasets(min_videos=1))
def test_the_held_out_fifth_takes_whole_videos_and_every_pair_falls_on_one_side(dataset: Dataset) -> None:
    learn, test = hold_out_fifth(dataset.pairs)
    assert not {p.video for p in learn} & {p.video for p in test}
    assert sorted(p.name for p in learn + test) == sorted(p.name for p in dataset.pairs)


@given(datasets(min_videos=1), datasets(min_videos=1))
def test_what_is_held_out_stays_so_whatever_else_is_added_or_taken_away(one: Dataset, other: Dataset) -> None:
    both = {p.name: p for p in one.pairs + other.pairs}.values()
    learn, test = hold_out_fifth(one.pairs)
    learn_of_both, test_of_both = hold_out_fifth(list(both))
    assert names(learn) <= names(learn_of_both) and names(test) <= names(test_of_both)


def test_about_a_fifth_of_the_videos_is_held_out() -> None:
    _, test = hold_out_fifth([pair(f"v{v}", i) for v in range(2000) for i in range(2)])
    assert 0.17 < len(test) / 4000 < 0.23


def test_the_rule_is_sha256_of_the_videos_name_so_that_every_machine_holds_out_the_same() -> None:
    _, test = hold_out_fifth([pair(f"v{v}", 0) for v in range(30)])
    assert [p.video for p in test] == HELD_OUT_OF_30


def test_images_that_judge_are_found_by_their_content_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "judge.jpg").write_bytes(b"a picture")
    judging = [Pair("test/img(1)", tmp_path / "judge.jpg", None, "test", "v01")]
    digest = hashlib.sha256(b"a picture").hexdigest()
    assert find_shared([("copy", digest), ("other", "00" * 32)], judging) == ["copy is test/img(1)"]
    assert find_shared([("copy", digest)], []) == []


def official_dataset() -> Dataset:
    train = [pair(video, i, "train") for video in ("v01", "v02") for i in range(3)]
    test = [pair(video, i, "test") for video in ("v02", "v03") for i in range(3, 5)]
    return dataset_of(train + test)


def test_official_is_the_published_split_with_its_leak() -> None:
    split = make_split(official_dataset(), "official")
    assert (len(split.train), len(split.test)) == (6, 4)
    assert {p.video for p in split.train} & {p.video for p in split.test} == {"v02"}


def test_official_clean_leaves_the_leaked_video_out_of_the_test_alone() -> None:
    split = make_split(official_dataset(), "official-clean")
    assert len(split.train) == 6
    assert [p.video for p in split.test] == ["v03", "v03"]


def test_official_clean_of_a_test_that_leaks_altogether_is_an_error() -> None:
    dataset = dataset_of([pair("v01", 0, "train"), pair("v01", 1, "test")])
    with pytest.raises(UserError, match="leaves no test images"):
        make_split(dataset, "official-clean")


def test_official_is_judged_beside_its_clean_one_wherever_there_is_one() -> None:
    dataset = official_dataset()
    assert [one.name for one in with_clean(dataset, make_split(dataset, "official"))] == ["official", "official-clean"]
    assert [one.name for one in with_clean(dataset, make_split(dataset, "official-clean"))] == ["official-clean"]
    leaky = dataset_of([pair("v01", 0, "train"), pair("v01", 1, "test")])
    assert [one.name for one in with_clean(leaky, make_split(leaky, "official"))] == ["official"]


@pytest.mark.parametrize("name", ["official", "official-clean"])
def test_a_data_set_without_published_parts_has_no_official_split(name: str) -> None:
    with pytest.raises(UserError, match="use --split by-video"):
        make_split(dataset_of([pair("v01", 0)]), name)


def test_a_split_that_does_not_exist_is_an_error_that_lists_those_that_do() -> None:
    with pytest.raises(UserError, match="'lucky': expected one of official, official-clean, by-video, random"):
        make_split(official_dataset(), "lucky")


def test_a_random_split_judges_by_a_fifth_of_the_frames_and_says_that_it_leaks() -> None:
    dataset = dataset_of([pair(f"v{number // 10:02d}", number) for number in range(100)])
    split = make_split(dataset, "random", seed=3)
    assert "leaking" in split.name
    assert (len(split.train), len(split.test)) == (80, 20)
    assert {one.name for one in split.train} | {one.name for one in split.test} == {p.name for p in dataset.pairs}
    assert {one.video for one in split.test} & split.train_videos, "it leaks, or it is no random split"
    assert make_split(dataset, "random", seed=3) == split
    assert make_split(dataset, "random", seed=4).test != split.test


def test_a_random_split_of_a_single_pair_is_an_error() -> None:
    with pytest.raises(UserError, match="at least 2 pairs"):
        make_split(dataset_of([pair("v01", 0)]), "random")


@pytest.mark.parametrize("fold", [-1, FOLDS])
def test_a_fold_that_does_not_exist_is_an_error(fold: int) -> None:
    dataset = dataset_of([pair(f"v{v}", 0) for v in range(FOLDS)])
    with pytest.raises(UserError, match=f"no fold {fold}: expected 0 to {FOLDS - 1}"):
        make_split(dataset, "by-video", fold=fold)


def test_fewer_videos_than_folds_are_an_error_with_their_number() -> None:
    dataset = dataset_of([pair(f"v{v}", 0) for v in range(FOLDS - 1)])
    with pytest.raises(UserError, match=f"at least {FOLDS} videos.* holds {FOLDS - 1}"):
        make_split(dataset, "by-video")


def test_the_hash_of_a_split_is_that_of_its_judging_pairs(synthetic_dir: Path) -> None:
    dataset = load_dataset(synthetic_dir)
    split = make_split(dataset, "official-clean")
    backwards = Dataset(dataset.root, dataset.layout, dataset.pairs[::-1])
    assert split.sha256 == make_split(backwards, "official-clean").sha256
    assert split.sha256 != make_split(dataset, "by-video").sha256


def test_the_real_fireseg_loses_only_v17_in_its_clean_split(fireseg_dir: Path) -> None:
    dataset = load_dataset(fireseg_dir)
    official, clean = make_split(dataset, "official"), make_split(dataset, "official-clean")
    assert (len(official.train), len(official.test)) == (500, 100)
    assert (len(clean.train), len(clean.test)) == (500, 90)
    assert {p.name for p in official.test} - {p.name for p in clean.test} == {f"test/img({n})" for n in range(1, 11)}


def test_a_share_of_nothing_keeps_every_video_for_learning() -> None:
    pairs = [pair(f"v{video:02}", number) for video in range(3) for number in range(4)]
    assert hold_out_videos(pairs, seed=0, share=0) == (pairs, [])
