"""A real MQTT broker, a listener, and a camera named kitchen that publishes to the broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak.rig import Broker, Key, Listener, key_of
from edge.config_tables import MqttSection
from edge.errors import UserError
from edge.messages import END, PEAK, START, FireEvent
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.mqtt import Mqtt
from tests.support.factories import event, run_status
from tests.support.waiting import wait_for

MAX_BYTES = 1e6
BASE = "fireseg/kitchen"


@contextmanager
def mosquitto(folder: Path, **options: Any) -> Iterator[Broker]:
    """Start mosquitto; skip the test if it is not installed."""
    try:
        broker = Broker(folder / "broker", **options)
    except UserError as error:
        pytest.skip(error.lines[0])
    try:
        yield broker
    finally:
        broker.kill()


def listening(broker: Broker, **options: Any) -> closing[Listener]:
    return closing(Listener(broker.port, **options))


def kitchen(port: int, **options: Any) -> MqttSection:
    return MqttSection(host="127.0.0.1", port=port, name="kitchen", **options)


def publishing(section: MqttSection, outbox: Path, **options: Any) -> closing[Mqtt]:
    return closing(Mqtt(section, DiskQueue(outbox, MAX_BYTES), **options))


def publish_until(sink: Mqtt, condition: Callable[[], object]) -> None:
    """Call `on_status` as the loop does, but faster, until `condition` holds."""

    def publish() -> object:
        sink.on_status(run_status())
        return condition()

    wait_for(publish)


def listener_has(listener: Listener, count: int) -> Callable[[], bool]:
    """A condition for `wait_for`: this many events arrived, without copies."""
    return lambda: len(set(listener.events)) >= count


def fire(number: int) -> list[FireEvent]:
    """Start, peak and end of one fire."""
    return [event(kind, id_=f"fire-{number}", number=n) for n, kind in enumerate((START, PEAK, END), 1)]


def keys(events: list[FireEvent]) -> list[Key]:
    """Id and number of each event."""
    return [key_of(each.as_json()) for each in events]
