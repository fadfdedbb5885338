"""Faults around the loop, again and again: results must resume and no event may be lost.

Cameras and brokers are killed with SIGKILL, as by power cuts. The run itself is ended with SIGTERM at random moments
and started again on the same outbox folder.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.soak.process import ProcessUnderTest, start_run
from benchmarks.soak.rig import CALM_S, FIRE_S, Broker, Key, Listener, camera, free_port, key_of, wait_until

FPS = 15.0
RECOVERY_S = 60.0
SHUTDOWN_S = 2.0
DELIVERY_S = 60.0
DISK_BYTES = 8 << 20
CYCLE_S = CALM_S + FIRE_S
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
[spool]
folder = "{disk}/spool"
[mqtt]
host = "127.0.0.1"
port = {port}
name = "soak"
"""

OnStep = Callable[[], None]


class Plan(NamedTuple):
    """How often each fault is tried."""

    camera_kills: int = 20
    broker_kills: int = 10
    disk_fills: int = 1
    model_corruptions: int = 1
    terminations: int = 20


QUICK = Plan(camera_kills=2, broker_kills=1, terminations=2)


@dataclass
class Trial:
    """One kind of fault and how often the run recovered from it."""

    what: str
    times: int = 0
    recovered: int = 0
    worst_s: float = 0.0
    """The longest recovery or shutdown."""
    remark: str = ""

    def record(self, recovered: bool, took_s: float = 0.0) -> None:
        self.times += 1
        self.recovered += recovered
        self.worst_s = max(self.worst_s, took_s)


@dataclass
class Faults:
    """The outcome of all trials."""

    trials: list[Trial] = field(default_factory=list)
    emitted: int = 0
    lost: list[Key] = field(default_factory=list)
    repeated: list[Key] = field(default_factory=list)
    """Delivered more than once, which at-least-once delivery allows."""
    in_order: bool = True
    """Whether first deliveries arrived in the order of emission."""


class FaultRig:
    """A camera with fires, a broker with a listener, a small disk, and the configuration that uses them."""

    def __init__(self, stack: ExitStack, model: Path, topic: str) -> None:
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fireseg-soak-")))
        self.folder.chmod(0o755)
        self.disk = stack.enter_context(small_disk(self.folder / "disk"))
        self.model = self.folder / "model.tflite"
        shutil.copy(model, self.model)
        self.broker = Broker(self.folder / "broker")
        stack.callback(self.broker.kill)
        self.listener = Listener(self.broker.port, topic)
        stack.callback(self.listener.close)
        self._camera_port = free_port()
        self._camera = ExitStack()
        stack.callback(self._camera.close)
        address = self.start_camera()
        self.config = self.folder / "fireseg.toml"
        self.config.write_text(CONFIG.format(address=address, model=self.model, disk=self.disk, port=self.broker.port))
        self.emitted: list[Key] = []

    def start_camera(self) -> str:
        address, _ = self._camera.enter_context(camera(fps=FPS, fire=True, port=self._camera_port))
        return address

    def restart_camera(self) -> None:
        self._camera.close()
        self.start_camera()

    @contextmanager
    def start(self) -> Iterator[ProcessUnderTest]:
        """Start a run on this rig and record the events it emits."""
        with start_run("--config", self.config) as run:
            try:
                yield run
            finally:
                if run.process.poll() is None:
                    run.terminate()
        self.emitted += map(key_of, run.events)

    def missing(self) -> list[Key]:
        """Return the emitted events that have not arrived."""
        return missing(self.emitted, self.listener.events)


def missing(emitted: list[Key], arrived: list[Key]) -> list[Key]:
    delivered = set(arrived)
    return [key for key in emitted if key not in delivered]


def try_faults(model: Path, topic: str, plan: Plan, on_step: OnStep) -> Faults:
    """Try all faults, one after another. Events arrive at the broker under `topic`."""
    faults = Faults()
    with ExitStack() as stack:
        rig = FaultRig(stack, model, topic)
        with rig.start() as run:
            run.wait_for_results(1, RECOVERY_S)
            faults.trials += [
                kill_camera(rig, run, plan.camera_kills, on_step),
                kill_broker(rig, run, plan.broker_kills, on_step),
                fill_disk(rig, run, on_step),
                corrupt_model(rig, run, on_step),
            ]
        faults.trials.append(terminate(rig, plan.terminations, on_step))
        with rig.start() as run:  # delivers what the last run left in its outbox
            wait_until(lambda: not rig.missing(), DELIVERY_S)
            run.wait_for_results(1, RECOVERY_S)
        wait_until(lambda: not rig.missing(), DELIVERY_S)
        faults.emitted, faults.lost, arrived = len(rig.emitted), rig.missing(), rig.listener.events
        faults.repeated = [key for key, count in Counter(arrived).items() if count > 1]
        faults.in_order = list(dict.fromkeys(arrived)) == rig.emitted
    return faults


