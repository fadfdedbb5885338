"""The server in a thread and an event loop of its own: whatever viewers do, the watch goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from edge.sinks.web.door import Door, Seldom

if TYPE_CHECKING:
    import uvicorn

    from edge.sinks.web.auth import App

log = logging.getLogger(__name__)

MOST_WAITING = 128
"""To be let in or turned away."""
GRACE_S, END_S = 0.5, 0.3
"""For answers on their way to be finished, and then for them to be given up."""


class Server:
    """Serves on a socket that listens already; who connects earlier waits.

    Args:
        make_app: gives the application, in the server's thread: what it imports takes a while on a Pi.
    """

    def __init__(self, listening: Door, make_app: Callable[[], App]) -> None:
        self._socket = listening
        self._make_app = make_app
        self._server: uvicorn.Server | None = None
        self._ending = False
        self._thread = threading.Thread(target=self._serve, name="web", daemon=True)

    def start(self) -> None:
        """Once; later calls change nothing."""
        if self._thread.ident is None and not self._ending:
            self._thread.start()

    def close(self) -> None:
        """Takes under a second, whoever is connected."""
        self._ending = True
        if self._thread.ident is not None:
            if self._server:
                self._server.should_exit = True
            self._thread.join(GRACE_S)
            if self._server and self._thread.is_alive():
                # Who reads nothing cannot be told good-bye; that his answer breaks off is no mistake to be logged.
                logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
                self._server.force_exit = True
                self._thread.join(END_S)
        self._socket.close()

    def _serve(self) -> None:
        try:
            import uvicorn

            from edge.sinks.web.connection import Connection

            config = uvicorn.Config(
                self._make_app(),
                loop="asyncio",
                http=Connection,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=MOST_WAITING,
            )
            self._server = uvicorn.Server(config)
            # Who comes and goes is nobody's concern; what is our own mistake stands in the run's log.
            for name in ("uvicorn", "asyncio"):
                theirs = logging.getLogger(name)
                theirs.handlers, theirs.propagate = list(logging.getLogger("edge").handlers), False
                theirs.setLevel(logging.ERROR)
            for name in ("uvicorn.error", "asyncio"):
                logging.getLogger(name).filters = [Seldom()]
            if not self._ending:
                self._server.run(sockets=[self._socket])
        except Exception as error:
            log.error("the web page is not served any more (%s: %s)", type(error).__name__, error)
            log.debug("where it failed", exc_info=error)
