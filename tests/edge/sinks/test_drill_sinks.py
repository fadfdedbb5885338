"""What receivers make of a fire drill: it is marked, is not counted as a fire, and its delivery is timed."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.soak.rig import Broker
from edge.config_tables import ClipsSection, NotifySection
from edge.control.actions import Actions
from edge.messages import END, PEAK, START, FireEvent
from edge.run_status import DrillStatus, Link
from edge.sinks.clips import Clips
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.notify import Notify, Service, describe
from edge.sinks.terminal import event_text, status_text
from edge.sinks.webhook import Webhook
from tests.support.factories import NOON, event, result, run_status
from tests.support.http_receiver import Receiver, serving
from tests.support.mqtt_fixtures import kitchen, listening, publish_until, publishing
from tests.support.waiting import wait_for

PASSED = DrillStatus(False, "frame", "2026-11-29T10:00:00+01:00", (), True, "", "2026-11-29T10:00:00+01:00")


def drill(kind: str, number: int = 1) -> FireEvent:
    return replace(event(kind, id_="20261122T120100Z-frame-dr11", number=number), drill=True)


def test_a_drill_is_notified_at_any_time_and_delays_no_fire(tmp_path: Path) -> None:
    service = Service("ntfy in line 1", "ntfys://ntfy.sh/topic")
    with closing(Notify(service, DiskQueue(tmp_path, 1e6), NotifySection(picture=False))) as notify:
        events = (drill(START), drill(PEAK, 2), drill(END, 3), event(START), drill(START))
        sent = [document for each in events if (document := notify.document(each))]
    titles = [describe(document, NOON)[0] for document in sent]
    assert titles == ["DRILL: Fire: frame", "DRILL: Alarm cleared: frame", "Fire: frame", "DRILL: Fire: frame"]


def test_the_time_of_each_delivery_is_known_with_the_event(tmp_path: Path) -> None:
    with serving(Receiver(codes=[503])) as receiver:
        sink = Webhook(receiver.url, DiskQueue(tmp_path, 1e6), wait_s=lambda _: 0.1)
        assert [link.last for link in sink.links()] == [None]
        sink.on_event(drill(START))
        wait_for(lambda: sink.links()[0].last)
        (link,) = sink.links()
        sink.close()
    assert link.last and (link.name, link.last.id, link.last.number) == ("webhook", drill(START).id, 1)
    assert 100 <= link.last.took_ms < 40_000, "with the retry"


def test_clips_know_the_last_picture_that_was_written_or_why_it_was_not(tmp_path: Path) -> None:
    sink = Clips(ClipsSection(folder=str(tmp_path / "clips")))
    sink.on_event(drill(START))
    wait_for(lambda: sink.links()[0].last)
    (link,) = sink.links()
    assert link.last and (link.last.id, link.problem) == (drill(START).id, "")
    sink.close()
    (tmp_path / "file").touch()
    broken = Clips(ClipsSection(folder=str(tmp_path / "file")))
    broken.on_event(drill(START))
    wait_for(lambda: broken.links()[0].problem)
    assert broken.links() == (Link("clips", "File exists", None),)
    broken.close()


def test_the_terminal_says_that_it_is_a_drill() -> None:
    assert "frame: DRILL: FIRE, fire area" in event_text(drill(START))
    assert "no alarm  FIRE DRILL  " in status_text(replace(result(1.0, 0.1, on=False), drill=True))


@pytest.mark.slow
def test_home_assistants_button_asks_for_a_drill_and_its_sensor_shows_the_last(broker: Broker, tmp_path: Path) -> None:
    actions, asked = Actions(), []
    actions.register("drill", lambda arguments: asked.append(arguments) or {"started": True})  # type: ignore[func-returns-value]
    section = kitchen(broker.port)
    with listening(broker) as listener, publishing(section, tmp_path / "outbox", actions=actions) as sink:
        sink.on_result(result(0, 0.0, on=False))
        publish_until(sink, lambda: listener.payloads("/state"))  # the last of what a status publishes
        button = json.loads(listener.payloads("button/fireseg_kitchen/drill/config")[0])
        sensor = json.loads(listener.payloads("sensor/fireseg_kitchen/last_drill/config")[0])
        listener.publish(button["command_topic"], button["payload_press"])

        def is_asked() -> bool:
            actions.poll()
            return bool(asked)

        wait_for(is_asked)
        sink.on_status(run_status(drill=PASSED))
        wait_for(lambda: json.loads(listener.payloads("/state")[-1])["drill"])
        state = json.loads(listener.payloads("/state")[-1])
    assert sensor["device_class"] == "timestamp" and "value_json.drill" in sensor["value_template"]
    assert (state["drill"]["last_passed"], state["drill"]["passed"]) == (PASSED.last_passed, True)
