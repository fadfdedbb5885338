"""Network cameras that speak RTSP, through OpenCV's FFmpeg backend."""

from __future__ import annotations

import logging
import os
import socket
import time
from urllib.parse import urlsplit

import cv2

from edge.camera.base import CameraError, CameraFrame, CameraSettings
from edge.camera.opencv import OpenCvCamera
from edge.errors import reason_of
from edge.images import to_rgb
from edge.secrets import redact

log = logging.getLogger(__name__)

MAX_LATE_S = 5.0
MAX_LATE_FOR_S = 5.0
"""A stream that is more than `MAX_LATE_S` late for this long is opened again, which discards the frames that wait."""
PAUSE_S, PROBE_S = 2.0, 0.75  # without reading, and then reading, to find out why a stream is late
MAX_STILL_S = 3.0  # without a new time stamp; some servers send a key frame in two parts with the same one
MAX_CLOCK_ERROR = 1e-3  # relative error allowed for a camera's clock; quartz keeps 1e-4


class RtspCamera(OpenCvCamera):
    """A network camera, at `fps` frames per second; those between are decoded but not converted."""

    def __init__(self, url: str, settings: CameraSettings) -> None:
        super().__init__(redact(url), settings)
        self._url = url
        self._clock: StreamClock | None = StreamClock()
        self._due_s = 0.0  # capture time from which the next frame is returned
        self._late_since_s: float | None = None
        self._first_late_s = 0.0  # how late the stream was then
        self._probe: tuple[float, float] | None = None  # when it began, and the time stamp before the pause

    def open(self) -> None:
        # TCP: lost UDP packets smear the frame, and the model has detected fire in smears.
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # silent
        check_connection(self._url, self.name, self._settings.timeout_s)
        timeout_ms = round(1000 * self._settings.timeout_s)
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
        remedy = "check that the camera is on, and its address, user and password (write @ as %40)"
        # FFmpeg only: OpenCV's image backend would print the address with its password.
        self.start(cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, timeouts), remedy)

    def read(self) -> CameraFrame:
        skipped = 0
        while (captured_s := self._grab()) < self._due_s:
            skipped += 1
        self._due_s = max(self._due_s + self._settings.interval_s, captured_s)
        success, bgr = self._capture.retrieve()
        if not success:
            raise CameraError(f"{self.name} sent a frame that could not be converted")
        return CameraFrame(to_rgb(bgr), captured_s=captured_s, skipped=skipped)

    def _grab(self) -> float:
        """Decode the next frame, and return its capture time. Raises `CameraError` if the stream stays late."""
        stamp_s, now_s = self._decode(), time.monotonic()
        if self._clock is None:
            return now_s
        captured_s = self._clock.captured_s(now_s, stamp_s)
        late_s = now_s - captured_s
        if self._probe:
            self._finish_probe(now_s, stamp_s, late_s)
        elif late_s <= MAX_LATE_S:
            self._late_since_s = None
        elif self._late_since_s is None or late_s < self._first_late_s:  # or it catches up
            self._late_since_s, self._first_late_s = now_s, late_s
        elif now_s - self._late_since_s > MAX_LATE_FOR_S:
            time.sleep(min(PAUSE_S, self._settings.timeout_s / 2))
            self._probe = time.monotonic(), stamp_s
        return captured_s

    def _finish_probe(self, now_s: float, stamp_s: float, late_s: float) -> None:
        """Find out why the stream is late, once the probe is over. Raises `CameraError` if it is the machine.

        In normal operation, with inference beside it, a machine that keeps up reads what gathered in the pause in less
        time than its time stamps span. Then the stream is late only because its time stamps run slowly.
        """
        assert self._probe
        began_s, first_stamp_s = self._probe
        if now_s - began_s < PROBE_S:
            return
        if stamp_s - first_stamp_s <= now_s - began_s:
            late = f"{self.name} is {late_s:.0f} s late, decoded more slowly than it is sent"
            raise CameraError(late, "use its smaller stream (substream), or lower its size or frame rate")
        log.warning("%s: its time stamps run slowly; ages count from the arrival of frames", self.name)
        self._clock = None

    def _decode(self) -> float:
        """Decode the next frame, and return its time stamp."""
        if not self._capture.grab():
            raise CameraError(f"{self.name} returns no more frames")
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000


class StreamClock:
    """When the frames of a stream were captured: the least late of them so far is taken to be on time.

    A delay that never changes, such as the encoder's, is not seen.
    """

    def __init__(self) -> None:
        self._offset_s: float | None = None  # from time stamps to capture times
        self._arrived_s = self._stamp_s = self._new_stamp_s = self._captured_s = 0.0

    def captured_s(self, arrived_s: float, stamp_s: float) -> float:
        """Return when a frame was captured, on the clock of `arrived_s`; never before the frame preceding it.

        Where time stamps stand still or run backwards, the frame counts as just captured.
        """
        if stamp_s != self._stamp_s:
            self._new_stamp_s = arrived_s
        is_still = arrived_s - self._new_stamp_s > MAX_STILL_S
        if self._offset_s is None or is_still or stamp_s < self._stamp_s:
            self._offset_s = arrived_s - stamp_s
        else:
            drift_s = MAX_CLOCK_ERROR * (arrived_s - self._arrived_s)
            self._offset_s = min(arrived_s - stamp_s, self._offset_s + drift_s)
        self._arrived_s, self._stamp_s = arrived_s, stamp_s
        # Rounding: FFmpeg's value for no time stamp is so large that sums with it are off by milliseconds.
        self._captured_s = max(self._captured_s, min(arrived_s, stamp_s + self._offset_s))
        return self._captured_s


def check_connection(url: str, name: str, timeout_s: float) -> None:
    """Raise `CameraError` with the reason if nothing accepts a connection at an RTSP address; FFmpeg gives none."""
    try:
        parts = urlsplit(url)
        port = parts.port or (322 if parts.scheme.lower() == "rtsps" else 554)
        socket.create_connection((parts.hostname or "", port), timeout_s).close()
    except OSError as error:
        raise CameraError(
            f"{name} does not answer ({reason_of(error)})", "check the address and that it is on"
        ) from None
    except ValueError:  # an invalid port or host: its text may quote a password, and FFmpeg refuses it, too
        return
