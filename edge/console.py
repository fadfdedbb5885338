"""Progress bars on stderr: one a step, for work that takes longer than a blink."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from edge.quiet import terminal

# Told what is being done and how much of it there is; gives a function to call after each piece.
OnStep = Callable[[str, int], Callable[[], None]]


def no_steps(_description: str, _total: int) -> Callable[[], None]:
    """For work that nobody watches."""
    return lambda: None


@contextmanager
def progress_bars() -> Iterator[OnStep]:
    """Give a function that adds a bar. The bars go on moving inside `edge.quiet.quiet`."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    progress = Progress(*columns, console=terminal())

    def on_step(description: str, total: int) -> Callable[[], None]:
        progress.start()  # not before there is something to show: an error would stand below an empty line
        task = progress.add_task(description, total=total)
        return lambda: progress.advance(task)

    try:
        yield on_step
    finally:
        if progress.tasks:
            progress.stop()
