"""Recordings and labels: a CSV with file names relative to it, a folder, one video; one clear line for each mistake."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from edge.errors import UserError
from edge.evaluation.recordings import Label, Recording, read_recordings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.AVI", "._c.mp4", "notes.txt"):
        (tmp_path / name).touch()
    return tmp_path


def write_csv(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text)
    return path


def test_a_csv_gives_labels_and_times_with_files_relative_to_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    path = write_csv(
        folder, '﻿file,label,fire_from_s,fire_to_s,group,note\na.mp4,fire,1.5,,night,"far, small"\nb.AVI,none,,,,\n'
    )
    assert read_recordings(path) == [
        Recording(folder / "a.mp4", Label.FIRE, 1.5, math.inf, "night", "far, small"),
        Recording(folder / "b.AVI", Label.NONE),
    ]


def test_a_csv_with_file_and_label_alone_is_enough(folder: Path) -> None:
    (recording,) = read_recordings(write_csv(folder, "label,file\nfire,a.mp4\n"))
    assert (recording.fire_from_s, recording.fire_to_s) == (0, math.inf)


def test_a_folder_is_read_through_its_events_csv(folder: Path) -> None:
    write_csv(folder, "file,label\nb.AVI,none\n").rename(folder / "events.csv")
    assert read_recordings(folder) == [Recording(folder / "b.AVI", Label.NONE)]


def test_without_labels_every_video_of_a_folder_is_shown_and_none_is_scored(folder: Path) -> None:
    assert read_recordings(folder) == [Recording(folder / "a.mp4", Label.ANY), Recording(folder / "b.AVI", Label.ANY)]
    assert read_recordings(folder / "a.mp4") == [Recording(folder / "a.mp4", Label.ANY)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "labels.csv has no columns file, label: expected the columns file,label,fire_from_s,fire_to_s,group,note"),
        ("name,label\na.mp4,fire\n", "labels.csv has no column file: expected the columns"),
        ("file,label\n", "labels.csv lists no recordings: expected one line for each"),
        ("file,label\na.mp4,smoke\n", "labels.csv, line 2: label 'smoke': expected fire, none, any"),
        ("file,label\na.mp4\n", "labels.csv, line 2: label '': expected fire, none, any"),
        ("file,label\nz.mp4,fire\n", "z.mp4 does not exist: check the name; it is relative to the CSV"),
        ("file,label,fire_from_s\na.mp4,fire,soon\n", "line 2: fire_from_s 'soon': expected seconds from 0"),
        ("file,label,fire_from_s\na.mp4,fire,nan\n", "line 2: fire_from_s 'nan': expected seconds from 0"),
        ("file,label,fire_to_s\na.mp4,fire,-1\n", "line 2: fire_to_s '-1': expected seconds from 0"),
        ("file,label,fire_from_s,fire_to_s\na.mp4,fire,5,5\n", "line 2: fire_to_s 5 is not after fire_from_s 5"),
        ("file,label,fire_from_s\na.mp4,none,3\n", "line 2: a time of fire with the label none"),
        ("file,label\na.mp4,fire,far, small\n", "line 2: more cells than columns"),
        ("file,label\na.mp4,fire\na.mp4,none\n", "labels.csv: a.mp4 is listed twice: keep one line"),
        ('file,label\n"a.mp4,fire\n', "labels.csv is not a CSV in UTF-8"),
        ("file,label\n\udce9.mp4,fire\n", "labels.csv is not a CSV in UTF-8"),
    ],
)
def test_a_mistake_in_a_csv_is_one_line_that_names_it(folder: Path, text: str, problem: str) -> None:
    path = folder / "labels.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError) as caught:
        read_recordings(path)
    (line,) = caught.value.lines
    assert problem in line


def test_all_mistakes_are_named_at_once(folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_recordings(write_csv(folder, "file,label\na.mp4,smoke\nz.mp4,fire\n"))
    assert len(caught.value.lines) == 2


def test_a_missing_path_and_an_empty_folder_say_what_was_expected(folder: Path) -> None:
    with pytest.raises(UserError, match=r"gone.csv does not exist: expected a CSV of recordings, a folder or a video"):
        read_recordings(folder / "gone.csv")
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty contains no recordings: expected events.csv, or videos"):
        read_recordings(folder / "empty")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("file,label,fire_form_s", "the column 'fire_form_s': expected fire_from_s, once"),
        ("file,label,label", "the column 'label': expected label, once"),
    ],
)
def test_a_misspelt_or_doubled_column_is_refused(tmp_path: Path, header: str, words: str) -> None:
    (tmp_path / "list.csv").write_text(f"{header}\na.avi,none,\n")
    with pytest.raises(UserError, match=words):
        read_recordings(tmp_path / "list.csv")


def test_a_name_too_long_for_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"file,label\n{'a' * 300},none\n")
    for path in (tmp_path / "list.csv", Path("a" * 300)):
        with pytest.raises(UserError, match=r"does not exist|too long"):
            read_recordings(path)
