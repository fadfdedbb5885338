"""The retained state of a camera at a real broker, its snapshots, and Home Assistant's discovery."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.soak.rig import Broker
from edge.messages import CameraState
from edge.sinks.homeassistant import discovery
from edge.sinks.mqtt_client import MqttClient, slug
from tests.support.factories import MODEL_HASH, result, run_status
from tests.support.mqtt_fixtures import BASE, fire, kitchen, listening, publish_until, publishing
from tests.support.waiting import wait_for


def entities(*zones: str) -> dict[str, dict[str, object]]:
    """Discovery messages by topic."""
    messages = discovery("homeassistant", BASE, "kitchen", zones, version="1", model_sha256=MODEL_HASH, snapshots=True)
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
    assert len({str(config["unique_id"]) for config in found.values()}) == len(found) == 2 * 3 + 4 + 1
    assert {topic.split("/")[1] for topic in found} == {"binary_sensor", "sensor", "camera"}
    assert {config["device"]["name"] for config in found.values()} == {"kitchen"}  # type: ignore[index]
    assert {"Fire", "Fire area", "Fire stove", "Fire area Stove"} < {config["name"] for config in found.values()}


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
        assert states[1]["zones"] == {"frame": {"share": 0.25, "alarm": True}}
        assert (states[1]["fps"], states[1]["temperature_c"]) == (9.5, 55.0)
        with listening(broker, name="late") as late:
            wait_for(lambda: late.payloads("/alarm") == [b"OFF"])
            assert late.payloads("/camera") == [b"online"]


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
def test_discovery_is_published_again_after_a_restart_of_home_assistant(broker: Broker, tmp_path: Path) -> None:
    count = len(entities("frame"))
    with listening(broker) as listener, publishing(kitchen(broker.port), tmp_path / "outbox") as sink:
        sink.on_result(result(0, 0.0, on=False))
        publish_until(sink, lambda: len(listener.payloads("/config")) >= count)
        listener.publish("homeassistant/status", "online")
        publish_until(sink, lambda: len(listener.payloads("/config")) >= 2 * count)


@pytest.mark.slow
def test_home_assistant_forgets_a_zone_that_is_gone_even_after_a_restart(broker: Broker, tmp_path: Path) -> None:
    def zones() -> set[str]:
        """The binary sensors whose last message is not empty."""
        last = {topic: payload for topic, payload in listener.messages if "/binary_sensor/" in topic}
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
    clients = [
        MqttClient(kitchen(broker.port), "kitchen", status_topic="status", max_short_sessions=2) for _ in range(2)
    ]
    wait_for(lambda: "give each run its own [mqtt] name" in caplog.text)
    time.sleep(2.5)
    for client in clients:
        client.close()
    assert caplog.text.count("connected") < 12


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
            wait_for(lambda: len(listener.events) == 2)
    assert len(listener.payloads("/snapshot")) == 1


def test_names_become_topics_and_two_names_never_become_one() -> None:
    names = ("Кухня", "Гараж", "Stove", "stove", "K che", "Küche", "k-che", "Küche 2/#", "+")
    slugs = [slug(name) for name in names]
    assert slugs[3] == "stove"
    assert len(set(slugs)) == len(names)
    assert all(re.fullmatch("[a-z0-9_-]+", each) for each in slugs)
