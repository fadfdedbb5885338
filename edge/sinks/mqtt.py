"""MQTT sink: retained state, events at least once, a snapshot per event, and Home Assistant discovery.

Topics below `fireseg/NAME`: `status` (online, offline), `camera` (online while it delivers frames), `alarm` (ON, OFF;
OFF while silenced), `fire_share` (fire area as a fraction of the frame), `state` (JSON), `event` (JSON as in
`--log json`) and `snapshot` (JPEG). Events use QoS 1: receivers drop a copy by its `id` and `number`. `command` takes
actions, such as `{"action": "snooze", "minutes": 60}`, and `answer` says what came of each.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any

from edge.config import Config
from edge.config_tables import MqttSection
from edge.control.actions import Actions, Answer
from edge.errors import UserError, one_line
from edge.images import encode_jpeg, overlay
from edge.messages import CameraState, FireEvent, FrameResult
from edge.run_status import RunStatus
from edge.sinks import SHUTDOWN_GRACE_S, log_failure
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.homeassistant import device_id, discovery
from edge.sinks.mqtt_client import OFFLINE, ONLINE, MqttClient, machine_hash, slug
from edge.sinks.mqtt_login import clear_password
from edge.sinks.outbox import Outbox, OutboxSink

log = logging.getLogger(__name__)

STATE_INTERVAL_S = 5.0  # how often the state is published while nothing changes
STALE_AFTER_S = 15.0  # a camera without a result for this long is offline, whatever its state
COMMANDS = ("arm", "disarm", "snooze", "acknowledge", "verdict", "drill")
"""Actions that a command may take. All others, such as changes of the configuration, need the page's password."""
COMMAND, ANSWER = "command", "answer"  # topics below the camera's
BIRTH = b"online"  # Home Assistant's birth message
MAX_CONFIG_TOPICS = 1000  # of our device at the broker; more are not ours


