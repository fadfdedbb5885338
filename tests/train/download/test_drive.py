"""Fetching the set from Google Drive, whose part is played by a folder: gdown has its addresses built in."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gdown
import pytest
from requests import ConnectionError

from tests.support.small_set import FAST, FILES, Files, bring, refused, zipped
from train.download.remote import Sources


class Drive:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, files: Files, quota: int = 10_000) -> None:
        self.files, self.quota, self.given = files, quota, Counter[str]()
        monkeypatch.setattr(gdown, "download_folder", self.list)
        monkeypatch.setattr(gdown, "download", self.give)

    def list(self, **options: Any) -> list[Any]:
        assert options["skip_download"] and options["timeout"] == FAST.timeout_s
        return [SimpleNamespace(id=f"id-{i}", path=path) for i, path in enumerate(self.files)]

    def give(self, **options: Any) -> None:
        assert options["timeout"] == FAST.timeout_s
        if self.given.total() >= self.quota:
            raise gdown.exceptions.FileURLRetrievalError("Too many users have\n viewed this file")
        path = list(self.files)[int(options["id"].removeprefix("id-"))]
        self.given[path] += 1
        Path(options["output"]).write_bytes(self.files[path])


def in_drive(files: Files) -> Files:
    return {f"Fire Dataset/{name}": data for name, data in files.items()}


def test_drive_gives_the_set_file_by_file(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    Drive(monkeypatch, in_drive(FILES))
    assert bring(out, "drive").verification.is_published


def test_drive_may_hold_an_archive(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    Drive(monkeypatch, {"Fire Dataset.zip": zipped(FILES)})
    assert bring(out, "drive").verification.is_published
    assert list(out.parent.iterdir()) == [out]


def test_a_listing_of_drive_that_stops_short_is_an_error_before_any_download(
    monkeypatch: pytest.MonkeyPatch, out: Path
) -> None:
    drive = Drive(monkeypatch, in_drive({name: FILES[name] for name in list(FILES)[:5]}))
    message = refused(out, "drive")
    assert "Google Drive lists 5 of the 16 files wanted" in message and Sources().mirror in message
    assert drive.given.total() == 0


def test_a_drive_that_refuses_after_some_files_is_resumed(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    drive = Drive(monkeypatch, in_drive(FILES), quota=6)
    assert "Too many users have viewed this file" in refused(out, "drive")
    drive.quota = 10_000
    assert bring(out, "https://drive.google.com/drive/folders/1Xfq").verification.is_published
    assert set(drive.given.values()) == {1}


def test_drive_out_of_reach_says_why_and_how_to_go_on_by_hand(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    def fail(**options: Any) -> None:
        raise ConnectionError("HTTPSConnectionPool(...): Connection refused")

    monkeypatch.setattr(gdown, "download_folder", fail)
    message = refused(out, "drive")
    assert "(Google Drive: connection refused)" in message and Sources().mirror in message


def test_without_gdown_drive_says_what_to_install(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    assert "gdown is not installed" in refused(out, "drive")
