"""The retained state of a camera at a real broker, its snapshots, and Home Assistant's discovery."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from paho.mqtt import publish

from benchmarks.soak.rig import Broker
from edge.control.actions import Actions
from edge.messages import PROBLEM, CameraProblem, CameraState
from edge.run_status import UpdateStatus
from edge.sinks import mqtt_client
from edge.sinks.homeassistant import discovery
from edge.sinks.mqtt_client import MqttClient, slug
from edge.sinks.mqtt_problems import NAME_CLASH
from tests.support.factories import MODEL_HASH, camera_event, result, run_status, update_event
from tests.support.mqtt_fixtures import BASE, fire, kitchen, listening, publish_until, publishing
from tests.support.waiting import TIMEOUT_S, wait_for


def entities(*zones: str, has_updates: bool = True) -> dict[str, dict[str, object]]:
    """Discovery messages by topic."""
    messages = discovery(
        "homeassistant", BASE, "kitchen", zones,
        version="1", model_sha256=MODEL_HASH, snapshots=True, has_commands=True, has_updates=has_updates,
    )  # fmt: skip
    return {topic: json.loads(payload) for topic, payload in messages}


def test_home_assistant_gets_a_safety_sensor_that_is_unknown_while_the_camera_is_blind() -> None:
    zone = 'Küche 🔥 "2"'
    alarm = entities(zone)[f"homeassistant/binary_sensor/fireseg_kitchen/fire_{slug(zone)}/config"]
    assert (alarm["state_topic"], alarm["device_class"], alarm["expire_after"]) == (f"{BASE}/state", "safety", 60)
    assert alarm["availability"] == [{"topic": f"{BASE}/status"}, {"topic": f"{BASE}/camera"}]
    assert alarm["availability_mode"] == "all"
    assert 'value_json.zones["Küche 🔥 \\"2\\""].alarm' in str(alarm["value_template"])


def test_home_assistants_entities_have_distinct_ids_on_one_device() -> None:
    found = entities("frame", "Stove", "stove")
    assert len({str(config["unique_id"]) for config in found.values()}) == len(found) == 2 * 3 + 7 + 1 + 4
    assert {topic.split("/")[1] for topic in found} == {"binary_sensor", "sensor", "camera", "switch", "button"}
    assert {config["device"]["name"] for config in found.values()} == {"kitchen"}  # type: ignore[index]
    assert {"Fire", "Fire area", "Fire stove", "Fire area Stove"} < {config["name"] for config in found.values()}


@pytest.mark.slow
def test_a_camera_that_cannot_see_is_a_problem_in_home_assistant_and_an_event(broker: Broker, tmp_path: Path) -> None:
    sensor = entities("frame")["homeassistant/binary_sensor/fireseg_kitchen/camera_problem/config"]
    assert (sensor["device_class"], sensor["state_topic"]) == ("problem", f"{BASE}/state")
    assert "value_json.camera_problem" in str(sensor["value_template"])
    with listening(broker) as listener, publishing(kitchen(broker.port), tmp_path / "outbox") as sink:
        sink.on_result(result(0, 0.25, on=True))
        publish_until(sink, lambda: listener.payloads("/state"))
        sink.on_result(replace(result(1, 0.25, on=True), camera_problem=CameraProblem.FROZEN))
        sink.on_camera_event(camera_event(PROBLEM, CameraProblem.FROZEN))
        wait_for(lambda: len(listener.payloads("/state")) == 2 and listener.payloads("/event"))
        before, after = (json.loads(payload) for payload in listener.payloads("/state"))
        assert (before["alarm"], before["picture_current"], before["camera_problem"]) == (True, True, None)
        assert (after["alarm"], after["picture_current"], after["camera_problem"]) == (True, False, "frozen")
        assert json.loads(listener.payloads("/event")[0])["type"] == "camera"
        assert listener.payloads("/camera")[-1] == b"online", "the alarm must not become unavailable"


@pytest.mark.slow
def test_a_failed_update_is_a_problem_in_home_assistant_and_an_event(broker: Broker, tmp_path: Path) -> None:
    topic = "homeassistant/binary_sensor/fireseg_kitchen/update_problem/config"
    sensor = entities("frame")[topic]
    assert (sensor["device_class"], sensor["state_topic"]) == ("problem", f"{BASE}/state")
    assert "(value_json['update'] or {}).problem" in str(sensor["value_template"])
    reason = "base 01e12d1af291 was rolled back: it is slow"
    with listening(broker) as listener, publishing(kitchen(broker.port), tmp_path / "outbox") as sink:
        sink.on_result(result(0, 0.0, on=False))
        publish_until(sink, lambda: listener.payloads("/state"))
        assert topic not in {topic for topic, _ in listener.messages}, "without [update]"
        sink.on_update_event(update_event(PROBLEM))
        sink.on_status(run_status(update=UpdateStatus(problem=reason)))
        wait_for(lambda: len(listener.payloads("/state")) == 2 and listener.payloads("/event"))
        assert json.loads(listener.payloads("/state")[-1])["update"]["problem"] == reason
        sent = json.loads(listener.payloads("/event")[0])
        assert (sent["type"], sent["kind"], sent["problem"]) == ("update", "problem", reason)
        sink.on_status(run_status(update=UpdateStatus()))
        wait_for(lambda: json.loads(listener.payloads("/state")[-1])["update"]["problem"] == "")


@pytest.mark.slow
def test_the_state_is_retained_and_published_at_once_when_an_alarm_changes(broker: Broker, tmp_path: Path) -> None:
    with listening(broker) as listener, publishing(kitchen(broker.port), tmp_path / "outbox") as sink:
        wait_for(lambda: b"online" in listener.payloads("/status"))
        sink.on_result(result(0, 0.0, on=False))
        publish_until(sink, lambda: listener.payloads("/alarm"))
        sink.on_result(result(1, 0.25, on=True))
        wait_for(lambda: listener.payloads("/alarm")[-1:] == [b"ON"])
        sink.on_result(result(2, 0.0, on=False))
        wait_for(lambda: len(listener.payloads("/state")) == 3)
        assert listener.payloads("/alarm")[-1] == b"OFF"
        assert listener.payloads("/fire_share") == [b"0.00000", b"0.25000", b"0.00000"]
        states = [json.loads(payload) for payload in listener.payloads("/state")]
        assert [state["alarm"] for state in states] == [False, True, False]
        assert states[1]["zones"] == {"frame": {"share": 0.25, "alarm": True, "silence": None}}
        assert (states[1]["fps"], states[1]["temperature_c"], states[1]["fine_view"]) == (9.5, 55.0, None)
        with listening(broker, name="late") as late:
            for topic, retained in (("/alarm", b"OFF"), ("/camera", b"online")):
                wait_for(lambda topic=topic, retained=retained: late.payloads(topic) == [retained])  # type: ignore[misc]


@pytest.mark.slow
def test_a_camera_without_frames_is_offline_not_calm(broker: Broker, tmp_path: Path) -> None:
    with listening(broker) as listener, publishing(kitchen(broker.port), tmp_path / "outbox") as sink:
        sink.on_result(result(0, 0.0, on=False))
        publish_until(sink, lambda: listener.payloads("/camera"))
        for status, expected in (
            (run_status(camera_state=CameraState.RECONNECTING), b"offline"),
            (run_status(), b"online"),
            (run_status(last_result_age_s=60), b"offline"),
        ):
            sink.on_status(status)
            wait_for(lambda expected=expected: listener.payloads("/camera")[-1:] == [expected])  # type: ignore[misc]


@pytest.mark.slow
def test_a_camera_with_a_low_rate_is_online_between_its_results(broker: Broker, tmp_path: Path) -> None:
    with listening(broker) as listener, publishing(kitchen(broker.port), tmp_path / "outbox", max_fps=0.05) as sink:
        sink.on_result(result(0, 0.0, on=False))
        publish_until(sink, lambda: listener.payloads("/camera"))
        for age_s, expected in ((40.0, b"online"), (61.0, b"offline"), (19.0, b"online")):
            sink.on_status(run_status(last_result_age_s=age_s))
            wait_for(lambda expected=expected: listener.payloads("/camera")[-1:] == [expected])  # type: ignore[misc]


@pytest.mark.slow
def test_discovery_is_published_again_after_a_restart_of_home_assistant(broker: Broker, tmp_path: Path) -> None:
    count = len(entities("frame", has_updates=False))
    section, options = kitchen(broker.port), {"actions": Actions()}
    with listening(broker) as listener, publishing(section, tmp_path / "outbox", **options) as sink:
        sink.on_result(result(0, 0.0, on=False))
        publish_until(sink, lambda: len(listener.payloads("/config")) >= count)
        listener.publish("homeassistant/status", "online")
        publish_until(sink, lambda: len(listener.payloads("/config")) >= 2 * count)


@pytest.mark.slow
def test_home_assistant_forgets_a_zone_that_is_gone_even_after_a_restart(broker: Broker, tmp_path: Path) -> None:
    def zones() -> set[str]:
        """The binary sensors whose last message is not empty."""
        last = {topic: payload for topic, payload in listener.messages if "/fire_" in topic and "/binary_" in topic}
        return {topic.split("/")[-2] for topic, payload in last.items() if payload}

    with listening(broker) as listener:
        with publishing(kitchen(broker.port), tmp_path / "outbox") as sink:
            sink.on_result(result(0, 0.0, on=False, zone="stove"))
            publish_until(sink, lambda: zones() == {"fire_stove"})
        with publishing(kitchen(broker.port), tmp_path / "outbox") as sink:
            for zone in ("window", "door"):
                sink.on_result(result(0, 0.0, on=False, zone=zone))
                publish_until(sink, lambda zone=zone: zones() == {f"fire_{zone}"})  # type: ignore[misc]


@pytest.mark.slow
def test_two_runs_with_one_name_are_reported_and_stop_fighting(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "edge")
    clients = [
        MqttClient(kitchen(broker.port), "kitchen", status_topic="status", max_short_sessions=2) for _ in range(2)
    ]
    wait_for(lambda: "give each run its own [mqtt] name" in caplog.text)
    time.sleep(2.5)
    for client in clients:
        client.close()
    assert 2 <= caplog.text.count(": connected") < 12


@pytest.mark.slow
def test_a_snapshot_is_published_with_an_event_unless_disabled(broker: Broker, tmp_path: Path) -> None:
    with listening(broker) as listener:
        with publishing(kitchen(broker.port), tmp_path / "outbox") as sink:
            wait_for(lambda: b"online" in listener.payloads("/status"))
            sink.on_event(fire(1)[0])
            wait_for(lambda: listener.payloads("/snapshot"))
            bgr = cv2.imdecode(np.frombuffer(listener.payloads("/snapshot")[0], np.uint8), cv2.IMREAD_COLOR)
            assert bgr is not None and bgr.shape == (48, 64, 3)
        with publishing(kitchen(broker.port, snapshots=False), tmp_path / "outbox") as sink:
            sink.on_event(fire(2)[0])
            wait_for(lambda: len(listener.events) >= 2)
    assert len(listener.payloads("/snapshot")) == 1


def machines(monkeypatch: pytest.MonkeyPatch, folder: Path, *identities: str) -> Iterator[None]:
    """Be one machine after another."""
    for identity in identities:
        (folder / "machine-id").write_text(identity)
        monkeypatch.setattr(mqtt_client, "MACHINE_ID", folder / "machine-id")
        yield


@pytest.mark.slow
def test_two_machines_of_one_host_name_do_not_share_topics_or_devices(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "raspberrypi")
    with listening(broker) as listener, ExitStack() as stack:
        for number, _ in enumerate(machines(monkeypatch, tmp_path, "one", "two")):
            section = replace(kitchen(broker.port), name="")
            sink = stack.enter_context(publishing(section, tmp_path / f"outbox{number}"))
            sink.on_result(result(0, 0.0, on=False))
            publish_until(sink, lambda number=number: len(listener.payloads("/state")) > number)  # type: ignore[misc]
        names = {topic.split("/")[1] for topic, _ in listener.messages if topic.endswith("/state")}
        devices = {topic.split("/")[2] for topic, _ in listener.messages if topic.endswith("/config")}
    assert len(names) == len(devices) == 2
    assert all(name.startswith("raspberrypi-") for name in names)


@pytest.mark.slow
def test_two_machines_with_one_configured_name_are_both_reported(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edge.sinks.mqtt.STATE_INTERVAL_S", 0.05)
    with ExitStack() as stack:
        sinks = [
            stack.enter_context(publishing(kitchen(broker.port), tmp_path / f"outbox{number}"))
            for number, _ in enumerate(machines(monkeypatch, tmp_path, "one", "two"))
        ]

        def problems() -> list[str]:
            for sink in sinks:
                sink.on_status(run_status())
            return [sink.receivers()[0].problem for sink in sinks]

        wait_for(lambda: problems() == [NAME_CLASH] * 2)
    assert caplog.text.count("give each camera its own [mqtt] name") == 2


@pytest.mark.slow
def test_a_large_retained_message_is_not_taken_and_later_ones_are(broker: Broker) -> None:
    received: list[bytes] = []
    with listening(broker) as listener:
        publish.single("homeassistant/status", "x" * 1_000_000, 1, retain=True, hostname="127.0.0.1", port=broker.port)
        client = MqttClient(
            kitchen(broker.port), "kitchen", status_topic="status", subscriptions=["homeassistant/status"],
            on_message=lambda _topic, payload, _is_retained: received.append(payload),
        )  # fmt: skip
        assert client.connected.wait(TIMEOUT_S)

        def receives() -> bool:
            listener.publish("homeassistant/status", "online")
            return b"online" in received

        wait_for(receives)
        client.close()
    assert set(received) == {b"online"}


def test_names_become_topics_and_two_names_never_become_one() -> None:
    names = ("Кухня", "Гараж", "Stove", "stove", "K che", "Küche", "k-che", "Küche 2/#", "+")
    slugs = [slug(name) for name in names]
    assert slugs[3] == "stove"
    assert len(set(slugs)) == len(names)
    assert all(re.fullmatch("[a-z0-9_-]+", each) for each in slugs)
