"""The gate of `make bench-compare`, and which runs `make bench` saves as a baseline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks import compare as module
from benchmarks.compare import app, baseline, benchmark_files
from benchmarks.models import MODELS
from edge.errors import UserError

pytestmark = pytest.mark.bench

PI: dict[str, Any] = {"board": "Raspberry Pi 5 Model B Rev 1.0", "cpu": "Cortex-A76"}
OTHER_PI: dict[str, Any] = {"board": "Raspberry Pi 4 Model B Rev 1.1", "cpu": "Cortex-A72"}
ROOT = Path(__file__).parents[2]


def bench(median_ms: float, *, iqr_ms: float = 0.1, min_ms: float | None = None, **extra: Any) -> dict[str, Any]:
    stats = {"median": median_ms / 1000, "iqr": iqr_ms / 1000, "min": (min_ms or median_ms * 0.95) / 1000}
    facts = {"governor": "performance", "trouble": [], "model_sha256": "aa", "runtime": "litert"}
    return {"stats": stats, "extra_info": PI | facts | extra}


def save(folder: Path, number: int, **benches: dict[str, Any]) -> Path:
    path = folder / "Linux-CPython-3.13-64bit" / f"{number:04}_abc.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"benchmarks": [{"name": name, **bench} for name, bench in benches.items()]}))
    return path


def run(storage: Path, now: Path, *arguments: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "conditions", lambda *_: PI)
        return CliRunner().invoke(app, ["--storage", str(storage), "--now", str(now), *arguments])


def test_a_regression_is_named_and_exits_with_1_but_noise_does_not(tmp_path: Path) -> None:
    save(tmp_path, 1, a=bench(10), b=bench(10))
    done = run(tmp_path, save(tmp_path / "now", 1, a=bench(12), b=bench(10.5)))
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert "SLOWER: a by 20%, more than 10 %, by the median (calm" in line
    assert run(tmp_path, save(tmp_path / "now", 1, a=bench(12)), "--threshold", "25").exit_code == 0
    noisy = run(tmp_path, save(tmp_path / "now", 1, a=bench(14, iqr_ms=5, min_ms=9.6)))
    assert noisy.exit_code == 0 and "noisy: IQR" in noisy.stdout  # compared by the minimum


def test_the_baseline_is_the_newest_run_of_each_benchmark_on_this_board(tmp_path: Path) -> None:
    save(tmp_path, 1, a=bench(10), b=bench(10))
    save(tmp_path, 2, a=bench(20))
    save(tmp_path, 3, a=bench(30, **OTHER_PI))
    medians = {name: entry["stats"]["median"] for name, entry in baseline(PI, tmp_path).items()}
    assert medians == {"a": 0.02, "b": 0.01}
    with pytest.raises(UserError, match=r"no baseline of this machine \(a.*make bench"):
        baseline({"board": "a third board", "cpu": None}, tmp_path)


def test_runs_that_cannot_be_compared_are_refused_in_one_line(tmp_path: Path) -> None:
    path = save(tmp_path, 1, a=bench(10))
    hot = save(tmp_path / "hot", 1, a=bench(30, trouble=["the machine was 85 °C hot"]))
    assert "85 °C hot: such times cannot be compared" in str(run(tmp_path, hot).exception)
    other = save(tmp_path / "other", 1, b=bench(10))
    assert "none of these benchmarks" in str(run(tmp_path, other).exception)
    path.write_text("{")
    assert "0001_abc.json is not a saved benchmark" in str(run(tmp_path, other).exception)


def test_a_model_of_your_own_is_not_compared_by_the_detection_of_a_shipped_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL", raising=False)
    assert "benchmarks/test_detection.py" in benchmark_files()
    monkeypatch.setenv("MODEL", "mine.tflite")
    assert benchmark_files() == ["benchmarks/test_latency.py"]


@pytest.mark.slow
def test_a_throttled_run_is_never_saved_as_a_baseline(tmp_path: Path) -> None:
    (tmp_path / "vcgencmd").write_text("#!/bin/sh\necho throttled=0x50005\n")
    (tmp_path / "vcgencmd").chmod(0o755)
    options = ["--benchmark-only", "--benchmark-autosave", f"--benchmark-storage=file://{tmp_path / 'saved'}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks/test_latency.py", *options, "-k", "resize and 1-"],
        cwd=ROOT,
        env=os.environ
        | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "MODEL": str(next(MODELS.glob("*.tflite")))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "NOT SAVED as a baseline: the machine was throttled (under-voltage, throttled)" in done.stdout
    assert list((tmp_path / "saved").rglob("*.json")) == []
