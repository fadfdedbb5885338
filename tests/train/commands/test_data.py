"""`fireseg-train check` and `synth`: a report of a data set, and a synthetic one."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.run_cli import Here, refused
from tests.support.small_set import FILES, TABLE, make_set, write_set


def test_check_prints_a_table_or_json(here: Here, synthetic_dir: Path) -> None:
    done = here("check", synthetic_dir)
    assert done.code == 0, done.err
    for word in ("train", "test", "448x252", "empty masks"):
        assert word in done.out
    report = json.loads(here("check", synthetic_dir, "--json").out)
    assert sum(part["images"] for part in report["parts"].values()) == 40
    assert report["leaks"]["videos_in_train_and_test"] == []


def test_check_lists_every_broken_file(here: Here, broken_dir: Path) -> None:
    first, second, count = refused(here("check", broken_dir))
    assert "img(2).jpg is cut short (2000 bytes): copy or download it again" in first
    assert "img(5).png is 9x9 but its image img(5).jpg is 448x252" in second
    assert count == "2 of 40 images cannot be used: repair or remove them"


def test_check_reports_leaks_below_its_table(here: Here, tmp_path: Path) -> None:
    root = tmp_path / "leaky"
    for part in ("train", "test"):
        for folder, shape, suffix in (("images", (8, 8, 3), "jpg"), ("annotations", (8, 8), "png")):
            (root / f"{folder}_prepped_{part}").mkdir(parents=True)
            cv2.imwrite(str(root / f"{folder}_prepped_{part}" / f"img(1).{suffix}"), np.full(shape, 9, np.uint8))
    out = here("check", root).out
    assert "leak: video v01 is in train and in test" in out
    assert "identical images: train/img(1), test/img(1)" in out


@pytest.mark.slow
def test_synth_generates_a_set_that_check_accepts(here: Here, tmp_path: Path) -> None:
    done = here("synth", "set", "--count", 6, "--seed", 5)
    assert done.code == 0, done.err
    assert "set: 6 synthetic images and masks, seed 5" in done.out
    assert here("check", "set").code == 0


def test_fetch_of_other_bytes_than_the_published_ones_is_exit_1_unless_accepted(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.download.fetch.digests", lambda: TABLE)
    resized, published = write_set(tmp_path / "resized", make_set(width=24)), write_set(tmp_path / "published", FILES)
    done = here("fetch", "--from", published, "--out", "whole")
    assert (done.code, done.err) == (0, "")
    for first_or_already_there in range(2):
        done = here("fetch", "--from", resized, "--out", "copy")
        assert done.code == 1, first_or_already_there
        assert "0 of 16 files are the published bytes" in done.out
        assert done.err.startswith("FAILED: usable, but") and "pass --accept-digests" in done.err
    done = here("fetch", "--from", resized, "--out", "copy", "--accept-digests")
    assert done.code == 0 and done.err.startswith("warning: usable, but")