class Mqtt(OutboxSink):
    """Publishes one camera to one broker.

    Without a configured name the camera is called after its host, with a mark of the machine: many Pis are called
    raspberrypi.

    Args:
        events: events still to be published.
        max_fps: results per second at most; 0 for no limit.
        version: of this program, shown by Home Assistant.
        actions: of the run; commands take those of `COMMANDS`.
        grace_s: how long `close` waits for events to be published.
    """

    def __init__(
        self,
        section: MqttSection,
        events: DiskQueue,
        *,
        version: str = "",
        max_fps: float = 0.0,
        actions: Actions | None = None,
        grace_s: float = SHUTDOWN_GRACE_S,
    ) -> None:
        self._name = section.name or f"{socket.gethostname()}-{machine_hash()}"
        self._max_fps = max_fps
        self._base = f"{section.topic}/{slug(self._name)}"
        self._prefix, self._snapshots = section.discovery, section.snapshots
        self._version = version
        self._actions = actions if section.commands else None
        self._result: FrameResult | None = None
        self._status: RunStatus | None = None
        self._snapshot: bytes | None = None
        self._published: tuple[object, ...] | None = None
        """Alarms, silences, camera problem, camera state, fire drill and update as published last."""
        self._published_s = 0.0
        self._discovered: tuple[object, ...] | None = None  # zones, model and whether it is updated, as published last
        self._is_due = threading.Event()  # set to publish everything with the next result or status
        self._config_topics: set[str] = set()
        """Retained discovery topics of this camera, including those of earlier runs."""
        self._config_lock = threading.Lock()
        self._encoder = ThreadPoolExecutor(1, "mqtt-snapshot")
        self._client = MqttClient(
            section,
            slug(self._name),
            status_topic=f"{self._base}/status",
            own_topic=f"{self._base}/camera",
            subscriptions=self._subscriptions(),
            on_message=self._on_message,
            on_connect=self._republish,
        )
        deliver = partial(self._client.deliver, f"{self._base}/event")
        super().__init__("mqtt", Outbox("MQTT", events, deliver, grace_s=grace_s))
        if warning := clear_password(section):
            log.warning("%s", warning)

    def _subscriptions(self) -> tuple[str, ...]:
        discovery = f"{self._prefix}/status", f"{self._prefix}/+/{device_id(self._name)}/+/config"
        return (*(discovery if self._prefix else ()), *([f"{self._base}/{COMMAND}"] if self._actions else []))

    def on_result(self, result: FrameResult) -> None:
        self._result = result
        self._publish_state()

    def on_event(self, event: FireEvent) -> None:
        super().on_event(event)
        if self._snapshots:
            self._encoder.submit(self._publish_snapshot, event).add_done_callback(log_failure)

    def on_status(self, status: RunStatus) -> None:
        self._status = status
        self._publish_state()

    def on_config(self, config: Config) -> None:
        self._max_fps = config.loop.max_fps

    def connection_problem(self) -> str:
        return self._client.problem

    def close(self) -> None:
        super().close()
        self._client.close()
        self._encoder.shutdown(wait=False, cancel_futures=True)

    def _publish_state(self) -> None:
        """Publish discovery and state if they changed or are due, in the loop's thread; the client only queues them."""
        result, status = self._result, self._status
        if status is None or not self._client.connected.is_set():
            return
        stale_after_s = max(STALE_AFTER_S, 3 / self._max_fps if self._max_fps else 0.0)
        is_seeing = status.camera_state is CameraState.STREAMING and status.last_result_age_s < stale_after_s
        seen = (dict(result.alarms), dict(result.silences), result.camera_problem) if result else None
        current = (seen, status.arming.silence, is_seeing, status.drill, status.update)
        now_s = time.monotonic()
        if self._is_due.is_set():
            self._is_due.clear()
            self._published = self._discovered = None
        if current == self._published and now_s - self._published_s < STATE_INTERVAL_S:
            return
        self._published, self._published_s = current, now_s
        if result is not None:
            self._publish_discovery(result, status)
        self._client.publish(f"{self._base}/camera", ONLINE if is_seeing else OFFLINE)
        if result is not None:
            self._client.publish(f"{self._base}/alarm", "ON" if result.sounds else "OFF")
            self._client.publish(f"{self._base}/fire_share", f"{result.fire_share:.5f}")
            self._client.publish(f"{self._base}/state", json.dumps(_state(result, status)))

    def _publish_discovery(self, result: FrameResult, status: RunStatus) -> None:
        """Publish the discovery messages if they changed, and remove those of zones that are gone."""
        described = (tuple(result.alarms), status.model_sha256, status.update is not None)
        if not self._prefix or described == self._discovered:
            return
        self._discovered = described
        messages = discovery(
            self._prefix, self._base, self._name, result.alarms,
            version=self._version, model_sha256=status.model_sha256, snapshots=self._snapshots,
            has_commands=self._actions is not None, has_updates=status.update is not None,
        )  # fmt: skip
        topics = {topic for topic, _ in messages}
        with self._config_lock:
            stale = self._config_topics - topics
            self._config_topics = topics  # before publishing: the broker sends these messages back to us
        for topic, payload in [*messages, *((topic, "") for topic in stale)]:
            self._client.publish(topic, payload)

    def _publish_snapshot(self, event: FireEvent) -> None:
        self._snapshot = encode_jpeg(overlay(event.rgb, event.mask))
        self._client.publish(f"{self._base}/snapshot", self._snapshot)

    # The client's thread: it sets flags and publishes the snapshot; only the loop's thread publishes states.

    def _on_message(self, topic: str, payload: bytes, is_retained: bool) -> None:
        if topic == f"{self._base}/{COMMAND}":
            if not is_retained:  # it would be repeated with each connection
                self._take_action(payload)
        elif topic.endswith("/config"):
            with self._config_lock:
                if payload and topic not in self._config_topics and len(self._config_topics) < MAX_CONFIG_TOPICS:
                    self._config_topics.add(topic)
                    self._is_due.set()
        elif payload == BIRTH:
            self._republish()

    def _take_action(self, payload: bytes) -> None:
        try:
            arguments = json.loads(payload)
            name = arguments.pop("action")
            if not isinstance(name, str):
                raise TypeError("the action is not a text")
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
            log.warning('MQTT: invalid command: expected JSON such as {"action": "snooze", "minutes": 60}')
            return
        assert self._actions is not None
        if name in COMMANDS:
            asked = self._actions.submit(name, arguments, origin="MQTT")
        else:
            asked = Future()
            problem = f"{one_line(repr(name))} is not possible over MQTT"
            asked.set_exception(UserError(problem, f"expected one of {', '.join(COMMANDS)}"))
        asked.add_done_callback(partial(self._publish_answer, one_line(name)))

    def _publish_answer(self, name: str, asked: Future[Answer]) -> None:
        error = asked.exception()
        answer = {"error": str(error)} if isinstance(error, UserError) else asked.result()
        self._is_due.set()
        self._client.publish(f"{self._base}/{ANSWER}", json.dumps({"action": name, **answer}), retain=False)

    def _republish(self) -> None:
        """Publish everything with the next result or status."""
        self._is_due.set()
        if self._snapshot is not None:
            self._client.publish(f"{self._base}/snapshot", self._snapshot)


def _state(result: FrameResult, status: RunStatus) -> dict[str, Any]:
    fields = result.as_json()
    keys = (
        "alarm",
        "infrared",
        "paused",
        "picture_current",
        "camera_problem",
        "fire_share",
        "zones",
        "age_ms",
        "inference_ms",
    )
    return {key: fields[key] for key in keys} | {
        "fps": round(status.fps, 2),
        "temperature_c": status.machine.temperature_c,
        "throttled": status.machine.throttling.now if status.machine.throttling else [],
        "fine_view": asdict(status.fine_view) if status.fine_view else None,
        "drill": asdict(status.drill) if status.drill else None,
        "update": asdict(status.update) if status.update else None,
        "arming": asdict(status.arming),
        "source": status.source,
        "camera_state": str(status.camera_state),
        "model_sha256": status.model_sha256,
    }
