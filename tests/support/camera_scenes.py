"""What a camera sees in tests of its health: a room with people, and the problems reported over time."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from edge.detection.camera_health import CameraHealth
from edge.images import Frame
from edge.messages import CameraProblem

SIDE = 224
Change = Callable[[Frame], Frame]


def scene(seed: int = 1) -> Frame:
    """Return a room: a shaded wall with rectangles, from large to small."""
    rng = np.random.default_rng(seed)
    room = np.linspace(140, 90, SIDE)[:, None, None] * np.ones((SIDE, SIDE, 3))
    for size in (90, 60, 40, 25, 25, 15, 15, 15, 8, 8, 8, 8, 8, 5, 5, 5, 5, 5, 5, 5) * 3:
        x, y = (int(value) for value in rng.integers(0, SIDE - size // 2, 2))
        colour = tuple(float(value) for value in rng.integers(20, 230, 3))
        cv2.rectangle(room, (x, y), (x + size, y + size), colour, -1)
    return room.astype(np.uint8)


ROOM = scene()
NOISE = np.random.default_rng(0).normal(0, 1, (2 * SIDE, 2 * SIDE, 3)).astype(np.float32)


def noisy(levels: np.ndarray, t_s: float, sigma: float = 1.5) -> Frame:
    """Return a frame with the noise of a sensor, as JPEG."""
    x, y = np.random.default_rng(round(1000 * t_s)).integers(0, SIDE, 2)
    noise = NOISE[y : y + SIDE, x : x + SIDE] * np.float32(sigma)
    frame = np.clip(levels + noise, 0, 255).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", frame, (cv2.IMWRITE_JPEG_QUALITY, 85))[1], 1).astype(np.uint8)


def view(change: Change | None = None, room: Frame = ROOM) -> Callable[[float], Frame]:
    """Return what the camera sees at a time, with people who walk through."""

    def at(t_s: float) -> Frame:
        frame = room.copy()
        x = int(40 * t_s) % 400 - 60
        cv2.rectangle(frame, (x, 90), (x + 25, 200), (60, 50, 120), -1)
        return noisy(change(frame) if change else frame, t_s)

    return at


class Watch:
    """Frames of one camera at a rate, and the problems that were reported."""

    def __init__(self, fps: float = 5.0) -> None:
        self.health, self.fps, self.t_s = CameraHealth(), fps, 0.0
        self.reported: list[tuple[float, CameraProblem | None]] = [(0.0, None)]

    def see(self, at: Callable[[float], Frame], for_s: float) -> Watch:
        for _ in range(round(for_s * self.fps)):
            problem = self.health.update(self.t_s, at(self.t_s))
            if problem is not self.reported[-1][1]:
                self.reported.append((self.t_s, problem))
            self.t_s += 1 / self.fps
        return self

    def problems(self) -> list[CameraProblem]:
        return [problem for _, problem in self.reported if problem]
