"""Replay recordings on the workers of a Dask cluster, each thread with its own model.

A recording whose worker is lost is replayed on another one. Recordings, model and report need the same absolute paths
on all machines.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from edge import __version__
from edge.errors import UserError, UserErrors, one_line, reason_of
from edge.evaluation.jobs import attempt, load_model
from edge.evaluation.recordings import Recording
from edge.evaluation.replay import MemoSegmenter
from edge.files import printable, sha256

Done = TypeVar("Done")

CONNECT_S = 30.0  # a busy scheduler needs some
PACKAGES = ("numpy", "opencv-python-headless", "ai-edge-litert", "distributed")
"""Their versions may change a score, or what is sent."""

_thread = threading.local()  # of a worker: holds its model


def run_on_cluster(
    work: Callable[[MemoSegmenter, Recording], Done],
    recordings: Sequence[Recording],
    model: Path,
    address: str,
    *,
    on_done: Callable[[], None] = lambda: None,
) -> list[Done | UserError]:
    """Return what `run_tasks` does, computed by the workers of the scheduler at an address such as tcp://10.0.0.5:8786.

    Raises `UserError` if the scheduler is unreachable, if a worker has other versions or files than this machine, or
    if a recording ends its workers.
    """
    if find_spec("distributed") is None:
        raise UserError("--dask needs the package distributed", "pip install 'fireseg-edge[dask]'")
    from distributed import Client, as_completed
    from distributed.comm import CommClosedError
    from distributed.scheduler import KilledWorker

    # Workers may run in another folder.
    model, recordings = model.absolute(), [replace(each, path=each.path.absolute()) for each in recordings]
    paths = [each.path for each in recordings]
    for logger in ("distributed", "distributed.client"):  # Dask gives each its own level
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=CONNECT_S)  # the default, which `as_completed` needs
    except Exception as error:  # an address, network or protocol: Dask has no common class
        problem = f"no scheduler answers at {one_line(address)} ({one_line(reason_of(error))})"
        raise UserError(problem, "start `dask scheduler`, and pass its address, such as tcp://10.0.0.5:8786") from error
    with client:
        try:
            described = client.run(description, model, paths, on_error="return")
            check_workers(described, description(model, paths))
            futures = client.map(partial(_on_worker, work, model, sha256(model)), recordings, pure=False)
            for _ in as_completed(futures):  # callbacks of futures may run after `gather`
                on_done()
            return client.gather(futures)
        except KilledWorker as error:
            name = next(each.name for each, future in zip(recordings, futures, strict=True) if future.key == error.task)
            problem = f"{name} ended {error.allowed_failures + 1} workers"
            raise UserError(problem, "their memory may be short; start them with fewer threads") from error
        except (CancelledError, CommClosedError) as error:
            raise UserError(f"the scheduler at {one_line(address)} is gone", "start it, and try again") from error


def description(model: Path, paths: Sequence[Path]) -> dict[str, str]:
    """Return the versions and files on which a result depends, by name."""
    versions = {"python": ".".join(map(str, sys.version_info[:2])), "fireseg-edge": __version__}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "missing"
    states = {printable(path): _state(path) for path in paths}
    return versions | states | {printable(model): sha256(model)[:12] if model.is_file() else "missing"}


def _state(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return f"{file.seek(0, os.SEEK_END)} bytes"
    except OSError as error:
        return f"unreadable ({reason_of(error)})"


def check_workers(workers: Mapping[str, Mapping[str, str] | BaseException], own: Mapping[str, str]) -> None:
    """Raise `UserError` if there are no workers, or for each difference of one from this machine.

    Args:
        workers: the description of each by its address, or why it has none.
    """
    if not workers:
        raise UserError("the scheduler has no workers", "start some with `dask worker ADDRESS --nthreads 1`")
    errors: list[str] = []
    for worker, theirs in workers.items():
        if isinstance(theirs, BaseException):
            problem = f"{worker} does not run fireseg-edge ({one_line(str(theirs))})"
            errors.append(f"{problem}: install fireseg-edge[dask] {__version__} there")
            continue
        errors += (
            f"on {worker}, {name} is {theirs.get(name, 'missing')}: expected {expected}, as on this machine"
            for name, expected in own.items()
            if theirs.get(name) != expected
        )
    if errors:
        raise UserErrors(errors)


def _on_worker(
    work: Callable[[MemoSegmenter, Recording], Any], model: Path, model_sha256: str, recording: Recording
) -> Any:
    # By its content: workers outlive an evaluation, and a model that is exported again has the same path.
    if getattr(_thread, "model_sha256", None) != model_sha256:
        _thread.segmenter, _thread.model_sha256 = load_model(model), model_sha256
    return attempt(work, _thread.segmenter, recording)
