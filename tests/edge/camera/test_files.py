"""Recordings: video files, folders of pictures, and which source a word means."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera import Camera, CameraSettings, build_camera
from edge.errors import UserError
from edge.images import Frame, write_picture

SETTINGS = CameraSettings(fps=4.0)
FPS = 12.5
FRAMES = 10


def picture(number: int) -> Frame:
    """Red in the first frame, greener in each that follows."""
    return np.full((48, 64, 3), (255 - 20 * number, 20 * number, 0), np.uint8)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "fire.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (64, 48))
    for number in range(FRAMES):
        writer.write(cv2.cvtColor(picture(number), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def read_all(source: Camera) -> list[tuple[float | None, Frame]]:
    source.open()
    shots = []
    while (shot := source.read()) is not None:
        shots.append((shot.t_s, shot.rgb))
    source.close()
    return shots


def test_a_video_gives_every_frame_in_rgb_at_its_own_time(video: Path) -> None:
    shots = read_all(build_camera(str(video), SETTINGS))
    assert [t_s for t_s, _ in shots] == pytest.approx([number / FPS for number in range(FRAMES)], abs=0.001)
    for number, (_, rgb) in enumerate(shots):
        assert np.abs(rgb.mean(axis=(0, 1)) - picture(number)[0, 0]).max() < 8


def test_a_video_can_be_opened_again_from_its_beginning(video: Path) -> None:
    source = build_camera(str(video), SETTINGS)
    assert len(read_all(source)) == len(read_all(source)) == FRAMES


def test_the_frames_of_a_video_are_arrays_of_their_own(video: Path) -> None:
    source = build_camera(str(video), SETTINGS)
    source.open()
    first, second = source.read(), source.read()
    assert first is not None
    assert second is not None
    assert not np.shares_memory(first.rgb, second.rgb)
    source.close()


def test_a_video_cut_short_gives_what_it_holds_or_is_refused_in_one_line(video: Path, tmp_path: Path) -> None:
    for size_bytes in (0, 100, 2000, video.stat().st_size // 2):
        cut = tmp_path / "cut.avi"
        cut.write_bytes(video.read_bytes()[:size_bytes])
        try:
            assert 0 < len(read_all(build_camera(str(cut), SETTINGS))) <= FRAMES
        except UserError as error:
            assert str(cut) in str(error)


def test_a_folder_of_pictures_plays_in_the_order_of_their_names(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        write_picture(tmp_path / f"frame-{number}.png", picture(number))
    (tmp_path / "notes.txt").write_text("no picture")
    shots = read_all(build_camera(str(tmp_path), SETTINGS))
    assert [t_s for t_s, _ in shots] == [0, 0.25, 0.5]
    assert all(np.array_equal(rgb, picture(number)) for number, (_, rgb) in enumerate(shots))


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no pictures"):
        read_all(build_camera(str(tmp_path), SETTINGS))


@pytest.mark.parametrize(
    "text", ["gone.mp4", "", "ftp://camera/live", "rtsp://me:hunter2@cam/a b", "http://me:hunter2@cam:x/"]
)
def test_what_means_no_source_is_refused_without_showing_a_password(text: str) -> None:
    with pytest.raises(UserError) as told:
        build_camera(text, SETTINGS)
    assert len(str(told.value).splitlines()) == 1
    assert "expected" in str(told.value) or "write it as" in str(told.value)
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "name", "live"),
    [
        ("0", "/dev/video0", True),
        ("/dev/video2", "/dev/video2", True),
        ("rtsp://me:hunter2@cam/live", "rtsp://***@cam/live", True),
        ("HTTP://me:hunter2@cam/live?token=hunter2", "HTTP://***@cam/live?token=***", True),
        ("test-pattern", "test-pattern", False),
    ],
)
def test_a_source_is_known_by_how_it_reads_and_named_without_its_password(text: str, name: str, live: bool) -> None:
    source = build_camera(text, SETTINGS)
    assert (source.name, source.live) == (name, live)
