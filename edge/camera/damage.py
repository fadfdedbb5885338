"""Count the damaged frames of a video, in a child process beside its playback.

FFmpeg conceals decoding errors and OpenCV does not report them: they are only logged, to the stderr of the process. The
child decodes the video once more, with a separate stderr, and counts the frames at which that grows.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

log = logging.getLogger(__name__)

COUNT = """
import json, os, sys, tempfile
os.nice(10)
log = tempfile.TemporaryFile()
os.dup2(log.fileno(), 2)
import cv2
video = cv2.VideoCapture("/dev/fd/0", cv2.CAP_FFMPEG)
logged, frames, first_s, failed = os.fstat(2).st_size, 0, 0.0, 0
while failed < 100:
    failed = 0 if video.grab() else failed + 1
    before, logged = logged, os.fstat(2).st_size
    if logged > before:
        first_s = first_s if frames else video.get(cv2.CAP_PROP_POS_MSEC) / 1000
        frames += 1
print(json.dumps([frames, first_s]))
"""
OWN_SETTINGS = ("OPENCV_FFMPEG_LOGLEVEL", "OPENCV_FFMPEG_DEBUG")  # without them, errors go to stderr


class DamageCount:
    """Counts from the moment it is made; never raises."""

    def __init__(self, video: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if key not in OWN_SETTINGS}
        self._process: subprocess.Popen[bytes] | None = None
        try:
            with video.open("rb") as file:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", COUNT],
                    stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
                )  # fmt: skip
        except OSError as error:
            log.warning("%s is not checked for damage (%s)", video.name, error.strerror)

    def result(self) -> tuple[int, float]:
        """Wait, and return the number of damaged frames and the time of the first in seconds; 0 if unknown."""
        if self._process is None:
            return 0, 0.0
        output, _ = self._process.communicate()
        try:
            frames, first_s = json.loads(output)
        except ValueError:
            log.warning("the check for damage failed (exit code %d)", self._process.returncode)
            return 0, 0.0
        return frames, first_s

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
