"""MQTT: what burns and how the run fares, retained; each event once; a picture with it; and Home Assistant's discovery.

Topics, below `fireseg/NAME`: `status` (online, offline), `camera` (the same of the source), `alarm` (ON, OFF), `area`
(burning share of the frame), `state` (JSON), `event` (JSON, as `--log json` has it) and `snapshot` (JPEG).
"""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from edge import __version__
from edge.images import encode_jpeg, overlay
from edge.messages import CameraState, FireEvent, FrameResult, RunStatus
from edge.sinks import Sink
from edge.sinks.homeassistant import discovery
from edge.sinks.mqtt_client import OFFLINE, ONLINE, Address, Link, slug
from edge.sinks.outbox import Delivery, OutboxSender
from edge.sinks.spool import Spool

TELL_S = 5.0
"""How often the state is told, if nothing has happened."""
BLIND_S = 15.0
"""A camera without a result for so long sees nothing, whatever the source says of itself."""
ALIVE = b"online"  # what Home Assistant says of itself


class Mqtt(Sink):
    """One camera at one broker.

    Args:
        name: what the camera is called; the host's name where it is empty.
        topic: what its topics begin with, before the name.
        discovery_prefix: Home Assistant's; empty not to be found by it.
        pictures: whether to send one with each event.
    """

    def __init__(
        self,
        address: Address,
        spool: Spool,
        *,
        name: str = "",
        topic: str = "fireseg",
        discovery_prefix: str = "homeassistant",
        pictures: bool = True,
    ) -> None:
        self._name = name or socket.gethostname()
        self._base = f"{topic}/{slug(self._name)}"
        self._prefix = discovery_prefix
        self._pictures = pictures
        self._result: FrameResult | None = None
        self._status: RunStatus | None = None
        self._snapshot: bytes | None = None
        self._told_s = -TELL_S
        self._told_alarms: dict[str, bool] = {}
        self._told_seeing: bool | None = None
        self._announced: tuple[object, ...] | None = None
        """What Home Assistant was last told there is."""
        self._known: set[str] = set()
        """Topics by which Home Assistant knows something of this camera, earlier runs' included."""
        self._draw = ThreadPoolExecutor(1, "mqtt-picture")
        self._link = Link(
            address,
            slug(self._name),
            status_topic=f"{self._base}/status",
            listen=(f"{discovery_prefix}/status", self._found("+", "+")) if discovery_prefix else (),
            on_message=self._heard,
            on_up=self._forget_told,
        )
        self._courier = OutboxSender("MQTT", spool, self._deliver)

    def on_result(self, result: FrameResult) -> None:
        self._result = result
        if result.alarms != self._told_alarms:
            self._tell()

    def on_event(self, event: FireEvent) -> None:
        self._courier.post(json.dumps(event.as_json()).encode())
        if self._pictures:
            self._draw.submit(self._picture, event)

    def on_status(self, status: RunStatus) -> None:
        self._status = status
        if self._seeing != self._told_seeing or time.monotonic() - self._told_s >= TELL_S:
            self._tell()

    def close(self) -> None:
        self._courier.close()
        self._link.close()
        self._draw.shutdown(wait=False, cancel_futures=True)

    def _deliver(self, document: bytes, stop: threading.Event) -> Delivery:
        return self._link.deliver(f"{self._base}/event", document, stop)

    @property
    def _seeing(self) -> bool:
        status = self._status
        return (
            status is not None and status.camera_state is CameraState.STREAMING and status.last_result_age_s < BLIND_S
        )

    def _tell(self) -> None:
        """Tell the state, and before it what there is, in the loop's thread; publishing only queues."""
        if not self._link.up or self._status is None:
            return
        self._announce()
        self._told_s = time.monotonic()
        self._told_seeing = self._seeing
        self._link.tell(f"{self._base}/camera", ONLINE if self._seeing else OFFLINE)
        if self._result is not None:
            self._told_alarms = dict(self._result.alarms)
            self._link.tell(f"{self._base}/alarm", "ON" if self._result.alarm else "OFF")
            self._link.tell(f"{self._base}/area", f"{self._result.fire_share:.5f}")
            self._link.tell(f"{self._base}/state", json.dumps(self._state(self._result, self._status)))

    @staticmethod
    def _state(result: FrameResult, status: RunStatus) -> dict[str, Any]:
        told = result.as_json()
        return {key: told[key] for key in ("alarm", "fire_share", "zones", "age_ms", "inference_ms")} | {
            "fps": round(status.fps, 2),
            "temperature_c": status.machine.temperature_c,
            "throttled": status.machine.throttling.now if status.machine.throttling else [],
            "source": status.source,
            "source_state": str(status.camera_state),
            "model_sha256": status.model_sha256,
        }

    def _announce(self) -> None:
        if not self._prefix or self._result is None or self._status is None:
            return
        announced = (tuple(self._result.alarms), self._status.model_sha256)
        if announced == self._announced:
            return
        self._announced = announced
        told = discovery(
            self._prefix,
            self._base,
            self._name,
            self._result.alarms,
            version=__version__,
            model_sha256=self._status.model_sha256,
            pictures=self._pictures,
        )
        for topic, payload in told:
            self._link.tell(topic, payload)
        self._forget({topic for topic, _ in told})

    def _found(self, kind: str, thing: str) -> str:
        """The topic by which Home Assistant finds something of this camera."""
        return f"{self._prefix}/{kind}/fireseg_{slug(self._name)}/{thing}/config"

    def _forget(self, told: set[str]) -> None:
        """Take back what an earlier configuration had, such as zones that are watched no longer."""
        for topic in self._known - told:
            self._link.tell(topic, b"")
        self._known = told

    def _picture(self, event: FireEvent) -> None:
        self._snapshot = encode_jpeg(overlay(event.rgb, event.mask))
        self._link.tell(f"{self._base}/snapshot", self._snapshot)

    # The link's thread: only flags, so that no two threads tell at once.

    def _heard(self, topic: str, payload: bytes) -> None:
        if topic.endswith("/config"):
            if payload and topic not in self._known:
                self._known = {*self._known, topic}
                self._announced = None
        elif payload == ALIVE:
            self._forget_told()

    def _forget_told(self) -> None:
        """The next status tells everything anew."""
        self._announced, self._told_alarms, self._told_seeing, self._told_s = None, {}, None, -TELL_S
        if self._snapshot is not None:
            self._link.tell(f"{self._base}/snapshot", self._snapshot)
