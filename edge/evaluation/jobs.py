"""Work through tasks in processes, each with its own model on one thread."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from edge.errors import UserError
from edge.evaluation.replay import MemoSegmenter

Task = TypeVar("Task")
Done = TypeVar("Done")

THREADS = 1  # the order of float additions must not depend on the number of cores

_segmenter: MemoSegmenter | None = None  # of a worker process


def run_tasks(
    work: Callable[[MemoSegmenter, Task], Done],
    tasks: Sequence[Task],
    model: Path,
    *,
    jobs: int,
    on_done: Callable[[], None] = lambda: None,
) -> list[Done | UserError]:
    """Return the result of each task in order, or the `UserError` that it raised.

    Args:
        work: a function of a module, since other processes import it.
        jobs: number of processes; with 1, everything runs in this one.
    """
    jobs = min(jobs, len(tasks))
    if jobs <= 1:
        segmenter = load_model(model)
        results: list[Done | UserError] = []
        for task in tasks:
            results.append(attempt(work, segmenter, task))
            on_done()
        return results
    # Spawned: a fork would copy the locks of the threads that draw the progress bar.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, initializer=_start_worker, initargs=(model,))
    try:
        with _blocked_interrupt():
            futures = [pool.submit(_in_worker, work, task) for task in tasks]
        for future in futures:
            future.add_done_callback(lambda _: on_done())
        return [future.result() for future in futures]
    except BrokenProcessPool:
        raise UserError("a process ended unexpectedly", "memory may be short; use fewer --jobs") from None
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _blocked_interrupt() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: this one ends them, without their tracebacks."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def load_model(model: Path) -> MemoSegmenter:
    """Load a model that the command has checked, and warned about."""
    logging.getLogger("edge").addHandler(logging.NullHandler())  # what a run would log says nothing about the score
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*carries no card")
        return MemoSegmenter(model, threads=THREADS)


def _start_worker(model: Path) -> None:
    global _segmenter
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _segmenter = load_model(model)


def _end_with_parent() -> None:
    """End a worker whose parent was killed: it would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _in_worker(work: Callable[[MemoSegmenter, Task], Done], task: Task) -> Done | UserError:
    assert _segmenter is not None
    return attempt(work, _segmenter, task)


def attempt(work: Callable[[MemoSegmenter, Task], Done], segmenter: MemoSegmenter, task: Task) -> Done | UserError:
    """Return the result of a task, or the `UserError` that it raised."""
    try:
        return work(segmenter, task)
    except UserError as error:
        return error
