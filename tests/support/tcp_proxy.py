"""A cable between a camera and its broker, that can be pulled out, put back, or cut in the middle of a handshake."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress


class Cable:
    """Passes what comes to `port` on to the broker at `broker_port`, of this machine, and its answers back."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._out = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def pull_out(self) -> None:
        """Let nothing new through; what is connected stays so."""
        self._out.set()

    def put_back(self) -> None:
        self._out.clear()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                if self._out.is_set():
                    near.close()
                    continue
                try:
                    far = socket.create_connection(("127.0.0.1", self._broker_port))
                except OSError:
                    near.close()
                    continue
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(source, sink, source is near), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, to_broker: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if to_broker and self._cuts(data):
                    # The packet arrives; its answer finds nobody.
                    source.shutdown(socket.SHUT_RDWR)
                    sink.sendall(data)
                    time.sleep(0.1)
                    break
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _cuts(self, data: bytes) -> bool:
        return False


class Cutter(Cable):
    """A cable that is cut, once, when a packet of a kind has just gone through."""

    PUBLISH, PUBREL = 0x3, 0x6

    def __init__(self, broker_port: int, at: int) -> None:
        self._at = at
        self.cuts = 0
        super().__init__(broker_port)

    def _cuts(self, data: bytes) -> bool:
        wanted = b"fire-1" in data if self._at == self.PUBLISH else data[0] >> 4 == self._at
        if not wanted or self.cuts:
            return False
        self.cuts += 1
        return True
