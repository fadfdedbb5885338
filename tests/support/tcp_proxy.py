"""A TCP proxy between a camera and its broker that can refuse, cut, or cut right after given data."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress


class TcpProxy:
    """Forwards connections to `target_port` on this machine.

    Args:
        cut_after: cuts the connection, once, after these bytes went to the target; the answer is lost.
    """

    def __init__(self, target_port: int, *, cut_after: bytes | None = None) -> None:
        self._target_port = target_port
        self._cut_after = cut_after
        self._refusing = False
        self._connections: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.cuts = 0
        threading.Thread(target=self._accept_all, daemon=True).start()

    def refuse(self, refusing: bool = True) -> None:
        """Close new connections at once; existing ones stay."""
        self._refusing = refusing

    def cut(self) -> None:
        """Close all connections, without a word to either side."""
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._server.close()

    def _accept_all(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                try:
                    if self._refusing:
                        raise ConnectionRefusedError
                    target = socket.create_connection(("127.0.0.1", self._target_port))
                except OSError:
                    client.close()
                    continue
                self._connections += [client, target]
                for source, sink in ((client, target), (target, client)):
                    threading.Thread(target=self._forward, args=(source, sink, source is client), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, to_target: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if to_target and not self.cuts and self._cut_after and self._cut_after in data:
                    self.cuts += 1
                    source.shutdown(socket.SHUT_RDWR)
                    sink.sendall(data)
                    time.sleep(0.1)  # let the target read before the connection ends
                    break
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
