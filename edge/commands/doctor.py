"""`fireseg-edge doctor`: is this machine fit to watch? One line a check, with the remedy where something is wrong."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from edge.camera import CAMERA_KINDS, build_camera
from edge.camera.capture import Capture
from edge.commands.run import load_watched, options, source_settings
from edge.config import Config, load_config
from edge.errors import UserError
from edge.host.machine import HOT_C, HostStatus, cpu_name, read_state
from edge.model.segmenter import Segmenter
from edge.secrets import redact

WARM_C = HOT_C - 10
MIN_FREE_BYTES = 200e6
CAMERA_WAIT_S = 15.0
SLOW_MS = 500.0
COMMAND_WAIT_S = 5.0
BROKER_WAIT_S = 5.0
BUILT = datetime(2026, 11, 1, tzinfo=UTC)
"""No clock that is right says a time before this."""


@dataclass(frozen=True)
class Finding:
    """What one check came to. Without a remedy, all is well."""

    what: str
    said: str
    remedy: str = ""

    def __str__(self) -> str:
        mark = "wrong" if self.remedy else "ok"
        return f"{mark:5}  {self.what:12} {self.said}" + (f": {self.remedy}" if self.remedy else "")


def doctor_command(
    source: Annotated[str | None, typer.Option(help=f"The camera to try: {CAMERA_KINDS}.")] = None,
    model: Annotated[Path | None, typer.Option(help="The .tflite model to try.")] = None,
    config: Annotated[Path | None, typer.Option(help="The configuration of the run.")] = None,
) -> None:
    """Check camera, model, runtime, temperature, disk, clock and broker; exit code 1 where something is wrong."""
    told = options(source={"address": source}, model={"path": str(model) if model else None})
    findings = []
    for finding in examine(load_config(config, told)):
        print(redact(str(finding)), flush=True)
        findings.append(finding)
    if any(finding.remedy for finding in findings):
        raise typer.Exit(1)


def examine(config: Config) -> Iterator[Finding]:
    """All checks, the slow ones last."""
    state = read_state()
    yield temperature(state)
    yield power(state)
    yield disk(Path(config.clips.folder) if config.clips.folder else Path())
    yield clock(datetime.now(UTC), clock_is_synchronised())
    segmenter = None
    try:
        segmenter, _, model_sha256 = load_watched(config)
        yield Finding("model", f"{config.model.path}, {segmenter.width}x{segmenter.height} px, {model_sha256[:12]}")
        yield runtime(segmenter)
    except UserError as error:
        yield Finding("model", *halves(error))
    if config.mqtt.host:
        yield broker(config)
    yield camera(config, segmenter)


def temperature(state: HostStatus) -> Finding:
    if state.temperature_c is None:
        return Finding("temperature", "not told by this machine")
    said = f"{state.temperature_c:.0f} °C"
    if state.temperature_c >= WARM_C:
        return Finding(
            "temperature", said, f"it slows down from {HOT_C:.0f} °C; give it a heat sink, a fan or more air"
        )
    return Finding("temperature", said)


def power(state: HostStatus) -> Finding:
    if state.throttling is None:
        return Finding("power", "not told by this machine")
    if held := state.throttling.now or state.throttling.since_boot:
        when = "now" if state.throttling.now else "since it was started"
        remedy = "use the power supply made for this Pi, a short cable, and cool it"
        return Finding("power", f"held back {when} ({', '.join(held)})", remedy)
    return Finding("power", "never held back since it was started")


def disk(folder: Path) -> Finding:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    free_bytes = shutil.disk_usage(there).free
    said = f"{free_bytes / 1e9:.1f} GB free at {there}"
    if free_bytes < MIN_FREE_BYTES:
        return Finding("disk", said, "pictures of fires will be lost; free some space, or lower [clips] max_mb")
    return Finding("disk", said)


def clock(now: datetime, synchronised: bool | None) -> Finding:
    said = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if now < BUILT or synchronised is False:
        return Finding("clock", f"{said}, not synchronised", "events will name a wrong time; see `timedatectl`")
    return Finding("clock", said + (", synchronised" if synchronised else ""))


def clock_is_synchronised(
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run,
) -> bool | None:
    """What systemd says; None where it says nothing."""
    question = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    try:
        done = run(question, capture_output=True, text=True, timeout=COMMAND_WAIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip())


def runtime(segmenter: Segmenter) -> Finding:
    """One frame through the model: the first warms it up, the second counts."""
    frame = np.zeros((segmenter.height, segmenter.width, 3), np.uint8)
    for _ in range(2):
        began_s = time.perf_counter()
        segmenter.mask(frame)
        took_ms = 1000 * (time.perf_counter() - began_s)
    said = f"{segmenter.runtime}, {segmenter.threads} threads, {took_ms:.0f} ms a frame on {cpu_name()}"
    if took_ms > SLOW_MS:
        return Finding("runtime", said, "an alarm needs several frames; use the int8 model, or a smaller one")
    return Finding("runtime", said)


def broker(config: Config) -> Finding:
    """Be let in once."""
    from edge.sinks.mqtt_client import broker_address, try_broker

    try:
        address = broker_address(config.mqtt)
        trouble = try_broker(address, BROKER_WAIT_S)
    except UserError as error:
        return Finding("broker", *halves(error))
    if trouble:
        return Finding("broker", f"{address} {trouble}", "check [mqtt] host, port, tls, user and password")
    return Finding("broker", f"{address} lets us in")


def camera(config: Config, segmenter: Segmenter | None) -> Finding:
    """Wait for one frame."""
    try:
        settings = source_settings(config, segmenter)
        name = build_camera(config.source.address, settings).name
        with Capture(lambda: build_camera(config.source.address, settings), reconnect_limit=0) as capture:
            frame = capture.newest(CAMERA_WAIT_S)
    except UserError as error:
        return Finding("camera", *halves(error))
    if frame is None:
        return Finding("camera", f"{name} gave no frame in {CAMERA_WAIT_S:.0f} s", "check that it is on and free")
    height, width = frame.rgb.shape[:2]
    return Finding("camera", f"{name}, {width}x{height} px")


def halves(error: UserError) -> tuple[str, str]:
    """What is wrong and what to do, as the errors of this project have it before and behind their last colon."""
    said, _, remedy = str(error.lines[0]).rpartition(": ")
    return (said, remedy) if said else (remedy, "see above")
