"""Notify people of fires and camera problems through Apprise: ntfy, Pushover, Telegram, Signal, e-mail and many more.

Each line of the URL file is one service with its own outbox: an unreachable one delays no other.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.child import run_python
from edge.config import NotifySection
from edge.errors import UserError, UserErrors, counted, reason_of
from edge.files import read_limited
from edge.images import Frame, encode_jpeg, overlay, shrink
from edge.messages import END, PEAK, PROBLEM, START, Event, FireEvent
from edge.retry import backoff_s
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.outbox import Outbox, OutboxSink, RejectedError
from edge.sinks.queue_files import as_event

MAX_URLS_BYTES = 1 << 16
MAX_SERVICES = 20
PICTURE_WIDTH_PX = 960
PICTURE = "picture"  # key of a stored event: a JPEG in base64
SEND_TIMEOUT_S = 60.0
SERVICE_NAMES, SEND = "service_names", "send"  # functions of `edge.sinks.notify_child`
LATE_S = 60.0  # a notification that took longer says when it happened
SECRET_FILE_REMEDY = "expected one Apprise URL per line, such as ntfys://ntfy.sh/my-topic"


@dataclass(frozen=True)
class Service:
    """One line of the URL file."""

    name: str
    """Such as "ntfy in line 2": the URL itself may be a secret."""
    url: str


def read_services(file: Path) -> list[Service]:
    """Return the services of a URL file; empty lines and those that begin with # are left out.

    Raises `UserErrors` with one line for each wrong URL, and `UserError` if Apprise is not installed or no URL is left.
    """
    try:
        lines = read_limited(file, MAX_URLS_BYTES, SECRET_FILE_REMEDY).decode().splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{file} could not be read (it is not UTF-8 text)", SECRET_FILE_REMEDY) from error
    urls = {
        number: line.strip() for number, line in enumerate(lines, start=1) if line.strip() and line.strip()[0] != "#"
    }
    if not 0 < len(urls) <= MAX_SERVICES:
        raise UserError(f"{file} has {counted(len(urls), 'URL')}", f"expected 1 to {MAX_SERVICES}, one per line")
    if importlib.util.find_spec("apprise") is None:
        raise UserError("notifications need Apprise, which is not installed", "run `pip install apprise`")
    try:
        names = ask(SERVICE_NAMES, list(urls.values()))
    except ConnectionError as error:
        raise UserError(
            f"the URLs of {file} could not be checked ({error})", "run `pip install --upgrade apprise`"
        ) from error
    if wrong := [number for number, name in zip(urls, names, strict=True) if name is None]:
        raise UserErrors(
            [f"{file} line {number} is not a URL that Apprise knows: {SECRET_FILE_REMEDY}" for number in wrong]
        )
    return [Service(f"{name} in line {number}", urls[number]) for number, name in zip(urls, names, strict=True)]


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
    picture = base64.b64encode(jpeg).decode() if jpeg else ""
    message = {"url": service.url, "title": title, "text": text, "urgent": urgent, PICTURE: picture}
    if reason := ask(SEND, message):
        raise ConnectionError(re.sub(r"\S*://\S*", "…", reason))  # a URL may be a secret


def ask(function: str, question: Any) -> Any:
    """Return the answer of a function of `edge.sinks.notify_child`. Raises ConnectionError.

    A process of its own: Apprise takes 20 MB, and a service that hangs is ended.
    """
    statement = f"from edge.sinks.notify_child import answer, {function}; answer({function})"
    try:
        done = run_python(statement, data=json.dumps(question).encode(), timeout_s=SEND_TIMEOUT_S)
        return json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise ConnectionError(f"no answer within {SEND_TIMEOUT_S:g} s") from None
    except (OSError, ValueError) as error:
        raise ConnectionError(f"Apprise could not be run ({reason_of(error)})") from error
