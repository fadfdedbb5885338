"""Receivers of a silenced fire: it is recorded and published, and nobody is notified of it until it sounds again."""

from __future__ import annotations

import itertools
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from paho.mqtt import publish

from benchmarks.soak.rig import Broker
from edge.config_tables import ArmingSection, ClipsSection, NotifySection
from edge.control.actions import Actions
from edge.control.arming import Arming
from edge.control.saved_state import SavedState
from edge.messages import END, PROBLEM, START, STILL, CameraEvent, FireEvent, Silence
from edge.run_status import ArmingStatus
from edge.sinks.clips import Clips
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.homeassistant import discovery
from edge.sinks.notify import Notify, Service
from edge.sinks.prometheus import Prometheus
from edge.sinks.systemd import summary
from edge.sinks.terminal import event_text, status_text
from tests.support.factories import camera_event, event, result, run_status
from tests.support.mqtt_fixtures import BASE, kitchen, listening, publish_until, publishing
from tests.support.waiting import wait_for

SNOOZED = ArmingStatus(snoozed_until="2026-11-26T18:05:00+00:00", snoozed_left_s=60.0)


def snoozed(kind: str, **changes: Any) -> FireEvent:
    return replace(event(kind, **changes), silence=Silence.SNOOZED)


def titles(folder: Path, *events: Any, at_s: tuple[float, ...] = ()) -> list[str]:
    """What a service is sent for events and results, one after the other, at these seconds."""
    sent: list[str] = []
    queue = DiskQueue(folder, max_bytes=1e6)
    now_s = 0.0
    with (
        patch("edge.sinks.notify.send", lambda service, title, text, **_: sent.append(title)),
        closing(Notify(Service("x", "x://"), queue, NotifySection(picture=False), clock=lambda: now_s)) as notify,
    ):
        for each, event_s in zip(events, at_s or itertools.count(0, 100), strict=False):
            now_s = event_s
            if isinstance(each, FireEvent):
                notify.on_event(each)
            elif isinstance(each, CameraEvent):
                notify.on_camera_event(each)
            else:
                notify.on_result(each)
            notify.on_status(run_status())
        wait_for(lambda: not notify.receivers()[0].waiting)
    return sent


def test_a_silenced_fire_is_not_notified_and_neither_is_its_end(tmp_path: Path) -> None:
    assert titles(tmp_path, snoozed(START), snoozed(END, number=2)) == []


def test_a_fire_that_goes_on_after_its_silence_is_notified_with_its_end(tmp_path: Path) -> None:
    fire = snoozed(START), event(STILL, number=2), event(END, number=3)
    assert titles(tmp_path, *fire) == ["The fire goes on: frame", "Alarm cleared: frame"]


def test_the_end_of_a_fire_that_was_notified_is_notified_also_while_snoozed(tmp_path: Path) -> None:
    assert titles(tmp_path, event(START), snoozed(END, number=2)) == ["Fire: frame", "Alarm cleared: frame"]


def test_a_start_that_waits_for_the_interval_is_dropped_by_a_snooze(tmp_path: Path) -> None:
    silent = replace(result(2.0, 0.1, on=True), silences={"frame": Silence.SNOOZED})
    fires = event(START), event(END, number=2), event(START, id_="second"), silent, snoozed(END, id_="second", number=2)
    assert titles(tmp_path, *fires, at_s=(0, 1, 2, 3, 100)) == ["Fire: frame", "Alarm cleared: frame"]


def test_a_camera_problem_is_notified_also_while_disarmed(tmp_path: Path) -> None:
    silent = replace(result(2.0, 0.1, on=True), silences={"frame": Silence.DISARMED, "": Silence.DISARMED})
    assert titles(tmp_path, silent, camera_event(PROBLEM)) == ["The camera cannot see: covered"]


def test_the_pictures_of_each_event_are_kept_in_one_clip(tmp_path: Path) -> None:
    with closing(Clips(ClipsSection(folder=str(tmp_path), after_s=0), grace_s=30)) as clips:
        for number, kind in enumerate((START, STILL, END), 1):
            clips.on_result(result(float(number), 0.1, on=True))
            clips.on_event(snoozed(kind, number=number, t_s=float(number)))
    names = {path.name.removeprefix("20261122T120000Z-frame-abcd") for path in tmp_path.iterdir()}
    names -= {name for name in names if name.startswith("-frame-")}  # those for training
    pictures = {f"-{kind}{rest}.jpg" for kind in (START, STILL, END) for rest in ("", "-overlay")}
    assert names == pictures | {".mp4", ".json"}
    (record,) = tmp_path.glob("*.json")
    assert json.loads(record.read_text())["silence"] == "snoozed"


