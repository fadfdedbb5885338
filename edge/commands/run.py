"""`fireseg-edge run`: puts source, model, zones, alarms and sinks together and lets the loop go."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.camera import KINDS, Camera, CameraSettings, build_camera
from edge.camera.capture import Capture, Replay
from edge.config import Config, load_config
from edge.detection.detector import Detector
from edge.detection.events import EventTracker
from edge.detection.zones import ZoneMap
from edge.errors import UserError, UserErrors
from edge.files import sha256
from edge.host.throttle import Throttle
from edge.loop import RunControl, obeying_signals, run_loop
from edge.model.segmenter import Segmenter
from edge.secrets import redact
from edge.sections import DEFAULT_MODEL
from edge.sinks import Sinks
from edge.sinks.factory import build_sinks
from edge.sinks.stream_writer import print_last_line
from edge.sinks.terminal import LogHandler, Terminal
from edge.version import installed_version

log = logging.getLogger(__name__)

SOURCE_SHARE = 0.8
"""A source's own time-outs, as a share of the stall time: its own error says more than that nothing came."""
NEEDS_RESTART = ("source", "clips", "web", "mqtt", "webhook", "spool")


class LogKind(StrEnum):
    TEXT = "text"
    JSON = "json"


def run_command(
    source: Annotated[str | None, typer.Option(help=f"Where frames come from: {KINDS}.")] = None,
    model: Annotated[Path | None, typer.Option(help=f"A .tflite model; {DEFAULT_MODEL} by default.")] = None,
    config: Annotated[Path | None, typer.Option(help="A file as `fireseg-edge config init` writes it.")] = None,
    replay: Annotated[Replay | None, typer.Option(help="How a recording is played.")] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, help="End after so many results.")] = None,
    max_fps: Annotated[float | None, typer.Option(min=0, help="At most so many results a second; 0 for all.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Cores to compute on; all by default.")] = None,
    log_kind: Annotated[
        LogKind, typer.Option("--log", help="text for people; json for a line a result and a line an event.")
    ] = LogKind.TEXT,
    web: Annotated[str | None, typer.Option(help="Serve the live page here, such as 127.0.0.1:8080.")] = None,
    mqtt: Annotated[str | None, typer.Option(help="Tell this MQTT broker, and Home Assistant by it.")] = None,
    webhook: Annotated[str | None, typer.Option(help="Post each event to this URL.")] = None,
    record: Annotated[Path | None, typer.Option(help="Write what is seen, fire marked, to this .mp4.")] = None,
    clips: Annotated[Path | None, typer.Option(help="Keep pictures and clips of fires in this folder.")] = None,
    verbose: Annotated[bool, typer.Option(help="Log more.")] = False,
) -> None:
    """Watch a camera or a recording for fire.

    **Not a life-safety device:** it misses fires and it cries at things that do not burn. Never rely on it in place of
    a smoke alarm.

    SIGTERM and Ctrl-C end it; SIGHUP lets it read its configuration and its model anew.
    """
    overrides = options(
        source={"address": source, "replay": replay.value if replay else None},
        model={"path": str(model) if model else None, "threads": threads},
        loop={"max_fps": max_fps},
        clips={"folder": str(clips) if clips else None},
        web={"listen": web},
        mqtt={"host": mqtt},
        webhook={"url": webhook},
    )
    as_json = log_kind is LogKind.JSON
    try:
        with log_to_stderr(verbose):
            summary = run(config, overrides, as_json=as_json, record=record, max_frames=max_frames)
    except UserError as error:
        raise UserErrors(map(redact, error.lines)) from None
    print_last_line(summary, sys.stderr if as_json else sys.stdout)


def run(
    config_path: Path | None,
    overrides: dict[str, dict[str, Any]],
    *,
    as_json: bool,
    record: Path | None,
    max_frames: int | None,
) -> str:
    """Watch until the end, and sum up. Raises `UserError`."""
    config = load_config(config_path, overrides)
    segmenter, zones, model_sha256 = load_watched(config)
    orders = RunControl()

    def make() -> Camera:
        return build_camera(config.source.address, source_settings(config, segmenter))

    first = make()  # what cannot be a source is told before anything begins
    name = first.name
    replay = Replay(config.source.replay)
    whole = replay is Replay.EVERY_FRAME
    events = EventTracker(model_sha256, name)
    watch = Detector(segmenter, zones, config.alarm, events)
    pace = Throttle(0 if whole else config.loop.max_fps, slow_when_hot=config.loop.slow_when_hot and not whole)

    def reload() -> None:
        new = load_config(config_path, overrides)
        segmenter, zones, events.model_sha256 = load_watched(new)
        watch.renew(segmenter, zones, new.alarm)
        if not whole:
            pace.max_fps, pace.slow_when_hot = new.loop.max_fps, new.loop.slow_when_hot
        sinks.on_config(new)
        for section in NEEDS_RESTART:
            if getattr(new, section) != getattr(config, section):
                log.warning("[%s] has changed: restart for that to count", section)
        log.info("the configuration was read anew; the model is %s", new.model.path)

    chosen = build_sinks(config, as_json=as_json, record=record, version=installed_version())
    for sink in chosen:
        if isinstance(sink, Terminal):
            sink.attend(orders, lossless=whole and not first.live, is_only_sink=len(chosen) == 1)
    sinks = Sinks(chosen, time.monotonic)
    capture = Capture(
        make,
        replay=replay,
        stall_s=config.source.stall_s,
        reconnect_limit=config.source.reconnect_limit or None,
        prepare=watch.prepare,
    )
    try:
        with obeying_signals(orders), capture:
            summary = run_loop(capture, watch, sinks, pace, orders, events=events, reload=reload, max_frames=max_frames)
    finally:
        sinks.close()
    return summary.line(name)


def load_watched(config: Config) -> tuple[Segmenter, ZoneMap, str]:
    """The model, the zones on its grid, and the model's hash. Raises `UserError`."""
    path = Path(config.model.path)
    segmenter = Segmenter(path, threads=config.model.threads or None)
    return segmenter, ZoneMap(config.zones, config.ignored, segmenter.height, segmenter.width), sha256(path)


def source_settings(config: Config, segmenter: Segmenter | None) -> CameraSettings:
    """How to open the source; without a model, at the size that most models have."""
    source = config.source
    settings = CameraSettings(
        size=(source.width, source.height), fps=source.fps, timeout_s=SOURCE_SHARE * source.stall_s
    )
    return replace(settings, model_size=(segmenter.width, segmenter.height)) if segmenter else settings


def options(**sections: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What was given of the command's options, by section and key."""
    given = {name: {key: value for key, value in keys.items() if value is not None} for name, keys in sections.items()}
    return {name: keys for name, keys in given.items() if keys}


@contextmanager
def log_to_stderr(verbose: bool) -> Iterator[None]:
    """Log lines on stderr, all of them written at the end unless nobody reads them."""
    handler = LogHandler(sys.stderr)
    root = logging.getLogger("edge")
    root.handlers, root.propagate = [handler], False
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    try:
        yield
    finally:
        handler.close()
