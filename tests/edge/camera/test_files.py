"""Recordings: video files and image folders; and which camera a text selects."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera import Camera, CameraSettings, build_camera
from edge.errors import UserError
from edge.images import Frame, write_image

SETTINGS = CameraSettings(fps=4.0)
FPS = 12.5
FRAMES = 10


def image(number: int) -> Frame:
    """Red in the first frame, greener in each later one."""
    return np.full((48, 64, 3), (255 - 20 * number, 20 * number, 0), np.uint8)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "fire.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (64, 48))
    for number in range(FRAMES):
        writer.write(cv2.cvtColor(image(number), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def read_all(camera: Camera) -> list[tuple[float | None, Frame]]:
    camera.open()
    frames = []
    while (frame := camera.read()) is not None:
        frames.append((frame.t_s, frame.rgb))
    camera.close()
    return frames


def test_a_video_returns_rgb_frames_with_its_own_times_each_time_it_is_opened(video: Path) -> None:
    camera = build_camera(str(video), SETTINGS)
    for _ in range(2):
        frames = read_all(camera)
        assert [t_s for t_s, _ in frames] == pytest.approx([number / FPS for number in range(FRAMES)], abs=0.001)
        for number, (_, rgb) in enumerate(frames):
            assert np.abs(rgb.mean(axis=(0, 1)) - image(number)[0, 0]).max() < 8


def test_frames_of_a_video_share_no_memory(video: Path) -> None:
    (_, first), (_, second), *_ = read_all(build_camera(str(video), SETTINGS))
    assert not np.shares_memory(first, second)


def test_a_truncated_video_plays_what_it_contains_or_is_refused(video: Path, tmp_path: Path) -> None:
    for size_bytes in (0, 100, 2000, video.stat().st_size // 2):
        truncated = tmp_path / "truncated.avi"
        truncated.write_bytes(video.read_bytes()[:size_bytes])
        try:
            assert 0 < len(read_all(build_camera(str(truncated), SETTINGS))) <= FRAMES
        except UserError as error:
            assert str(truncated) in str(error)


def test_an_image_folder_plays_in_name_order(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        write_image(tmp_path / f"frame-{number}.png", image(number))
    (tmp_path / "notes.txt").write_text("not an image")
    frames = read_all(build_camera(str(tmp_path), SETTINGS))
    assert [t_s for t_s, _ in frames] == [0, 0.25, 0.5]
    assert all(np.array_equal(rgb, image(number)) for number, (_, rgb) in enumerate(frames))


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="contains no images: expected"):
        read_all(build_camera(str(tmp_path), SETTINGS))


@pytest.mark.parametrize(
    "text", ["gone.mp4", "", "ftp://camera/live", "rtsp://me:hunter2@cam/a b", "http://me:hunter2@cam:x/"]
)
def test_an_invalid_source_is_refused_without_showing_its_password(text: str) -> None:
    with pytest.raises(UserError) as caught:
        build_camera(text, SETTINGS)
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.remedy
    assert "hunter2" not in str(caught.value)


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
def test_the_text_selects_the_camera_and_its_name_hides_the_password(text: str, name: str, live: bool) -> None:
    camera = build_camera(text, SETTINGS)
    assert (camera.name, camera.live) == (name, live)
