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
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.soak.process import ProcessUnderTest, start_run
from benchmarks.soak.rig import CALM_S, FIRE_S, Key, Listener, camera, free_port, key_of, temporary_broker, wait_until
from edge.console import OnStep

FPS = 15.0
RECOVERY_S = 60.0
SHUTDOWN_S = 2.0
DELIVERY_S = 60.0
DISK_BYTES = 8 << 20
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


class Plan(NamedTuple):
    """How often each fault is tried."""

    camera_kills: int = 20
    broker_kills: int = 10
    terminations: int = 20


QUICK = Plan(camera_kills=2, broker_kills=1, terminations=2)


@dataclass(frozen=True)
class Trial:
    """One kind of fault and how often the run recovered from it."""

    what: str
    times: int = 0
    recovered: int = 0
    worst_s: float = 0.0
    """The longest recovery or shutdown."""


@dataclass(frozen=True)
class Faults:
    """All trials, and the events that the runs emitted and the broker delivered, in order."""

    trials: list[Trial]
    emitted: list[Key]
    delivered: list[Key]

    @property
    def lost(self) -> list[Key]:
        return [key for key in self.emitted if key not in self.delivered]

    @property
    def repeated(self) -> int:
        """Copies, which at-least-once delivery allows."""
        return len(self.delivered) - len(set(self.delivered))

    @property
    def in_order(self) -> bool:
        """Whether first deliveries arrived in the order of emission; ends of fires that a restart cut off are apart."""
        emitted = set(self.emitted)
        first = [key for key in dict.fromkeys(self.delivered) if key in emitted]
        return first == [key for key in self.emitted if key in self.delivered]


class FaultRig:
    """A camera with fires, a broker with a listener, a small disk, and the configuration that uses them."""

    def __init__(self, stack: ExitStack, model: Path) -> None:
        folder, self.broker = stack.enter_context(temporary_broker())
        self.disk = stack.enter_context(small_disk(folder / "disk"))
        self.model = folder / "model.tflite"
        shutil.copy(model, self.model)
        self.listener = Listener(self.broker.port)
        stack.callback(self.listener.close)
        self._camera_port = free_port()
        self._camera = stack.enter_context(ExitStack())
        address = self.restart_camera()
        self.config = folder / "fireseg.toml"
        self.config.write_text(CONFIG.format(address=address, model=self.model, disk=self.disk, port=self.broker.port))
        self._runs: list[ProcessUnderTest] = []

    def restart_camera(self) -> str:
        self._camera.close()
        address, _ = self._camera.enter_context(camera(fps=FPS, fire=True, port=self._camera_port))
        return address

    @contextmanager
    def start(self) -> Iterator[ProcessUnderTest]:
        """Start a run on this rig."""
        with start_run("--config", self.config) as run:
            self._runs.append(run)
            try:
                yield run
            finally:
                if run.process.poll() is None:
                    run.terminate()

    def outcome(self, trials: list[Trial]) -> Faults:
        """Return the trials, with all events up to now."""
        emitted = [key_of(event) for run in self._runs for event in run.events]
        return Faults(trials, emitted, self.listener.events)

    def all_delivered(self) -> bool:
        """Wait until every event up to now is delivered. Return False after a minute."""
        return wait_until(lambda: not self.outcome([]).lost, DELIVERY_S)


def try_faults(model: Path, plan: Plan, on_step: OnStep) -> Faults:
    """Try all faults, one after another."""
    with ExitStack() as stack:
        rig = FaultRig(stack, model)
        with rig.start() as run:
            run.wait_for_results(1, RECOVERY_S)
            trials = [
                repeat("camera killed", plan.camera_kills, lambda: kill_camera(rig, run), on_step),
                repeat("broker killed", plan.broker_kills, lambda: kill_broker(rig, run), on_step),
                fill_disk(rig, run, on_step),
                corrupt_model(rig, run, on_step),
            ]
        rng = random.Random(0)
        trials.append(repeat("SIGTERM at a random moment", plan.terminations, lambda: terminate(rig, rng), on_step))
        with rig.start() as run:  # delivers what the last run left in its outbox
            rig.all_delivered()
            run.wait_for_results(1, RECOVERY_S)
        rig.all_delivered()
        return rig.outcome(trials)


def repeat(what: str, times: int, attempt: Callable[[], tuple[bool, float]], on_step: OnStep) -> Trial:
    """Try one fault several times. An attempt returns whether the run recovered, and in how many seconds."""
    done, outcomes = on_step(what, times), []
    for _ in range(times):
        outcomes.append(attempt())
        done()
    recovered, times_s = zip(*outcomes, strict=True)
    return Trial(what, times, sum(recovered), max(times_s))


def kill_camera(rig: FaultRig, run: ProcessUnderTest) -> tuple[bool, float]:
    rig.restart_camera()
    return recovery(lambda: run.wait_for_results(3, RECOVERY_S))


def kill_broker(rig: FaultRig, run: ProcessUnderTest) -> tuple[bool, float]:
    """Keep the broker down until an event occurs, so that events are emitted while nobody listens."""
    rig.broker.kill()
    has_event, _ = wait_for_events(run, 1)
    rig.broker.start()
    start_s = time.monotonic()
    return rig.all_delivered() and has_event, time.monotonic() - start_s


def fill_disk(rig: FaultRig, run: ProcessUnderTest, on_step: OnStep) -> Trial:
    if not os.path.ismount(rig.disk):
        return Trial("disk filled (skipped: mounting a small disk needs root)")
    ballast = rig.disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    trial = repeat("disk filled", 1, lambda: wait_for_events(run, 2), on_step)
    ballast.unlink()
    return trial


def corrupt_model(rig: FaultRig, run: ProcessUnderTest, on_step: OnStep) -> Trial:
    good = rig.model.read_bytes()
    damaged = iter((b"", b"rubbish" * 1000, good[: len(good) // 2]))

    def reload_damaged() -> tuple[bool, float]:
        rig.model.write_bytes(next(damaged))
        logged = len(run.log_lines)
        run.process.send_signal(signal.SIGHUP)
        refused, took_s = recovery(lambda: run.wait_for_log("rejected", RECOVERY_S, since=logged))
        resumed, _ = recovery(lambda: run.wait_for_results(10, RECOVERY_S))
        return refused and resumed, took_s

    trial = repeat("model file corrupted", 3, reload_damaged, on_step)
    rig.model.write_bytes(good)
    run.process.send_signal(signal.SIGHUP)
    return trial


def terminate(rig: FaultRig, rng: random.Random) -> tuple[bool, float]:
    with rig.start() as run:
        moment_s = rng.uniform(0.5, 0.5 + (CALM_S + FIRE_S) / 2)
        time.sleep(moment_s)
        took_s = run.terminate()
    # Before the first result nothing needs closing, and the signal may end the process by itself.
    allowed = {0} if run.results else {0, -signal.SIGTERM}
    is_clean = run.process.returncode in allowed and not any("Traceback" in line for line in run.log_lines)
    if not is_clean:
        warnings.warn(f"exit code {run.process.returncode} on SIGTERM after {moment_s:.2f} s", stacklevel=2)
    return is_clean and took_s < SHUTDOWN_S, took_s


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
