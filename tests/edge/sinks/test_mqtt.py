"""What a camera tells over MQTT, at a real broker: states retained, pictures, Home Assistant's discovery."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.soak.rig import Broker
from edge.messages import CameraState
from edge.sinks.mqtt_client import slug
from tests.support.factories import result
from tests.support.mqtt_fixtures import BASE, STATUS, fire, keep_telling, listening, told, wait_for


def test_the_state_is_retained_and_told_at_once_when_an_alarm_comes_or_goes(broker: Broker, tmp_path: Path) -> None:
    with listening(broker) as listener, told(broker.port, tmp_path / "spool") as sink:
        wait_for(lambda: b"online" in listener.payloads("/status"))  # what is told while the link comes up is told anew
        sink.on_result(result(0, 0.0, on=False))
        keep_telling(sink, lambda: listener.payloads("/alarm"))
        sink.on_result(result(1, 0.25, on=True))
        wait_for(lambda: listener.payloads("/alarm")[-1:] == [b"ON"])
        sink.on_result(result(2, 0.0, on=False))
        wait_for(lambda: listener.payloads("/alarm")[-1:] == [b"OFF"])
        wait_for(lambda: len(listener.payloads("/state")) == 3)
        states = [json.loads(payload) for payload in listener.payloads("/state")]
        assert [state["alarm"] for state in states] == [False, True, False]
        assert states[1]["zones"] == {"frame": {"share": 0.25, "alarm": True}}
        assert (states[1]["fps"], states[1]["temperature_c"]) == (9.5, 55.0)
        with listening(broker, name="late") as late:
            wait_for(lambda: late.payloads("/alarm") == [b"OFF"])
            assert late.payloads("/camera") == [b"online"]


def test_a_source_that_gives_nothing_is_not_called_calm(broker: Broker, tmp_path: Path) -> None:
    with listening(broker) as listener, told(broker.port, tmp_path / "spool") as sink:
        sink.on_result(result(0, 0.0, on=False))
        keep_telling(sink, lambda: listener.payloads("/camera"))
        sink.on_status(replace(STATUS, camera_state=CameraState.RECONNECTING))
        wait_for(lambda: listener.payloads("/camera")[-1:] == [b"offline"])
        sink.on_status(STATUS)
        wait_for(lambda: listener.payloads("/camera")[-1:] == [b"online"])
        sink.on_status(replace(STATUS, last_result_age_s=60))
        wait_for(lambda: listener.payloads("/camera")[-1:] == [b"offline"])


def test_home_assistant_finds_the_camera_and_finds_it_again_after_its_own_restart(
    broker: Broker, tmp_path: Path
) -> None:
    with listening(broker) as listener, told(broker.port, tmp_path / "spool") as sink:
        sink.on_result(result(0, 0.0, on=False, zone="the stove"))
        keep_telling(sink, lambda: len(listener.payloads("/config")) >= 7)
        found = dict(one for one in listener.messages if one[0].endswith("/config"))
        before = len(listener.payloads("/config"))
        listener.publish("homeassistant/status", "online")
        keep_telling(sink, lambda: len(listener.payloads("/config")) >= 2 * before)
    alarm = json.loads(found[f"homeassistant/binary_sensor/fireseg_kitchen/fire_{slug('the stove')}/config"])
    assert alarm["state_topic"] == f"{BASE}/state"
    assert {one["topic"] for one in alarm["availability"]} == {f"{BASE}/status", f"{BASE}/camera"}
    assert alarm["availability_mode"] == "all"
    assert alarm["device"]["name"] == "kitchen"
    assert 0 < alarm["expire_after"] <= 120
    kinds = {topic.split("/")[1] for topic in found}
    assert kinds == {"binary_sensor", "sensor", "camera"}
    ids = [json.loads(payload)["unique_id"] for payload in found.values()]
    assert len(set(ids)) == len(ids)


def test_a_zone_that_is_watched_no_longer_is_taken_back_from_home_assistant_even_after_a_restart(
    broker: Broker, tmp_path: Path
) -> None:
    def left() -> set[str]:
        """The last word on each of Home Assistant's topics, where that is not that it is gone."""
        last = {topic: payload for topic, payload in listener.messages if "/binary_sensor/" in topic}
        return {topic.split("/")[-2] for topic, payload in last.items() if payload}

    with listening(broker) as listener:
        with told(broker.port, tmp_path / "spool") as sink:
            sink.on_result(result(0, 0.0, on=False, zone="stove"))
            keep_telling(sink, lambda: left() == {"fire_stove"})
        with told(broker.port, tmp_path / "spool") as sink:
            sink.on_result(result(0, 0.0, on=False, zone="window"))
            keep_telling(sink, lambda: left() == {"fire_window"})
            sink.on_result(result(0, 0.0, on=False, zone="door"))
            keep_telling(sink, lambda: left() == {"fire_door"})


def test_a_zones_name_stands_in_the_templates_as_it_is(broker: Broker, tmp_path: Path) -> None:
    with listening(broker) as listener, told(broker.port, tmp_path / "spool") as sink:
        sink.on_result(result(0, 0.0, on=False, zone='Küche 🔥 "2"'))
        keep_telling(sink, lambda: listener.payloads("/config"))
        template = json.loads(listener.payloads("/config")[0])["value_template"]
    assert 'value_json.zones["Küche 🔥 \\"2\\""].alarm' in template


def test_two_runs_of_one_name_are_told_so_and_do_not_fight_without_end(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.sinks.mqtt_client.MANY_DROPS", 2)
    with told(broker.port, tmp_path / "first"), told(broker.port, tmp_path / "second"):
        wait_for(lambda: "give each run its own [mqtt] name" in caplog.text)
        time.sleep(2.5)
    assert caplog.text.count("connected") < 12


def test_a_picture_comes_with_an_event_unless_it_is_switched_off(broker: Broker, tmp_path: Path) -> None:
    with listening(broker) as listener:
        with told(broker.port, tmp_path / "spool") as sink:
            wait_for(lambda: b"online" in listener.payloads("/status"))
            sink.on_event(fire(1)[0])
            wait_for(lambda: listener.payloads("/snapshot"))
            picture = cv2.imdecode(np.frombuffer(listener.payloads("/snapshot")[0], np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None and picture.shape == (48, 64, 3)
        with told(broker.port, tmp_path / "spool", pictures=False) as sink:
            sink.on_event(fire(2)[0])
            wait_for(lambda: len(listener.events) == 2)
    assert len(listener.payloads("/snapshot")) == 1


def test_names_become_topics_and_two_names_never_become_one() -> None:
    def mark(name: str) -> str:
        return hashlib.sha256(name.encode()).hexdigest()[:6]

    assert [slug(name) for name in ("kitchen", "Küche 2/#", "+")] == [
        "kitchen",
        "k-che-2-" + mark("Küche 2/#"),
        "name-" + mark("+"),
    ]
    assert len({slug(name) for name in ("Кухня", "Гараж", "Stove", "stove", "K che", "Küche", "k-che")}) == 7
