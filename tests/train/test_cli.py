"""`fireseg-train` from a shell: help with an example for each command, and one line for each error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.run_cli import CHATTER, Here, leftovers, refused, type_in
from train.cli import COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_shows_an_example(here: Here, command: str) -> None:
    done = here(command, "--help")
    assert done.code == 0
    assert f"Example: fireseg-train {command}" in done.out


def test_without_a_command_all_of_them_are_listed(here: Here) -> None:
    done = here()
    assert all(command in done.out + done.err for command in COMMANDS)


@pytest.mark.parametrize("command", ["fit", "synth", "predict"])
def test_an_out_folder_that_cannot_be_written_is_refused(
    here: Here, command: str, synthetic_dir: Path, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "below"
    picture = next((synthetic_dir / "images_prepped_test").iterdir())
    arguments: dict[str, tuple[object, ...]] = {
        "fit": ("--data", synthetic_dir, "--size", "32", "--backbone-weights", "none", "--out", out),
        "synth": (out, "--count", "6"),
        "predict": (model, picture, "--out", out),
    }
    (line,) = refused(here(command, *arguments[command]))
    assert "choose a writable folder" in line
    assert (tmp_path / "file").read_text() == "in the way"
    assert not leftovers(tmp_path)


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    (line,) = refused(here("fetch"))
    assert "gdown is not installed: run `pip install '.[train]'`" in line


@pytest.mark.slow
def test_from_a_shell_an_error_is_one_line_without_library_output(synthetic_dir: Path, tmp_path: Path) -> None:
    for command in (("check", "nowhere"), ("fit", "--data", "nowhere")):
        done = type_in(tmp_path, *command)
        (line,) = refused(done)
        assert line.startswith("data folder nowhere does not exist: expected FireSeg's folders")
        assert done.err.count("\n") == 1
        assert done.out == ""
    assert list(tmp_path.iterdir()) == []
    done = type_in(tmp_path, "check", synthetic_dir)
    assert done.code == 0 and "empty masks" in done.out
    assert not CHATTER.search(done.err)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "redirection"),
    [
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, ""),
        ({"PYTHONIOENCODING": "ascii"}, ""),
        ({"PYTHONIOENCODING": "latin-1"}, ""),
        ({}, ">&-"),
        ({}, "2>&-"),
        ({}, "<&- >&- 2>&-"),
    ],
)
def test_any_terminal_and_none_at_all_will_do(tmp_path: Path, environment: dict[str, str], redirection: str) -> None:
    root = tmp_path / os.fsdecode(b"\xdcbung \xe2\x82\xac")  # Latin-1, then UTF-8
    for number in range(2):
        picture = np.full((8, 8, 3), number, np.uint8)
        for folder, data in (("images", picture), ("masks", picture[:, :, 0])):
            (root / folder).mkdir(parents=True, exist_ok=True)
            name = os.fsdecode(b"b\xefld%d.png" % number)
            (root / folder / name).write_bytes(bytes(cv2.imencode(".png", data)[1]))

    def run_cli(program: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
        line = [sys.executable, "-c", f"from {program}.cli import run; run()", *map(str, arguments)]
        return subprocess.run(
            ["bash", "-c", f'exec "$@" {redirection}', "bash", *line],
            check=False, capture_output=True, cwd=tmp_path, env=os.environ | environment | {"COLUMNS": "80"},
        )  # fmt: skip

    for expected, program, *arguments in (
        (0, "train", "check", root),
        (0, "train", "check", root, "--json"),
        (2, "train", "check", root / "images"),
        (0, "train", "synth", tmp_path / os.fsdecode(b"sy\xefn"), "--count", "6"),
        (2, "export", "inspect", root / "none.tflite"),
    ):
        done = run_cli(program, *arguments)
        assert done.returncode == expected, (arguments, done)
        assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr, done.stderr
    assert not leftovers(tmp_path)
