"""Notify people of fires and problems through Apprise: ntfy, Pushover, Telegram, Signal, e-mail and many more.

Each line of the URL file is one service with its own outbox: an unreachable one does not hold up the others.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import logging
import math
import re
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2

from edge.child import run_python
from edge.config_tables import NotifySection
from edge.errors import UserError, UserErrors, counted, reason_of
from edge.files import read_limited
from edge.images import Frame, encode_jpeg, overlay, shrink
from edge.messages import END, PEAK, PROBLEM, START, STILL, CameraEvent, Event, FireEvent, FrameResult, UpdateEvent
from edge.retry import backoff_s
from edge.run_status import RunStatus
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.outbox import Outbox, OutboxSink, RejectedError
from edge.sinks.queue_files import RESTART, as_event, is_last

log = logging.getLogger(__name__)

MAX_URLS_BYTES = 1 << 16
MAX_SERVICES = 20
PICTURE_PX = 960
MAX_PICTURE_LETTERS = 700_000  # in base64: a document has at most 1 MiB
MAX_CHILDREN = 4  # they share the service's memory limit
PICTURE = "picture"  # key of a stored event: a JPEG in base64
SEND_TIMEOUT_S = 60.0
SERVICE_NAMES, SEND = "service_names", "send"  # functions of `edge.notify_child`
BEGINS = (START, STILL, PROBLEM)  # kinds of events that are urgent, of a fire or of the camera
LATE_S = 60.0  # a notification later than this says how late it is
INSTALL_APPRISE = "`pip install apprise` beside fireseg-edge, or `apt install apprise` beside its Debian package"
URLS_REMEDY = "expected one Apprise URL per line, such as ntfys://ntfy.sh/my-topic"


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
        lines = read_limited(file, MAX_URLS_BYTES, URLS_REMEDY).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{file} could not be read (it is not UTF-8 text)", URLS_REMEDY) from error
    urls = {
        number: line.strip() for number, line in enumerate(lines, start=1) if line.strip() and line.strip()[0] != "#"
    }
    if not 0 < len(urls) <= MAX_SERVICES:
        raise UserError(f"{file} has {counted(len(urls), 'URL')}", f"expected 1 to {MAX_SERVICES}, one per line")
    if len(set(urls.values())) < len(urls):
        raise UserError(f"{file} names a URL twice", URLS_REMEDY)
    if importlib.util.find_spec("apprise") is None:
        raise UserError("notifications need Apprise, which is not installed", INSTALL_APPRISE)
    try:
        names = ask(SERVICE_NAMES, list(urls.values()))
    except ConnectionError as error:
        raise UserError(f"the URLs of {file} could not be checked ({error})", "install a newer Apprise") from error
    if wrong := [number for number, name in zip(urls, names, strict=True) if name is None]:
        raise UserErrors(
            [f"{file} line {number} is not an Apprise URL with one recipient: {URLS_REMEDY}" for number in wrong]
        )
    return [Service(f"{name} in line {number}", urls[number]) for number, name in zip(urls, names, strict=True)]


class Notify(OutboxSink):
    """Notifies one service of each fire, each problem of the camera and each failed update.

    Args:
        service: the receiver.
        events: notifications still to be sent.
        settings: of [notify].
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
        self._pending: dict[str, Event] = {}  # began within the interval, by zone
        self._open: set[str] = set()  # ids of fires and problems whose start was notified
        self._muted = 0
        name = f"notify {service.name}"
        super().__init__(name, Outbox(name, events, self._deliver, wait_s=wait_s))

    def on_result(self, result: FrameResult) -> None:
        """Drop delayed starts of zones that are silenced by now: `STILL` follows if the fire outlasts the silence."""
        for zone in result.silences.keys() & self._pending.keys():
            del self._pending[zone]

    def on_status(self, status: RunStatus) -> None:
        """Notify fires and camera problems that began within the interval and outlast it."""
        for place, event in list(self._pending.items()):
            if self._clock() - self._notified_s[place] >= self._settings.min_interval_s:
                self._send(event)

    def document(self, event: Event) -> dict[str, Any] | None:
        if not self._is_wanted(event):
            return None
        document = event.as_json()
        if self._muted:
            document["muted"], self._muted = self._muted, 0
        is_shown = self._settings.picture and (self._settings.ends or event.kind in BEGINS)
        if is_shown and not isinstance(event, UpdateEvent):
            try:
                picture = base64.b64encode(encode_jpeg(picture_of(event))).decode()
            except (MemoryError, cv2.error) as error:  # the text must go out
                log.error("notify %s: no picture (%s)", self._service.name, reason_of(error))
            else:
                document |= {PICTURE: picture} if len(picture) <= MAX_PICTURE_LETTERS else {}
        return document

    def _is_wanted(self, event: Event) -> bool:
        """Return whether to notify an event: a start, at most one per zone and interval, or the end of such a fire.

        A silenced fire is not notified. Camera problems cannot be silenced, and updates are too rare to be limited.
        """
        if isinstance(event, UpdateEvent):
            return True
        place = event.zone if isinstance(event, FireEvent) else ""  # no zone has an empty name
        if event.kind == PEAK:
            return False
        if isinstance(event, FireEvent) and event.drill and event.kind == START:
            self._open.add(event.id)
            return True  # regardless of the interval, and without delaying a fire that follows
        if event.kind in BEGINS:
            if isinstance(event, FireEvent) and event.silence:
                return False
            now_s = self._clock()
            if now_s - self._notified_s.get(place, -math.inf) < self._settings.min_interval_s:
                self._pending[place] = event  # `on_status` sends it if it lasts
                return False
            self._pending.pop(place, None)
            self._notified_s[place] = now_s
            self._open.add(event.id)
            return True
        if place in self._pending and self._pending[place].id == event.id:
            del self._pending[place]
            self._muted += 1
        was_notified = event.id in self._open
        self._open.discard(event.id)
        return was_notified  # `_deliver` drops it without `ends`: the outbox must learn that the fire ended

    def _deliver(self, body: bytes, _stop: threading.Event) -> bool:
        event = as_event(body)
        if event is None:
            raise RejectedError("not an event")
        if is_last(event) and not self._settings.ends:
            return True
        if event.get("reason") == RESTART:  # picture and count are those of an earlier event
            event = {key: value for key, value in event.items() if key not in (PICTURE, "muted")}
        try:
            title, text = describe(event, datetime.now(UTC))
            jpeg = base64.b64decode(str(event.get(PICTURE, ""))) or None
        except (TypeError, ValueError, OverflowError) as error:
            raise RejectedError(f"not a valid event ({reason_of(error)})") from error
        urgent = event["kind"] in (START, STILL)
        try:
            send(self._service, title, text, urgent=urgent, jpeg=jpeg)
        except ConnectionError:
            if jpeg is None:
                raise
            send(self._service, title, text, urgent=urgent, jpeg=None)  # some services refuse pictures
        return True


