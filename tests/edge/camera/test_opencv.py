"""Cameras by OpenCV that are not there: one line that may pass, and no password in it, nor in what OpenCV prints."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edge.camera import CameraSettings, build_camera
from edge.camera.base import CameraError

SETTINGS = CameraSettings(timeout_s=0.5)
ROOT = Path(__file__).parents[3]
OPEN_RTSP = """
import sys
from edge.camera import SourceSettings, make_source
source = make_source(sys.argv[1], SourceSettings(timeout_s=1.0))
try:
    source.open()
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_device_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(
        CameraError, match=r"there is no /dev/video97 \(there is .*\): plug the camera in, or name another"
    ):
        build_camera("97", SETTINGS).open()


def test_a_device_that_is_no_camera_may_become_one(tmp_path: Path) -> None:
    from edge.camera.device import Device

    path = tmp_path / "video0"
    path.write_text("no camera")
    source = Device(str(path), SETTINGS)
    with pytest.raises(CameraError, match="could not be opened"):
        source.open()
    source.close()


def test_an_rtsp_camera_that_is_not_there_shows_no_password_not_even_in_opencv_s_own_words() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-c", OPEN_RTSP, f"rtsp://admin:hunter2@127.0.0.1:{port}/live?token=hunter2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith("SourceError rtsp://***@127.0.0.1")
    assert "could not be opened" in done.stdout
    assert done.stderr == ""
    assert "hunter2" not in done.stdout
