"""Background threads that cannot end unnoticed: one that fails is restarted, counted and shown in the status."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from weakref import WeakSet

from edge.errors import reason_of
from edge.retry import LONGEST_WAIT_S, backoff_s

log = logging.getLogger(__name__)

_workers: WeakSet[Worker] = WeakSet()
_lock = threading.Lock()  # the loop iterates over the workers while other threads start some
_restarts = 0  # also of workers that are gone


class Worker:
    """A daemon thread that calls `target` until it returns; if it raises, again after a back-off.

    `start` never raises: at the system's limit of threads, `restart_missing` tries again later.

    Args:
        name: of the thread, for the log and the status.
        target: returns when its work is done, such as after a stop flag was set.
        wait_s: seconds to wait after a number of failures in a row. A target that worked for longer than the longest
            wait begins a new row.

    Example:
        >>> worker = Worker("greeter", lambda: print("hello"))
        >>> worker.start()
        >>> worker.join(1.0)
        hello
    """

    def __init__(
        self,
        name: str,
        target: Callable[[], None],
        *,
        wait_s: Callable[[int], float] = backoff_s,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self._target, self._wait_s, self._clock = name, target, wait_s, clock
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = self._done = False
        self._refused = self._waiting = False  # by the system, at `start`; for the next call, after a failure

    def start(self) -> None:
        """Start the thread."""
        self._started = True
        with _lock:
            _workers.add(self)
        self.restart()

    def restart(self) -> None:
        """Start the thread if it should run and does not."""
        if self._done or self._closing.is_set() or self.is_alive():
            return
        thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:  # the system's limit of threads or of memory
            if not self._refused:
                log.error("%s could not be started (%s), will retry", self.name, error)
            self._refused = True
            return
        if self._refused:
            log.info("%s runs again", self.name)
            _count_restart()
        self._thread, self._refused = thread, False

    def is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def missing(self) -> bool:
        """Whether the thread should run and does not, or only waits to be restarted."""
        return (
            self._started and not self._done and not self._closing.is_set() and (self._waiting or not self.is_alive())
        )

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end; it is not restarted any more."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        failures = 0
        while True:
            began_s = self._clock()
            try:
                self._target()
                break
            except Exception as error:  # any kind: this is the last place that can see it
                failures = 1 if self._clock() - began_s > LONGEST_WAIT_S else failures + 1
                _count_restart()
                self._waiting = True
                log.error("%s failed (%s), restarting", self.name, reason_of(error))
                log.debug("traceback", exc_info=error)
                if self._closing.wait(self._wait_s(failures)):
                    break
                self._waiting = False
        self._done = True


def _count_restart() -> None:
    global _restarts
    with _lock:
        _restarts += 1


def restart_missing() -> None:
    """Start every worker that should run and does not; the loop calls this about once a second."""
    for worker in _all_workers():
        worker.restart()


def restarts() -> int:
    """Return how often workers of this process were restarted."""
    return _restarts


def missing() -> list[str]:
    """Return the names of the workers that should run and do not."""
    return sorted(worker.name for worker in _all_workers() if worker.missing)


def _all_workers() -> list[Worker]:
    with _lock:
        return list(_workers)
