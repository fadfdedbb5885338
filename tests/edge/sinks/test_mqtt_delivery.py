"""Events over MQTT arrive at least once and in order, whatever fails: broker, connection or run."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.soak.rig import Broker
from edge.messages import FireEvent
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.mqtt import Mqtt
from tests.support.mqtt_fixtures import fire, keys, kitchen, listener_has, listening, mosquitto, publishing
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("max_qos", [1, 2])
def test_events_arrive_once_and_in_order_as_json_even_without_qos_2(tmp_path: Path, max_qos: int) -> None:
    outbox = tmp_path / "outbox"
    with (
        mosquitto(tmp_path, settings=f"allow_anonymous true\nmax_qos {max_qos}") as broker,
        listening(broker) as listener,
        publishing(kitchen(broker.port), outbox) as sink,
    ):
        for event in fire(1):
            sink.on_event(event)
        wait_for(lambda: len(listener.events) == 3 and not list(outbox.iterdir()))
    assert listener.events == keys(fire(1))
    assert json.loads(listener.payloads("fireseg/kitchen/event")[0]) == fire(1)[0].as_json()


@pytest.mark.parametrize("remembers", [True, False])
def test_no_event_is_lost_when_the_broker_is_killed_during_an_alarm(tmp_path: Path, remembers: bool) -> None:
    """Killed between start and end, down for a while, then back, with its sessions or without."""
    emitted: list[FireEvent] = []
    with (
        mosquitto(tmp_path, persistent=remembers) as broker,
        listening(broker) as listener,
        closing(TcpProxy(broker.port)) as proxy,
        publishing(kitchen(proxy.port), tmp_path / "outbox") as sink,
    ):
        for number in range(2):
            start, peak, end = fire(number)
            sink.on_event(start)
            emitted += [start, peak, end]
            # What the broker accepted but has not forwarded yet dies with it.
            wait_for(listener_has(listener, len(emitted) - 2))
            time.sleep(0.5)  # mosquitto saves its sessions a moment after they change
            broker.kill()
            listener.wait_until_cut_off()
            sink.on_event(peak)
            proxy.refuse()  # a broker without sessions must know the listener before the camera returns
            broker.start()
            listener.wait_until_listening()
            proxy.refuse(False)
            sink.on_event(end)
            wait_for(listener_has(listener, len(emitted)))
    assert list(dict.fromkeys(listener.events)) == keys(emitted)


@pytest.mark.parametrize("run_ends", [False, True])
def test_an_event_whose_acknowledgement_is_lost_is_sent_again(broker: Broker, tmp_path: Path, run_ends: bool) -> None:
    start, peak, _ = fire(1)
    with listening(broker) as listener, closing(TcpProxy(broker.port, cut_after=b"fire-1")) as proxy:
        with publishing(kitchen(proxy.port), tmp_path / "outbox") as sink:
            sink.on_event(start)
            wait_for(lambda: proxy.cuts)
            proxy.refuse(run_ends)
            sink.on_event(peak)
            wait_for(listener_has(listener, 1 if run_ends else 2))
        with publishing(kitchen(broker.port), tmp_path / "outbox"):
            wait_for(listener_has(listener, 3))  # the next run ends the fire
    assert listener.events[:3] == keys([start, start, peak])


def test_events_of_a_run_that_ended_while_the_broker_was_down_arrive_with_the_next(
    tmp_path: Path, broker: Broker
) -> None:
    outbox = tmp_path / "outbox"
    with listening(broker) as listener:
        broker.kill()
        listener.wait_until_cut_off()
        with publishing(kitchen(broker.port), outbox) as sink:
            for event in fire(1):
                sink.on_event(event)
            wait_for(lambda: len(list(outbox.glob("*.json"))) == 3)
        broker.start()
        listener.wait_until_listening()
        with publishing(kitchen(broker.port), outbox) as sink:
            sink.on_event(fire(2)[0])
            wait_for(lambda: len(listener.events) == 4)
    assert listener.events == keys([*fire(1), fire(2)[0]])


def test_an_event_right_before_the_end_is_delivered_and_then_the_camera_is_offline(
    tmp_path: Path, broker: Broker
) -> None:
    with listening(broker) as listener:
        with publishing(kitchen(broker.port), tmp_path / "outbox", grace_s=20.0) as sink:
            wait_for(lambda: b"online" in listener.payloads("/status"))
            sink.on_event(fire(1)[0])
        wait_for(lambda: listener.payloads("/status")[-1:] == [b"offline"])
    assert listener.events == keys(fire(1)[:1])


def test_the_broker_reports_a_camera_offline_whose_connection_is_cut(broker: Broker, tmp_path: Path) -> None:
    with (
        listening(broker) as listener,
        closing(TcpProxy(broker.port)) as proxy,
        publishing(kitchen(proxy.port), tmp_path / "outbox"),
    ):
        wait_for(lambda: listener.payloads("/status") == [b"online"])
        proxy.refuse()
        proxy.cut()
        wait_for(lambda: listener.payloads("/status") == [b"online", b"offline"])


def test_a_burst_of_events_arrives_completely_and_in_order(tmp_path: Path, broker: Broker) -> None:
    events = [event for number in range(167) for event in fire(number)]
    queue = DiskQueue(tmp_path / "outbox", 1e8)
    with listening(broker) as listener, closing(Mqtt(kitchen(broker.port, snapshots=False), queue)) as sink:
        for event in events:
            sink.on_event(event)
        wait_for(listener_has(listener, len(events)))
        wait_for(lambda: sink.receivers()[0].delivered == len(events) and not sink.receivers()[0].waiting)
    assert listener.events == keys(events)


def test_an_event_above_the_brokers_packet_limit_is_set_aside_and_the_next_arrives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = tmp_path / "outbox"
    outbox.mkdir()
    (outbox / "000000000001.json").write_text(json.dumps(fire(1)[2].as_json() | {"notes": "x" * 5000}))
    settings = "allow_anonymous true\nmax_packet_size 5000"
    with (
        mosquitto(tmp_path, settings=settings) as broker,
        listening(broker) as listener,
        publishing(kitchen(broker.port), outbox) as sink,
    ):
        sink.on_event(fire(2)[0])
        wait_for(lambda: keys(fire(2)[:1])[0] in listener.events)
        assert sink.receivers()[0].dead_letters == 1
    assert "more than the broker accepts in a packet (5000)" in caplog.text


def test_events_that_the_access_rules_forbid_wait_and_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite fireseg/kitchen/status\n")
    rules.chmod(0o600)
    settings = f"allow_anonymous true\nuser root\nacl_file {rules}"
    with mosquitto(tmp_path, settings=settings) as broker:
        with publishing(kitchen(broker.port), tmp_path / "outbox") as sink:
            sink.on_event(fire(1)[0])
            wait_for(lambda: "refuses events (Not authorized): check its access rules" in caplog.text)
            assert "refuses events" in sink.receivers()[0].problem
        assert len(list((tmp_path / "outbox").iterdir())) == 1
