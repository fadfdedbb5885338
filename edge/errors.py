"""The one exception for what a person can cause, and how a command ends with it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class UserError(Exception):
    """Something a person can mend: the message says what was wrong, what was expected, and what to do.

    Commands print each of its messages as one line and exit with code 2. Anything else that escapes is our bug and
    keeps its traceback.
    """

    def __init__(self, *messages: str) -> None:
        super().__init__(*(" ".join(message.split()) for message in messages))

    def __str__(self) -> str:
        return "\n".join(self.args)


def fail(error: UserError) -> NoReturn:
    """Print the error's lines on stderr and leave with exit code 2."""
    for line in error.args:
        print(f"error: {line}", file=sys.stderr)
    raise SystemExit(EXIT_USER_ERROR)


def run_app(app: Callable[[], Any]) -> None:
    """Run a Typer app so that a `UserError` is one line and exit code 2, and Ctrl-C is exit code 130."""
    try:
        app()
    except UserError as error:
        fail(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None
