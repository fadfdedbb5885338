"""The soak of a fleet: simulated cameras on one broker and one Prometheus; brokers and cameras are killed meanwhile.

What the cameras made is compared with what a dashboard's client received, and what all of it cost is measured.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho

from benchmarks.fleet.camera import SimulatedCamera, run_camera
from benchmarks.fleet.queries import answered
from benchmarks.fleet.site import FleetBroker, PrometheusServer, Site, Usage, prometheus, scrape
from benchmarks.soak.faults import count_altered, is_in_order
from benchmarks.soak.rig import Key, Listener, free_port, key_of, wait_until
from edge.console import OnStep
from edge.errors import UserError

PRELOAD = ["benchmarks.fleet.camera", "edge.sinks.mqtt", "edge.sinks.web.app", "edge.sinks.web.auth", "uvicorn"]
"""Loaded once; the cameras are forked from this process and share its memory."""
START_WAIT_S, DELIVERY_S = 300.0, 300.0
MEMORY = Path("/dev/shm")
"""Where the outboxes lie: each camera has its own disk, and fifty that share one wait for each other."""
BROKER_DOWN_S, CAMERA_DOWN_S = 3.0, (2.0, 10.0)
EVENT = "event"


@dataclass(frozen=True)
class Plan:
    """How large the fleet is, for how long it runs, and how often what is killed."""

    cameras: int = 50
    seconds: float = 600.0
    broker_kills: int = 5
    killed_share: float = 1 / 3
    fire_period_s: float = 30.0
    seed: int = 0

    @property
    def camera_kills(self) -> int:
        return round(self.cameras * self.killed_share)


@dataclass
class FleetRun:
    """What a run measured. Rates are by camera and second; bytes are of topics and payloads, without TLS."""

    seconds: float
    made: int
    received: int
    lost: list[Key]
    repeated: int
    altered: int
    """Copies with the same id and number and other content."""
    in_order: bool
    delivery_s: dict[str, float]
    """From an event's `time` to its arrival: median, 99th percentile, maximum."""
    settle_s: float
    """From the last fire until every event had arrived."""
    messages: dict[str, float]
    """By the last level of the topic."""
    message_bytes: dict[str, float]
    broker: Usage
    prometheus: Usage
    samples: float
    """Samples that Prometheus stored, a second."""
    series: float
    scrape_bytes: int
    scrapes_failed: int
    """Of cameras that were not killed."""
    scrape_gap_s: float
    """The longest time between two scrapes of a camera that was not killed."""
    late_writes: float
    """Events published before they were on disk: a kill at that moment loses them."""
    queries_answered: int
    queries: int
    """Of the dashboard."""


class FleetListener(Listener):
    """The client of a dashboard. Counts all messages and keeps the events."""

    def __init__(self, site: Site) -> None:
        self.counts: Counter[str] = Counter()
        self.sizes: Counter[str] = Counter()
        self.delivery_s: list[float] = []
        self.cameras: set[str] = set()
        login = "dashboard", site.password("dashboard")
        super().__init__(site.port, name="fleet", login=login, ca_file=site.ca_file, qos=1)

    def record(self, message: paho.MQTTMessage) -> None:
        if message.retain:  # kept by the broker, sent again after a reconnection
            return
        _, camera, kind = message.topic.split("/")
        self.cameras.add(camera)
        self.counts[kind] += 1
        self.sizes[kind] += len(message.topic) + len(message.payload)
        if kind == EVENT:
            super().record(message)
            made = datetime.fromisoformat(json.loads(message.payload)["time"])
            self.delivery_s.append(time.time() - made.timestamp())


