"""Everything around the loop fails, again and again; what counts is that frames and alarms go on, and no event is lost.

Cameras and brokers are killed with SIGKILL, as power cuts and crashes do; the run itself is ended with SIGTERM at
random moments and started again on the same spool.
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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.soak.broker import Broker, Key, Listener, key_of
from benchmarks.soak.camera import BURNING_S, CALM_S, camera, free_port
from benchmarks.soak.clock import WallClock
from benchmarks.soak.process import Subject, subject

CAMERA_KILLS, BROKER_KILLS, TERMINATIONS = 20, 10, 20
FPS = 15.0
BACK_WITHIN_S = 60.0
ENDS_WITHIN_S = 2.0
ARRIVES_WITHIN_S = 60.0
DISK_BYTES = 8 << 20
STEP_BACK_S = 3600
CYCLE_S = CALM_S + BURNING_S
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
folder = "{spool}"
[mqtt]
host = "127.0.0.1"
port = {port}
name = "soak"
"""


@dataclass
class Trial:
    """One kind of fault."""

    what: str
    times: int = 0
    recovered: int = 0
    worst_s: float = 0.0
    """The longest until the run was well again, or had ended."""
    remark: str = ""

    def was(self, well: bool, took_s: float = 0.0) -> None:
        self.times += 1
        self.recovered += well
        self.worst_s = max(self.worst_s, took_s)


@dataclass
class Faults:
    """What all of them came to."""

    trials: list[Trial] = field(default_factory=list)
    emitted: int = 0
    lost: list[Key] = field(default_factory=list)
    doubled: list[Key] = field(default_factory=list)
    in_order: bool = True
    """Whether the events of one run arrived in the order in which they were told."""


class Scene:
    """A burning camera, a broker with a listener, a small disk, and what runs before them."""

    def __init__(self, stack: ExitStack, model: Path, topic: str) -> None:
        self._stack = stack
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
        self.start_camera()
        self.config = self.folder / "fireseg.toml"
        self.config.write_text(
            CONFIG.format(
                address=self.address, model=self.model, disk=self.disk, spool=self.disk / "spool", port=self.broker.port
            )
        )
        self.emitted: list[Key] = []

    def start_camera(self) -> None:
        self.address, _ = self._camera.enter_context(camera(fps=FPS, burning=True, port=self._camera_port))

    def kill_camera(self) -> None:
        self._camera.close()

    @contextmanager
    def run(self, **environment: str) -> Iterator[Subject]:
        """The run under trial; what it tells is kept, however it ends."""
        with subject("--config", self.config, environment=environment) as watched:
            try:
                yield watched
            finally:
                if watched.process.poll() is None:
                    watched.terminate()
        self.emitted += map(key_of, watched.events)


def try_faults(model: Path, topic: str, on_step: Callable[[], None]) -> Faults:
    """All faults, one after the other. `topic` is where events arrive at the broker."""
    faults = Faults()
    with ExitStack() as stack:
        scene = Scene(stack, model, topic)
        with scene.run() as watched:
            watched.wait_for_results(1, BACK_WITHIN_S)
            for trial in (kill_camera, kill_broker, fill_disk, spoil_model):
                faults.trials.append(trial(scene, watched, on_step))
        faults.trials += [step_clock_back(scene, on_step), terminate(scene, on_step)]
        with scene.run() as watched:  # what the last one left in the spool
            wait_until(lambda: not missing(scene), ARRIVES_WITHIN_S)
            watched.wait_for_results(1, BACK_WITHIN_S)
        wait_until(lambda: not missing(scene), ARRIVES_WITHIN_S)
        faults.emitted = len(scene.emitted)
        faults.lost = missing(scene)
        arrived = scene.listener.events
        faults.doubled = [key for key, count in Counter(arrived).items() if count > 1]
        faults.in_order = list(dict.fromkeys(arrived)) == scene.emitted
    return faults


def missing(scene: Scene) -> list[Key]:
    arrived = set(scene.listener.events)
    return [key for key in scene.emitted if key not in arrived]


def kill_camera(scene: Scene, watched: Subject, on_step: Callable[[], None]) -> Trial:
    trial = Trial("camera killed")
    for _ in range(CAMERA_KILLS):
        scene.kill_camera()
        scene.start_camera()
        trial.was(*recovery(lambda: watched.wait_for_results(3, BACK_WITHIN_S)))
        on_step()
    return trial


