"""What the tests of MQTT share: a real broker, a listener to it, and a camera that tells it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak.rig import Broker, Key, Listener, key_of
from edge.errors import UserError
from edge.host.machine import HostStatus
from edge.messages import END, PEAK, START, CameraState, FireEvent, RunStatus
from edge.sinks.mqtt import Mqtt
from edge.sinks.mqtt_client import Address
from edge.sinks.spool import Spool
from tests.support.factories import MODEL_HASH, event

LARGE = 1e6
LONG_S = 20.0
BASE = "fireseg/kitchen"
STATUS = RunStatus(
    source="test",
    camera_state=CameraState.STREAMING,
    connects=1,
    running_s=1.0,
    results=10,
    dropped=2,
    fps=9.5,
    last_result_age_s=0.1,
    machine=HostStatus(None, 55.0, None, 0.1),
    model_sha256=MODEL_HASH,
)


@contextmanager
def mosquitto(folder: Path, **how: Any) -> Iterator[Broker]:
    try:
        broker = Broker(folder / "broker", **how)
    except UserError as error:
        pytest.skip(error.lines[0])
    try:
        yield broker
    finally:
        broker.kill()


@contextmanager
def listening(broker: Broker, **how: Any) -> Iterator[Listener]:
    listener = Listener(broker.port, **how)
    try:
        yield listener
    finally:
        listener.close()


@contextmanager
def told(address: Address | int, spool: Path, **how: Any) -> Iterator[Mqtt]:
    """A camera named kitchen that tells the broker at an address, or at a port of this machine."""
    if isinstance(address, int):
        address = Address("127.0.0.1", address)
    sink = Mqtt(address, Spool(spool, LARGE), name="kitchen", **how)
    try:
        yield sink
    finally:
        sink.close()


def wait_for(happened: Callable[[], object], what: str = "") -> None:
    gives_up_s = time.monotonic() + LONG_S
    while not happened():
        assert time.monotonic() < gives_up_s, what
        time.sleep(0.01)


def keep_telling(sink: Mqtt, happened: Callable[[], object]) -> None:
    """As the loop does, but faster."""

    def tell() -> object:
        sink.on_status(STATUS)
        return happened()

    wait_for(tell)


def listener_has(listener: Listener, count: int) -> Callable[[], bool]:
    """Whether so many events have come, for `wait_for`."""
    return lambda: len(listener.events) >= count


def fire(number: int) -> list[FireEvent]:
    """Start, peak and end of one fire."""
    return [event(kind, id_=f"fire-{number}", number=n) for n, kind in enumerate((START, PEAK, END), 1)]


def keys(events: list[FireEvent]) -> list[Key]:
    """What tells events apart, as a listener keeps it."""
    return [key_of(one.as_json()) for one in events]
