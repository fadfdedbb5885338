"""The calibration set: every stratum heard, nothing counted twice, nothing that judges, and the same choice again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import UserError
from edge.images import write_image
from export.calibration import (
    BRIGHTNESSES,
    FIRE_SHARES,
    UNKNOWN,
    CalibrationSet,
    Candidate,
    assert_disjoint,
    candidates_from_folder,
    candidates_from_pairs,
    choose,
)
from train.data.fireseg import Pair, load_dataset


def candidate(number: int, *, video: str = "v", fire: str = "none", brightness: str = "dark") -> Candidate:
    content = hashlib.sha256(str(number).encode()).hexdigest()
    return Candidate(f"img({number})", Path(f"img({number}).jpg"), content, video, fire, brightness)


@st.composite
def candidate_lists(draw: st.DrawFn) -> list[Candidate]:
    """Up to 40 candidates of distinct contents, in any strata and up to four videos."""
    strata = draw(
        st.lists(
            st.tuples(st.sampled_from("abcd"), st.sampled_from(list(FIRE_SHARES)), st.sampled_from(list(BRIGHTNESSES))),
            min_size=1,
            max_size=40,
        )
    )
    return [candidate(n, video=v, fire=f, brightness=b) for n, (v, f, b) in enumerate(strata)]


counts = st.integers(1, 50)
seeds = st.integers(0, 1000)


@given(candidate_lists(), counts, seeds)
def test_every_stratum_has_its_first_turn_before_any_has_its_second(
    found: list[Candidate], count: int, seed: int
) -> None:
    available = Counter((c.fire_share, c.brightness) for c in found)
    taken = Counter((c.fire_share, c.brightness) for c in choose(found, count, seed).images)
    for stratum, size in available.items():
        # Whoever has fewer than another by more than one turn has nothing left to give.
        assert taken[stratum] == size or taken[stratum] >= max(taken.values()) - 1


@given(candidate_lists(), seeds)
def test_within_a_stratum_the_videos_take_turns(found: list[Candidate], seed: int) -> None:
    one_stratum = [candidate(n, video=c.video) for n, c in enumerate(found)]
    videos = {c.video for c in one_stratum}
    first = choose(one_stratum, len(videos), seed).images
    assert {c.video for c in first} == videos


@given(candidate_lists(), counts, seeds, st.randoms(use_true_random=False))
def test_the_same_seed_chooses_the_same_set_whatever_the_order_of_the_files(
    found: list[Candidate], count: int, seed: int, random: Random
) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)
    assert choose(shuffled, count, seed) == choose(found, count, seed)


def test_another_seed_chooses_another_set() -> None:
    found = [candidate(n) for n in range(60)]
    chosen = {choose(found, 10, seed).sha256 for seed in range(5)}
    assert len(chosen) == 5


@given(candidate_lists(), counts, seeds)
def test_as_many_as_asked_for_are_taken_and_all_where_there_are_fewer(
    found: list[Candidate], count: int, seed: int
) -> None:
    chosen = choose(found, count, seed).images
    assert len(chosen) == min(count, len(found))
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(found)


def test_equal_contents_under_several_names_count_once() -> None:
    one = candidate(1)
    again = Candidate("copy of img(1)", Path("copy.jpg"), one.sha256, "another video", "none", "bright")
    assert len(choose([one, again, candidate(2)], 10, 0).images) == 2


@pytest.mark.parametrize("count", [0, -1])
def test_no_images_wanted_is_an_error(count: int) -> None:
    with pytest.raises(UserError, match=f"^{count} calibration images: int8 needs at least 1"):
        choose([candidate(1)], count, 0)


def test_no_images_found_is_an_error() -> None:
    with pytest.raises(UserError, match="there are no calibration images"):
        choose([], 5, 0)


@given(candidate_lists(), seeds)
def test_halves_are_disjoint_complete_and_of_one_size(found: list[Candidate], seed: int) -> None:
    chosen = choose(found, len(found), seed)
    first, second = chosen.halves()
    assert not set(first.images) & set(second.images)
    assert set(first.images) | set(second.images) == set(chosen.images)
    assert 0 <= len(first.images) - len(second.images) <= 1


@given(candidate_lists(), seeds)
def test_halves_hold_as_many_of_each_stratum_but_for_one(found: list[Candidate], seed: int) -> None:
    halves = choose(found, len(found), seed).halves()
    first, second = (Counter((image.fire_share, image.brightness) for image in half.images) for half in halves)
    assert all(abs(first[stratum] - second[stratum]) <= 1 for stratum in first | second)


def test_the_hash_depends_on_contents_and_their_order_and_not_on_names() -> None:
    one, two = candidate(1), candidate(2)
    renamed = Candidate("other", Path("other.jpg"), one.sha256, "v", "none", "dark")
    assert CalibrationSet((one, two), 0).sha256 == CalibrationSet((renamed, two), 5).sha256
    assert CalibrationSet((one, two), 0).sha256 != CalibrationSet((two, one), 0).sha256


def test_the_manifest_names_every_file_its_hash_and_its_strata_and_no_folder(synthetic_dir: Path) -> None:
    pairs = load_dataset(synthetic_dir).parts["train"]
    chosen = choose(candidates_from_pairs(pairs), 8, 3)
    manifest = chosen.manifest()
    assert manifest["images"] == len(manifest["files"]) == 8
    assert manifest["seed"] == 3
    assert manifest["sha256"] == chosen.sha256
    for image, row in zip(chosen.images, manifest["files"], strict=True):
        assert row == {
            "name": image.name,
            "sha256": hashlib.sha256(image.path.read_bytes()).hexdigest(),
            "video": image.video,
            "fire_share": image.fire_share,
            "brightness": image.brightness,
        }
    for strata in ("fire_share", "brightness", "videos"):
        assert sum(manifest["coverage"][strata].values()) == 8
    assert set(manifest["coverage"]["fire_share"]) == set(FIRE_SHARES)
    assert str(synthetic_dir) not in json.dumps(manifest)


@pytest.mark.parametrize(
    ("burning", "grey", "fire", "brightness"),
    [
        (0, 20, "none", "dark"),
        (1, 70, "under 1 %", "dark"),
        (40, 100, "1 to 5 %", "medium"),
        (100, 130, "5 to 20 %", "medium"),
        (900, 200, "over 20 %", "bright"),
    ],
)
def test_a_training_image_lies_in_the_stratum_of_its_fire_and_its_brightness(
    tmp_path: Path, burning: int, grey: int, fire: str, brightness: str
) -> None:
    mask = np.zeros(1000, np.uint8)
    mask[:burning] = 255
    write_image(tmp_path / "a.png", np.full((20, 50, 3), grey, np.uint8))
    write_image(tmp_path / "mask.png", mask.reshape(20, 50))
    (found,) = candidates_from_pairs([Pair("a", tmp_path / "a.png", tmp_path / "mask.png", "train", "v1")])
    assert (found.name, found.video, found.fire_share, found.brightness) == ("a", "v1", fire, brightness)


def test_progress_is_told_of_every_image(synthetic_dir: Path) -> None:
    pairs = load_dataset(synthetic_dir).parts["train"][:5]
    told: list[int] = []
    candidates_from_pairs(pairs, lambda: told.append(1))
    assert len(told) == 5


@pytest.mark.parametrize("value", [0, 40, 128, 255])
def test_frames_span_the_whole_range_even_where_every_image_is_grey(tmp_path: Path, value: int) -> None:
    for number in range(3):
        write_image(tmp_path / f"{number}.png", np.full((30, 40, 3), value, np.uint8))
    images = tuple(
        Candidate(path.name, path, str(number), "v", UNKNOWN, "dark")
        for number, path in enumerate(sorted(tmp_path.iterdir()))
    )
    frames = CalibrationSet(images, 0).frames(16, 24)
    assert frames.shape == (3, 16, 24, 3)
    assert frames.dtype == np.uint8
    assert (frames.min(), frames.max()) == (0, 255)
    assert (frames[1:] == value).all()
    assert (frames[0] != value).sum() <= 6  # two pixels and no more


def test_frames_that_span_the_range_already_are_left_alone(tmp_path: Path) -> None:
    picture = np.full((16, 24, 3), 90, np.uint8)
    picture[5, 5], picture[6, 6] = 0, 255
    write_image(tmp_path / "a.png", picture)
    images = (Candidate("a", tmp_path / "a.png", "1", "v", UNKNOWN, "dark"),)
    assert np.array_equal(CalibrationSet(images, 0).frames(16, 24)[0], picture)


def test_an_image_that_judges_is_found_by_content_under_another_name(tmp_path: Path, synthetic_dir: Path) -> None:
    judging = load_dataset(synthetic_dir).parts["test"]
    shutil.copy(judging[0].image, tmp_path / "my own camera.jpg")
    with pytest.raises(UserError, match=r"1 calibration images .*my own camera\.jpg is test/img"):
        assert_disjoint(candidates_from_folder(tmp_path), judging)


def test_training_and_test_images_of_the_set_are_disjoint(synthetic_dir: Path) -> None:
    parts = load_dataset(synthetic_dir).parts
    assert_disjoint(candidates_from_pairs(parts["train"]), parts["test"])


def test_a_folder_of_pictures_without_masks_gives_candidates_of_unknown_fire(tmp_path: Path) -> None:
    write_image(tmp_path / "night.jpg", np.full((20, 30, 3), 10, np.uint8))
    write_image(tmp_path / "noon.png", np.full((20, 30, 3), 240, np.uint8))
    (tmp_path / "notes.txt").write_text("not a picture")
    found = candidates_from_folder(tmp_path)
    assert [(c.name, c.fire_share, c.brightness) for c in found] == [
        ("night.jpg", UNKNOWN, "dark"),
        ("noon.png", UNKNOWN, "bright"),
    ]
    assert choose(found, 5, 0).coverage["fire_share"][UNKNOWN] == 2


def test_a_calibration_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist: expected a folder of pictures"):
        candidates_from_folder(tmp_path / "nowhere")


def test_a_calibration_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(UserError, match="holds no pictures"):
        candidates_from_folder(tmp_path)


def test_a_broken_picture_in_the_calibration_folder_is_named(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    write_image(whole, np.random.default_rng(0).integers(0, 255, (60, 60, 3)).astype(np.uint8))
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:800])
    with pytest.raises(UserError, match=r"cut\.jpg is cut short"):
        candidates_from_folder(tmp_path)


def test_the_real_set_fills_every_stratum_of_fire_and_brightness(fireseg_dir: Path) -> None:
    pairs = load_dataset(fireseg_dir).parts["train"]
    coverage = choose(candidates_from_pairs(pairs), 200, 0).coverage
    assert all(coverage["brightness"].values())
    assert sum(count > 0 for count in coverage["fire_share"].values()) >= 4
