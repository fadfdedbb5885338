"""The Pi camera, against a double with picamera2's documented interface."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from edge.assembly import camera_settings
from edge.camera import Camera, CameraSettings, build_camera
from edge.camera.base import CameraError
from edge.config import Config
from edge.detection.views import useful_zoom
from edge.errors import UserError
from edge.images import Frame

SETTINGS = CameraSettings(size=(64, 48), model_size=(24, 20), fps=5.0, timeout_s=2.0)
PADDED = 32  # rows of the model-size stream have a multiple of this length


def scene(width: int, height: int) -> Frame:
    """Orange on the left, blue on the right."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[:, : width // 2], frame[:, width // 2 :] = (250, 120, 10), (20, 40, 200)
    return frame


class Request:
    def __init__(self, camera: FakePicamera2) -> None:
        self.camera = camera
        camera.held += 1

    def make_array(self, name: str) -> np.ndarray:
        width, height = self.camera.config[name]["size"]
        if name == "main":
            return scene(width, height)
        planes = cv2.cvtColor(scene(width, height), cv2.COLOR_RGB2YUV_I420)
        luma, chroma = planes[:height], planes[height:].reshape(height, width // 2)
        padding = -width % PADDED
        luma = np.pad(luma, ((0, 0), (0, padding)), constant_values=77)
        chroma = np.pad(chroma, ((0, 0), (0, padding // 2)), constant_values=77)
        return np.concatenate([luma.reshape(-1), chroma.reshape(-1)]).reshape(height * 3 // 2, width + padding)

    def get_metadata(self) -> dict[str, Any]:
        return {"SensorTimestamp": time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 40_000_000}

    def release(self) -> None:
        self.camera.held -= 1


class FakePicamera2:
    """The part of Picamera2 that a read loop uses."""

    cameras = 1
    opened: list[FakePicamera2]

    def __init__(self) -> None:
        if not FakePicamera2.cameras:
            raise IndexError("list index out of range")
        self.config: dict[str, Any] = {}
        self.started = self.closed = self.silent = False
        self.held = 0
        FakePicamera2.opened.append(self)

    def create_video_configuration(self, **config: Any) -> dict[str, Any]:
        assert set(config) <= {"main", "lores", "raw", "transform", "colour_space", "buffer_count", "controls", "queue"}
        return config

    def configure(self, config: dict[str, Any]) -> None:
        (width, height), (small_width, small_height) = config["main"]["size"], config["lores"]["size"]
        if small_width > width or small_height > height:
            raise RuntimeError("lores stream dimensions may not exceed main stream")
        self.config = config

    def start(self) -> None:
        assert self.config
        self.started = True

    def capture_request(self, wait: float | None = None) -> Request:
        assert self.started
        assert wait
        if self.silent:
            raise TimeoutError
        assert self.held < self.config["buffer_count"], "all buffers are held: the camera stalls"
        return Request(self)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def picamera2(monkeypatch: pytest.MonkeyPatch) -> type[FakePicamera2]:
    module, libcamera = ModuleType("picamera2"), ModuleType("libcamera")
    module.Picamera2 = FakePicamera2  # type: ignore[attr-defined]
    libcamera.ColorSpace = SimpleNamespace(Smpte170m=lambda: "SMPTE170M")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    monkeypatch.setitem(sys.modules, "libcamera", libcamera)
    monkeypatch.setattr(FakePicamera2, "cameras", 1)
    monkeypatch.setattr(FakePicamera2, "opened", [], raising=False)
    return FakePicamera2


@pytest.fixture
def camera(picamera2: type[FakePicamera2]) -> Camera:
    """An opened Pi camera."""
    camera = build_camera("picamera2", SETTINGS)
    camera.open()
    return camera


def test_the_camera_scales_and_stamps_the_frame(picamera2: type[FakePicamera2], camera: Camera) -> None:
    before_s = time.monotonic()
    frame = camera.read()
    assert frame is not None and frame.model_rgb is not None and frame.captured_s is not None
    assert picamera2.opened[0].config["lores"] == {"size": (24, 20), "format": "YUV420"}
    assert np.array_equal(frame.rgb, scene(64, 48))
    assert frame.model_rgb.shape == (20, 24, 3)
    assert np.abs(frame.model_rgb.astype(int) - scene(24, 20)).max() < 12  # YUV rounds colours
    assert before_s - 0.5 < frame.captured_s < time.monotonic() - 0.039


def test_every_buffer_is_returned_to_the_camera(picamera2: type[FakePicamera2], camera: Camera) -> None:
    for _ in range(20):
        camera.read()
    assert picamera2.opened[0].held == 0


def test_the_default_size_gives_tiles_a_frame_of_their_own_resolution(picamera2: type[FakePicamera2]) -> None:
    settings = camera_settings(Config(), None)
    camera = build_camera("picamera2", settings)
    camera.open()
    frame = camera.read()
    assert frame is not None and frame.model_rgb is not None
    assert useful_zoom(frame.rgb.shape[:2], frame.model_rgb.shape[:2]) == 3
    assert picamera2.opened[0].config["buffer_count"] * frame.rgb.nbytes < 12e6


def test_a_silent_camera_is_a_camera_error_and_is_released(picamera2: type[FakePicamera2], camera: Camera) -> None:
    picamera2.opened[0].silent = True
    with pytest.raises(CameraError, match="returns no more frames"):
        camera.read()
    camera.close()
    camera.close()
    assert picamera2.opened[0].closed


def test_a_missing_camera_is_a_camera_error(picamera2: type[FakePicamera2], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picamera2, "cameras", 0)
    with pytest.raises(CameraError, match="no Pi camera found"):
        build_camera("picamera2", SETTINGS).open()


def test_the_error_for_missing_picamera2_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(UserError, match="sudo apt install -y python3-picamera2"):
        build_camera("picamera2", SETTINGS)


def test_the_error_for_an_incompatible_numpy_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "picamera2.py").write_text('raise ValueError("numpy.dtype size changed")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "picamera2", raising=False)
    with pytest.raises(UserError, match=r"size changed.*pip install --ignore-installed simplejpeg"):
        build_camera("picamera2", SETTINGS)
