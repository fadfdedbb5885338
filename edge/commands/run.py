"""`fireseg-edge run`: build camera, detector and sinks from the configuration and run the loop."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edge import __version__
from edge.camera import CAMERA_KINDS, Camera, build_camera
from edge.camera.capture import Capture, Replay
from edge.commands.options import MODEL_HELP, camera_settings, load_model
from edge.config import SECTIONS, Overrides, load_config
from edge.detection.detector import Detector
from edge.detection.events import EventTracker
from edge.errors import UserError, UserErrors
from edge.host.throttle import Throttle
from edge.loop import run_loop
from edge.secrets import redact
from edge.signals import RunControl, install_signal_handlers
from edge.sinks import Sinks
from edge.sinks.factory import build_sinks
from edge.sinks.stream_writer import print_last_line
from edge.sinks.terminal import LogHandler, Terminal

log = logging.getLogger(__name__)

RECORD_HELP = "Record the video, fire highlighted, to this .mp4, .avi or .mkv; the last two survive a power cut."
RELOADED = ("model", "alarm", "loop")  # tables that SIGHUP applies; all others need a restart


class LogKind(StrEnum):
    TEXT = "text"
    JSON = "json"


def run_command(
    source: Annotated[str | None, typer.Option(help=f"Where frames come from: {CAMERA_KINDS}.")] = None,
    model: Annotated[str | None, typer.Option(help=f"The model: {MODEL_HELP}.")] = None,
    config: Annotated[Path | None, typer.Option(help="A file written by `fireseg-edge config init`.")] = None,
    replay: Annotated[Replay | None, typer.Option(help="How to play a recording.")] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop after this many results.")] = None,
    max_fps: Annotated[float | None, typer.Option(min=0, help="Results per second at most; 0 for no limit.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")] = None,
    log_kind: Annotated[
        LogKind, typer.Option("--log", help="text: human-readable; json: one line per result and event.")
    ] = LogKind.TEXT,
    web: Annotated[str | None, typer.Option(help="Serve the live page here, such as 127.0.0.1:8080.")] = None,
    mqtt: Annotated[
        str | None, typer.Option(help="Publish to this MQTT broker, with Home Assistant discovery.")
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="Post each event to this URL.")] = None,
    record: Annotated[Path | None, typer.Option(help=RECORD_HELP)] = None,
    clips: Annotated[Path | None, typer.Option(help="Save images and clips of fires in this folder.")] = None,
    verbose: Annotated[bool, typer.Option(help="Log more.")] = False,
) -> None:
    """Detect fire in a camera stream or a recording.

    **Not a life-safety device:** it misses fires and raises false alarms. Never rely on it in place of a smoke alarm.

    SIGTERM and Ctrl-C stop it; SIGHUP reloads its configuration and its model. With `--record`, exit code 1 means that
    files could not be written.
    """
    options: Overrides = {
        "source": {"address": source, "replay": replay and replay.value},
        "model": {"path": model, "threads": threads},
        "loop": {"max_fps": max_fps},
        "clips": {"folder": clips and str(clips)},
        "web": {"listen": web},
        "mqtt": {"host": mqtt},
        "webhook": {"url": webhook},
    }
    as_json = log_kind is LogKind.JSON
    try:
        with log_to_stderr(verbose):
            summary, lost_files = run(config, options, as_json=as_json, record=record, max_frames=max_frames)
    except UserError as error:
        raise UserErrors(map(redact, error.lines)) from None
    print_last_line(summary, sys.stderr if as_json else sys.stdout)
    if record and lost_files:
        raise typer.Exit(1)


def run(
    config_path: Path | None, options: Overrides, *, as_json: bool, record: Path | None, max_frames: int | None
) -> tuple[str, int]:
    """Run until the source ends or the process is stopped. Raises `UserError`.

    Returns:
        The summary line, and how many files could not be written.
    """
    config = load_config(config_path, options)
    segmenter, zones, model_sha256 = load_model(config)
    control = RunControl()

    def open_camera() -> Camera:
        return build_camera(config.source.address_with_login(), camera_settings(config, segmenter))

    camera = open_camera()  # refuses a wrong address before anything starts
    every_frame = config.source.replay == Replay.EVERY_FRAME
    events = EventTracker(model_sha256, camera.name)
    detector = Detector(segmenter, zones, config.alarm, events)
    max_fps = 0 if every_frame else config.loop.max_fps
    throttle = Throttle(max_fps, slow_when_hot=config.loop.slow_when_hot and not every_frame)

    def reload() -> None:
        new = load_config(config_path, options)
        segmenter, zones, events.model_sha256 = load_model(new)
        detector.reconfigure(segmenter, zones, new.alarm)
        if not every_frame:
            throttle.max_fps, throttle.slow_when_hot = new.loop.max_fps, new.loop.slow_when_hot
        sinks.on_config(new)
        for name in SECTIONS:
            if name not in RELOADED and getattr(new, name) != getattr(config, name):
                log.warning("[%s] has changed: restart to apply it", name)
        log.info("configuration reloaded; the model is %s", new.model.path)

    built = build_sinks(config, as_json=as_json, record=record, version=__version__)
    for sink in built:
        if isinstance(sink, Terminal):
            sink.attend(control, lossless=every_frame and not camera.live, is_only_sink=len(built) == 1)
    sinks = Sinks(built, time.monotonic)
    capture = Capture(
        open_camera,
        replay=Replay(config.source.replay),
        stall_s=config.source.stall_s,
        reconnect_limit=config.source.reconnect_limit or None,
        prepare=detector.prepare,
    )
    try:
        with install_signal_handlers(control), capture:
            summary = run_loop(capture, detector, sinks, throttle, control, reload=reload, max_frames=max_frames)
    finally:
        sinks.close()
    return summary.line(camera.name), sinks.lost_files()


@contextmanager
def log_to_stderr(verbose: bool) -> Iterator[None]:
    """Write log lines to stderr; at the end wait for the reader, unless it hangs."""
    handler = LogHandler(sys.stderr)
    root = logging.getLogger("edge")
    previous = root.handlers, root.propagate
    root.handlers, root.propagate = [handler], False
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    try:
        yield
    finally:
        root.handlers, root.propagate = previous
        handler.close()
