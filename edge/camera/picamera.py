"""The Raspberry Pi camera, through picamera2. The ISP scales each frame to the model size at no CPU cost.

The main stream gives tiles, images and clips, the second one the whole frame at model size. Both show the same view.
"""

from __future__ import annotations

import importlib
import time
from typing import Any

import cv2
import numpy as np

from edge.camera.base import CameraError, CameraFrame, CameraSettings
from edge.errors import UserError
from edge.images import Frame, Map

MAIN, MODEL_SIZE = "main", "lores"  # picamera2's stream names
BUFFERS = 4  # per stream, of 2.8 MB at 1280x720; picamera2's default of 6 is for encoders, and a Pi Zero 2 has 512 MB


class PiCamera:
    live = True
    name = "picamera2"

    def __init__(self, settings: CameraSettings) -> None:
        self._settings = settings
        self._camera: Any = None
        try:
            self._picamera2 = importlib.import_module("picamera2")
            self._libcamera = importlib.import_module("libcamera")
        except ImportError as error:
            remedy = "run `sudo apt install -y python3-picamera2`, and `python3 -m venv --system-site-packages`"
            raise UserError(f"picamera2 cannot be imported ({error})", remedy) from error
        except ValueError as error:  # simplejpeg, a dependency of picamera2, was built for another numpy
            remedy = "run `pip install --ignore-installed simplejpeg` in the virtual environment, to match its numpy"
            raise UserError(f"picamera2 cannot be imported ({error})", remedy) from error

    def open(self) -> None:
        try:
            self._camera = self._picamera2.Picamera2()
        except (IndexError, RuntimeError) as error:  # picamera2 indexes an empty list of cameras
            remedy = "check its cable, and `rpicam-hello --list-cameras`"
            raise CameraError(f"no Pi camera found ({error})", remedy) from error
        try:
            self._camera.configure(
                self._camera.create_video_configuration(
                    main={"size": self._settings.size, "format": "BGR888"},  # picamera2's name for RGB in memory
                    # The only format of this stream on a Pi 4 and older.
                    lores={"size": self._settings.model_size, "format": "YUV420"},
                    # BT.601, limited range: what OpenCV's conversion expects.
                    colour_space=self._libcamera.ColorSpace.Smpte170m(),
                    controls={"FrameRate": self._settings.fps},
                    buffer_count=BUFFERS,
                )
            )
            self._camera.start()
        except RuntimeError as error:
            raise CameraError(f"the Pi camera did not start ({error})", "another program may use it") from error

    def read(self) -> CameraFrame:
        try:
            request = self._camera.capture_request(wait=self._settings.timeout_s)
        except (RuntimeError, TimeoutError) as error:
            raise CameraError(f"the Pi camera returns no more frames ({error})", "check its cable") from error
        try:
            model_rgb = yuv420_to_rgb(request.make_array(MODEL_SIZE), self._settings.model_size)
            return CameraFrame(request.make_array(MAIN), model_rgb, captured_s=captured_s(request.get_metadata()))
        finally:
            request.release()  # else the camera runs out of buffers and stops

    def close(self) -> None:
        if self._camera is not None:
            self._camera.close()
            self._camera = None


def yuv420_to_rgb(planes: Map, size: tuple[int, int]) -> Frame:
    """Convert picamera2's YUV420 array, whose rows may be padded, to RGB of `size` (width, height)."""
    width, height = size
    y, chroma = planes[:height, :width], planes[height:].reshape(height, -1)[:, : width // 2]
    planes = np.concatenate([y.reshape(-1), chroma.reshape(-1)]).reshape(height * 3 // 2, width)
    return cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420).astype(np.uint8, copy=False)


def captured_s(metadata: dict[str, Any]) -> float | None:
    """Return the capture time on the `time.monotonic` clock. libcamera stamps frames with the boot-time clock."""
    stamp_ns = metadata.get("SensorTimestamp")
    return stamp_ns and time.monotonic() - (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - int(stamp_ns)) / 1e9
