"""An MQTT broker, an HTTP receiver and a served page for the tests that need one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.soak.rig import Broker
from edge.sinks.web.sink import WebPage
from tests.support import http_receiver
from tests.support.http_receiver import Receiver
from tests.support.mqtt_fixtures import mosquitto
from tests.support.web_client import Clock, serving


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with mosquitto(tmp_path) as broker:
        yield broker


@pytest.fixture
def page() -> Iterator[WebPage]:
    with serving(clock=Clock()) as page:
        yield page


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver.serving(Receiver()) as receiver:
        yield receiver
