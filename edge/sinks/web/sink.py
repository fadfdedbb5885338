"""The sink that serves the live page."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from edge.config import Config
from edge.config_tables import LOOPBACK, Listen, parse_listen
from edge.control.actions import Actions
from edge.errors import UserError
from edge.messages import CameraEvent, FireEvent, FrameResult, Silence
from edge.run_status import Delivered, Link, RunStatus
from edge.secrets import WEB_PASSWORD, read_secret
from edge.sinks import Sink, log_failure
from edge.sinks.prometheus import Prometheus
from edge.sinks.web.archive import Archive
from edge.sinks.web.guesses import GuessLimiter
from edge.sinks.web.history import History, stale_after_s
from edge.sinks.web.live import LiveFrames, Notifier, render_jpeg
from edge.sinks.web.server import IDLE_S, Server, open_socket
from edge.sinks.web.trend import Trend

if TYPE_CHECKING:  # loaded in the server's thread
    from starlette.types import ASGIApp

log = logging.getLogger(__name__)

MIN_PASSWORD_LENGTH = 8
EVENT_WIDTH_PX = 480  # sixty snapshots of events stay under two megabytes


class WebPage(Sink):
    """Serves the page at `config.web.listen`, and the metrics with it.

    The address is bound at once, so that a wrong one ends the run before it begins. The server starts after the first
    frame, or at the second status without one: loading it must not delay the first result.

    Raises `UserError` if the address cannot be bound, or would be open without a password or with a short one.

    Args:
        config: `[web]`, `[clips]`, `[[zones]]`, `[[ignored]]`, `[alarm]`, `[loop]`, `[model]` and `[source]` are used.
        metrics: answers `/metrics`.
        actions: of the run; the page takes all of them.
        trend_path: where the plot of a day and a week is kept; None to keep none.
        idle_s: as for `Server`.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        config: Config,
        metrics: Prometheus,
        actions: Actions | None = None,
        *,
        trend_path: Path | None = None,
        idle_s: float = IDLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        listen = parse_listen(config.web.listen)
        self._password = find_password(listen, config.web.password_file, config.web.trusted_proxy)
        self._host, self._proxy = listen.host, config.web.trusted_proxy
        listener = open_socket(listen)
        self.port: int = listener.getsockname()[1]
        self.url = listen.url(self.port)
        log.info("the live page is at %s", self.url)
        if not listen.loopback:
            log.info("the page's password is sent unencrypted: outside your own network, use a proxy with TLS")
        self._metrics, self._actions = metrics, actions or Actions()
        # One worker: encoding must not take all cores from the model.
        self._executor = ThreadPoolExecutor(1, "web-jpegs")
        self._live = LiveFrames(self._executor, stale_after_s(config), clock)
        self._history = History(config, clock)
        self._archive = Archive(Path(config.clips.folder), clock) if config.clips.folder else None
        self._trend = Trend(trend_path) if trend_path else None
        self._notifier = Notifier()
        self._limiter = GuessLimiter(clock)
        self._has_status = False
        self._last_shown: Delivered | None = None
        self._silences: Mapping[str, Silence] = {}
        self._server = Server(listener, self._make_app, idle_s=idle_s)

    def _make_app(self) -> ASGIApp:
        from edge.sinks.web.app import make_app
        from edge.sinks.web.auth import Guard

        self._live.restart()  # the server has a new event loop
        app = make_app(
            self._live, self._history, self._notifier, self._metrics.scrape, self._actions, self._archive, self._trend
        )
        return Guard(app, password=self._password, host=self._host, limiter=self._limiter, proxy=self._proxy)

    def on_result(self, result: FrameResult) -> None:
        self._history.on_result(result)
        if self._trend:
            self._trend.on_result(result)
        if result.silences != self._silences:  # a silence is shown at once
            self._silences = result.silences
            self._notifier.notify()
        self._live.publish(result)
        self._server.start()

    def on_event(self, event: FireEvent) -> None:
        self._history.on_event(event)
        self._notifier.notify()
        self._executor.submit(self._add_snapshot, event, time.monotonic()).add_done_callback(log_failure)

    def on_camera_event(self, event: CameraEvent) -> None:
        self._notifier.notify()

    def on_status(self, status: RunStatus) -> None:
        self._history.on_status(status)
        if self._trend:
            self._trend.poll()
        self._notifier.notify()
        self._limiter.poll()
        if self._has_status:
            self._server.start()
        self._has_status = True

    def on_config(self, config: Config) -> None:
        self._history.on_config(config)
        self._live.stale_after_s = stale_after_s(config)
        self._notifier.notify()

    def links(self) -> Sequence[Link]:
        return (Link("page", "the page is not served" if self._server.missing else "", self._last_shown),)

    @property
    def lost_files(self) -> int:
        return self._trend.failures if self._trend else 0

    def close(self) -> None:
        if self._trend:
            self._trend.close()
        self._live.close()
        self._notifier.close()
        self._server.close()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _add_snapshot(self, event: FireEvent, made_s: float) -> None:
        self._history.add_snapshot(
            event.id, event.kind, render_jpeg(event.rgb, event.mask, max_width_px=EVENT_WIDTH_PX)
        )
        self._last_shown = Delivered(event.id, event.number, 1000 * (time.monotonic() - made_s))
        self._notifier.notify()


def find_password(listen: Listen, file: str, proxy: str = "") -> str | None:
    """Return the page's password, or None without one on a loopback address or for a trusted proxy alone.

    Raises `UserError` if other machines could open the page without a password, or for one that is soon guessed.
    """
    password = read_secret(WEB_PASSWORD, file)
    if password is None and not (listen.loopback or proxy):
        raise UserError(
            f"the live page at {listen.host} would be open to other machines without a password",
            f"set {WEB_PASSWORD} or [web] password_file, or listen at {LOOPBACK}:{listen.port}",
        )
    if password is not None and len(password) < MIN_PASSWORD_LENGTH:
        count = f"{len(password)} character{'s' if len(password) > 1 else ''}"
        remedy = f"expected at least {MIN_PASSWORD_LENGTH} in {WEB_PASSWORD} or [web] password_file"
        raise UserError(f"the live page's password has {count}", remedy)
    return password
