"""What a person sees when something goes wrong, and the exit code that a script sees."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import typer

from edge.errors import UserError, UserErrors, run_app


def in_typer(command: Callable[[], None]) -> Callable[[], None]:
    app = typer.Typer()
    app.command()(command)
    return lambda: app([])


def ending_of(app: Callable[[], None]) -> object:
    with pytest.raises(SystemExit) as ending:
        run_app(app)
    return ending.value.code


def test_user_errors_end_in_exit_code_2_and_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    def app() -> None:
        raise UserErrors(["mask a.png is missing:\n  expected masks/a.png", "mask b.png is missing"])

    assert ending_of(app) == 2
    lines = "error: mask a.png is missing: expected masks/a.png\nerror: mask b.png is missing\n"
    assert capsys.readouterr() == ("", lines)


def test_a_user_error_in_a_typer_command_shows_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def convert() -> None:
        raise UserError("model x.keras does not exist", "check the path")

    assert ending_of(in_typer(convert)) == 2
    assert capsys.readouterr().err == "error: model x.keras does not exist: check the path\n"


@pytest.mark.parametrize("wrap", [lambda command: command, in_typer])
def test_an_interrupt_ends_in_exit_code_130(wrap: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
    def loop() -> None:
        raise KeyboardInterrupt

    assert ending_of(wrap(loop)) == 130


def test_any_other_exception_is_a_bug_and_keeps_its_traceback() -> None:
    def app() -> None:
        raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError, match="ours"):
        run_app(app)
