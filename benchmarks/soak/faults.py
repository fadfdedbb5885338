"""Faults around the loop, again and again: results must resume and no event may be lost.

Cameras and brokers are killed with SIGKILL, as by power cuts; disk, threads, receivers, models and configurations fail.
The run itself is ended with SIGTERM and SIGKILL at random moments and started again on the same outbox folder.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import time
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.soak.fault_rig import FaultRig, block, fill
from benchmarks.soak.process import ProcessUnderTest
from benchmarks.soak.rig import CALM_S, FIRE_S, Content, Key, key_of
from edge.console import OnStep

RECOVERY_S = 60.0
SHUTDOWN_S = 2.0
FAULT_S = 5.0
"""How long a camera or the threads stay broken."""
BURST = 500


class Plan(NamedTuple):
    """How often each fault is tried."""

    camera_kills: int = 20
    broker_kills: int = 10
    others: int = 3
    """Faults of camera, webhook, disk and threads."""
    terminations: int = 20
    kills: int = 30


QUICK = Plan(camera_kills=1, broker_kills=1, others=1, terminations=2, kills=3)


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
    """All trials, and the events that the runs made and each receiver got, in order."""

    trials: list[Trial]
    made: list[Key]
    received: dict[str, list[Key]]
    altered: int = 0
    """Keys of which a receiver got two different documents."""
    rss_bytes: int = 0
    """Peak of the run that met the faults of the camera and the receivers."""

    @property
    def lost(self) -> list[tuple[str, Key]]:
        sets = {name: set(keys) for name, keys in self.received.items()}
        return [(name, key) for name, keys in sets.items() for key in self.made if key not in keys]

    @property
    def repeated(self) -> int:
        """Copies, which at-least-once delivery allows."""
        return sum(len(keys) - len(set(keys)) for keys in self.received.values())

    @property
    def in_order(self) -> bool:
        """Whether first deliveries arrived in the order in which the runs made them."""
        return all(is_in_order(self.made, keys) for keys in self.received.values())


def try_faults(model: Path, plan: Plan, on_step: OnStep) -> Faults:
    """Try all faults, one after another."""
    with ExitStack() as stack:
        rig = FaultRig(stack, model)
        with rig.start() as run:
            run.wait_for_results(1, RECOVERY_S)

            def trial(
                what: str, times: int, attempt: Callable[[FaultRig, ProcessUnderTest], tuple[bool, float]]
            ) -> Trial:
                return repeat(what, times, lambda: attempt(rig, run), on_step)

            trials = [
                trial("camera killed", plan.camera_kills, kill_camera),
                trial("camera sends 30000x30000 px", plan.others, partial(break_camera, content="bomb")),
                trial("camera sends an endless header", plan.others, partial(break_camera, content="endless")),
                trial("broker killed", plan.broker_kills, kill_broker),
                trial("webhook answers a byte a second", plan.others, hang_webhook),
                trial("disk filled", plan.others, fill_disk)
                if os.path.ismount(rig.disk)
                else Trial("disk filled (skipped: mounting a small disk needs root)"),
                *(
                    (
                        trial("input/output error at the outbox", plan.others, break_outbox),
                        trial("no thread starts", plan.others, break_threads),
                    )
                    if rig.can_inject
                    else (Trial("input/output error, no thread starts (skipped: needs a C compiler)"),)
                ),
                *reload_damaged(rig, run, on_step),
            ]
            rss_bytes = run.peak_rss_bytes()
        rng = random.Random(0)
        trials += [
            repeat("outbox items that are not files", 1, lambda: block_outboxes(rig), on_step),
            repeat(f"{BURST} events stored", 1, lambda: send_burst(rig), on_step),
            repeat("SIGTERM at a random moment", plan.terminations, lambda: terminate(rig, rng), on_step),
            repeat("SIGKILL at a random moment", plan.kills, lambda: kill_run(rig, rng), on_step),
        ]
        with rig.start() as run:  # delivers what the last run left in its outbox
            rig.all_delivered()
            run.wait_for_results(1, RECOVERY_S)
        rig.all_delivered()
        return outcome(rig, trials, rss_bytes)


def outcome(rig: FaultRig, trials: list[Trial], rss_bytes: int) -> Faults:
    received, altered = {}, 0
    for name, bodies in rig.received().items():
        events = [json.loads(body) for body in bodies]
        received[name] = [key_of(event) for event in events]
        altered += count_altered(events)
    return Faults(trials, rig.made(), received, altered, rss_bytes)


def is_in_order(made: list[Key], received: Iterable[Key]) -> bool:
    """Return whether first deliveries arrived in the order of `made`. Events of others do not matter."""
    own, firsts = set(made), dict.fromkeys(received)
    return [key for key in firsts if key in own] == [key for key in made if key in firsts]


def count_altered(events: list[dict[str, Any]]) -> int:
    """Return the number of copies that have the same key as an earlier event and other content."""
    distinct = {json.dumps(event, sort_keys=True): key_of(event) for event in events}
    return len(distinct) - len(set(distinct.values()))


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
    resumed, took_s = recovery(lambda: run.wait_for_results(3, RECOVERY_S))
    has_event = wait_for_events(run, 1)
    return resumed and has_event, took_s


def break_camera(rig: FaultRig, run: ProcessUnderTest, content: Content) -> tuple[bool, float]:
    rig.restart_camera(content)
    time.sleep(FAULT_S)
    return kill_camera(rig, run)


def break_threads(rig: FaultRig, run: ProcessUnderTest) -> tuple[bool, float]:
    """Let no thread start while the run needs one for a new connection to the camera."""
    with rig.injected("threads"):
        rig.restart_camera()
        time.sleep(FAULT_S)
    return recovery(lambda: run.wait_for_results(3, RECOVERY_S))


def kill_broker(rig: FaultRig, run: ProcessUnderTest) -> tuple[bool, float]:
    """Keep the broker down until an event occurs, so that events are made while nobody listens."""
    rig.broker.kill()
    has_event = wait_for_events(run, 1)
    rig.broker.start()
    return delivery(rig, has_event)


def hang_webhook(rig: FaultRig, run: ProcessUnderTest) -> tuple[bool, float]:
    rig.webhook.hung = True
    has_event = wait_for_events(run, 2)
    rig.webhook.hung = False
    return delivery(rig, has_event)


def fill_disk(rig: FaultRig, run: ProcessUnderTest) -> tuple[bool, float]:
    ballast = fill(rig.disk)
    has_event = wait_for_events(run, 2)
    ballast.unlink()
    return delivery(rig, has_event)


def break_outbox(rig: FaultRig, run: ProcessUnderTest) -> tuple[bool, float]:
    with rig.injected("eio"):
        has_event = wait_for_events(run, 2)
    return delivery(rig, has_event)


def reload_damaged(rig: FaultRig, run: ProcessUnderTest, on_step: OnStep) -> list[Trial]:
    """Reload damaged models and configurations: each must be rejected while results go on."""
    model, config, card = rig.model.read_bytes(), rig.config.read_bytes(), io.BytesIO()
    with zipfile.ZipFile(card, "w") as archive:
        archive.writestr("fireseg.json", "[" * 100_000)
    models = b"", b"rubbish" * 1000, model[: len(model) // 2], model[: model.rindex(b"PK\3\4")] + card.getvalue()
    configs = b"\xff", b"x = " + b"[" * 20_000, config + b"\n[zones]\n", config.replace(b"2.0", b"9" * 4500)
    trials = []
    for what, path, valid, damaged in (
        ("model", rig.model, model, models),
        ("configuration", rig.config, config, configs),
    ):
        attempt = partial(reload_next, run, path, iter(damaged))
        trials.append(repeat(f"damaged {what} reloaded", len(damaged), attempt, on_step))
        path.write_bytes(valid)
    run.process.send_signal(signal.SIGHUP)
    return trials


def reload_next(run: ProcessUnderTest, path: Path, contents: Iterator[bytes]) -> tuple[bool, float]:
    path.write_bytes(next(contents))
    logged = len(run.log_lines)
    run.process.send_signal(signal.SIGHUP)
    refused, took_s = recovery(lambda: run.wait_for_log("configuration rejected", RECOVERY_S, since=logged))
    resumed, _ = recovery(lambda: run.wait_for_results(10, RECOVERY_S))
    return refused and resumed, took_s


def block_outboxes(rig: FaultRig) -> tuple[bool, float]:
    for outbox in rig.outboxes():
        block(outbox)
    with rig.start() as run:
        has_event = wait_for_events(run, 2)
        return delivery(rig, has_event)


def send_burst(rig: FaultRig) -> tuple[bool, float]:
    rig.store([{"type": "event", "id": "burst", "number": number, "kind": "peak"} for number in range(1, BURST + 1)])
    with rig.start():
        return delivery(rig, True)


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


def kill_run(rig: FaultRig, rng: random.Random) -> tuple[bool, float]:
    """Start a run, and kill it within two periods of the camera's fires after its first event."""
    with rig.start() as run:
        resumed, took_s = recovery(lambda: run.wait_for_results(1, RECOVERY_S))
        has_event = wait_for_events(run, 1)
        time.sleep(rng.uniform(0, 2 * (CALM_S + FIRE_S)))
        run.process.kill()
        run.process.wait()
    return resumed and has_event, took_s


def delivery(rig: FaultRig, has_event: bool) -> tuple[bool, float]:
    """Return whether all events arrive after an outage in which there was one, and in how many seconds."""
    start_s = time.monotonic()
    return rig.all_delivered() and has_event, time.monotonic() - start_s


def wait_for_events(run: ProcessUnderTest, more: int) -> bool:
    target = len(run.events) + more
    return recovery(lambda: run.wait_for(lambda: len(run.events) >= target, f"{more} events", RECOVERY_S))[0]


def recovery(wait: Callable[[], float]) -> tuple[bool, float]:
    """Return whether the wait succeeded, and how long it took."""
    start_s = time.monotonic()
    try:
        return True, wait()
    except TimeoutError:
        return False, time.monotonic() - start_s
