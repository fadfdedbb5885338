"""What tests of the page share: one that is served for real, something to show on it, and viewers."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from edge.config import Config, load_config
from edge.host.machine import HostStatus, Throttling
from edge.messages import CameraState, FrameResult, RunStatus
from edge.sinks.prometheus import Prometheus
from edge.sinks.web.sink import WebPage
from tests.support.factories import MODEL_HASH, result

TIMEOUT_S = 5.0
SIZE = (48, 64)


def config(listen: str = "127.0.0.1:0", **sections: dict[str, Any]) -> Config:
    return load_config(None, {"web": {"listen": listen}, **sections})


def status(**changed: Any) -> RunStatus:
    told: dict[str, Any] = {
        "source": "test",
        "source_state": CameraState.STREAMING,
        "openings": 1,
        "running_s": 12.3,
        "results": 100,
        "dropped": 7,
        "fps": 9.9,
        "quiet_s": 0.1,
        "machine": HostStatus(
            governor="ondemand", temperature_c=61.5, throttling=Throttling(0b0101), load=1.5
        ),  # under-voltage and throttled
        "model_sha256": MODEL_HASH,
    }
    return RunStatus(**told | changed)


@contextmanager
def serving(settings: Config | None = None) -> Iterator[WebPage]:
    """A page that has begun to be served."""
    metrics = Prometheus()
    page = WebPage(settings or config(), metrics)
    try:
        for _ in range(2):
            metrics.on_status(status())
            page.on_status(status())
        page.metrics = metrics  # type: ignore[attr-defined]
        yield page
    finally:
        page.close()


class Camera:
    """Gives a page results of noise, which no JPEG makes small, as the loop's thread does."""

    def __init__(self, page: WebPage, fps: float, size: tuple[int, int] = SIZE) -> None:
        self._page, self._fps, self._size = page, fps, size
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="the loop")
        self.number = 0
        self.longest_s = 0.0
        """What the page took of the loop's time for one result, at most."""

    def __enter__(self) -> Camera:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        shown = [noise(seed, self._size) for seed in range(4)]
        while not self._end.wait(1 / self._fps):
            self.number += 1
            seen = shown[self.number % len(shown)]
            told = FrameResult(**{**vars(seen), "frame": self.number})
            began_s = time.perf_counter()
            self._page.on_result(told)
            self.longest_s = max(self.longest_s, time.perf_counter() - began_s)


def noise(seed: int, size: tuple[int, int] = SIZE) -> FrameResult:
    told = vars(result(0.0, 0.5, on=True))
    rgb = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return FrameResult(**{**told, "rgb": rgb, "mask": np.ones((12, 16), np.bool_)})


def basic(password: str, user: str = "anyone") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def ask(
    page: WebPage, path: str, *, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def ask_json(page: WebPage, path: str) -> Any:
    return json.loads(ask(page, path)[2])


class Viewer:
    """Someone who keeps watching /live.mjpeg or /state."""

    def __init__(self, page: WebPage, path: str = "/live.mjpeg") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=TIMEOUT_S)
        self._connection.request("GET", path)
        self.answer = self._connection.getresponse()
        self.status = self.answer.status

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        self.answer.close()
        self._connection.close()

    def picture(self) -> bytes:
        """The next JPEG."""
        assert self.answer.readline().strip() in (b"--frame", b"")
        head = {}
        while line := self.answer.readline().strip():
            name, _, value = line.partition(b": ")
            if value:
                head[name.lower()] = value
        assert head[b"content-type"] == b"image/jpeg"
        jpeg = self.answer.read(int(head[b"content-length"]))
        assert self.answer.readline() == b"\r\n"
        return jpeg

    def message(self) -> Any:
        """The next server-sent event."""
        line = self.answer.readline()
        assert self.answer.readline() == b"\n"
        return json.loads(line.removeprefix(b"data: "))


def until(true: Callable[[], bool], limit_s: float = TIMEOUT_S) -> None:
    end_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.01)
