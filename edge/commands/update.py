"""`fireseg-edge update`: fetch a newer model from a signed repository, and let the run try it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from edge.config import load_config
from edge.errors import UserError
from edge.update.update import Report, Update


def update_command(
    config: Annotated[Path, typer.Option(help="The configuration of the run, with the table [update].")],
    check: Annotated[bool, typer.Option("--check", help="Only report whether there is a newer model.")] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Return to the previous model.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Also try a model that was rolled back or given up.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Update the model of a running camera from `[update] url`, or roll it back.

    The new model is verified, compared with the one in use, and watched in the run for `watch_s` seconds; a bad one is
    rolled back. Exit code 1 if it was rolled back, or if its trial was interrupted or has not ended; 2 for any other
    failure. The run always goes on.
    """
    if check + rollback + retry > 1:
        raise UserError("--check, --rollback and --retry exclude each other", "pass one of them")
    update = Update(load_config(config))
    with ended_by_sigterm():
        report = update.check() if check else update.roll_back() if rollback else update.run(retry=retry)
    print(json.dumps(report.as_json(), indent=2) if as_json else text_of(report))
    if not report.is_good:
        raise typer.Exit(1)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, as of a timer that is stopped, end the block like Ctrl-C: the images for the comparison go."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def text_of(report: Report) -> str:
    """Return a report as lines."""
    lines = [f"{report.model}: {report.result}{f' ({report.problem})' if report.problem else ''}"]
    if shown := report.comparison:
        marked = f"; fire in {shown.new_marked} of {shown.frames} frames without an alarm, before {shown.old_marked}"
        lines.append(f"{shown.new_ms:.1f} ms per pass, before {shown.old_ms:.1f} ms{marked if shown.frames else ''}")
    return "\n".join(lines)
