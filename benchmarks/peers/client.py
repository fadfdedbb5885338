"""The other end of `benchmarks.peers.worker`: starts a peer in its environment and asks it for times and maps."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.peers.runtimes import ROOT, PeerError, last_words

ANSWER_LIMIT_S = 600.0


def worker_environment(threads: int | None = None) -> dict[str, str]:
    """Environment variables under which a peer sees this project's files and nothing of its packages."""
    # A virtual environment's own variables would lead a peer to the wrong packages.
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "VIRTUAL_ENV")}
    kept |= {"PYTHONPATH": str(ROOT), "PYTHONNOUSERSITE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if threads is not None:
        kept["OMP_NUM_THREADS"] = str(threads)
    return kept


class Client:
    """A running worker. Every failure is a `PeerError` of one line, and ends the worker.

    Args:
        python: the Python of the peer's environment.
        adapter: a module of `benchmarks.peers.adapters`.
        log: where its chatter goes.
    """

    def __init__(self, python: Path, adapter: str, model: Path, threads: int, precision: str, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        command = [str(python), "-m", "benchmarks.peers.worker", adapter, str(model), str(threads), precision]
        try:
            with log.open("wb") as chatter:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=chatter,
                    env=worker_environment(threads),
                    cwd=ROOT,
                    text=True,
                )
        except OSError as error:
            raise PeerError(f"{python} could not be started ({error.strerror})") from error
        self.version = str(self._answer()["version"])

    def time(self, frames: Path, runs: int, warm_up: int) -> list[float]:
        """Milliseconds of each of `runs` invocations with the first frame, after `warm_up` that do not count."""
        answer = self._ask({"command": "time", "frames": str(frames), "runs": runs, "warm_up": warm_up})
        return [float(value) for value in answer["ms"]]

    def segment(self, frames: Path, maps: Path) -> None:
        """Write the map of every frame."""
        self._ask({"command": "segment", "frames": str(frames), "maps": str(maps)})

    def close(self) -> None:
        """End the worker. It may have ended already."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with suppress(BrokenPipeError):  # an order that a dead worker never read is written once more
                    pipe.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it has died: what it left behind tells more than the broken pipe
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        timer = threading.Timer(ANSWER_LIMIT_S, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            in_time = timer.is_alive()
            timer.cancel()
        if not in_time:
            self.close()
            raise PeerError(f"gave no answer within {ANSWER_LIMIT_S:.0f} s")
        if not line:
            status = self._process.wait()
            self.close()
            raise PeerError(last_words(self._log.read_text(errors="replace"), status))
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self.close()
            raise PeerError(str(answer["error"]))
        return answer
