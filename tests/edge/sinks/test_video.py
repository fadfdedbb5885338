"""Recordings: one frame per result, in files with any name, and what a full disk costs them."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import UserError
from edge.sinks.video import CODECS, VideoRecorder, ascii_link
from tests.support.factories import result
from tests.support.small_disk import fill, small_disk


def record(sink: VideoRecorder, count: int) -> None:
    """Give the recorder frames of noise, about a hundred kilobytes each in an .avi."""
    rng = np.random.default_rng(0)
    for number in range(count):
        rgb = rng.integers(0, 256, (240, 320, 3), np.uint8)
        sink.on_result(replace(result(number / 10, 0.0, on=False), rgb=rgb))


def readable_frames(path: Path) -> int:
    with ascii_link(path) as name:
        capture, count = cv2.VideoCapture(name), 0
        while capture.read()[0]:
            count += 1
        return count


@pytest.mark.parametrize("suffix", CODECS)
def test_a_recording_has_one_frame_per_result_whatever_its_name(tmp_path: Path, suffix: str) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9/f\xfcr" + suffix.encode()))
    sink = VideoRecorder(path, 9.97)
    record(sink, 7)
    sink.close()
    assert readable_frames(path) == 7
    assert sink.lost_files == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("suffix", CODECS)
def test_on_a_full_disk_a_recording_ends_playable_and_is_counted_as_lost(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk", 2) as disk:
        path = disk / f"out{suffix}"
        sink = VideoRecorder(path, 10)
        record(sink, 3)
        assert sink.lost_files == 0
        fill(disk, leave_bytes=600 << 10)
        record(sink, 3)
        assert sink.lost_files == 1
        sink.close()
        assert readable_frames(path) == 3
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        f"the recording {path} is incomplete (No space left on device): it ends after 3 frames, the run goes on"
    )


def test_a_recording_whose_end_could_not_be_written_is_counted_as_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk", 2) as disk:
        sink = VideoRecorder(disk / "out.mp4", 10)
        record(sink, 3)
        fill(disk)  # after the last frame
        sink.close()
    assert sink.lost_files == 1
    assert "0 of 3 frames are readable" in caplog.text


def test_a_recording_that_cannot_be_opened_is_lost_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "out.mp4").mkdir()
    sink = VideoRecorder(tmp_path / "out.mp4", 10)
    record(sink, 2)
    sink.close()
    assert sink.lost_files == 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert "Is a directory" in line


def test_a_recording_that_never_had_space_leaves_no_empty_file(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2) as disk:
        fill(disk)
        sink = VideoRecorder(disk / "out.mp4", 10)
        record(sink, 2)
        sink.close()
        assert sink.lost_files == 1
        assert [path.name for path in disk.iterdir()] == ["filling"]


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected \.mp4, \.avi or \.mkv"):
        VideoRecorder(tmp_path / "out.txt", 10)
