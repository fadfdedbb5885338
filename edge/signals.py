"""How signals control a run: SIGTERM and SIGINT stop it, SIGHUP reloads its configuration."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class RunControl:
    """Requests to the loop. Signal handlers only set these flags: a lock taken in a handler can deadlock."""

    stop: bool = False
    reload: bool = False


@contextmanager
def install_signal_handlers(control: RunControl) -> Iterator[None]:
    """Let signals set the flags of `control` until the block ends."""

    def handle(number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            control.reload = True
        else:
            control.stop = True

    previous = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
