"""People who look at the live page: processes that read its MJPEG as fast as it comes."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.soak.camera import ROOT

LIVE = "/live.mjpeg"
CHUNK_BYTES = 1 << 16
TRY_EVERY_S = 0.1


@contextmanager
def viewers(address: str, count: int) -> Iterator[subprocess.Popen[bytes]]:
    """`count` viewers of one page, in one process; they wait for it to be there."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.soak.viewers", address, str(count)], cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Read from all streams by turns: threads in number would cost more than looking does."""
    import selectors

    address, count = sys.argv[1], int(sys.argv[2])
    with selectors.DefaultSelector() as selector:
        for _ in range(count):
            response = None
            while response is None:
                try:
                    response = urllib.request.urlopen(address + LIVE, timeout=5)
                except OSError:
                    time.sleep(TRY_EVERY_S)
            selector.register(response.fileno(), selectors.EVENT_READ, response)
        while True:
            for key, _ in selector.select():
                if not key.data.read1(CHUNK_BYTES):
                    return  # the page is gone


if __name__ == "__main__":
    main()
