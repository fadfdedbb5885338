"""`fireseg-edge doctor`: one line per check of the machine, with the remedy for each that fails."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from edge.assembly import camera_settings
from edge.camera import CAMERA_KINDS, build_camera
from edge.camera.capture import Capture
from edge.commands.options import MODEL_HELP, check_folders, check_notify, check_page, check_webhook
from edge.config import Config, Overrides, load_config
from edge.detection.view_planner import FPS_WITHOUT_LIMIT, MIN_COSTS, ViewPlanner
from edge.detection.views import tile_input, tiles_of, useful_zoom
from edge.errors import UserError
from edge.files import nearest_folder, sha256
from edge.host.machine import HOT_C, HostStatus, cpu_name, output_of, read_state
from edge.images import Frame
from edge.model.latency import FASTER, compare_kinds, kind_line, time_runs
from edge.model.segmenter import Segmenter
from edge.model.self_test import check_kernels
from edge.model.shipped import SHIPPED
from edge.reload import prepare
from edge.secrets import redact

NOT_REPORTED = "not reported by this machine"
WARM_C = HOT_C - 10
MIN_FREE_BYTES = 200e6
CAMERA_WAIT_S = 15.0
KIND_RUNS = 3
SLOW_MS = 500.0
ANSWER_WAIT_S = 5.0
RELEASED = datetime(2026, 11, 1, tzinfo=UTC)  # a clock before this date is wrong


def doctor_command(
    source: Annotated[str | None, typer.Option(help=f"The camera to check: {CAMERA_KINDS}.")] = None,
    model: Annotated[str | None, typer.Option(help=f"The model to check: {MODEL_HELP}.")] = None,
    config: Annotated[Path | None, typer.Option(help="The configuration of the run.")] = None,
) -> None:
    """Check camera, model, machine, page, broker, webhook and notifications; exit code 1 if a check fails."""
    options: Overrides = {"source": {"address": source}, "model": {"path": model}}
    failures = 0
    for name, check in checks(load_config(config, options)):
        try:
            result, detail = "OK", check()
        except UserError as error:
            result, detail = "FAIL", str(error)
            failures += 1
        print(redact(f"{result:5}  {name:12} {detail}"), flush=True)
    if failures:
        raise typer.Exit(1)


def checks(config: Config) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield the checks by name, the slow ones last. A check returns a detail, or raises `UserError` if it fails."""
    machine = read_state()
    loaded: list[Segmenter] = []
    frames: list[Frame] = []

    def check_model() -> str:
        setup, _ = prepare(config)
        if not setup.flame_pixels:
            raise UserError(f"{config.model.path} detects no fire in the test pattern's flames", "copy it again")
        segmenter = setup.segmenter
        loaded.append(segmenter)
        size = f"{segmenter.width}x{segmenter.height} px"
        return f"{config.model.path}, {size}, {setup.model_sha256[:12]}, {setup.self_test}"

    yield "temperature", lambda: check_temperature(machine)
    yield "power", lambda: check_power(machine)
    yield "disk", lambda: check_disk(Path(config.clips.folder))
    if config.files("written"):
        yield "folders", lambda: check_folders(config)
    yield "clock", lambda: check_clock(datetime.now(UTC), is_clock_synchronized())
    yield "model", check_model
    if loaded:
        is_small = sha256(config.model.file) == sha256(SHIPPED["small"])
        yield "runtime", lambda: check_runtime(*loaded, is_small=is_small)
    if config.web.listen:
        yield "page", lambda: check_page(config)
    if config.mqtt.host:
        yield "broker", lambda: check_broker(config)
    if config.webhook.url:
        yield "webhook", lambda: check_webhook(config)
    if config.notify.urls_file:
        yield "notify", lambda: check_notify(config)
    yield "camera", lambda: check_camera(config, frames, *loaded)
    if loaded and frames:
        yield "tiles", lambda: check_tiles(config, frames[0], loaded[0])


def check_temperature(machine: HostStatus) -> str:
    if machine.temperature_c is None:
        return NOT_REPORTED
    detail = f"{machine.temperature_c:.0f} °C"
    if machine.temperature_c >= WARM_C:
        raise UserError(detail, f"it throttles from {HOT_C:.0f} °C; add a heat sink, a fan or ventilation")
    return detail


def check_power(machine: HostStatus) -> str:
    if machine.throttling is None:
        return NOT_REPORTED
    if reasons := machine.throttling.now or machine.throttling.since_boot:
        when = "now" if machine.throttling.now else "since boot"
        remedy = "use the official power supply of this Pi and a short cable, and cool the Pi"
        raise UserError(f"throttled {when} ({', '.join(reasons)})", remedy)
    return "not throttled since boot"


