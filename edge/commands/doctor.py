"""`fireseg-edge doctor`: one line per check of the machine, with the remedy for each that fails."""

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
from edge.commands.options import camera_settings, load_model, overrides
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
RELEASED = datetime(2026, 11, 1, tzinfo=UTC)
"""A clock before this date is wrong."""


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    check: str
    detail: str
    remedy: str | None = None
    """None if the check passed; empty if it failed and the detail says what to do."""

    @property
    def failed(self) -> bool:
        return self.remedy is not None

    def __str__(self) -> str:
        remedy = f": {self.remedy}" if self.remedy else ""
        return f"{'FAIL' if self.failed else 'OK':5}  {self.check:12} {self.detail}{remedy}"


def doctor_command(
    source: Annotated[str | None, typer.Option(help=f"The camera to check: {CAMERA_KINDS}.")] = None,
    model: Annotated[Path | None, typer.Option(help="The .tflite model to check.")] = None,
    config: Annotated[Path | None, typer.Option(help="The configuration of the run.")] = None,
) -> None:
    """Check camera, model, runtime, temperature, disk, clock and broker; exit code 1 if a check fails."""
    options = overrides(source={"address": source}, model={"path": str(model) if model else None})
    failed = False
    for finding in run_checks(load_config(config, options)):
        print(redact(str(finding)), flush=True)
        failed |= finding.failed
    if failed:
        raise typer.Exit(1)


def run_checks(config: Config) -> Iterator[Finding]:
    """Yield the result of each check, the slow ones last."""
    machine = read_state()
    yield check_temperature(machine)
    yield check_power(machine)
    yield check_disk(Path(config.clips.folder) if config.clips.folder else Path())
    yield check_clock(datetime.now(UTC), is_clock_synchronised())
    segmenter = None
    try:
        segmenter, _, model_sha256 = load_model(config)
        yield Finding("model", f"{config.model.path}, {segmenter.width}x{segmenter.height} px, {model_sha256[:12]}")
        yield check_runtime(segmenter)
    except UserError as error:
        yield Finding("model", error.problem, error.remedy)
    if config.mqtt.host:
        yield check_broker(config)
    yield check_camera(config, segmenter)


def check_temperature(machine: HostStatus) -> Finding:
    if machine.temperature_c is None:
        return Finding("temperature", "not reported by this machine")
    is_warm = machine.temperature_c >= WARM_C
    remedy = f"it throttles from {HOT_C:.0f} °C; add a heat sink, a fan or ventilation" if is_warm else None
    return Finding("temperature", f"{machine.temperature_c:.0f} °C", remedy)


def check_power(machine: HostStatus) -> Finding:
    if machine.throttling is None:
        return Finding("power", "not reported by this machine")
    if reasons := machine.throttling.now or machine.throttling.since_boot:
        when = "now" if machine.throttling.now else "since boot"
        remedy = "use the official power supply of this Pi and a short cable, and cool the Pi"
        return Finding("power", f"throttled {when} ({', '.join(reasons)})", remedy)
    return Finding("power", "not throttled since boot")


def check_disk(folder: Path, *, min_free_bytes: float = MIN_FREE_BYTES) -> Finding:
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    free_bytes = shutil.disk_usage(existing).free
    is_full = free_bytes < min_free_bytes
    remedy = "pictures of fires would be lost; free some space, or lower [clips] max_mb" if is_full else None
    return Finding("disk", f"{free_bytes / 1e9:.1f} GB free at {existing}", remedy)


def check_clock(now: datetime, synchronised: bool | None) -> Finding:
    detail = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if now < RELEASED or synchronised is False:
        return Finding("clock", f"{detail}, not synchronised", "events would carry a wrong time; see `timedatectl`")
    return Finding("clock", detail + (", synchronised" if synchronised else ""))


def is_clock_synchronised(
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run,
) -> bool | None:
    """Return what systemd reports; None if it reports nothing."""
    command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    try:
        done = run(command, capture_output=True, text=True, timeout=COMMAND_WAIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip())


def check_runtime(segmenter: Segmenter) -> Finding:
    """Time the second of two frames; the first warms the model up."""
    frame = np.zeros((segmenter.height, segmenter.width, 3), np.uint8)
    for _ in range(2):
        started_s = time.perf_counter()
        segmenter.mask(frame)
        latency_ms = 1000 * (time.perf_counter() - started_s)
    detail = f"{segmenter.runtime}, {segmenter.threads} threads, {latency_ms:.0f} ms per frame on {cpu_name()}"
    is_slow = latency_ms > SLOW_MS
    return Finding(
        "runtime", detail, "alarms need several frames; use the int8 or the small model" if is_slow else None
    )


def check_broker(config: Config) -> Finding:
    """Log in once."""
    from edge.sinks.mqtt_client import broker_port, try_broker

    address = f"{config.mqtt.host}:{broker_port(config.mqtt)}"
    try:
        problem = try_broker(config.mqtt, BROKER_WAIT_S)
    except UserError as error:
        return Finding("broker", error.problem, error.remedy)
    if problem:
        return Finding("broker", f"{address} {problem}", "check [mqtt] host, port, tls, user and password")
    return Finding("broker", f"{address} accepts the login")


def check_camera(config: Config, segmenter: Segmenter | None) -> Finding:
    """Wait for one frame."""
    try:
        settings = camera_settings(config, segmenter)
        name = build_camera(config.source.address, settings).name
        with Capture(lambda: build_camera(config.source.address, settings), reconnect_limit=0) as capture:
            frame = capture.newest(CAMERA_WAIT_S)
    except UserError as error:
        return Finding("camera", error.problem, error.remedy)
    if frame is None:
        remedy = "check that it is on and that no other program uses it"
        return Finding("camera", f"{name} gave no frame in {CAMERA_WAIT_S:.0f} s", remedy)
    height, width = frame.rgb.shape[:2]
    return Finding("camera", f"{name}, {width}x{height} px")
