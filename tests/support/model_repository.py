"""A signed repository of models on a real web server, machines that update from it, and models that must be refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from edge.config import Config, load_config
from edge.errors import UserError
from edge.messages import Event, FrameResult
from edge.model.card import attach, split_model
from edge.model.self_test import SELF_TEST
from edge.model.shipped import SHIPPED
from edge.reload import prepare
from edge.run_status import FailureCounts
from edge.signals import RunControl
from edge.update import comparison
from edge.update.store import ModelStore, open_store
from edge.update.update import Report, Update
from edge.update.watch import ModelWatch
from export.publish import ModelRepository
from tests.support import factories
from tests.support.waiting import wait_for

INSTALLED = SHIPPED["small"]
RED_WALL = np.full((48, 64, 3), (200, 60, 30), np.uint8)
"""No fire for a shipped model, at a probability that is not zero."""
AT_FULL_PRIORITY = f"import os; os.nice = lambda _: 0; {comparison.CHILD}"


def edited(model: Path, folder: Path, name: str, **changes: Any) -> Path:
    """Return a copy of a model with other values in its card, and so another SHA-256."""
    flatbuffer, card = split_model(model)
    path = folder / f"{name}.tflite"
    path.write_bytes(attach(flatbuffer, {**(card or {}), "note": name, **changes}))
    return path


def failing_self_test(model: Path, folder: Path) -> Path:
    """Return a model whose card expects other maps."""
    _, card = split_model(model)
    recorded = (card or {})[SELF_TEST]
    cells = ["ff" * (len(each) // 2) for each in recorded["cells"]]
    return edited(model, folder, "failing", **{SELF_TEST: recorded | {"cells": cells, "xnnpack_sha256": None}})


def always_fire(model: Path, folder: Path) -> Path:
    """Return a model with a threshold so low that it detects fire in every frame."""
    return edited(model, folder, "always-fire", threshold=0.003)


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def __init__(self, *args: Any, site: Site, **options: Any) -> None:
        self.site = site
        super().__init__(*args, directory=str(site.folder), **options)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.site.paths.append(self.path)
        if self.site.dripping and self.path.startswith(self.site.dripping):
            self._drip(b"HTTP/1.0 200 OK\r\n\r\n" if self.site.drips_body else b"HTTP/1.0 200 OK\r\nX-Long: ")
            return
        if self.site.cut_models and self.path.startswith("/targets/"):
            data = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.site.half_sent.set()
            if self.site.cut_models == "hang":
                self.site.released.wait(60)
            return
        super().do_GET()

    def _drip(self, beginning: bytes) -> None:
        """Send a byte now and then, until the client is gone."""
        with suppress(OSError):
            self.wfile.write(beginning)
            while not self.site.released.wait(0.02):
                self.wfile.write(b"{")


@dataclass
class Site:
    """The folder of a repository, the keys and the address."""

    folder: Path
    keys: Path
    address: str = ""
    paths: list[str] = field(default_factory=list)
    cut_models: str = ""
    """"cut": a model's download breaks in the middle; "hang": it stops there."""
    dripping: str = ""
    """Beginning of the paths that are answered with a byte now and then: after the headers, or within them."""
    drips_body: bool = True
    half_sent: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def repository(self, days_ago: float = 0.0) -> ModelRepository:
        """Return the repository, as its owner has it some days ago."""
        return ModelRepository(self.folder, self.keys, datetime.now(UTC) - timedelta(days=days_ago))


@contextmanager
def serve(folder: Path) -> Iterator[Site]:
    """Serve a new, empty repository."""
    site = Site(folder / "site", folder / "keys")
    site.repository().init()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, site=site))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    site.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        site.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Machine:
    """A machine with a configuration, and a run that processes quiet frames without a camera.

    Args:
        installed: the model that came with the program.
    """

    def __init__(self, folder: Path, site: Site, installed: Path, **limits: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.path = folder, folder / "fireseg.toml"
        (folder / "root.json").write_bytes((site.folder / "metadata/root.json").read_bytes())
        values = {"watch_s": 5.0, "max_slower": 20.0} | limits
        lines = "\n".join(f"{key} = {value}" for key, value in values.items())
        self.path.write_text(
            f'[model]\npath = "{installed}"\nthreads = 1\n[update]\nurl = "{site.address}"\nroot = "root.json"\n'
            f'model = "base"\nfolder = "models"\n{lines}\n'
        )
        self.share = 0.0
        """Area fraction that the model in use calls fire."""
        self.loaded: list[str] = []
        """SHA-256 of each model that the run used."""
        self.events: list[Event] = []
        """What the run published."""

    @property
    def config(self) -> Config:
        return load_config(self.path)

    @property
    def store(self) -> ModelStore:
        store = open_store(self.config)
        assert store
        return store

    def update(self, **options: Any) -> Report:
        return Update(self.config).run(**options)

    @contextmanager
    def run(self) -> Iterator[ModelWatch]:
        """Run a loop in a thread, which loads models as a run does and hands results to the watch.

        The watch's clock goes two minutes a second.
        """
        control, stop = RunControl(), threading.Event()
        setup, _ = prepare(self.config, proof=lambda *_: 100)
        watch = ModelWatch(self.store, self.config, clock=lambda: 120 * time.monotonic())
        self.loaded.append(setup.model_sha256)
        failed = 0

        def loop() -> None:
            nonlocal setup, failed
            while not stop.wait(0.005):
                if control.reload:
                    control.reload = False
                    try:
                        setup, _ = prepare(self.config, current=setup, proof=lambda *_: 100)
                        self.loaded.append(setup.model_sha256)
                    except UserError:
                        failed += 1
                watch.on_result(self._result(setup.segmenter.card))
                failures = FailureCounts(reloads=failed)
                watch.on_status(factories.run_status(model_sha256=setup.model_sha256, failures=failures))

        thread = threading.Thread(target=loop)
        # On a busy machine a reload takes minutes of that clock.
        with mock.patch.multiple("edge.update.watch", POLL_S=0.02, LOAD_TIMEOUT_S=36_000.0):
            watch.connect(control, self.events.append)
            thread.start()
            try:
                wait_for(lambda: self.store.is_locked("run"))
                yield watch
            finally:
                stop.set()
                thread.join()
                watch.close()

    def _result(self, card: dict[str, Any] | None) -> FrameResult:
        share = 0.2 if card and card["threshold"] < 0.01 else self.share
        return replace(factories.result(1.0, share, on=False), rgb=RED_WALL)