@dataclass
class CameraProcess:
    """A simulated camera and its process."""

    camera: SimulatedCamera
    process: BaseProcess | None = None
    kills: int = 0

    def start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        self.process = context.Process(target=run_camera, args=(self.camera,), daemon=True)
        self.process.start()

    def kill(self) -> None:
        """Send SIGKILL, like a power cut."""
        if self.process:
            self.process.kill()
            self.process.join()
            self.process = None

    def made(self) -> list[Key]:
        """Return the events that the camera published, in order."""
        path = self.camera.made
        lines = path.read_text().splitlines() if path.exists() else []
        return [(id_, number) for id_, number in map(json.loads, lines)]


def run_fleet(folder: Path, plan: Plan, on_step: OnStep) -> FleetRun:
    """Run a fleet in an empty folder. Raises `UserError` if a program is missing or the fleet does not start."""
    with ExitStack() as stack:
        site = Site(folder)
        memory = str(MEMORY) if MEMORY.is_dir() else None
        spools = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fireseg-fleet-", dir=memory)))
        cameras = list(make_cameras(site, plan, spools, on_step("cameras added", plan.cameras)))
        broker = FleetBroker(site)
        stack.callback(broker.kill)
        server = stack.enter_context(prometheus(site))
        listener = stack.enter_context(closing(FleetListener(site)))
        step = on_step("cameras started", plan.cameras)
        for camera in cameras:
            camera.start()
            stack.callback(camera.kill)
            step()
        wait_for_start(plan, server, listener)
        return measure(plan, cameras, broker, server, listener, on_step)


def wait_for_start(plan: Plan, server: PrometheusServer, listener: FleetListener) -> None:
    """Wait until each camera was scraped and published its state. Raises `UserError` after five minutes."""
    deadline_s = time.monotonic() + START_WAIT_S
    while (scraped := server.value("count(max_over_time(up{job='fireseg'}[10m]) == 1)")) < plan.cameras or (
        len(listener.cameras) < plan.cameras
    ):
        if time.monotonic() > deadline_s:
            problem = f"of {plan.cameras} cameras {scraped:.0f} were scraped and {len(listener.cameras)} published"
            raise UserError(problem, "the machine is too slow or too busy: try fewer cameras")
        time.sleep(1)


def make_cameras(site: Site, plan: Plan, spools: Path, step: Callable[[], None]) -> Iterator[CameraProcess]:
    """Yield the cameras, each added by `fleet.sh`."""
    for number in range(plan.cameras):
        name, port = f"camera-{number:03d}", free_port()
        site.add_camera(name, port)
        home = site.folder / name
        home.mkdir()
        camera = SimulatedCamera(
            name, port, site.port, site.handover(name), spool=spools / name, made=home / "made",
            hold=site.folder / "hold", log=home / "log", fire_period_s=plan.fire_period_s,
        )  # fmt: skip
        yield CameraProcess(camera)
        step()


