"""Errors that a person can fix, and how a command ends with one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from edge.quiet import open_standard_streams

MAX_LETTERS = 1000  # of a printed line: a hostile or mistaken value must not fill the log
MAX_REASON = 200  # letters of a reason that another machine gives


class UserError(Exception):
    """An error that a person can fix. Commands print it as one line and exit with code 2.

    Any other exception that escapes is a bug and keeps its traceback.

    Args:
        problem: what is wrong, and where.
        remedy: what was expected, or what to do.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem, self.remedy = (one_line(text, sys.maxsize) for text in (problem, remedy))
        self.lines: tuple[str, ...] = (": ".join(filter(None, (self.problem, self.remedy))),)
        """One line per error."""
        super().__init__(problem, remedy)

    def __str__(self) -> str:
        return "\n".join(self.lines)


class UserErrors(UserError):
    """Several errors found in one pass, such as all those of a configuration file."""

    def __init__(self, lines: Iterable[str]) -> None:
        lines = tuple(one_line(line, sys.maxsize) for line in lines)
        super().__init__(lines[0])
        self.lines = lines


def run_app(app: Callable[[], Any]) -> None:
    """Run a Typer app. A `UserError` becomes one line and exit code 2, Ctrl-C exit code 130."""
    open_standard_streams()
    try:
        app()
    except UserError as error:
        for line in error.lines:
            print(f"error: {one_line(line, MAX_LETTERS)}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None  # 128 + SIGINT, as in shells


@contextmanager
def training_packages(command: str) -> Iterator[None]:
    """End the process with one line and exit code 2 if a package that only training needs is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in ("edge", "train", "export"):
            raise
        install = "pip install 'fireseg-edge[train]', or '.[train]' in a clone"
        print(f"error: {command} needs the training packages ({error.name} is missing): {install}", file=sys.stderr)
        raise SystemExit(2) from None


def reason_of(error: BaseException) -> str:
    """Return why something failed, for people: without the class of an error, unless it is a bug or says nothing."""
    if isinstance(cause := getattr(error, "reason", None), OSError):  # of urllib
        error = cause
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    is_bug = not (isinstance(error, OSError | UserError) and text)
    return ": ".join(filter(None, (type(error).__name__ if is_bug else "", text.strip().replace("\n", "; "))))


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, such as "1 event" or "2 events"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def one_line(text: str, max_letters: int = MAX_REASON) -> str:
    """Return a text as one line: control characters escaped, and the middle left out above `max_letters`.

    Redact it before: `redact` does not recognise credentials in a URL that was cut.
    """
    if len(text) > 2 * max_letters:  # the loop below must not see a megabyte
        text = f"{text[:max_letters]} … {text[-max_letters:]}"
    letters = " ".join(text.split())
    line = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in letters)
    half = max_letters // 2
    return line if len(line) <= max_letters else f"{line[:half]} … {line[-half:]}"
