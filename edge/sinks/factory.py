"""Build the sinks that a configuration asks for, in the order in which they are called."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from edge.config import Config
from edge.files import check_writable
from edge.secrets import WEBHOOK_SECRET, read_secret
from edge.sinks import Sink
from edge.sinks.outbox import DiskQueue, outbox_folder
from edge.sinks.terminal import JsonLines, PlainLines, StatusLine


def build_sinks(config: Config, *, as_json: bool, record: Path | None, version: str = "") -> list[Sink]:
    """Return the configured sinks; modules of other sinks are not imported.

    Args:
        as_json: write JSON lines to stdout.
        record: video file to write.
        version: of this program, for metrics and Home Assistant.
    Raises `UserError` if a sink cannot be built. Closes those built before, whatever was raised.
    """
    sinks: list[Sink] = []
    try:
        for sink in _build(config, as_json, record, version):
            sinks.append(sink)
    except Exception:
        for sink in sinks:
            sink.close()
        raise
    return sinks


def _build(config: Config, as_json: bool, record: Path | None, version: str) -> Iterator[Sink]:
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
        yield WebPage(config, metrics)
    yield from build_notifiers(config, version)
    if os.environ.get("NOTIFY_SOCKET"):
        from edge.sinks import systemd

        # Last: the watchdog is fed only after a result passed all other sinks.
        if service := systemd.from_environment():
            yield service


def build_notifiers(config: Config, version: str = "") -> Iterator[Sink]:
    """Yield the sinks that send events to other machines, each with its own outbox."""
    folder, max_bytes = outbox_folder(config.spool.folder), config.spool.max_mb * 1e6
    if config.mqtt.host:
        from edge.sinks.mqtt import Mqtt
        from edge.sinks.mqtt_client import slug

        mqtt = config.mqtt
        queue = DiskQueue(folder / f"mqtt-{slug(f'{mqtt.topic}/{mqtt.name}@{mqtt.host}')}", max_bytes)
        yield Mqtt(mqtt, queue, version=version)
    if config.webhook.url:
        from edge.sinks.webhook import Webhook

        url = config.webhook.url
        secret = read_secret(WEBHOOK_SECRET, config.webhook.secret_file)
        # A hash names the folder, since the URL may contain a secret.
        queue = DiskQueue(folder / f"webhook-{hashlib.sha256(url.encode()).hexdigest()[:12]}", max_bytes)
        yield Webhook(config.webhook.url_with_login(), queue, secret=secret, timeout_s=config.webhook.timeout_s)
