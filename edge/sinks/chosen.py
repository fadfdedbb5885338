"""The sinks that a configuration asks for, in the order in which they are told."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edge.config import Config
from edge.credentials import WEBHOOK_SECRET, read_secret
from edge.files import check_writable
from edge.sinks import Sink
from edge.sinks.terminal import JsonLines, PlainLines, StatusLine
from edge.spool import Spool, spool_folder


def make_sinks(config: Config, *, as_json: bool, record: Path | None) -> list[Sink]:
    """Each is imported only when it is asked for. Raises `UserError` where one cannot be."""
    sinks: list[Sink] = [terminal_sink(as_json)]
    if record:
        from edge.sinks.record import Record

        check_writable(record.parent)
        sinks.append(Record(record, config.source.fps))
    if config.clips.folder:
        from edge.sinks.clips import Clips

        kept = config.clips
        sinks.append(
            Clips(
                Path(kept.folder),
                before_s=kept.before_s,
                after_s=kept.after_s,
                max_bytes=kept.max_mb * 1e6,
                max_age_s=kept.max_days * 86400,
            )
        )
    sinks += told_sinks(config)
    if config.web.listen:
        from edge.sinks.prometheus import Prometheus
        from edge.sinks.web.page import WebPage

        metrics = Prometheus()
        sinks += [metrics, WebPage(config, metrics)]
    if os.environ.get("NOTIFY_SOCKET"):
        from edge.sinks import systemd

        # Stays the last to be told: what it calls alive went all the way through.
        if service := systemd.from_environment():
            sinks.append(service)
    return sinks


def told_sinks(config: Config) -> list[Sink]:
    """Those that tell other machines of events, each with a spool of its own."""
    told: list[Sink] = []
    spools, max_bytes = spool_folder(config.spool.folder), config.spool.max_mb * 1e6
    if config.mqtt.host:
        from edge.sinks.mqtt import Mqtt
        from edge.sinks.mqtt_link import broker_address

        mqtt = config.mqtt
        told.append(
            Mqtt(
                broker_address(mqtt),
                Spool(spools / "mqtt", max_bytes),
                name=mqtt.name,
                topic=mqtt.topic,
                discovery_prefix=mqtt.discovery,
                pictures=mqtt.snapshots,
            )
        )
    if config.webhook.url:
        from edge.sinks.webhook import Webhook

        secret = read_secret(WEBHOOK_SECRET, config.webhook.secret_file)
        spool = Spool(spools / "webhook", max_bytes)
        told.append(Webhook(config.webhook.url, spool, secret=secret, timeout_s=config.webhook.timeout_s))
    return told


def terminal_sink(as_json: bool) -> Sink:
    if as_json:
        return JsonLines()
    return StatusLine(sys.stdout) if sys.stdout.isatty() else PlainLines(sys.stdout)