def check_disk(folder: Path, *, min_free_bytes: float = MIN_FREE_BYTES) -> str:
    existing = nearest_folder(folder)
    free_bytes = shutil.disk_usage(existing).free
    detail = f"{free_bytes / 1e9:.1f} GB free at {existing}"
    if free_bytes < min_free_bytes:
        raise UserError(detail, "images of fires would be lost; free some space, or lower [clips] max_mb")
    return detail


def check_clock(now: datetime, synchronized: bool | None) -> str:
    detail = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if now < RELEASED or synchronized is False:
        raise UserError(f"{detail}, not synchronized", "events would carry a wrong time; see `timedatectl`")
    return detail + (", synchronized" if synchronized else "")


def is_clock_synchronized() -> bool | None:
    """Return what systemd reports; None if it reports nothing."""
    text = output_of("timedatectl", "show", "--property=NTPSynchronized", "--value", timeout_s=ANSWER_WAIT_S)
    return {"yes": True, "no": False}.get(text.strip())


def check_runtime(segmenter: Segmenter, *, is_small: bool) -> str:
    """Time the second of two frames; the first warms the model up. Name another kind of the model that is faster."""
    check_kernels(segmenter)
    frame = np.zeros((segmenter.height, segmenter.width, 3), np.uint8)
    latency_ms = time_runs(lambda: segmenter.mask(frame), min_runs=1, min_seconds=0, warm_up=1).median_ms
    detail = f"{segmenter.runtime}, {segmenter.threads} threads, {latency_ms:.0f} ms per frame on {cpu_name()}"
    others = compare_kinds(segmenter, runs=KIND_RUNS)
    detail = "; ".join([detail, *(kind_line(name, ratio) for name, ratio in others.items() if ratio < FASTER)])
    if latency_ms > SLOW_MS:
        remedy = "use a faster Pi" if is_small else "use the model small (`--model small`)"
        raise UserError(detail, f"alarms need several frames; {remedy}")
    return detail


def check_broker(config: Config) -> str:
    """Log in once."""
    from edge.sinks.mqtt_login import broker_port, try_broker

    address = f"{config.mqtt.host}:{broker_port(config.mqtt)}"
    if problem := try_broker(config.mqtt, ANSWER_WAIT_S):
        raise UserError(f"{address} {problem}")
    return f"{address} accepts the login"


def check_camera(config: Config, frames: list[Frame], segmenter: Segmenter | None = None) -> str:
    """Wait for one frame, and append it to `frames`."""
    address, settings = config.source.address_with_login(), camera_settings(config, segmenter)
    name = build_camera(address, settings).name
    with Capture(lambda: build_camera(address, settings), reconnect_limit=0) as capture:
        frame = capture.newest(CAMERA_WAIT_S)
        capture.check()
    if frame is None:
        remedy = "check that it is on and that no other program uses it"
        raise UserError(f"{name} sent no frame in {CAMERA_WAIT_S:.0f} s", remedy)
    frames.append(frame.rgb)
    height, width = frame.rgb.shape[:2]
    return f"{name}, {width}x{height} px"


def check_tiles(config: Config, frame: Frame, segmenter: Segmenter) -> str:
    """Time a few tiles, and return in which time all of them are searched."""
    model_size = segmenter.height, segmenter.width
    zoom = useful_zoom(frame.shape[:2], model_size) if config.detection.tiles == "auto" else int(config.detection.tiles)
    if zoom == 1:
        because = "as configured" if config.detection.tiles == "1" else f"{frame.shape[1]}x{frame.shape[0]} px"
        return f"whole frame only, {because}"
    tile = tiles_of(zoom)[0]
    latency = time_runs(
        lambda: segmenter.mask(tile_input(frame, tile, model_size)), min_runs=MIN_COSTS, min_seconds=0, warm_up=1
    )
    pass_s = latency.median_ms / 1000
    planner = ViewPlanner(config.detection.tiles, model_size, max_fps=config.loop.max_fps)
    for _ in range(MIN_COSTS):
        planner.add_cost(pass_s)
    interval_s = max(1 / (config.loop.max_fps or FPS_WITHOUT_LIMIT), pass_s)
    for t_s in (0.0, interval_s):
        planner.plan(frame.shape, t_s)
    return f"{planner.fine_view}, {1000 * pass_s:.0f} ms per pass at {1 / interval_s:.1f} frames per second"
