"""The web server in its own thread and event loop, so that no viewer slows down detection.

What clients can take is bounded: open connections and their idle time by `Connection`, log lines by `RateLimitFilter`.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from edge.errors import UserError
from edge.threads import Worker

if TYPE_CHECKING:  # loaded in the server's thread: on a Pi it takes a while
    import uvicorn
    from starlette.types import ASGIApp

    from edge.config_tables import Listen

log = logging.getLogger(__name__)

BACKLOG = 64  # connections that wait to be accepted
IDLE_S = 10.0
SEND_BUFFER_BYTES = 128 << 10  # per connection: frames in a longer queue would be old on arrival
LOG_INTERVAL_S = 60.0
SHUTDOWN_GRACE_S = 0.3  # to finish responses; uvicorn takes up to 0.3 s more


class RateLimitFilter(logging.Filter):
    """Passes one record per minute, so that clients cannot fill the disk with log lines."""

    _next_s = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + LOG_INTERVAL_S
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, OSError):  # a network error needs no traceback
            first_line = record.getMessage().splitlines()[0]
            record.msg, record.args, record.exc_info = f"the live page: {first_line} ({error})", (), None
        return True


def open_socket(listen: Listen) -> socket.socket:
    """Bind and listen. Raises `UserError` if the address is taken or does not belong to this machine."""
    is_ipv6 = ":" in listen.host
    try:
        listener = socket.create_server(
            (listen.host, listen.port),
            family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
            dualstack_ipv6=is_ipv6 and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        raise UserError(
            f"the live page could not be served at {listen.url(listen.port)} ({os.strerror(error.errno or 0)})",
            "choose another port, or an address of this machine",
        ) from error
    # Connections inherit these two.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class Server:
    """Serves an app on a listening socket. Clients that connect before `start` wait.

    Args:
        make_app: called in the server's thread, since its imports take a while on a Pi.
        idle_s: closes connections that send no request, or read no response, for this long.
    """

    def __init__(self, listener: socket.socket, make_app: Callable[[], ASGIApp], *, idle_s: float = IDLE_S) -> None:
        self._listener = listener
        self._make_app = make_app
        self._idle_s = idle_s
        self._server: uvicorn.Server | None = None
        self._closing = False
        self.started = False
        self._worker = Worker("web", self._serve)

    def start(self) -> None:
        """Start the thread, once; later calls do nothing."""
        if not self.started and not self._closing:
            self.started = True
            self._worker.start()

    @property
    def missing(self) -> bool:
        """Whether the thread should run and does not."""
        return self._worker.missing

    def close(self) -> None:
        """Stop within a second, whoever is connected."""
        self._closing = True
        if self._server:
            # Clients that stop reading are cut off; do not log that as an error.
            logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
            self._server.should_exit = True
        if self.started:
            self._worker.join(SHUTDOWN_GRACE_S + 0.5)
        self._listener.close()

    def _serve(self) -> None:
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
            backlog=BACKLOG,
            # uvicorn declares whole seconds but takes any.
            timeout_keep_alive=self._idle_s,  # type: ignore[arg-type]
            timeout_graceful_shutdown=SHUTDOWN_GRACE_S,  # type: ignore[arg-type]
        )
        self._server = uvicorn.Server(config)
        # Requests are not logged; errors go to the run's log.
        for name in ("uvicorn", "asyncio"):
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = list(logging.getLogger("edge").handlers), False
            logger.setLevel(logging.ERROR)
        for name in ("uvicorn.error", "asyncio", Connection.__module__):
            logging.getLogger(name).filters = [RateLimitFilter()]
        if not self._closing:
            # A copy: uvicorn closes it, and the thread may be restarted.
            self._server.run(sockets=[self._listener.dup()])
            if not self._closing:
                raise RuntimeError("it ended")
