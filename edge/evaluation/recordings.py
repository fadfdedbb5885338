"""Recordings and their labels: a CSV, a folder, or a single video."""

from __future__ import annotations

import csv
import difflib
import io
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from edge.errors import UserError, UserErrors, one_line
from edge.files import printable, read_limited

LABELS_FILE = "events.csv"
COLUMNS = ("file", "label")
OPTIONAL_COLUMNS = ("fire_from_s", "fire_to_s", "group", "note")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm", ".mpg", ".mpeg", ".ts", ".mjpeg")
MAX_NAME_BYTES = 255  # of a file or folder, on Linux
MAX_CSV_BYTES = 4 << 20


class Label(StrEnum):
    """What a recording shows."""

    FIRE = "fire"
    NONE = "none"
    ANY = "any"
    """Replayed and shown, not scored."""


@dataclass(frozen=True)
class Recording:
    """One video with its label."""

    path: Path
    label: Label = Label.ANY
    fire_from_s: float = 0.0
    """When the fire begins; of recordings with fire."""
    fire_to_s: float = math.inf
    """When the fire ends; infinite for the end of the recording."""
    group: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        return printable(self.path.name)


def read_recordings(path: Path) -> list[Recording]:
    """Return the recordings of a CSV, a folder or a video file. Raises `UserError` with one line per mistake.

    The CSV has the columns `file` and `label` (fire, none or any) and optionally `fire_from_s` (empty: 0),
    `fire_to_s` (empty: the end), `group` and `note`. File names are relative to the CSV. A folder is read through its
    `events.csv`; without one, each of its videos gets the label `any`.
    """
    if _is_too_long(path):
        raise UserError(f"{printable(path)[:40]}… is too long for a path", "expected a CSV, a folder or a video")
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises without permission
        labels = path / LABELS_FILE
        if labels.is_file():
            return _read_csv(labels)
        videos = sorted(file for file in path.iterdir() if _is_video(file))
        if not videos:
            remedy = f"expected {LABELS_FILE}, or videos such as .mp4, .avi or .mkv"
            raise UserError(f"{printable(path)} contains no recordings", remedy)
        return [Recording(video) for video in videos]
    if not os.path.isfile(path):  # noqa: PTH113
        remedy = "expected a CSV of recordings, a folder or a video"
        raise UserError(f"{printable(path)} does not exist", remedy)
    return [Recording(path)] if _is_video(path) else _read_csv(path)


def _is_too_long(path: Path) -> bool:
    return any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in path.parts)


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _read_csv(path: Path) -> list[Recording]:
    name = printable(path)
    columns = ",".join((*COLUMNS, *OPTIONAL_COLUMNS))
    try:
        text = read_limited(path, MAX_CSV_BYTES, "check the path", "labels").decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        header, rows = reader.fieldnames or [], [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{name} is not a CSV in UTF-8 ({error})", f"expected the columns {columns}") from error
    if missing := [column for column in COLUMNS if column not in header]:
        plural = "s" if len(missing) > 1 else ""
        raise UserError(f"{name} has no column{plural} {', '.join(missing)}", f"expected the columns {columns}")
    known = (*COLUMNS, *OPTIONAL_COLUMNS)
    for column in header:  # others are ignored, such as a licence
        near = difflib.get_close_matches(column, known, n=1, cutoff=0.75)
        if near and (column not in known or header.count(column) > 1):
            raise UserError(f"{name} has the column {one_line(column)!r}", f"expected {near[0]}, once")
    if not rows:
        raise UserError(f"{name} lists no recordings", "expected one line for each")
    recordings: list[Recording] = []
    errors: list[str] = []
    for line, row in rows:
        if not any(row.values()):
            continue  # an empty row of a spreadsheet
        try:
            recordings.append(_recording(path.parent, row))
        except UserError as error:
            errors += (f"{name}, line {line}: {text}" for text in error.lines)
    errors += (f"{name}: {text}" for text in _duplicates(recordings))
    if errors:
        raise UserErrors(errors)
    return recordings


def _recording(folder: Path, row: dict[str | None, str | None]) -> Recording:
    """Return the recording of one row. Raises `UserError`."""
    if None in row:
        raise UserError("more cells than columns", 'put a note with commas in quotes, such as "steam, a lamp"')
    cells = {key: (value or "").strip() for key, value in row.items()}
    file, label = cells["file"], cells["label"]
    if label not in list(Label):
        raise UserError(f"label {one_line(label)!r}", f"expected {', '.join(Label)}")
    path = folder / file
    if not file or "\0" in file or _is_too_long(path) or not path.is_file():
        raise UserError(f"{printable(path)} does not exist", "check the name; it is relative to the CSV")
    times = [_seconds(cells.get(column, ""), column) for column in ("fire_from_s", "fire_to_s")]
    if label != Label.FIRE and any(time is not None for time in times):
        raise UserError(f"a time of fire with the label {label}", "leave both times empty, or use the label fire")
    fire_from_s = 0.0 if times[0] is None else times[0]
    fire_to_s = math.inf if times[1] is None else times[1]
    if fire_to_s <= fire_from_s:
        raise UserError(f"fire_to_s {fire_to_s:g} is not after fire_from_s {fire_from_s:g}", "swap or correct them")
    return Recording(path, Label(label), fire_from_s, fire_to_s, cells.get("group", ""), cells.get("note", ""))


def _seconds(text: str, column: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UserError(f"{column} {one_line(text)!r}", "expected seconds from 0, such as 1.5, or nothing")
    return seconds


def _duplicates(recordings: list[Recording]) -> Iterator[str]:
    """Yield an error for each file that is listed twice: it would count twice."""
    seen: set[Path] = set()
    for recording in recordings:
        if recording.path in seen:
            yield f"{recording.name} is listed twice: keep one line"
        seen.add(recording.path)
