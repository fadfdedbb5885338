"""What each kind of input is given to, as in production; and the table of all kinds."""

from __future__ import annotations

import io
import os
import pkgutil
import re
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np

from benchmarks.fuzz import inputs
from benchmarks.models import MODELS
from benchmarks.soak.fault_rig import WebhookReceiver
from edge.camera.base import CameraSettings
from edge.camera.capture import Capture
from edge.camera.mjpeg import MjpegCamera
from edge.errors import run_app
from edge.messages import FireEvent
from edge.model.runtime import find_runtime
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.webhook import Webhook

ENTRY_POINT = "edge.cli:run"
SMALL_MODEL = MODELS / "fireseg-small-int8.tflite"
PICTURE = Path("valid.png")
"""A valid picture in the working directory of each trial."""
ENDLESS_BYTES = 1 << 30
DELIVERY_S = 8.0
FRAMES = 30
FRAME_INTERVAL_S = 0.01
PART = re.compile(rb"(?=--frame)")


def edge(*arguments: str | Path) -> None:
    """Run `fireseg-edge` with these arguments in this process."""
    sys.argv = ["fireseg-edge", *map(str, arguments)]
    pkgutil.resolve_name(ENTRY_POINT)()


def warm_up() -> None:
    """Let every command import all it needs, so that each trial need not."""
    find_runtime()
    for command in (("config", "check"), ("run", "--config"), ("segment",)):
        with redirect_stderr(io.StringIO()), suppress(SystemExit):
            edge(*command, "missing")


def segment_by(model: Path) -> None:
    edge("segment", PICTURE, "--model", model, "--out", "masks", "--threads", "1")


def segment_picture(picture: Path) -> None:
    """Segment the picture, or run on its folder."""
    if picture.stat().st_size % 2:
        edge("segment", picture, "--model", SMALL_MODEL, "--out", "masks", "--threads", "1")
    else:
        edge("run", "--model", SMALL_MODEL, "--source", picture.parent, "--replay", "every-frame", "--threads", "1")


def deliver(item: Path) -> None:
    """Let the item, or something other than a file, wait in an outbox before a valid event, which must arrive."""
    folder, receiver, data = Path("outbox"), WebhookReceiver(), item.read_bytes()
    variant = zlib.crc32(data) % 16
    path = folder / ("999999999999.json" if variant == 0 else "000000000001.json")
    folder.mkdir()
    if variant == 1:
        path.mkdir()
    elif variant == 2:
        os.mkfifo(path)
    elif variant == 3:
        path.symlink_to(path.name)
    else:
        path.write_bytes(data)
    webhook = Webhook(receiver.address, DiskQueue(folder, 1e8), timeout_s=1.0, wait_s=lambda _: 0.01)
    frame, mask = np.zeros((48, 64, 3), np.uint8), np.zeros((6, 8), np.bool_)
    webhook.on_event(FireEvent("valid", 1, "start", "frame", "", 1.0, 1.0, 0.1, 0.1, 5.0, "", "test", frame, mask))
    deadline_s = time.monotonic() + DELIVERY_S
    while not any(b'"valid"' in body for body in receiver.bodies):
        if time.monotonic() > deadline_s:
            raise SystemExit("the valid event behind the item never arrives")
        time.sleep(0.005)
    webhook.close()


def read_stream(answer: Path) -> None:
    """Read frames of a camera that gives this answer. A quarter go on for a GiB, half of those in one line."""
    data = answer.read_bytes()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            connection.recv(1 << 16)
            for part in PART.split(data):
                connection.sendall(part)
                time.sleep(FRAME_INTERVAL_S)  # of frames that arrive at once only the newest is decoded
            repeated = {0: data[-1024:] or b"-", 1: b"x"}.get(zlib.crc32(data) % 8, b"") * 1024
            for _ in range(ENDLESS_BYTES // len(repeated) if repeated else 0):
                connection.sendall(repeated)
            connection.close()

    def read() -> None:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        settings = CameraSettings(timeout_s=2.0)
        with Capture(lambda: MjpegCamera(address, settings), stall_s=3.0, reconnect_limit=0) as capture:
            while not capture.ended and capture.frames < FRAMES:
                capture.newest(0.1)
            capture.check()

    threading.Thread(target=serve, daemon=True).start()
    run_app(read)


class Kind(NamedTuple):
    """A kind of input: how one is made, the suffix of its file, and what it is given to."""

    make: Callable[[Random], bytes]
    suffix: str
    run: Callable[[Path], None]


KINDS = {
    "models": Kind(inputs.model, ".tflite", segment_by),
    "cards": Kind(inputs.card, ".tflite", segment_by),
    "configurations": Kind(inputs.configuration, ".toml", lambda path: edge("config", "check", path)),
    "pictures": Kind(inputs.picture, ".png", segment_picture),
    "outbox": Kind(inputs.outbox_item, ".json", deliver),
    "streams": Kind(inputs.stream, ".mjpeg", read_stream),
}
