"""Build the sinks that a configuration asks for, in the order in which they are called."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from edge.config import Config
from edge.control.actions import Actions
from edge.errors import UserError
from edge.files import check_writable, service_folder, state_folder
from edge.run_status import ReceiverStatus
from edge.secrets import WEBHOOK_SECRET, read_secret
from edge.sinks import Sink
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.queue_files import outbox_folder, warn_about_orphans
from edge.sinks.terminal import JsonLines, PlainLines, StatusLine

log = logging.getLogger(__name__)


def build_sinks(
    config: Config, *, as_json: bool, record: Path | None, version: str = "", actions: Actions | None = None
) -> list[Sink]:
    """Return the configured sinks; modules of other sinks are not imported.

    Args:
        as_json: write JSON lines to stdout.
        record: video file to write.
        version: of this program, for metrics and Home Assistant.
        actions: what page and MQTT may ask of the run; nothing by default.
    Raises `UserError` if a sink cannot be built. Closes those built before, whatever was raised.
    """
    sinks: list[Sink] = []
    try:
        for sink in _build(config, as_json, record, version, actions or Actions()):
            sinks.append(sink)
    except Exception:
        for sink in sinks:
            sink.close()
        raise
    return sinks


def _build(config: Config, as_json: bool, record: Path | None, version: str, actions: Actions) -> Iterator[Sink]:
    """Yield the sinks. Those whose file or port may be taken come before those that contact other machines."""
    kind = JsonLines if as_json else StatusLine if sys.stdout.isatty() else PlainLines
    yield kind(sys.stdout)
    if record:
        from edge.sinks.video import VideoRecorder

        check_writable(record.parent)
        yield VideoRecorder(record, config.source.fps)
    if config.clips.folder:
        from edge.sinks.clips import Clips

        yield Clips(config.clips)
    if config.web.listen:
        from edge.sinks.prometheus import Prometheus
        from edge.sinks.web.sink import WebPage

        metrics = Prometheus(version)
        yield metrics
        camera = hashlib.sha256(os.fsencode(config.source.address)).hexdigest()[:12]  # the address may hold a password
        yield WebPage(config, metrics, actions, trend_path=state_folder() / f"trend-{camera}.bin")
    yield from build_notifiers(config, version, actions)
    if os.environ.get("NOTIFY_SOCKET"):
        from edge.sinks import systemd

        # Last: the watchdog is fed only after a result passed all other sinks.
        if service := systemd.from_environment():
            yield service


class Unnotified(Sink):
    """Stands for notifications that cannot be sent, so that page and metrics show why."""

    def __init__(self, problem: str) -> None:
        self._status = ReceiverStatus(
            "notify", problem, made=0, delivered=0, dropped=0, dead_letters=0, retries=0, waiting=0, oldest_age_s=0.0
        )

    def receivers(self) -> Sequence[ReceiverStatus]:
        return (self._status,)


def build_notifiers(config: Config, version: str = "", actions: Actions | None = None) -> Iterator[Sink]:
    """Yield the sinks that send events to other machines, each with its own outbox."""
    folder = outbox_folder(config.spool.folder)
    used: list[Path] = []

    def built(name: str, build: Callable[[DiskQueue], Sink]) -> Sink:
        """Return a sink with its own queue. If it cannot be built, the queue is unlocked for a fallback."""
        used.append(folder / name)
        queue = DiskQueue(used[-1], config.spool.max_mb * 1e6)
        try:
            return build(queue)
        except BaseException:
            queue.close()
            raise

    if config.mqtt.host:
        from edge.sinks.mqtt import Mqtt
        from edge.sinks.mqtt_client import slug

        mqtt = config.mqtt
        name = f"mqtt-{slug(f'{mqtt.topic}/{mqtt.name}@{mqtt.host}')}"
        yield built(
            name, lambda queue: Mqtt(mqtt, queue, version=version, max_fps=config.loop.max_fps, actions=actions)
        )
    if config.webhook.url:
        from edge.sinks.webhook import Webhook

        webhook = config.webhook
        secret, url = read_secret(WEBHOOK_SECRET, webhook.secret_file), webhook.url_with_login()
        # A hash names the folder, since the URL may contain a secret.
        name = f"webhook-{hashlib.sha256(webhook.url.encode()).hexdigest()[:12]}"
        yield built(name, lambda queue: Webhook(url, queue, secret=secret, timeout_s=webhook.timeout_s))
    if config.notify.urls_file:
        from edge.sinks.notify import Notify, read_services

        try:
            services = read_services(Path(config.notify.urls_file))
        except UserError as error:
            if service_folder() is None:
                raise
            log.error("NO NOTIFICATIONS: %s", error)  # a service detects fires all the same
            services = []
            yield Unnotified(str(error))
        for service in services:
            name = f"notify-{hashlib.sha256(service.url.encode()).hexdigest()[:12]}"
            yield built(name, partial(Notify, service, settings=config.notify))
    if used:
        for warning in warn_about_orphans(folder, used):
            log.warning("%s", warning)
