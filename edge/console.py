"""What commands print: warnings, tables and progress bars."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn
from rich.table import Table

from edge.errors import UserError

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ThreadsOption = Annotated[int | None, typer.Option(help="CPU threads; all cores by default.")]

OnStep = Callable[[str, int], Callable[[], None]]  # description and total -> function to call after each step


def no_steps(_description: str, _total: int) -> Callable[[], None]:
    """Show no progress."""
    return lambda: None


@contextmanager
def progress_bars() -> Iterator[OnStep]:
    """Yield a function that adds a progress bar to stderr. The bars keep moving inside `quiet`."""
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(SpinnerColumn(), *columns, console=terminal())

    def on_step(description: str, total: int) -> Callable[[], None]:
        progress.start()  # only now, so that an early error is not preceded by an empty line
        task = progress.add_task(description, total=total)
        return lambda: progress.advance(task)

    try:
        yield on_step
    finally:
        if progress.tasks:
            progress.stop()


def terminal() -> Console:
    """Return a console on stderr that `quiet` does not silence, for progress bars."""
    return Console(file=os.fdopen(os.dup(2), "w", buffering=1, errors="replace"))


def run_with_output(app: Callable[[], Any]) -> None:
    """Run an app that prints. Letters that the terminal cannot show become `?`.

    A reader that goes away, as in `| head`, ends the app with exit code 1. Raises `UserError` if stdout cannot be
    written, as on a full disk.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        try:
            app()
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except OSError as error:
        if not _is_from_stdout():
            raise
        if error.errno == errno.EPIPE:
            raise SystemExit(1) from None
        remedy = "free some space, or write it elsewhere"
        raise UserError(f"the output could not be written ({error.strerror})", remedy) from None


def _is_from_stdout() -> bool:
    """Return whether writing to stdout fails, and redirect it to /dev/null then."""
    try:
        print(end="", flush=True)
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        return True
    return False


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning as one line on stderr; a replacement for `warnings.showwarning`."""
    typer.echo(f"warning: {message}", err=True)


def print_metrics(rows: Mapping[str, Mapping[str, float]], title: str) -> None:
    """Print one column per split and one row per metric."""
    table = Table("metric", *rows, title=title)
    for name in next(iter(rows.values())):
        values = [metrics[name] for metrics in rows.values()]
        table.add_row(name, *(f"{value:.4f}" if isinstance(value, float) else str(value) for value in values))
    Console().print(table)


def print_table(table: Table) -> None:
    """Print a table at full width if stdout is a pipe, which has no width."""
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def print_shares(rows: Mapping[str, Mapping[str, Any]], title: str) -> None:
    """Print one row per data set or video, with fractions as percentages; nothing if there are no rows."""
    if not rows:
        return
    names = [name for name, value in next(iter(rows.values())).items() if not isinstance(value, str)]
    table = Table("", *(name.replace("_percent", " %").replace("_", " ") for name in names), title=title)
    for row, values in rows.items():
        cells = (f"{values[name] * 100:.1f} %" if isinstance(values[name], float) else values[name] for name in names)
        table.add_row(row, *map(str, cells))
    Console().print(table)
