"""Notify people of fires and camera problems through Apprise: ntfy, Pushover, Telegram, Signal, e-mail and many more.

Each line of the URL file is one service with its own outbox: an unreachable one delays no other.
"""

from __future__ import annotations

import base64
import importlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.config import NotifySection
from edge.errors import UserError, UserErrors, counted
from edge.files import read_limited
from edge.images import Frame, encode_jpeg, overlay, shrink
from edge.messages import END, PEAK, PROBLEM, START, Event, FireEvent
from edge.retry import backoff_s
from edge.secrets import redact
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.outbox import Outbox, OutboxSink, RejectedError
from edge.sinks.queue_files import as_event

MAX_URLS_BYTES = 1 << 16
MAX_SERVICES = 20
PICTURE_WIDTH_PX = 960
PICTURE = "picture"  # key of a stored event: a JPEG in base64
APPRISE_LOG = logging.getLogger("apprise")
LATE_S = 60.0  # a notification that took longer says when it happened
SECRET_FILE_REMEDY = "expected one Apprise URL per line, such as ntfys://ntfy.sh/my-topic"


@dataclass(frozen=True)
class Service:
    """One line of the URL file."""

    name: str
    """Such as "ntfy in line 2": the URL itself may be a secret."""
    url: str
    plugin: Any
    """Apprise's object, which sends."""


def read_services(file: Path) -> list[Service]:
    """Return the services of a URL file; empty lines and those that begin with # are left out.

    Raises `UserErrors` with one line for each wrong URL, and `UserError` if Apprise is not installed or no URL is left.
    """
    try:
        apprise = importlib.import_module("apprise")
    except ImportError as error:
        raise UserError("notifications need Apprise, which is not installed", "run `pip install apprise`") from error
    APPRISE_LOG.propagate = False  # the outbox logs a failure once
    try:
        lines = read_limited(file, MAX_URLS_BYTES, SECRET_FILE_REMEDY).decode().splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{file} could not be read (it is not UTF-8 text)", SECRET_FILE_REMEDY) from error
    services, errors = list[Service](), list[str]()
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        plugin = apprise.Apprise.instantiate(line, suppress_exceptions=True)
        if plugin is None:
            errors.append(f"{file} line {number} is not a URL that Apprise knows: {SECRET_FILE_REMEDY}")
        else:
            services.append(Service(f"{plugin.service_name or line.split(':')[0]} in line {number}", line, plugin))
    if errors:
        raise UserErrors(errors)
    if not 0 < len(services) <= MAX_SERVICES:
        raise UserError(f"{file} has {counted(len(services), 'URL')}", f"expected 1 to {MAX_SERVICES}, one per line")
    return services


class Notify(OutboxSink):
    """Notifies one service of each fire and each problem of the camera.

    Args:
        service: where to.
        events: notifications still to be sent.
        settings: which events are worth a notification.
        clock: monotonic seconds, for the rate limit.
        wait_s: seconds to wait after a number of failures in a row.
    """

    def __init__(
        self,
        service: Service,
        events: DiskQueue,
        settings: NotifySection,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait_s: Callable[[int], float] = backoff_s,
    ) -> None:
        self._service, self._settings, self._clock = service, settings, clock
        self._notified_s: dict[str, float] = {}
        self._open: set[str] = set()  # ids whose beginning was notified
        self._muted = 0
        name = f"notify {service.name}"
        super().__init__(name, Outbox(name, events, self._deliver, wait_s=wait_s))

    def document(self, event: Event) -> dict[str, Any] | None:
        if not self._is_wanted(event):
            return None
        document = event.as_json()
        if self._muted:
            document["muted"], self._muted = self._muted, 0
        if self._settings.picture:
            document[PICTURE] = base64.b64encode(encode_jpeg(picture_of(event))).decode()
        return document

    def _is_wanted(self, event: Event) -> bool:
        """Return whether an event is worth a notification: beginnings, at a limited rate, and the ends of these."""
        if event.kind in (START, PROBLEM):
            place = event.zone if isinstance(event, FireEvent) else "camera"
            now_s = self._clock()
            if now_s - self._notified_s.get(place, -self._settings.min_interval_s) < self._settings.min_interval_s:
                self._muted += 1
                return False
            self._notified_s[place] = now_s
            self._open.add(event.id)
            return True
        if event.kind == PEAK:
            return False
        was_notified = event.id in self._open
        self._open.discard(event.id)
        return was_notified and self._settings.ends

    def _deliver(self, body: bytes, _stop: threading.Event) -> bool:
        event = as_event(body)
        if event is None:
            raise RejectedError("not an event")
        title, text = describe(event, datetime.now(UTC))
        jpeg = base64.b64decode(str(event.get(PICTURE, ""))) or None
        send(self._service, title, text, urgent=event["kind"] == START, jpeg=jpeg)
        return True


