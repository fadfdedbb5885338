"""The calibration set: every stratum in turn, no duplicates, no test images, and the same choice for a seed."""

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
def test_every_stratum_has_its_first_turn_before_any_second(candidates: list[Candidate], count: int, seed: int) -> None:
    available = Counter((c.fire_share, c.brightness) for c in candidates)
    taken = Counter((c.fire_share, c.brightness) for c in choose(candidates, count, seed).images)
    for stratum, size in available.items():
        # A stratum that is more than one turn behind is exhausted.
        assert taken[stratum] == size or taken[stratum] >= max(taken.values()) - 1


@given(candidate_lists(), seeds)
def test_within_a_stratum_the_videos_take_turns(candidates: list[Candidate], seed: int) -> None:
    one_stratum = [candidate(n, video=c.video) for n, c in enumerate(candidates)]
    videos = {c.video for c in one_stratum}
    first = choose(one_stratum, len(videos), seed).images
    assert {c.video for c in first} == videos


@given(candidate_lists(), counts, seeds, st.randoms(use_true_random=False))
def test_the_same_seed_chooses_the_same_set_in_any_file_order(
    candidates: list[Candidate], count: int, seed: int, random: Random
) -> None:
    shuffled = list(candidates)
    random.shuffle(shuffled)
    assert choose(shuffled, count, seed) == choose(candidates, count, seed)


@given(candidate_lists(), counts, seeds)
def test_the_count_is_chosen_or_all_if_there_are_fewer(candidates: list[Candidate], count: int, seed: int) -> None:
    chosen = choose(candidates, count, seed).images
    assert len(chosen) == min(count, len(candidates))
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(candidates)


def test_equal_contents_under_several_names_count_once() -> None:
    image = candidate(1)
    copy = Candidate("copy of img(1)", Path("copy.jpg"), image.sha256, "another video", "none", "bright")
    assert len(choose([image, copy, candidate(2)], 10, 0).images) == 2


def test_no_candidates_is_an_error() -> None:
    with pytest.raises(UserError, match="there are no calibration images"):
        choose([], 5, 0)


def test_the_hash_depends_on_contents_and_order_but_not_on_names() -> None:
    one, two = candidate(1), candidate(2)
    renamed = Candidate("other", Path("other.jpg"), one.sha256, "v", "none", "dark")
    assert CalibrationSet((one, two), 0).sha256 == CalibrationSet((renamed, two), 5).sha256
    assert CalibrationSet((one, two), 0).sha256 != CalibrationSet((two, one), 0).sha256


def test_the_manifest_lists_names_hashes_and_strata_but_no_folder(synthetic_dir: Path) -> None:
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
    ("fire_pixels", "grey", "fire", "brightness"),
    [
        (0, 20, "none", "dark"),
        (1, 70, "under 1 %", "dark"),
        (40, 100, "1 to 5 %", "medium"),
        (100, 130, "5 to 20 %", "medium"),
        (900, 200, "over 20 %", "bright"),
    ],
)
def test_an_images_strata_are_its_fire_share_and_brightness(
    tmp_path: Path, fire_pixels: int, grey: int, fire: str, brightness: str
) -> None:
    mask = np.zeros(1000, np.uint8)
    mask[:fire_pixels] = 255
    write_image(tmp_path / "a.png", np.full((20, 50, 3), grey, np.uint8))
    write_image(tmp_path / "mask.png", mask.reshape(20, 50))
    (image,) = candidates_from_pairs([Pair("a", tmp_path / "a.png", tmp_path / "mask.png", "train", "v1")])
    assert (image.name, image.video, image.fire_share, image.brightness) == ("a", "v1", fire, brightness)


@pytest.mark.parametrize("value", [0, 40, 128, 255])
def test_frames_span_0_to_255_even_if_every_image_is_grey(tmp_path: Path, value: int) -> None:
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


def test_frames_that_span_the_range_stay_unchanged(tmp_path: Path) -> None:
    picture = np.full((16, 24, 3), 90, np.uint8)
    picture[5, 5], picture[6, 6] = 0, 255
    write_image(tmp_path / "a.png", picture)
    images = (Candidate("a", tmp_path / "a.png", "1", "v", UNKNOWN, "dark"),)
    assert np.array_equal(CalibrationSet(images, 0).frames(16, 24)[0], picture)


def test_a_test_image_is_recognised_by_content_under_another_name(tmp_path: Path, synthetic_dir: Path) -> None:
    test_pairs = load_dataset(synthetic_dir).parts["test"]
    shutil.copy(test_pairs[0].image, tmp_path / "my own camera.jpg")
    with pytest.raises(UserError, match=r"1 calibration images .*my own camera\.jpg is test/img"):
        assert_disjoint(candidates_from_folder(tmp_path), test_pairs)


def test_pictures_without_masks_have_an_unknown_fire_share(tmp_path: Path) -> None:
    write_image(tmp_path / "night.jpg", np.full((20, 30, 3), 10, np.uint8))
    write_image(tmp_path / "noon.png", np.full((20, 30, 3), 240, np.uint8))
    (tmp_path / "notes.txt").write_text("not a picture")
    pictures = candidates_from_folder(tmp_path)
    assert [(c.name, c.fire_share, c.brightness) for c in pictures] == [
        ("night.jpg", UNKNOWN, "dark"),
        ("noon.png", UNKNOWN, "bright"),
    ]
    assert choose(pictures, 5, 0).coverage["fire_share"][UNKNOWN] == 2


def test_a_link_to_a_missing_calibration_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(UserError, match=r"a\.png could not be read \(No such file or directory\)"):
        candidates_from_folder(tmp_path)


def test_a_calibration_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist: expected a folder of images"):
        candidates_from_folder(tmp_path / "nowhere")


@pytest.mark.slow
def test_the_real_set_fills_every_stratum_of_fire_and_brightness(fireseg_dir: Path) -> None:
    pairs = load_dataset(fireseg_dir).parts["train"]
    coverage = choose(candidates_from_pairs(pairs), 200, 0).coverage
    assert all(coverage["brightness"].values())
    assert sum(count > 0 for count in coverage["fire_share"].values()) >= 4