def test_terminal_metrics_and_systemd_say_that_nobody_is_notified() -> None:
    silent = replace(result(1.0, 0.1, on=True), silences={"frame": Silence.SNOOZED})
    assert "FIRE in frame (snoozed)" in status_text(silent)
    assert "no alarm (snoozed)" in status_text(replace(silent, alarms={"frame": False}))
    assert "FIRE goes on" in event_text(event(STILL)) and "FIRE (snoozed)" in event_text(snoozed(START))
    metrics = Prometheus()
    for arming, expected in ((SNOOZED, "1.0 1.0"), (ArmingStatus(armed=False), "0.0 0.0"), (ArmingStatus(), "1.0 0.0")):
        metrics.on_status(status := run_status(arming=arming))
        values = dict(line.split() for line in metrics.scrape()[0].decode().splitlines() if len(line.split()) == 2)
        assert f"{values['fireseg_armed']} {values['fireseg_snoozed']}" == expected
        assert ("SNOOZED" in summary(status, silent)) == (arming is SNOOZED)


def test_home_assistant_gets_a_switch_and_buttons_and_its_sensor_respects_a_snooze() -> None:
    def entities(*, has_commands: bool) -> dict[str, Any]:
        messages = discovery(
            "ha", BASE, "kitchen", ["stove"],
            version="1", model_sha256="", snapshots=False, has_commands=has_commands, has_updates=False,
        )  # fmt: skip
        return {topic.split("/")[-2]: json.loads(payload) for topic, payload in messages}

    found = entities(has_commands=True)
    fire, zone = found["fire_stove"], 'value_json.zones["stove"]'
    assert fire["value_template"] == f"{{{{ 'ON' if {zone}.alarm and not {zone}.silence else 'OFF' }}}}"
    assert f"'detected': {zone}.alarm, 'silence': {zone}.silence}} | tojson }}}}" in fire["json_attributes_template"]
    assert "value_json.arming.armed" in found["armed"]["value_template"]
    commands = [found["armed"]["payload_on"], found["armed"]["payload_off"]]
    commands += [found[name]["payload_press"] for name in ("snooze", "acknowledge")]
    assert [json.loads(payload)["action"] for payload in commands] == ["arm", "disarm", "snooze", "acknowledge"]
    assert {found[name]["command_topic"] for name in ("armed", "snooze", "acknowledge")} == {f"{BASE}/command"}
    assert not {"armed", "snooze", "acknowledge"} & entities(has_commands=False).keys()


@pytest.mark.slow
def test_a_command_silences_the_alarm_and_is_answered_but_changes_no_configuration(
    broker: Broker, tmp_path: Path
) -> None:
    actions, saved = Actions(), SavedState(tmp_path / "state.json")
    arming = Arming(ArmingSection(), saved)
    arming.register(actions, lambda zone: [])
    publish.single(f"{BASE}/command", '{"action": "disarm"}', retain=True, port=broker.port)  # must be ignored
    section = kitchen(broker.port)
    with (
        closing(saved),
        listening(broker) as listener,
        publishing(section, tmp_path / "outbox", actions=actions) as sink,
    ):

        def step() -> bool:
            """What the loop does between two frames."""
            actions.poll()
            alarms = {"frame": True}
            silence = arming.silence()
            sink.on_result(
                replace(result(0, 0.25, on=True), alarms=alarms, silences={"frame": silence} if silence else {})
            )
            sink.on_status(run_status(arming=arming.status()))
            return True

        def last(topic: str) -> bytes:
            return (listener.payloads(topic) or [b""])[-1]

        wait_for(lambda: step() and last("/alarm") == b"ON")
        listener.publish(f"{BASE}/command", '{"action": "snooze", "minutes": 60}')
        wait_for(lambda: step() and last("/alarm") == b"OFF")
        # The first state after the command still has the status from before it.
        wait_for(lambda: json.loads(last("/state"))["arming"]["snoozed_left_s"] > 3500)
        state = json.loads(last("/state"))
        assert (state["alarm"], state["zones"]["frame"]["silence"]) == (True, "snoozed")
        assert state["arming"]["armed"]
        wait_for(lambda: last("/answer"))
        assert json.loads(last("/answer"))["snoozed_until"] == state["arming"]["snoozed_until"]
        sink.on_event(snoozed(START))
        publish_until(sink, lambda: listener.payloads("/event"))
        assert json.loads(last("/event"))["silence"] == "snoozed"
        actions.register("ignore", lambda _: {})  # an action of the page
        for command in (
            "x",
            '{"action": 7}',
            '{"action": "ignore"}',
            '{"action": "snooze", "minutes": "x"}',
            '{"action": "arm"}',
        ):
            listener.publish(f"{BASE}/command", command)
        wait_for(lambda: step() and last("/alarm") == b"ON")
        answers = [json.loads(payload) for payload in listener.payloads("/answer")]
        assert [answer.get("error", "").partition(":")[0] for answer in answers] == [
            "",
            "'ignore' is not possible over MQTT",
            "minutes is 'x'",
            "",
        ]
