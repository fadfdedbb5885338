"""The sinks that a configuration asks for, in the order in which they are told."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from edge.config import Config
from edge.errors import UserError
from edge.files import check_writable
from edge.secrets import WEBHOOK_SECRET, read_secret
from edge.sinks import Sink
from edge.sinks.spool import Spool, spool_folder
from edge.sinks.terminal import JsonLines, PlainLines, StatusLine


def build_sinks(config: Config, *, as_json: bool, record: Path | None) -> list[Sink]:
    """Each is imported only when it is asked for. Raises `UserError` where one cannot be; none is left open then."""
    sinks: list[Sink] = []
    try:
        for sink in chosen(config, as_json, record):
            sinks.append(sink)
    except UserError:
        for sink in sinks:
            sink.close()
        raise
    return sinks


def chosen(config: Config, as_json: bool, record: Path | None) -> Iterator[Sink]:
    """One after the other; those that may find their place taken before those that speak to others."""
    yield terminal_sink(as_json)
    if record:
        from edge.sinks.record import Record

        check_writable(record.parent)
        yield Record(record, config.source.fps)
    if config.clips.folder:
        from edge.sinks.clips import Clips

        kept = config.clips
        yield Clips(
            Path(kept.folder),
            before_s=kept.before_s,
            after_s=kept.after_s,
            max_bytes=kept.max_mb * 1e6,
            max_age_s=kept.max_days * 86400,
        )
    if config.web.listen:
        from edge.sinks.prometheus import Prometheus
        from edge.sinks.web.sink import WebPage

        metrics = Prometheus()
        yield metrics
        yield WebPage(config, metrics)
    yield from build_notifiers(config)
    if os.environ.get("NOTIFY_SOCKET"):
        from edge.sinks import systemd

        # Stays the last to be told: what it calls alive went all the way through.
        if service := systemd.from_environment():
            yield service


def build_notifiers(config: Config) -> Iterator[Sink]:
    """Those that tell other machines of events, each with a spool of its own: what waits for one is not for another."""
    spools, max_bytes = spool_folder(config.spool.folder), config.spool.max_mb * 1e6
    if config.mqtt.host:
        from edge.sinks.mqtt import Mqtt
        from edge.sinks.mqtt_client import broker_address, slug

        mqtt = config.mqtt
        yield Mqtt(
            broker_address(mqtt),
            Spool(spools / f"mqtt-{slug(f'{mqtt.topic}/{mqtt.name}@{mqtt.host}')}", max_bytes),
            name=mqtt.name,
            topic=mqtt.topic,
            discovery_prefix=mqtt.discovery,
            pictures=mqtt.snapshots,
        )
    if config.webhook.url:
        from edge.sinks.webhook import Webhook

        url = config.webhook.url
        secret = read_secret(WEBHOOK_SECRET, config.webhook.secret_file)
        # The address may hold a secret, so its hash names the folder.
        spool = Spool(spools / f"webhook-{hashlib.sha256(url.encode()).hexdigest()[:12]}", max_bytes)
        yield Webhook(url, spool, secret=secret, timeout_s=config.webhook.timeout_s)


def terminal_sink(as_json: bool) -> Sink:
    if as_json:
        return JsonLines()
    return StatusLine(sys.stdout) if sys.stdout.isatty() else PlainLines(sys.stdout)
