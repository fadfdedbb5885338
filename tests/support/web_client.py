"""A live page served for real, frames to show on it, and HTTP clients."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from edge.config import Config, load_config
from edge.images import Frame
from edge.messages import FrameResult
from edge.sinks.prometheus import Prometheus
from edge.sinks.web.sink import WebPage
from tests.support.factories import result, run_status
from tests.support.waiting import TIMEOUT_S

SMALL, LARGE = (48, 64), (720, 960)
"""A large frame of noise is a third of a megabyte as a JPEG: the kernel's buffers for a viewer are soon full."""


def config(listen: str = "127.0.0.1:0", **sections: dict[str, Any]) -> Config:
    return load_config(None, {"web": {"listen": listen}, **sections})


@contextmanager
def serving(settings: Config | None = None, **options: Any) -> Iterator[WebPage]:
    """A page whose server has started."""
    with closing(WebPage(settings or config(), Prometheus(), **options)) as page:
        for _ in range(2):
            page.on_status(run_status())
        yield page


class FrameFeeder:
    """Publishes results with frames of noise in a thread, as the loop does."""

    def __init__(self, page: WebPage, fps: float, size: tuple[int, int] = SMALL) -> None:
        self._page, self._fps, self._size = page, fps, size
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="the loop")
        self.number = 0
        self.longest_s = 0.0
        """The longest that the page held up the thread for one result."""
        self.cpu_s = 0.0
        """The processor time that the page took from the thread in all."""

    def __enter__(self) -> FrameFeeder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        frames = [noise(seed, self._size) for seed in range(4)]
        while not self._stop.wait(1 / self._fps):
            self.number += 1
            frame = replace(frames[self.number % len(frames)], frame=self.number)
            began_s, began_cpu_s = time.perf_counter(), time.thread_time()
            self._page.on_result(frame)
            self.longest_s = max(self.longest_s, time.perf_counter() - began_s)
            self.cpu_s += time.thread_time() - began_cpu_s


class Clock:
    """A clock that stands still until the test moves it: no frame and no status is stale on a busy machine."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def gray(level: int) -> FrameResult:
    """A result without fire, numbered by its gray level."""
    return result(level / 10, 0.0, on=False, number=level, level=level)


def decode(jpeg: bytes) -> Frame:
    frame = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert frame is not None
    return frame.astype(np.uint8)


def noise(number: int, size: tuple[int, int] = SMALL) -> FrameResult:
    """A result that no JPEG makes small, fire everywhere."""
    rgb = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
    return replace(result(0.0, 0.5, on=True, number=number), rgb=rgb, mask=np.ones((12, 16), np.bool_))


def connections(page: WebPage) -> list[Any]:
    """The server's open connections, as uvicorn's protocols."""
    assert page._server._server is not None
    return list(page._server._server.server_state.connections)


def basic_auth(password: str, user: str = "anyone") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def get(
    page: WebPage, path: str, *, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Return status, headers and body of one request, on a new connection."""
    with closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=TIMEOUT_S)) as connection:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def get_json(page: WebPage, path: str) -> Any:
    return json.loads(get(page, path)[2])


class Viewer:
    """A client of /live.mjpeg or /state that reads only when asked."""

    def __init__(self, page: WebPage, path: str = "/live.mjpeg", headers: dict[str, str] | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=TIMEOUT_S)
        self._connection.request("GET", path, headers=headers or {})
        self.response = self._connection.getresponse()
        self.status = self.response.status

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.response.close()
        self._connection.close()

    def jpeg(self) -> bytes:
        """Read the next frame."""
        assert self.response.readline() == b"--frame\r\n"
        head = http.client.parse_headers(self.response)
        assert head["Content-Type"] == "image/jpeg"
        jpeg = self.response.read(int(head["Content-Length"]))
        assert self.response.readline() == b"\r\n"
        return jpeg

    def message(self) -> Any:
        """Read the next server-sent event."""
        line = self.response.readline()
        assert self.response.readline() == b"\n"
        return json.loads(line.removeprefix(b"data: "))
