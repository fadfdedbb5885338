"""What a person sees when something goes wrong, and the exit code that a script sees."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import typer

from edge.errors import MAX_REASON, UserError, UserErrors, counted, one_line, reason_of, run_app

ROOT = Path(__file__).parents[2]


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


def test_control_characters_are_escaped_and_a_long_line_is_shortened(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise UserError("the camera answered \x1b[31mred\x07\n", "x" * 5000 + " end")

    with pytest.raises(SystemExit):
        run_app(fail)
    line = capsys.readouterr().err
    assert line.startswith("error: the camera answered \\x1b[31mred\\x07: xxx")
    assert line.endswith("xxx end\n")
    assert len(line) < 1100


def test_a_text_of_another_machine_becomes_one_line_without_control_characters() -> None:
    assert one_line("500 \x1b[2J\r\n\u202e") == r"500 \x1b[2J \u202e"
    assert one_line("Küche 🔥") == "Küche 🔥"
    assert len(one_line("x" * 999)) == MAX_REASON + 3


def test_a_text_of_a_megabyte_is_cut_before_its_letters_are_looked_at() -> None:
    text = "a" * 2**20 + "z"
    tracemalloc.start()
    try:
        assert one_line(text) == f"{'a' * 100} … {'a' * 99}z"
        assert tracemalloc.get_traced_memory()[1] < 2**16
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(28, "No space left on device", "/spool/1.json"), "No space left on device"),
        (URLError(ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
        (TimeoutError("timed out"), "timed out"),
        (ConnectionError("503 Service Unavailable"), "503 Service Unavailable"),
        (ConnectionResetError(), "ConnectionResetError"),
        (UserErrors(["a is missing: add it", "b too"]), "a is missing: add it; b too"),
        (KeyError("zone"), "KeyError: 'zone'"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_a_reason_names_the_class_of_an_error_only_if_it_is_a_bug_or_says_nothing(error: Exception, text: str) -> None:
    assert reason_of(error) == text


def test_a_count_has_its_noun_in_the_right_number() -> None:
    assert [counted(count, "event") for count in (0, 1, 2)] == ["0 events", "1 event", "2 events"]


def test_a_process_without_standard_streams_gives_their_descriptors_to_nothing_else(tmp_path: Path) -> None:
    code = (
        "import socket, sys\n"
        "from pathlib import Path\n"
        "from edge.errors import UserError, run_app\n"
        "def app():\n"
        "    print('to nobody')\n"
        "    Path(sys.argv[1]).write_text(str(socket.socket().fileno()))\n"
        "    raise UserError('bad')\n"
        "run_app(app)"
    )
    result = tmp_path / "descriptor"
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code, str(result)]
    done = subprocess.run(command, cwd=ROOT)
    assert done.returncode == 2
    assert int(result.read_text()) > 2
