"""Recordings: video files and image folders; and which camera a text selects."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera import Camera, CameraSettings, build_camera
from edge.camera.base import BrokenFrameError
from edge.camera.opencv import V4l2Camera
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


QUARTER_TURN = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
"""The display matrix of an MP4 that is shown turned by 90 degrees."""


def mp4(path: Path, frames: list[Frame]) -> bytearray:
    """Write a video and return its bytes."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return bytearray(path.read_bytes())


@pytest.mark.skipif(cv2.__version__.startswith("4.6."), reason="OpenCV 4.6 rotates in the wrong direction")
def test_a_video_is_rotated_by_its_metadata(tmp_path: Path) -> None:
    path, frame = tmp_path / "phone.mp4", np.zeros((48, 64, 3), np.uint8)
    frame[:, :32, 0] = 255  # red on the left
    data = mp4(path, [frame] * 3)
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + len(QUARTER_TURN)] = QUARTER_TURN
    path.write_bytes(data)
    (_, upright), *_ = read_all(build_camera(str(path), SETTINGS))
    assert upright.shape == (64, 48, 3)
    assert upright[:28, :, 0].min() > 150 > 100 > upright[36:, :, 0].max()  # now on top


def test_a_video_that_is_damaged_inside_ends_with_its_damaged_frames_counted(tmp_path: Path) -> None:
    path, noise = tmp_path / "torn.mp4", np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), np.uint8)
    data = mp4(path, list(noise))
    middle = data.index(b"mdat") + 12_000
    data[middle : middle + 1500] = bytes(1500)
    path.write_bytes(data)
    camera = build_camera(str(path), SETTINGS)
    camera.open()
    with pytest.raises(BrokenFrameError, match=r"torn\.mp4: damaged frames: \d, the first at 0\.\d s") as caught:
        while camera.read() is not None:
            pass
    assert 1 <= caught.value.count < len(noise)
    assert camera.read() is None
    camera.close()


def test_a_video_of_absurd_size_is_refused(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.images.MAX_SIDE", 63)
    with pytest.raises(UserError, match="has 64x48 px: expected at most"):
        build_camera(str(video), SETTINGS).open()


def test_recordings_with_names_that_are_not_utf8_are_played(video: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    write_image(folder / os.fsdecode(b"\xfc.png"), image(1))
    for path in (folder, video.rename(folder / os.fsdecode(b"\xfc.avi"))):
        camera = build_camera(str(path), SETTINGS)
        assert read_all(camera)
        assert r"caf\xe9" in camera.name


def test_a_broken_image_of_a_folder_is_a_broken_frame_and_the_next_is_read(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / f"{number}.png", image(number))
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:-9])
    camera = build_camera(str(tmp_path), SETTINGS)
    camera.open()
    assert camera.read()
    with pytest.raises(BrokenFrameError, match=r"1\.png is cut short"):
        camera.read()
    frame = camera.read()
    assert frame is not None and frame.t_s == 0.5
    assert camera.read() is None


def test_a_single_image_plays_as_a_folder_of_one(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", image(3))
    assert len(read_all(build_camera(str(tmp_path / "a.png"), SETTINGS))) == 1
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.png is not a readable image"):
        read_all(build_camera(str(tmp_path / "a.png"), SETTINGS))


def test_links_to_a_video_device_are_cameras_plugged_in_or_not(tmp_path: Path) -> None:
    link = tmp_path / "front-door"
    link.symlink_to("/dev/video97")
    for text in ("/dev/v4l/by-id/usb-046d_HD_Pro-video-index0", "/dev/front-door", str(link)):
        camera = build_camera(text, SETTINGS)
        assert isinstance(camera, V4l2Camera)
        assert (camera.name, camera.live) == (text, True)


def test_a_device_node_of_v4l2_is_a_camera_whatever_its_path(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "camera", stat.S_IFCHR | 0o600, os.makedev(81, 97))
    except PermissionError:
        pytest.skip("making device nodes needs root")
    assert isinstance(build_camera(str(tmp_path / "camera"), SETTINGS), V4l2Camera)


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


def test_a_link_to_itself_is_refused_as_a_source(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="is neither a file nor a folder nor a camera"):
        build_camera(str(tmp_path / "loop"), SETTINGS)


@pytest.mark.parametrize(
    "text", ["gone.mp4", "", "ftp://camera/live", "x" * 5000, "rtsp://me:hunter2@cam/a b", "http://me:hunter2@cam:x/"]
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
