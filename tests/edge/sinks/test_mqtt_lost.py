"""Events over MQTT come once and in order, whatever dies: the broker, the cable, the run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.soak.rig import Broker
from edge.messages import FireEvent
from edge.sinks import mqtt_client as mqtt_link
from edge.sinks import outbox as courier
from tests.support.mqtt_fixtures import BASE, LONG_S, fire, keys, listener_has, listening, mosquitto, told, wait_for
from tests.support.tcp_proxy import Cable, Cutter


def test_events_come_once_in_order_as_json(broker: Broker, tmp_path: Path) -> None:
    with listening(broker) as listener, told(broker.port, tmp_path / "spool") as sink:
        for one in fire(1):
            sink.on_event(one)
        wait_for(lambda: len(listener.events) == 3)
    assert listener.events == keys(fire(1))
    assert json.loads(listener.payloads(f"{BASE}/event")[0]) == fire(1)[0].as_json()
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize("remembers", [True, False])
def test_a_broker_killed_in_the_middle_of_an_alarm_costs_no_event_and_doubles_none(
    tmp_path: Path, remembers: bool
) -> None:
    """Killed between start and end, away for a while, then back, with its memory or without."""
    emitted: list[FireEvent] = []
    with (
        mosquitto(tmp_path, persistent=remembers) as broker,
        listening(broker) as listener,
        closing(Cable(broker.port)) as cable,
        told(broker.port if remembers else cable.port, tmp_path / "spool") as sink,
    ):
        for number in range(4):
            start, peak, end = fire(number)
            sink.on_event(start)
            emitted += [start, peak, end]
            # What the broker has taken over and not passed on yet is lost with it, whatever we do.
            wait_for(listener_has(listener, len(emitted) - 2))
            time.sleep(0.5)  # mosquitto writes its sessions down a moment after they have changed, the listener's too
            broker.kill()
            listener.wait_until_cut_off()
            sink.on_event(peak)
            if not remembers:
                # To a broker that forgot its listener, the listener must come back before the camera does.
                cable.pull_out()
            broker.start()
            listener.wait_until_listening()
            cable.put_back()
            sink.on_event(end)
            wait_for(listener_has(listener, len(emitted)))
        time.sleep(0.5)
    assert listener.events == keys(emitted)


@pytest.mark.parametrize("at", [Cutter.PUBLISH, Cutter.PUBREL])
def test_a_cable_cut_in_the_middle_of_a_handshake_doubles_no_event(broker: Broker, tmp_path: Path, at: int) -> None:
    with (
        listening(broker) as listener,
        closing(Cutter(broker.port, at)) as cable,
        told(cable.port, tmp_path / "spool") as sink,
    ):
        for one in fire(1):
            sink.on_event(one)
        wait_for(lambda: len(set(listener.events)) == 3)
        time.sleep(0.3)
    assert cable.cuts == 1
    assert listener.events == keys(fire(1))


def test_events_of_a_run_that_ended_while_the_broker_was_away_come_with_the_next(
    tmp_path: Path, broker: Broker
) -> None:
    with listening(broker) as listener:
        broker.kill()
        listener.wait_until_cut_off()
        with told(broker.port, tmp_path / "spool") as sink:
            for one in fire(1):
                sink.on_event(one)
            wait_for(lambda: len(list((tmp_path / "spool").glob("*.json"))) == 3)
        broker.start()
        listener.wait_until_listening()
        with told(broker.port, tmp_path / "spool") as sink:
            sink.on_event(fire(2)[0])
            wait_for(lambda: len(listener.events) == 4)
    assert listener.events == keys([*fire(1), fire(2)[0]])


def test_an_event_right_before_the_end_is_brought_over_and_then_offline_is_said(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert courier.CLOSE_WAIT_S + mqtt_link.FAREWELL_S < 1.5
    monkeypatch.setattr(courier, "CLOSE_WAIT_S", LONG_S)  # it is over when the event is there, however slow the disk
    with listening(broker) as listener:
        with told(broker.port, tmp_path / "spool") as sink:
            wait_for(lambda: b"online" in listener.payloads("/status"))
            sink.on_event(fire(1)[0])
            began_s = time.monotonic()
        assert time.monotonic() - began_s < 1.5
        wait_for(lambda: listener.payloads("/status")[-1:] == [b"offline"])
    assert listener.events == keys(fire(1)[:1])


def test_a_run_that_is_cut_off_is_offline_by_the_brokers_word(broker: Broker, tmp_path: Path) -> None:
    script = (
        "import time; from pathlib import Path; from edge.sinks.mqtt import Mqtt; from edge.sinks.spool import Spool\n"
        "from edge.sinks.mqtt_client import Address\n"
        f"Mqtt(Address('127.0.0.1', {broker.port}), Spool(Path({str(tmp_path / 'spool')!r}), 1e6), name='kitchen')\n"
        "time.sleep(60)"
    )
    with listening(broker) as listener:
        run = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[3])
        wait_for(lambda: b"online" in listener.payloads("/status"))
        run.kill()
        run.wait()
        wait_for(lambda: listener.payloads("/status")[-1:] == [b"offline"])


def test_a_message_of_the_client_before_is_not_taken_for_one_of_the_next(broker: Broker, tmp_path: Path) -> None:
    """Both count from 1: an acknowledgement of the old one's first must not stand for the new one's first."""
    with told(broker.port, tmp_path / "spool") as sink:
        wait_for(lambda: sink._link.up)
        for one in fire(1):
            sink.on_event(one)
        wait_for(lambda: not list((tmp_path / "spool").iterdir()))
        sink._link._arrived.append(last := 9999)
        sink._link._begin_anew()
        assert last not in sink._link._arrived