def measure(
    plan: Plan,
    cameras: list[CameraProcess],
    broker: FleetBroker,
    server: PrometheusServer,
    listener: FleetListener,
    on_step: OnStep,
) -> FleetRun:
    """Run the plan on a fleet that has started."""
    listener.counts.clear()
    listener.sizes.clear()
    appended = "prometheus_tsdb_head_samples_appended_total"
    start_s, broker_before, prometheus_before = time.monotonic(), broker.usage(), server.usage()
    kill_by_plan(plan, cameras, broker, on_step)
    seconds = time.monotonic() - start_s
    counts, sizes = dict(listener.counts), dict(listener.sizes)
    broker_used, prometheus_used = broker.usage(), server.usage()
    range_s = round(seconds)
    scraped = server.query(f"up{{job='fireseg'}}[{range_s}s]")
    samples, series = server.value(f"sum(rate({appended}[{range_s}s]))"), server.value("prometheus_tsdb_head_series")
    late_writes = server.value(f"sum(increase(fireseg_late_writes_total[{range_s}s]))")
    answers = answered(server)

    held_s = time.monotonic()
    cameras[0].camera.hold.touch()
    time.sleep(1)
    wait_until(lambda: not missing(cameras, listener), DELIVERY_S)
    settle_s = time.monotonic() - held_s
    delivery_s = sorted(listener.delivery_s)
    spared = {camera.camera.name for camera in cameras if not camera.kills}
    failed, gap_s = scrape_gaps([each for each in scraped if each["metric"]["camera"] in spared])
    made = [camera.made() for camera in cameras]
    events = [json.loads(payload) for payload in listener.payloads(EVENT)]
    received = dict.fromkeys(map(key_of, events))
    first = cameras[0].camera
    return FleetRun(
        seconds=seconds,
        made=sum(map(len, made)),
        received=len(received),
        lost=sorted(set(itertools.chain(*made)) - received.keys()),
        repeated=len(events) - len(received),
        altered=count_altered(events),
        in_order=all(is_in_order(keys, received) for keys in made),
        delivery_s={
            "median": statistics.median(delivery_s), "p99": delivery_s[int(0.99 * len(delivery_s))],
            "max": delivery_s[-1],
        },
        settle_s=settle_s,
        messages={kind: count / seconds / plan.cameras for kind, count in counts.items()},
        message_bytes={kind: size / seconds / plan.cameras for kind, size in sizes.items()},
        broker=difference(broker_used, broker_before),
        prometheus=difference(prometheus_used, prometheus_before),
        samples=samples,
        series=series,
        scrape_bytes=len(scrape(first.page_port, (first.handover / "page-password").read_text().strip())),
        scrapes_failed=failed,
        scrape_gap_s=gap_s,
        late_writes=late_writes,
        queries_answered=sum(answers.values()),
        queries=len(answers),
    )  # fmt: skip


def kill_by_plan(plan: Plan, cameras: list[CameraProcess], broker: FleetBroker, on_step: OnStep) -> None:
    """Let the fleet run, and kill the broker and cameras at times that depend on the seed alone."""
    rng, faults = random.Random(plan.seed), list[tuple[float, Callable[[], None]]]()
    broker_step, camera_step = on_step("broker killed", plan.broker_kills), on_step("cameras killed", plan.camera_kills)
    for number in range(plan.broker_kills):
        at_s = plan.seconds * (number + rng.uniform(0.2, 0.8)) / plan.broker_kills
        down_s = min(BROKER_DOWN_S, 0.15 * plan.seconds / plan.broker_kills)
        faults += [(at_s, broker.kill), (at_s + down_s, broker.start), (at_s + down_s, broker_step)]
    for camera in rng.sample(cameras, plan.camera_kills):
        at_s = plan.seconds * rng.uniform(0.05, 0.85)
        faults += [(at_s, camera.kill), (at_s + rng.uniform(*CAMERA_DOWN_S), camera.start)]
        faults.append((faults[-1][0], camera_step))
        camera.kills += 1
    start_s = time.monotonic()
    for at_s, act in [*sorted(faults, key=lambda fault: fault[0]), (plan.seconds, lambda: None)]:
        time.sleep(max(0.0, start_s + at_s - time.monotonic()))
        act()


def missing(cameras: list[CameraProcess], listener: Listener) -> set[Key]:
    return {key for camera in cameras for key in camera.made()} - set(listener.events)


def scrape_gaps(targets: list[dict[str, Any]]) -> tuple[int, float]:
    """Return the failed scrapes, and the longest time between two that succeeded, of Prometheus' `up`."""
    failed, gap_s = 0, 0.0
    for target in targets:
        failed += sum(value == "0" for _, value in target["values"])
        at_s = [float(at) for at, value in target["values"] if value == "1"]
        gap_s = max([gap_s, *(after - before for before, after in itertools.pairwise(at_s))])
    return failed, gap_s


def difference(after: Usage, before: Usage) -> Usage:
    """Return what was used in between; the peak of memory is that of the whole run."""
    cpu_s, written = after.cpu_s - before.cpu_s, after.written_bytes - before.written_bytes
    return Usage(cpu_s, after.peak_rss_bytes, written)
