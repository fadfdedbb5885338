"""The folder of images and clips: what is deleted, in which order, and what a wrong clock cannot delete."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge.sinks.retention import Retention

DAY_S = 86400.0
NOW_S = 1e9


class Clock:
    """Wall clock and monotonic clock."""

    now_s, clock_s = NOW_S, 0.0

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self.clock_s += seconds


def event_files(folder: Path, *ages_days: float, now_s: float = NOW_S) -> list[Path]:
    """Files of 1000 bytes."""
    paths = []
    for number, days in enumerate(ages_days):
        path = folder / f"2026112{number}T120000Z-frame-abcd.mp4"
        path.write_bytes(bytes(1000))
        os.utime(path, (now_s - days * DAY_S,) * 2)
        paths.append(path)
    return paths


def retention(folder: Path, clock: Clock, *, max_bytes: float = 1e9, max_days: float = 30.0) -> Retention:
    return Retention(folder, max_bytes, max_days * DAY_S, now=lambda: clock.now_s, clock=lambda: clock.clock_s)


def test_the_oldest_files_go_until_the_folder_is_small_enough(tmp_path: Path) -> None:
    oldest, newest, middle = event_files(tmp_path, 9, 1, 5)
    assert retention(tmp_path, Clock(), max_bytes=3000).apply() == []
    assert retention(tmp_path, Clock(), max_bytes=2999).apply() == [oldest]
    assert retention(tmp_path, Clock(), max_bytes=1000).apply() == [middle]
    assert [*tmp_path.iterdir()] == [newest]


def test_files_go_when_they_reach_the_age_limit(tmp_path: Path) -> None:
    oldest, newest = event_files(tmp_path, 9, 1)
    clock = Clock()
    folder = retention(tmp_path, clock, max_days=10)
    assert folder.apply() == []
    clock.advance(0.9 * DAY_S)
    assert folder.apply() == []
    clock.advance(0.2 * DAY_S)
    assert folder.apply() == [oldest]
    clock.advance(7.8 * DAY_S)
    assert folder.apply() == []
    clock.advance(0.2 * DAY_S)
    assert folder.apply() == [newest]


@pytest.mark.parametrize("uptime_days", [0.0, 100.0])
def test_a_clock_that_jumps_ahead_deletes_nothing_before_it_can_be_corrected(
    tmp_path: Path, uptime_days: float
) -> None:
    clock = Clock()
    clock.advance(-uptime_days * DAY_S)
    folder = retention(tmp_path, clock)
    event_files(tmp_path, 29, 10, 1)
    folder.apply()
    clock.advance(uptime_days * DAY_S)
    folder.apply()
    clock.now_s += 400 * DAY_S
    # A fire in the meantime, and restarts.
    (tmp_path / "20261129T120000Z-frame-abcd.mp4").touch()
    os.utime(tmp_path / "20261129T120000Z-frame-abcd.mp4", (clock.now_s,) * 2)
    for each in (folder, retention(tmp_path, clock), retention(tmp_path, clock)):
        assert each.apply() == []
    clock.now_s -= 400 * DAY_S
    clock.advance(0.5 * DAY_S)
    assert folder.apply() == []


def test_after_a_long_time_off_old_files_go_a_days_worth_per_hour(tmp_path: Path) -> None:
    files = event_files(tmp_path, 70, 69, 60, 1)
    clock = Clock()
    folder = retention(tmp_path, clock)
    deleted = []
    for _ in range(24):
        deleted.append(len(folder.apply()))
        clock.advance(3600)
    assert deleted == [0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, *[0] * 12]
    assert [*tmp_path.iterdir()] == files[-1:]


@pytest.mark.parametrize("restarts", [False, True])
def test_a_new_fire_outlives_a_clock_that_is_ahead_until_it_can_be_corrected(tmp_path: Path, restarts: bool) -> None:
    clock = Clock()
    folder = retention(tmp_path, clock, max_days=1)
    event_files(tmp_path, 0.02, 0.01, 0.0)
    clock.now_s += 400 * DAY_S
    for minutes in range(0, 5 * 60, 10):
        if restarts and minutes % 60 == 0:
            folder = retention(tmp_path, clock, max_days=1)
        assert folder.apply() == []
        clock.advance(600)
    assert len(retention(tmp_path, clock, max_bytes=1999).apply()) == 2  # the size limit holds nevertheless


def test_a_file_that_cannot_be_deleted_is_logged_once_and_the_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, second, third = event_files(tmp_path, 50, 45, 1)
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == stuck:
            raise PermissionError(1, "Operation not permitted")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    folder = retention(tmp_path, Clock(), max_bytes=1500)
    assert folder.apply() == [second]
    assert folder.apply() == []  # the newest does not go in its place
    assert third.exists()
    assert [record.getMessage() for record in caplog.records] == [
        f"{stuck} could not be deleted (Operation not permitted)"
    ]


def test_a_persons_own_files_and_folders_stay(tmp_path: Path) -> None:
    own = [tmp_path / name for name in ("holiday.jpg", "20261122.jpg", ".hidden.jpg", "20261122T120000Z-frame.txt")]
    for path in own:
        path.write_bytes(bytes(10_000))
        os.utime(path, (0, 0))
    (tmp_path / "20261122T120000Z-frame-abcd.mp4").mkdir()
    assert retention(tmp_path, Clock(), max_bytes=1).apply() == []
    assert len([*tmp_path.iterdir()]) == 5


def test_temporaries_of_a_killed_run_go_and_those_in_use_stay(tmp_path: Path) -> None:
    killed, in_use = (tmp_path / f".20261122T120000Z-frame-abcd-{n:08x}.mp4" for n in range(2))
    for path, age_s in ((killed, 7200), (in_use, 60)):
        path.touch()
        os.utime(path, (NOW_S - age_s,) * 2)
    retention(tmp_path, Clock()).apply()
    assert [*tmp_path.iterdir()] == [in_use]


def test_a_folder_that_does_not_exist_is_within_its_limits(tmp_path: Path) -> None:
    assert retention(tmp_path / "none", Clock()).apply() == []