def kill_camera(rig: FaultRig, run: ProcessUnderTest, times: int, on_step: OnStep) -> Trial:
    trial = Trial("camera killed")
    for _ in range(times):
        rig.restart_camera()
        trial.record(*recovery(lambda: run.wait_for_results(3, RECOVERY_S)))
        on_step()
    return trial


def kill_broker(rig: FaultRig, run: ProcessUnderTest, times: int, on_step: OnStep) -> Trial:
    """Keep the broker down until an event occurs, so that events are emitted while nobody listens."""
    trial = Trial("broker killed")
    for _ in range(times):
        rig.broker.kill()
        recovered, _ = wait_for_events(run, 1)
        rig.broker.start()
        start_s = time.monotonic()
        arrived = wait_until(lambda: not missing(list(map(key_of, run.events)), rig.listener.events), DELIVERY_S)
        trial.record(recovered and arrived, time.monotonic() - start_s)
        on_step()
    return trial


def fill_disk(rig: FaultRig, run: ProcessUnderTest, on_step: OnStep) -> Trial:
    trial = Trial("disk filled")
    if not os.path.ismount(rig.disk):
        trial.remark = "skipped: mounting a small disk needs root"
        return trial
    ballast = rig.disk / "ballast"
    fill(ballast)
    trial.record(*wait_for_events(run, 2))
    ballast.unlink()
    on_step()
    return trial


def corrupt_model(rig: FaultRig, run: ProcessUnderTest, on_step: OnStep) -> Trial:
    trial = Trial("model file corrupted")
    good = rig.model.read_bytes()
    for bad in (b"", b"rubbish" * 1000, good[: len(good) // 2]):
        rig.model.write_bytes(bad)
        logged = len(run.log_lines)
        run.process.send_signal(signal.SIGHUP)
        refused, took_s = recovery(lambda logged=logged: run.wait_for_log("rejected", RECOVERY_S, since=logged))  # type: ignore[misc]
        resumed, _ = recovery(lambda: run.wait_for_results(10, RECOVERY_S))
        trial.record(refused and resumed, took_s)
    rig.model.write_bytes(good)
    run.process.send_signal(signal.SIGHUP)
    on_step()
    return trial


def terminate(rig: FaultRig, times: int, on_step: OnStep) -> Trial:
    trial = Trial("SIGTERM at a random moment")
    rng = random.Random(0)
    for _ in range(times):
        with rig.start() as run:
            moment_s = rng.uniform(0.5, 0.5 + CYCLE_S / 2)
            time.sleep(moment_s)
            took_s = run.terminate()
            # Before the first result nothing needs closing, and the signal may end the process by itself.
            allowed = {0} if run.results else {0, -signal.SIGTERM}
            is_clean = run.process.returncode in allowed and not any("Traceback" in line for line in run.log_lines)
            if not is_clean:
                trial.remark = f"exit code {run.process.returncode} after {moment_s:.2f} s"
            trial.record(is_clean and took_s < SHUTDOWN_S, took_s)
        on_step()
    return trial


def wait_for_events(run: ProcessUnderTest, more: int) -> tuple[bool, float]:
    target = len(run.events) + more
    return recovery(lambda: run.wait_for(lambda: len(run.events) >= target, f"{more} events", RECOVERY_S))


def recovery(wait: Callable[[], float]) -> tuple[bool, float]:
    """Return whether the wait succeeded, and how long it took."""
    start_s = time.monotonic()
    try:
        return True, wait()
    except TimeoutError:
        return False, time.monotonic() - start_s


def fill(path: Path) -> None:
    """Write zeros until the disk is full."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a tmpfs of 8 MiB at `folder`; without root, make an ordinary folder."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield folder
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)