def picture_of(event: FireEvent | CameraEvent) -> Frame:
    """Return the frame of an event, its longer side at most `PICTURE_PX`, with the fire pixels marked."""
    height, width = event.rgb.shape[:2]
    # First, since a large frame is slow to draw on.
    frame = shrink(event.rgb, max(1, PICTURE_PX * width // max(width, height)))
    return overlay(frame, event.mask) if isinstance(event, FireEvent) else frame


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
    elif kind == STILL:
        title = f"The fire goes on: {event.get('zone')}"
        text = f"No longer silenced. Fire area {100 * float(event.get('share', 0)):.1f} %. Camera {source}."
    elif kind == END:
        title = f"Alarm cleared: {event.get('zone')}"
        text = f"It lasted {duration(event)}, peak fire area {100 * float(event.get('peak_share', 0)):.1f} %."
        if event.get("reason") == RESTART:
            title, text = f"Restarted during a fire: {event.get('zone')}", "It may still burn: look."
        elif event.get("camera_problem") or event.get("paused"):
            cause = event.get("camera_problem") or "detection is paused"
            title, text = f"Fire out of sight: {event.get('zone')}", f"It may still burn: {cause}."
    elif event.get("type") == "update":
        title = "Model update failed" if kind == PROBLEM else "Model update problem resolved"
        text = f"{event.get('problem')}. Camera {source}."
    elif kind == PROBLEM:
        title, text = f"The camera cannot see: {event.get('problem')}", f"Camera {source}. Fires may go unnoticed."
    elif event.get("reason") == RESTART:
        title, text = "Restarted during a camera problem", f"Camera {source} was {event.get('problem')}."
    else:
        title, text = "The camera sees again", f"Camera {source} was {event.get('problem')} for {duration(event)}."
    if event.get("muted"):
        text += f" Since the last notification: {counted(int(event['muted']), 'short event')}."
    if event.get("drill"):
        title = f"DRILL: {title}"
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
        raise ConnectionError(without_url(reason, service.url))


def without_url(reason: str, url: str) -> str:
    """Return Apprise's reason without any part of the URL: topics, tokens and phone numbers are secrets."""
    reason = re.sub(r"\S*://\S*", "…", reason)
    parts = {part for part in re.split(r"[/:@?&=,;#]+", urllib.parse.unquote(url.partition("://")[2])) if len(part) > 2}
    for part in sorted(parts, key=len, reverse=True):
        reason = re.sub(re.escape(part), "…", reason, flags=re.IGNORECASE)
    return reason


def ask(function: str, question: Any) -> Any:
    """Return the answer of a function of `edge.notify_child`. Raises ConnectionError.

    It runs in a child process: Apprise takes 30 MB, and one that hangs is killed.
    """
    statement = f"from edge.notify_child import answer, {function}; answer({function})"
    try:
        with _children:
            done = run_python(statement, data=json.dumps(question).encode(), timeout_s=SEND_TIMEOUT_S)
        if not done.returncode:
            return json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise ConnectionError(f"no answer within {SEND_TIMEOUT_S:g} s") from None
    except (OSError, ValueError) as error:
        raise ConnectionError(f"Apprise could not be run ({reason_of(error)})") from error
    raise ConnectionError(f"Apprise failed with exit code {done.returncode}")


_children = threading.BoundedSemaphore(MAX_CHILDREN)
