"""A simulated camera: fires by a schedule, without camera and model, through the real event tracker and sinks."""

from __future__ import annotations

import json
import os
import random
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from benchmarks.fleet.site import HOST
from edge.config import Config
from edge.config_tables import MqttSection, SourceSection, SpoolSection, WebSection
from edge.control.actions import Actions
from edge.detection.events import EventTracker
from edge.host.machine import HostStatus, Throttling
from edge.messages import WHOLE_FRAME, CameraState, Event, FineView, FireEvent, FrameResult
from edge.run_status import DrillStatus, FailureCounts, RunStatus
from edge.sinks import Sink, Sinks
from edge.sinks.factory import build_notifiers
from edge.sinks.prometheus import Prometheus
from edge.sinks.web.sink import WebPage

FPS = 1.0
"""Results and statuses a second: what is sent does not depend on it."""
FIRE_PERIOD_S, FIRE_S = 30.0, 6.0
FRAME_SIZE = (360, 640)
NOISE = 3
HOST_STATUS = HostStatus(governor=None, temperature_c=52.0, throttling=Throttling(0), load=None)
LAST_DRILL = datetime(2026, 11, 22, 10).astimezone().isoformat()
DRILL = DrillStatus(False, WHOLE_FRAME, LAST_DRILL, passed=True, last_passed=LAST_DRILL)


@dataclass(frozen=True)
class SimulatedCamera:
    """What a simulated camera needs to know.

    Args:
        handover: the files that `fleet.sh add` wrote for it.
        made: file to which the key of each event is appended before it is published.
        hold: while this file exists, there is no fire.
        log: file for what the run logs.
        fire_period_s: time from the beginning of a fire to the next.
    """

    name: str
    page_port: int
    broker_port: int
    handover: Path
    spool: Path
    made: Path
    hold: Path
    log: Path
    fire_period_s: float = FIRE_PERIOD_S

    def config(self) -> Config:
        mqtt = MqttSection(
            host=HOST, port=self.broker_port, tls=True, ca_file=str(self.handover / "ca.crt"),
            user=self.name, password_file=str(self.handover / "mqtt-password"), name=self.name,
        )  # fmt: skip
        web = WebSection(f"{HOST}:{self.page_port}", str(self.handover / "page-password"))
        return Config(source=SourceSection("simulated"), mqtt=mqtt, web=web, spool=SpoolSection(str(self.spool)))

    def has_fire(self, at_s: float) -> bool:
        """Return whether there is a fire at a time of `time.monotonic`; each camera has its own phase."""
        phase_s = random.Random(self.name).uniform(0, self.fire_period_s)
        return (at_s + phase_s) % self.fire_period_s < FIRE_S and not self.hold.exists()


class MadeEvents(Sink):
    """Appends the id and number of each event to a file, before it is published and after it is on disk."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def on_event(self, event: FireEvent) -> None:
        os.write(self._file, json.dumps([event.id, event.number]).encode() + b"\n")


def run_camera(camera: SimulatedCamera) -> None:
    """Run until the process is killed."""
    log = os.open(camera.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    config, metrics, started_s = camera.config(), Prometheus("fleet"), time.monotonic()
    actions, tracker = Actions(), EventTracker("ab" * 32, camera.name)
    page = WebPage(config, metrics, actions)
    notifiers = build_notifiers(config, "fleet", actions)
    sinks = Sinks([MadeEvents(camera.made), metrics, page, *notifiers], time.monotonic)
    noise = np.random.default_rng(random.Random(camera.name).randrange(2**32))
    frame = np.full((*FRAME_SIZE, 3), 90, np.uint8) + noise.integers(0, 2 * NOISE, (*FRAME_SIZE, 3), np.uint8)
    mask = np.zeros((224, 224), np.bool_)
    mask[100:140, 90:120] = True
    results, due_s = 0, started_s
    while True:
        time.sleep(max(0.0, due_s - time.monotonic()))
        now_s = time.monotonic()
        due_s = max(due_s, now_s) + 1 / FPS  # late results are left out, as a camera drops frames
        actions.poll()
        has_fire = camera.has_fire(now_s)
        share = 0.02 * has_fire
        result = FrameResult(
            frame=results + 1, t_s=now_s - started_s, age_ms=60.0, inference_ms=16.0, fire_share=share,
            shares={WHOLE_FRAME: share}, alarms={WHOLE_FRAME: has_fire}, rgb=frame, mask=mask & has_fire,
        )  # fmt: skip
        events: list[Event] = tracker.update(result)
        sinks.on_result(result)
        for event in events:
            sinks.on_event(event)
        results += 1
        sinks.on_status(_status(camera.name, now_s - started_s, results, sinks))


def _status(name: str, running_s: float, results: int, sinks: Sinks) -> RunStatus:
    return RunStatus(
        source=name, camera_state=CameraState.STREAMING, connects=1, running_s=running_s, results=results, dropped=0,
        fps=FPS, last_result_age_s=1 / FPS, machine=HOST_STATUS, model_sha256="ab" * 32, receivers=sinks.receivers(),
        failures=FailureCounts(late_writes=sinks.late_writes),
        fine_view=FineView(3, 0.5), drill=DRILL,
    )  # fmt: skip
