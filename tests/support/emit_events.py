"""A process for tests that kill it: emits fire events to a webhook for ever and prints each that is published."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

from edge import sinks as module
from edge.messages import END, PEAK, START, FireEvent
from edge.sinks import Sink, Sinks
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.webhook import Webhook
from tests.support.factories import event


class Printer(Sink):
    def on_event(self, event: FireEvent) -> None:
        print(event.id, event.number, flush=True)


def emit(url: str, folder: str, run: str) -> None:
    """Emit start, peak and end of one fire after another."""
    module.STORE_WAIT_S = 30.0  # the test is about the order, not about a disk that is busy with other tests
    receivers = [Webhook(url, DiskQueue(Path(folder) / name, 1e8), wait_s=lambda _: 0.05) for name in ("one", "two")]
    sinks = Sinks([Printer(), *receivers], time.monotonic)
    for fire in itertools.count():
        for number, kind in enumerate((START, PEAK, END), 1):
            sinks.on_event(event(kind, id_=f"run-{run}-fire-{fire}", number=number))


if __name__ == "__main__":
    emit(*sys.argv[1:])
