"""What a person sees when something goes wrong, and the exit code a script sees."""

from __future__ import annotations

import pytest
import typer

from edge.errors import UserError, UserErrors, run_app


def test_a_user_error_ends_in_exit_code_2_and_one_line_for_each_message(capsys: pytest.CaptureFixture[str]) -> None:
    def app() -> None:
        raise UserErrors(["mask a.png is missing:\n  expected masks/a.png", "mask b.png is missing"])

    with pytest.raises(SystemExit) as ended:
        run_app(app)
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "error: mask a.png is missing: expected masks/a.png",
        "error: mask b.png is missing",
    ]


def test_a_user_error_inside_a_typer_command_shows_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    @app.command()
    def convert() -> None:
        raise UserError("model x.keras does not exist", "check the path")

    with pytest.raises(SystemExit) as ended:
        run_app(lambda: app([]))
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: model x.keras does not exist: check the path\n"


def test_an_interrupt_ends_in_exit_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    def app() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run_app(app)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_an_interrupt_inside_a_typer_command_ends_in_exit_code_130() -> None:
    app = typer.Typer()

    @app.command()
    def loop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run_app(lambda: app([]))
    assert ended.value.code == 130


def test_any_other_exception_is_our_bug_and_keeps_its_traceback() -> None:
    def app() -> None:
        raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError, match="ours"):
        run_app(app)


def test_an_app_that_ends_well_just_returns() -> None:
    run_app(lambda: None)


def test_a_user_error_reads_as_its_problem_and_its_remedy() -> None:
    assert str(UserError("a.png is missing", "add it")) == "a.png is missing: add it"


def test_several_user_errors_read_line_by_line() -> None:
    assert str(UserErrors(["first", "second"])) == "first\nsecond"