def picture_of(event: Event) -> Frame:
    """Return the frame of an event with its fire pixels marked, at most `PICTURE_WIDTH_PX` wide."""
    frame = overlay(event.rgb, event.mask) if isinstance(event, FireEvent) else event.rgb
    return shrink(frame, PICTURE_WIDTH_PX)


def describe(event: Mapping[str, Any], now: datetime) -> tuple[str, str]:
    """Return title and text of a notification.

    Example:
        >>> describe({"kind": "start", "zone": "stove", "share": 0.032, "source": "0", "time": "…"}, datetime.now(UTC))
        ('Fire: stove', 'Fire area 3.2 %. Camera 0.')
    """
    kind, source = event["kind"], event.get("source", "")
    if kind == START:
        title = f"Fire: {event.get('zone')}"
        text = f"Fire area {100 * float(event.get('share', 0)):.1f} %. Camera {source}."
    elif kind == END:
        title = f"Fire ended: {event.get('zone')}"
        text = f"It lasted {duration(event)}, peak fire area {100 * float(event.get('peak_share', 0)):.1f} %."
    elif kind == PROBLEM:
        title, text = f"The camera cannot see: {event.get('problem')}", f"Camera {source}. Fires may go unnoticed."
    else:
        title, text = "The camera sees again", f"Camera {source} was {event.get('problem')} for {duration(event)}."
    if event.get("muted"):
        text += f" Not sent since the last one: {counted(int(event['muted']), 'event')}."
    try:
        age_s = (now - datetime.fromisoformat(str(event.get("time")))).total_seconds()
    except (ValueError, TypeError):
        return title, text
    return title, f"{text} Delayed by {age_s / 60:.0f} min." if age_s > LATE_S else text


def duration(event: Mapping[str, Any]) -> str:
    """Return the duration of a fire or a problem in words, such as "2 min 5 s"."""
    minutes, seconds = divmod(round(float(event.get("duration_s", 0))), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def send(service: Service, title: str, text: str, *, urgent: bool, jpeg: bytes | None) -> None:
    """Send one notification. Raises ConnectionError with the reason that Apprise logs."""
    apprise = importlib.import_module("apprise")
    memory = importlib.import_module("apprise.attachment.memory")
    attach = apprise.AppriseAttachment([memory.AttachMemory(jpeg, "fire.jpg", "image/jpeg")]) if jpeg else None
    kind = apprise.NotifyType.FAILURE if urgent else apprise.NotifyType.INFO
    reasons = _Reasons()
    APPRISE_LOG.addHandler(reasons)
    try:
        sent = service.plugin.notify(title=title, body=text, notify_type=kind, attach=attach)
    finally:
        APPRISE_LOG.removeHandler(reasons)
    if not sent:
        raise ConnectionError(redact(reasons.last.replace(service.url, "…")))


class _Reasons(logging.Handler):
    """Keeps the last warning that this thread logs: other services fail in threads of their own."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last, self._thread = "the service refused it", threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if threading.get_ident() == self._thread:
            self.last = record.getMessage()
