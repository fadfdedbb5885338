"""Missing V4L2 and RTSP cameras: a camera error in one line, without a password, also in what OpenCV prints."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edge.camera import CameraSettings, build_camera
from edge.camera.base import CameraError
from edge.camera.opencv import V4l2Camera

SETTINGS = CameraSettings(timeout_s=0.5)
ROOT = Path(__file__).parents[3]
OPEN_RTSP = """
import sys
from edge.camera import CameraError, CameraSettings, build_camera
try:
    build_camera(sys.argv[1], CameraSettings(timeout_s=1.0)).open()
except CameraError as error:
    print(error)
"""


def test_the_error_for_a_missing_device_lists_the_devices() -> None:
    with pytest.raises(CameraError, match=r"/dev/video97 does not exist \(found: .*\): plug the camera in"):
        build_camera("97", SETTINGS).open()


def test_a_device_that_is_not_a_camera_is_a_camera_error(tmp_path: Path) -> None:
    path = tmp_path / "video0"
    path.write_text("not a camera")
    camera = V4l2Camera(str(path), SETTINGS)
    with pytest.raises(CameraError, match="could not be opened"):
        camera.open()
    camera.close()


def test_a_missing_rtsp_camera_shows_no_password_not_even_through_opencv() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"rtsp://admin:hunter2@127.0.0.1:{port}/live?token=hunter2"
    command = [sys.executable, "-c", OPEN_RTSP, address]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.stdout.startswith("rtsp://***@127.0.0.1")
    assert "does not answer (Connection refused): check the address and that it is on" in ended.stdout
    assert ended.stderr == ""
    assert "hunter2" not in ended.stdout