def kill_broker(scene: Scene, watched: Subject, on_step: Callable[[], None]) -> Trial:
    """Down for as long as a fire takes to start or to end, so that events come while nobody listens."""
    trial = Trial("broker killed")
    for _ in range(BROKER_KILLS):
        told = len(watched.events)
        scene.broker.kill()
        well, _ = recovery(lambda told=told: watched.wait_for(lambda: len(watched.events) > told, "an event", 60.0))  # type: ignore[misc]
        scene.broker.start()
        began_s = time.monotonic()
        arrived = wait_until(lambda: {*map(key_of, watched.events)} <= {*scene.listener.events}, ARRIVES_WITHIN_S)
        trial.was(well and arrived, time.monotonic() - began_s)
        on_step()
    return trial


def fill_disk(scene: Scene, watched: Subject, on_step: Callable[[], None]) -> Trial:
    trial = Trial("disk filled")
    if not os.path.ismount(scene.disk):
        trial.remark = "not tried: a small disk can be mounted by root alone"
        return trial
    ballast = scene.disk / "ballast"
    fill(ballast)
    told = len(watched.events)
    well, took_s = recovery(lambda: watched.wait_for(lambda: len(watched.events) > told + 1, "two events", 60.0))
    trial.was(well, took_s)
    ballast.unlink()
    on_step()
    return trial


def spoil_model(scene: Scene, watched: Subject, on_step: Callable[[], None]) -> Trial:
    trial = Trial("model replaced by rubbish")
    good = scene.model.read_bytes()
    for rubbish in (b"", b"rubbish" * 1000, good[: len(good) // 2]):
        scene.model.write_bytes(rubbish)
        said = len(watched.said)
        watched.process.send_signal(signal.SIGHUP)
        well, took_s = recovery(
            lambda said=said: watched.wait_for(  # type: ignore[misc]
                lambda: any("configuration refused" in line for line in watched.said[said:]), "a refusal", BACK_WITHIN_S
            )
        )
        goes_on, _ = recovery(lambda: watched.wait_for_results(10, BACK_WITHIN_S))
        trial.was(well and goes_on, took_s)
    scene.model.write_bytes(good)
    watched.process.send_signal(signal.SIGHUP)
    on_step()
    return trial


def step_clock_back(scene: Scene, on_step: Callable[[], None]) -> Trial:
    """An hour, under a library that lies about the wall clock and leaves the monotonic one alone."""
    trial = Trial("clock stepped back an hour")
    try:
        clock = WallClock(scene.folder)
    except FileNotFoundError as error:
        trial.remark = f"not tried: {error}"
        return trial
    with scene.run(**clock.environment) as watched:
        told_before = recovery(lambda: watched.wait_for(lambda: len(watched.events) > 1, "two events", 60.0))[0]
        clock.step(-STEP_BACK_S)
        results_on = recovery(lambda: watched.wait_for_results(10, BACK_WITHIN_S))
        told = len(watched.events)
        told_after = recovery(lambda: watched.wait_for(lambda: len(watched.events) > told + 1, "two events", 60.0))[0]
        if told_after and not watched.events[-1]["time"] < watched.events[0]["time"]:
            trial.remark = "the clock did not step"
        trial.was(told_before and results_on[0] and told_after and not trial.remark, results_on[1])
    on_step()
    return trial


def terminate(scene: Scene, on_step: Callable[[], None]) -> Trial:
    trial = Trial("SIGTERM at a random moment")
    draw = random.Random(0)
    for _ in range(TERMINATIONS):
        with scene.run() as watched:
            moment_s = draw.uniform(0.5, 0.5 + CYCLE_S / 2)
            time.sleep(moment_s)
            took_s = watched.terminate()
            clean = watched.process.returncode == 0 and not any("Traceback" in line for line in watched.said)
            if not clean:
                trial.remark = f"exit code {watched.process.returncode} after {moment_s:.2f} s"
            trial.was(clean and took_s < ENDS_WITHIN_S, took_s)
        on_step()
    return trial


def recovery(wait: Callable[[], float]) -> tuple[bool, float]:
    """Whether it recovered, and how long that took."""
    began_s = time.monotonic()
    try:
        return True, wait()
    except TimeoutError:
        return False, time.monotonic() - began_s


def wait_until(happened: Callable[[], bool], timeout_s: float) -> bool:
    gives_up_s = time.monotonic() + timeout_s
    while not happened():
        if time.monotonic() > gives_up_s:
            return False
        time.sleep(0.05)
    return True


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A folder that is a disk of its own, where we may mount one."""
    folder.mkdir()
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], capture_output=True, check=False
    ).returncode
    try:
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)
