"""A network camera for the soak, as a process of its own: MJPEG of a room that burns now and then, or never.

The pictures are made and compressed before the first is served, so that the camera costs the machine next to nothing.
"""

from __future__ import annotations

import argparse
import itertools
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from edge.camera.pattern import FLAMES_FROM_S, PatternCamera
from edge.images import encode_jpeg

ROOT = Path(__file__).parents[2]
SIZE = (640, 480)
MADE_FPS = 15
"""How many different pictures a second are made; faster cameras show each more than once."""
CALM_S, BURNING_S = 5.0, 4.0
NOISE = 3  # grey levels: a sensor is never still
START_WAIT_S = 60.0


class Camera(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    jpegs: ClassVar[list[bytes]]
    fps: ClassVar[float]

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        began_s = time.monotonic()
        try:
            for number in itertools.count():
                time.sleep(max(0.0, began_s + number / self.fps - time.monotonic()))
                # By the clock and not by the number, so that a camera that was restarted goes on in its schedule.
                jpeg = self.jpegs[int(time.monotonic() * MADE_FPS) % len(self.jpegs)]
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
                self.wfile.write(head + jpeg + b"\r\n")
        except OSError:
            pass  # the viewer went away

    def log_message(self, *_: object) -> None:
        pass


def pictures(*, burning: bool) -> list[bytes]:
    """One turn of the schedule: calm, then burning, if ever."""
    pattern, rng = PatternCamera(fps=MADE_FPS), np.random.default_rng(0)
    times_s = [number / MADE_FPS for number in range(round(CALM_S * MADE_FPS))]
    if burning:
        times_s += [FLAMES_FROM_S + number / MADE_FPS for number in range(round(BURNING_S * MADE_FPS))]
    made = []
    for t_s in times_s:
        frame = pattern.frame(t_s if t_s >= FLAMES_FROM_S else 0.0)
        large = cv2.resize(frame, SIZE, interpolation=cv2.INTER_LINEAR).astype(np.int16)
        noisy = large + rng.integers(-NOISE, NOISE + 1, large.shape, np.int16)
        made.append(encode_jpeg(np.clip(noisy, 0, 255).astype(np.uint8)))
    return made


@contextmanager
def camera(*, fps: float, burning: bool, port: int | None = None) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A running camera: its address and its process."""
    port = port or free_port()
    command = [sys.executable, "-m", "benchmarks.soak.camera", "--port", str(port), "--fps", str(fps)]
    process = subprocess.Popen([*command, *(["--burning"] if burning else [])], cwd=ROOT)
    try:
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}/live", process
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int) -> None:
    """Wait until somebody listens. Raises TimeoutError."""
    gives_up_s = time.monotonic() + START_WAIT_S
    while time.monotonic() < gives_up_s:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"nobody listens on port {port} after {START_WAIT_S:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--fps", type=float, required=True)
    parser.add_argument("--burning", action="store_true")
    given = parser.parse_args()
    Camera.jpegs, Camera.fps = pictures(burning=given.burning), given.fps
    ThreadingHTTPServer(("127.0.0.1", given.port), Camera).serve_forever()


if __name__ == "__main__":
    main()
