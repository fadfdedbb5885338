"""`fireseg-edge run`: build camera, detector and sinks from the configuration and run the loop."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edge.assembly import Parts, assemble, keep
from edge.camera import CAMERA_KINDS
from edge.camera.replay import Replay
from edge.commands.options import MODEL_HELP, check_config
from edge.config import SECTIONS, Config, Overrides, load_config
from edge.control.area_actions import AreaActions
from edge.errors import UserError, UserErrors
from edge.fallback import last_good_of_service
from edge.host.heap import share_heap
from edge.loop import run_loop
from edge.reload import RELOADED, Reloader, Setup, applied_config, describe, prepare
from edge.secrets import redact
from edge.signals import RunControl, install_signal_handlers
from edge.sinks.stream_writer import print_last_line
from edge.sinks.terminal import LogHandler
from edge.update.store import TRIAL, model_files

log = logging.getLogger(__name__)

RECORD_HELP = (
    "Record the video, fire highlighted, to this .mp4, .avi or .mkv, replaced if it exists; "
    "the last two survive a power cut."
)


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
    as_json, control = log_kind is LogKind.JSON, RunControl()
    share_heap()  # before the first thread starts
    try:
        # From now on: Python can lose a Ctrl-C while the model loads, and SIGHUP would end the process.
        with private_files(), log_to_stderr(verbose), install_signal_handlers(control):
            summary, lost_files = run(config, options, control, as_json=as_json, record=record, max_frames=max_frames)
    except UserError as error:
        raise UserErrors(map(redact, error.lines)) from None
    print_last_line(summary, sys.stderr if as_json else sys.stdout)
    if record and lost_files:
        raise typer.Exit(1)


def run(
    config_path: Path | None,
    options: Overrides,
    control: RunControl,
    *,
    as_json: bool,
    record: Path | None,
    max_frames: int | None,
) -> tuple[str, int]:
    """Run until the source ends or `control` requests a stop. Raises `UserError`.

    Returns:
        The summary line, and how many files could not be written.
    """
    last_good, fallback = last_good_of_service(), ""

    def assembled(config: Config) -> Parts:
        return assemble(config, last_good=last_good, as_json=as_json, record=record)

    try:
        parts = assembled(load_config(config_path, options))
    except Exception as error:  # any kind: a service runs with what worked, if it can
        if last_good is None:
            raise
        fallback = describe(error)
        try:
            parts = assembled(last_good.load())
        except Exception as second:
            log.error("there is no fallback: %s", describe(second))
            raise error from None
        log.error("FALLBACK to the last configuration and model that worked: %s", fallback)
    setup = parts.setup
    if setup.fallback and not fallback:
        fallback = setup.fallback
        log.error("FALLBACK to the model %s: %s", setup.segmenter.path, fallback)
    parts.connect(control)

    def rejected() -> str:
        return parts.update.rejected if parts.update else ""

    def prepare_reload() -> Setup:
        config, skipped = load_config(config_path, options), rejected()
        new, model = prepare(config, current=setup, rejected=skipped)
        if model_files(config, on_reload=True, rejected=skipped)[0].stem != TRIAL:  # only what is adopted is good
            keep(last_good, applied_config(setup.config, new.config), new, model)
        return new

    def apply(new: Setup) -> None:
        nonlocal setup
        parts.apply(new)
        for name in SECTIONS:
            if name not in RELOADED and getattr(new.config, name) != getattr(setup.config, name):
                log.warning("[%s] has changed: restart to apply it", name)
        setup = replace(new, config=applied_config(setup.config, new.config))
        log.info("configuration reloaded; the model is %s", new.segmenter.path)

    def check(config: Config) -> None:
        check_config(config)
        prepare(config, current=setup, rejected=rejected())

    AreaActions(config_path, options, control, check).register(parts.actions)
    reloader = Reloader(prepare_reload, apply, fallback=fallback)
    try:
        with parts.capture:
            summary = run_loop(
                parts.capture, parts.detector, parts.sinks, parts.throttle, control,
                reloader=reloader, actions=parts.actions, drill=parts.drill, arming=parts.arming.status,
                failed_saves=lambda: parts.saved.failures, max_frames=max_frames,
                update=lambda: parts.update.status if parts.update else None,
            )  # fmt: skip
    finally:
        parts.close()
    return summary.line(parts.camera.name), parts.sinks.lost_files()


@contextmanager
def private_files() -> Iterator[None]:
    """Let only this user read what the run writes: images of a home."""
    previous = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(previous)


@contextmanager
def log_to_stderr(verbose: bool) -> Iterator[None]:
    """Write log lines and warnings to stderr; at the end wait for the reader, unless it hangs."""
    handler = LogHandler(sys.stderr)
    root = logging.getLogger("edge")
    previous, show_warning = (root.handlers, root.propagate, root.level), warnings.showwarning

    def log_unraisable(failure: sys.UnraisableHookArgs) -> None:
        log.warning("%s: %s (in a destructor)", failure.exc_type.__name__, failure.exc_value)

    show_unraisable, sys.unraisablehook = sys.unraisablehook, log_unraisable
    warnings.showwarning = lambda message, *_, **__: log.warning("%s", message)
    root.handlers, root.propagate = [handler], False
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    try:
        yield
    finally:
        root.handlers, root.propagate, level = previous
        root.setLevel(level)
        warnings.showwarning, sys.unraisablehook = show_warning, show_unraisable
        handler.close()
