"""The sinks that a configuration asks for, in the order in which they are told."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edge.config import Config
from edge.files import check_writable
from edge.sinks import Sink
from edge.sinks.terminal import JsonLines, PlainLines, StatusLine


def make_sinks(config: Config, *, as_json: bool, record: Path | None) -> list[Sink]:
    """Each is imported only when it is asked for. Raises `UserError` where one cannot be."""
    sinks: list[Sink] = [terminal_sink(as_json)]
    if record:
        from edge.sinks.record import Record

        check_writable(record.parent)
        sinks.append(Record(record, config.source.fps))
    if config.clips.folder:
        from edge.sinks.clips import Clips

        kept = config.clips
        sinks.append(
            Clips(
                Path(kept.folder),
                before_s=kept.before_s,
                after_s=kept.after_s,
                max_bytes=kept.max_mb * 1e6,
                max_age_s=kept.max_days * 86400,
            )
        )
    if os.environ.get("NOTIFY_SOCKET"):
        from edge.sinks import systemd

        # Stays the last to be told: what it calls alive went all the way through.
        if service := systemd.from_environment():
            sinks.append(service)
    return sinks


def terminal_sink(as_json: bool) -> Sink:
    if as_json:
        return JsonLines()
    return StatusLine(sys.stdout) if sys.stdout.isatty() else PlainLines(sys.stdout)
