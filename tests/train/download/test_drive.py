"""Fetching the set from Google Drive. A stub replaces gdown, whose addresses are built in."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gdown
import pytest
from requests import ConnectionError

from tests.support.small_set import FAST, FILES, Files, fetch_error, fetch_set, zipped
from train.download.fetch import MIRROR_URL

IN_DRIVE = {f"Fire Dataset/{name}": data for name, data in FILES.items()}


class Drive:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, files: Files, quota: int = 10_000) -> None:
        self.files, self.quota, self.downloads = files, quota, Counter[str]()
        monkeypatch.setattr(gdown, "download_folder", self.list)
        monkeypatch.setattr(gdown, "download", self.download)

    def list(self, **options: Any) -> list[Any]:
        assert options["skip_download"] and options["timeout"] == FAST.timeout_s
        return [SimpleNamespace(id=f"id-{i}", path=path) for i, path in enumerate(self.files)]

    def download(self, **options: Any) -> None:
        assert options["timeout"] == FAST.timeout_s and options["retries"] == FAST.retries
        if self.downloads.total() >= self.quota:
            raise gdown.exceptions.FileURLRetrievalError("Too many users have\n viewed this file")
        path = list(self.files)[int(options["id"].removeprefix("id-"))]
        self.downloads[path] += 1
        Path(options["output"]).write_bytes(self.files[path])


def test_drive_gives_the_set_file_by_file(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    Drive(monkeypatch, IN_DRIVE)
    assert fetch_set(out, "drive").is_published


def test_drive_may_hold_an_archive(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    Drive(monkeypatch, {"Fire Dataset.zip": zipped(FILES)})
    assert fetch_set(out, "drive").is_published
    assert list(out.parent.iterdir()) == [out]


def test_an_incomplete_listing_is_an_error_before_any_download(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    drive = Drive(monkeypatch, dict(list(IN_DRIVE.items())[:5]))
    message = fetch_error(out, "drive")
    assert "Google Drive lists 5 of the 16 missing files" in message and MIRROR_URL in message
    assert drive.downloads.total() == 0


def test_a_download_stopped_by_the_quota_resumes(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    drive = Drive(monkeypatch, IN_DRIVE, quota=6)
    assert "Too many users have viewed this file" in fetch_error(out, "drive")
    drive.quota = 10_000
    assert fetch_set(out, "https://drive.google.com/drive/folders/1Xfq").is_published
    assert set(drive.downloads.values()) == {1}


def test_an_unreachable_drive_says_why_and_how_to_go_on(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    def fail(**options: Any) -> None:
        raise ConnectionError("HTTPSConnectionPool(...): Connection refused")

    monkeypatch.setattr(gdown, "download_folder", fail)
    message = fetch_error(out, "drive")
    assert "(Google Drive: connection refused)" in message and MIRROR_URL in message
