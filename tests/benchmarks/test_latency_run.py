"""`make bench` keeps what it measured as a baseline, but never from a machine that was held back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.models import timed_models
from edge.errors import UserError

ROOT = Path(__file__).parents[2]


def run_bench(storage: Path, bin_: Path, *, model: Path, throttled: str) -> subprocess.CompletedProcess[str]:
    """One stage of one model on one thread, on a machine whose firmware answers with `throttled`."""
    bin_.mkdir(exist_ok=True)
    (bin_ / "vcgencmd").write_text(f"#!/bin/sh\necho throttled={throttled}\n")
    (bin_ / "vcgencmd").chmod(0o755)
    arguments = ["--benchmark-only", "--benchmark-autosave", f"--benchmark-storage=file://{storage}"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks/test_latency.py", *arguments, "-k", "resize and 1-"],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}", "MODEL": str(model)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_calm_run_is_saved_with_all_that_explains_it(tmp_path: Path) -> None:
    model = timed_models("")[0]
    done = run_bench(tmp_path / "saved", tmp_path / "bin", model=model, throttled="0x50000")
    assert done.returncode == 0, done.stdout
    (path,) = (tmp_path / "saved").rglob("*.json")
    (bench,) = json.loads(path.read_text())["benchmarks"]
    told = bench["extra_info"]
    assert {"model_sha256", "runtime", "governor", "temperature_before_c", "temperature_after_c", "load"} <= told.keys()
    assert (told["model"], told["threads"], told["throttle_bits"]) == (model.name, 1, "0x50000")
    assert told["cpu"]
    assert told["trouble"] == []
    assert bench["stats"]["rounds"] >= 50


def test_a_throttled_run_says_so_and_is_not_saved(tmp_path: Path) -> None:
    done = run_bench(tmp_path / "saved", tmp_path / "bin", model=timed_models("")[0], throttled="0x50005")
    assert "NOT SAVED as a baseline: the machine was throttled (under-voltage, throttled)" in done.stdout
    assert list((tmp_path / "saved").rglob("*.json")) == []


def test_a_keras_model_is_refused_in_one_line(tmp_path: Path) -> None:
    done = run_bench(tmp_path / "saved", tmp_path / "bin", model=Path("models/fireseg-base.keras"), throttled="0x0")
    assert done.returncode != 0
    (line,) = done.stderr.split("\n\n")[0].splitlines()
    assert "MODEL=models/fireseg-base.keras cannot be timed here: expected a .tflite" in line


def test_the_model_named_is_the_only_one_timed_and_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "mine.tflite"
    with pytest.raises(UserError, match="does not exist"):
        timed_models(str(path))
    path.touch()
    assert timed_models(str(path)) == [path]
    assert all(model.suffix == ".tflite" for model in timed_models(""))
