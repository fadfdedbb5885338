"""Work through tasks on the workers of a Dask cluster, each thread with its own model.

A task whose worker is lost runs on another one. Recordings, model and report must have the same paths on all machines.
"""

from __future__ import annotations

import logging
import sys
import threading
from asyncio import CancelledError
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from edge import __version__
from edge.errors import UserError, one_line, reason_of
from edge.evaluation.jobs import attempt, load_model
from edge.evaluation.replay import MemoSegmenter
from edge.files import sha256

Task = TypeVar("Task")
Done = TypeVar("Done")

CONNECT_S = 10.0
PACKAGES = ("numpy", "opencv-python-headless", "ai-edge-litert", "distributed")
"""Their versions may change a score, or what is sent."""

_thread = threading.local()  # of a worker: holds its model


def run_on_cluster(
    work: Callable[[MemoSegmenter, Task], Done],
    tasks: Sequence[Task],
    model: Path,
    address: str,
    *,
    on_done: Callable[[], None] = lambda: None,
) -> list[Done | UserError]:
    """Return what `run_tasks` does, computed by the workers of the scheduler at an address such as tcp://10.0.0.5:8786.

    Raises `UserError` if the scheduler is unreachable or its workers cannot give the same result as this machine.
    """
    if find_spec("distributed") is None:
        raise UserError("--dask needs the package distributed", "pip install 'fireseg-edge[dask]'")
    from distributed import Client
    from distributed.scheduler import KilledWorker

    model = model.absolute()
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except Exception as error:  # an address, network or protocol: Dask has no common class
        problem = f"no scheduler answers at {one_line(address)} ({one_line(reason_of(error))})"
        raise UserError(problem, "start `dask scheduler`, and pass its address, such as tcp://10.0.0.5:8786") from error
    with client:
        try:
            check_workers(client.run(description, model), description(model))
            futures = client.map(partial(_on_worker, work, model), tasks, pure=False)
            for future in futures:
                future.add_done_callback(lambda _: on_done())
            return client.gather(futures)
        except KilledWorker as error:
            problem = f"a task ended {error.allowed_failures + 1} workers"
            raise UserError(problem, "their memory may be short; start them with fewer threads") from error
        except (CancelledError, OSError) as error:  # Dask's CommClosedError is an OSError
            raise UserError(f"the scheduler at {one_line(address)} is gone", "start it, and try again") from error
        except ImportError as error:
            problem = f"a worker has no package {error.name or one_line(str(error))}"
            raise UserError(problem, f"install fireseg-edge[dask] {__version__} on each") from error


def description(model: Path) -> dict[str, str]:
    """Return the versions and the model on which a result depends, by name."""
    versions = {"python": ".".join(map(str, sys.version_info[:2])), "fireseg-edge": __version__}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "none"
    return versions | {str(model): sha256(model)[:12] if model.is_file() else "none"}


def check_workers(workers: dict[str, dict[str, str]], own: dict[str, str]) -> None:
    """Raise `UserError` if there are no workers, or one differs from this machine."""
    if not workers:
        raise UserError("the scheduler has no workers", "start some with `dask worker ADDRESS --nthreads 1`")
    for worker, theirs in workers.items():
        for name, version in own.items():
            if theirs.get(name) != version:
                problem = f"{worker} has {name} {theirs.get(name, 'none')}"
                raise UserError(problem, f"expected {version}, as on this machine")


def _on_worker(work: Callable[[MemoSegmenter, Any], Any], model: Path, task: Any) -> Any:
    if getattr(_thread, "model", None) != model:
        _thread.segmenter, _thread.model = load_model(model), model
    return attempt(work, _thread.segmenter, task)
