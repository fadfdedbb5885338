"""The rig of the fault trials: a camera with fires, a broker, a webhook receiver, a small disk, injected errors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.soak.process import ProcessUnderTest, start_run
from benchmarks.soak.rig import Content, Key, Listener, camera, free_port, key_of, temporary_broker, wait_until

FPS = 15.0
DELIVERY_S = 60.0
DISK_BYTES = 8 << 20
INJECTED = Path(__file__).with_name("inject.c")
CONFIG = """\
[source]
address = "{address}"
stall_s = 2.0
[model]
path = "{model}"
threads = 1
[alarm]
off_after_s = 1.0
[clips]
folder = "{disk}/clips"
before_s = 1.0
after_s = 1.0
max_mb = 1.0
[spool]
folder = "{disk}/spool"
[mqtt]
host = "127.0.0.1"
port = {port}
name = "soak"
[webhook]
url = "{webhook}"
timeout_s = 2.0
"""


class WebhookReceiver:
    """Records every body that is posted to it. What comes while `hung` gets a byte a second for ever."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.hung = False
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                is_hung = receiver.hung
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with suppress(OSError):  # the client gave up
                    while is_hung:
                        self.wfile.write(b"H")
                        time.sleep(1)
                    receiver.bodies.append(body)
                    self.send_response(204)
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class FaultRig:
    """Everything around the runs, and the events that the runs made."""

    def __init__(self, stack: ExitStack, model: Path) -> None:
        folder, self.broker = stack.enter_context(temporary_broker())
        self.disk = stack.enter_context(small_disk(folder / "disk", DISK_BYTES))
        self.model = folder / "model.tflite"
        shutil.copy(model, self.model)
        self.listener = Listener(self.broker.port)
        stack.callback(self.listener.close)
        self.webhook = WebhookReceiver()
        stack.callback(self.webhook.close)
        self._camera_port = free_port()
        self._camera = stack.enter_context(ExitStack())
        address = self.restart_camera()
        self.config = folder / "fireseg.toml"
        self.config.write_text(
            CONFIG.format(
                address=address, model=self.model, disk=self.disk, port=self.broker.port, webhook=self.webhook.address
            )
        )
        self._faults = folder / "faults"
        self._faults.mkdir()
        self._library = compile_faults(folder)
        self._made: list[list[dict[str, Any]]] = []

    def restart_camera(self, content: Content = "fire") -> str:
        self._camera.close()
        address, _ = self._camera.enter_context(camera(fps=FPS, content=content, port=self._camera_port))
        return address

    @property
    def can_inject(self) -> bool:
        return self._library is not None

    @contextmanager
    def injected(self, fault: str) -> Iterator[None]:
        """Let `eio` or `threads` fail in the runs until the block ends."""
        switch = self._faults / fault
        switch.touch()
        try:
            yield
        finally:
            switch.unlink()

    @contextmanager
    def start(self) -> Iterator[ProcessUnderTest]:
        """Start a run on this rig."""
        environment = {"SOAK_FAULTS": str(self._faults), "LD_PRELOAD": str(self._library)} if self._library else {}
        with start_run("--config", self.config, environment=environment) as run:
            self._made.append(run.events)
            try:
                yield run
            finally:
                if run.process.poll() is None:
                    run.terminate()

    def outboxes(self) -> list[Path]:
        return sorted(path for path in (self.disk / "spool").iterdir() if path.is_dir())

    def store(self, events: list[dict[str, Any]]) -> None:
        """Put events into every outbox, as a run does whose receivers are away. No run may be on."""
        for outbox in self.outboxes():
            last = max((int(path.stem) for path in outbox.glob("[0-9]*.json")), default=0)
            for number, event in enumerate(events, last + 1):
                (outbox / f"{number:012d}.json").write_text(json.dumps(event))
        self._made.append(events)

    def made(self) -> list[Key]:
        """Return the events up to now, in order."""
        return [key_of(event) for events in self._made for event in events]

    def received(self) -> dict[str, list[bytes]]:
        """Return the documents that each receiver got, in order."""
        return {"MQTT": self.listener.payloads("/event"), "webhook": list(self.webhook.bodies)}

    def all_delivered(self) -> bool:
        """Wait until every event up to now is delivered. Return False after a minute."""
        return wait_until(lambda: not self._missing(), DELIVERY_S)

    def _missing(self) -> set[Key]:
        made = set(self.made())
        return {
            key for bodies in self.received().values() for key in made - {key_of(json.loads(body)) for body in bodies}
        }


def compile_faults(folder: Path) -> Path | None:
    """Compile the library of injected faults; return None without a C compiler."""
    library = folder / "inject.so"
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, INJECTED, "-ldl"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return library


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a tmpfs at `folder`; without root, make an ordinary folder."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield folder
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(disk: Path) -> Path:
    """Fill a small disk; return the file to delete."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


def block(outbox: Path) -> None:
    """Put a folder and a FIFO under the names of the oldest items."""
    free = (path for number in range(10**6) if not (path := outbox / f"{number:012d}.json").exists())
    next(free).mkdir()
    os.mkfifo(next(free))
