"""The sink behind the live page."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from edge.config import Config
from edge.detection.zones import WHOLE_FRAME
from edge.messages import FireEvent, FrameResult, RunStatus
from edge.sinks import Sink
from edge.sinks.prometheus import Prometheus
from edge.sinks.web.auth import App, Guard, find_password, open_socket, parse_listen
from edge.sinks.web.bell import Notifier
from edge.sinks.web.history import History
from edge.sinks.web.live import Live, jpeg_of
from edge.sinks.web.server import Server

log = logging.getLogger(__name__)

PICTURE_WIDTH_PX = 480
"""Of an event's: sixty of them stay under two megabytes."""


class WebPage(Sink):
    """Serves the page where `config.web.listen` says, and the metrics with it.

    The address is taken at once, so that a wrong one ends the run before it begins; the server starts when the first
    frame is through, or the loop has gone on for a while without one, so that it holds up neither.

    Raises `UserError` where the page may not or cannot be served there.
    """

    def __init__(self, config: Config, metrics: Prometheus) -> None:
        listen = parse_listen(config.web.listen)
        self._password = find_password(listen, config.web.password_file)
        self._host = listen.host
        listening = open_socket(listen)
        self.port: int = listening.getsockname()[1]
        self.url = listen.url(self.port)
        log.info("the live page is at %s", self.url)
        if not listen.loopback:
            log.info(
                "the page's password crosses the network unencrypted: beyond your own, put a proxy with TLS before it"
            )
        self._metrics = metrics
        self._areas, self._interval_s = areas(config), interval_s(config)
        # One worker: pictures for viewers and of events must not take all cores from the model.
        self._executor = ThreadPoolExecutor(1, "web-pictures")
        self._live, self._history, self._bell = Live(self._executor), History(), Notifier()
        self._statuses = 0
        self._server = Server(listening, self._make_app)

    def _make_app(self) -> App:
        from edge.sinks.web.app import PageContext, make_app

        told = PageContext(
            self._live,
            self._history,
            self._bell,
            lambda: self._areas,
            self._metrics.scrape,
            interval_s=lambda: self._interval_s,
        )
        return Guard(make_app(told), password=self._password, host=self._host)

    def on_result(self, result: FrameResult) -> None:
        self._history.on_result(result)
        self._live.offer(result)
        self._server.start()

    def on_event(self, event: FireEvent) -> None:
        self._history.on_event(event)
        self._bell.ring()
        self._executor.submit(self._draw, event)

    def on_status(self, status: RunStatus) -> None:
        self._history.on_status(status)
        self._bell.ring()
        self._statuses += 1
        if self._statuses > 1:
            self._server.start()

    def on_config(self, config: Config) -> None:
        self._areas, self._interval_s = areas(config), interval_s(config)
        self._history.on_config()
        self._bell.ring()

    def close(self) -> None:
        self._live.close()
        self._bell.close()
        self._server.close()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _draw(self, event: FireEvent) -> None:
        self._history.keep_picture(event.id, event.kind, jpeg_of(event.rgb, event.mask, PICTURE_WIDTH_PX))
        self._bell.ring()


def interval_s(config: Config) -> float:
    """How far results are apart at most, where all is well; 0 where they come as they can."""
    return 1 / config.loop.max_fps if config.loop.max_fps else 0.0


def areas(config: Config) -> dict[str, Any]:
    """What the page draws over the picture. Without zones, the whole frame is one, which needs no line."""
    return {
        "zones": [{"name": zone.name, "polygon": zone.polygon} for zone in config.zones],
        "ignored": config.ignored,
        "whole_frame": WHOLE_FRAME,
        "on_share": config.alarm.on_share,
    }
