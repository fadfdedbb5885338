"""A benchmark that became slower than this machine's baseline fails; how noise and other machines are told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmarks import compare as module
from benchmarks.compare import app, baseline, compare, pick_statistic
from edge.errors import UserError

PI: dict[str, Any] = {"board": "Raspberry Pi 5 Model B Rev 1.0", "cpu": "Cortex-A76"}
CALM = {"governor": "performance", "trouble": []}
OTHER_PI = PI | {"board": "Raspberry Pi 4 Model B Rev 1.1", "cpu": "Cortex-A72"}


def bench(median_ms: float, *, iqr_ms: float = 0.1, min_ms: float | None = None, **extra: Any) -> dict[str, Any]:
    stats = {"median": median_ms / 1000, "iqr": iqr_ms / 1000, "min": (min_ms or median_ms * 0.95) / 1000}
    return {"stats": stats, "extra_info": PI | CALM | {"model_sha256": "aa", "runtime": "litert"} | extra}


def save(folder: Path, number: int, **benches: dict[str, Any]) -> Path:
    path = folder / "Linux-CPython-3.13-64bit" / f"{number:04}_abc.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"benchmarks": [{"name": name, **found} for name, found in benches.items()]}))
    return path


def run(storage: Path, now: Path, *arguments: str, machine: dict[str, Any] = PI) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "conditions", lambda *_: machine)
        return CliRunner().invoke(app, ["--storage", str(storage), "--now", str(now), *arguments])


def test_calm_runs_are_compared_by_their_medians_and_noisy_ones_by_their_minima() -> None:
    calm, noisy = bench(10, iqr_ms=0.9)["stats"], bench(10, iqr_ms=1.1)["stats"]
    assert pick_statistic(calm, calm) == ("median", "calm: IQR 9% of the median")
    assert pick_statistic(calm, noisy) == pick_statistic(noisy, calm) == ("min", "noisy: IQR 11% of the median")


@given(
    st.floats(min_value=0.1, max_value=1e3), st.floats(min_value=0.5, max_value=2), st.floats(min_value=0, max_value=1)
)
def test_slower_is_what_exceeds_the_threshold_and_nothing_else(before: float, factor: float, threshold: float) -> None:
    (change,) = compare({"a": bench(before, iqr_ms=0)}, {"a": bench(before * factor, iqr_ms=0)}, threshold)
    assert change.share == pytest.approx(factor - 1, abs=1e-9)
    if abs(factor - 1 - threshold) > 1e-9:
        assert change.is_slower == (factor > 1 + threshold)


def test_a_busy_machine_does_not_make_a_regression(tmp_path: Path) -> None:
    save(tmp_path, 1, a=bench(10))
    now = save(tmp_path / "now", 1, a=bench(14, iqr_ms=5, min_ms=9.6))
    assert run(tmp_path, now).exit_code == 0


def test_a_regression_is_named_and_exits_with_1(tmp_path: Path) -> None:
    save(tmp_path, 1, a=bench(10), b=bench(10))
    done = run(tmp_path, save(tmp_path / "now", 1, a=bench(12), b=bench(10.5)))
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert "SLOWER: a by 20%, more than 10 %, by the median (calm" in line
    assert "b" in done.stdout
    assert run(tmp_path, save(tmp_path / "now", 1, a=bench(12)), "--threshold", "25").exit_code == 0


def test_the_newest_saved_run_of_each_benchmark_counts(tmp_path: Path) -> None:
    save(tmp_path, 1, a=bench(10), b=bench(10))
    save(tmp_path, 2, a=bench(20))
    found = baseline(PI, tmp_path)
    assert {name: entry["stats"]["median"] for name, entry in found.items()} == {"a": 0.02, "b": 0.01}


def test_the_runs_of_another_board_are_no_baseline(tmp_path: Path) -> None:
    save(tmp_path, 1, a=bench(20, **OTHER_PI))
    with pytest.raises(UserError, match=r"no baseline of this machine \(Raspberry Pi 5.*make bench"):
        baseline(PI, tmp_path)
    assert baseline(OTHER_PI, tmp_path)


def test_no_baseline_at_all_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path / "nothing", tmp_path / "now.json")
    assert isinstance(done.exception, UserError)
    assert "\n" not in str(done.exception)
    assert "make bench" in str(done.exception)


def test_a_throttled_run_is_shown_but_not_judged(tmp_path: Path) -> None:
    save(tmp_path, 1, a=bench(10))
    done = run(tmp_path, save(tmp_path / "now", 1, a=bench(30, trouble=["the machine was 85 °C hot"])))
    assert isinstance(done.exception, UserError)
    assert "85 °C hot: such times cannot be compared" in str(done.exception)


def test_what_may_explain_a_change_stands_beside_it(tmp_path: Path) -> None:
    save(tmp_path, 1, a=bench(10))
    now = save(tmp_path / "now", 1, a=bench(11, model_sha256="bb", governor="ondemand"))
    (row,) = json.loads(run(tmp_path, now, "--json").stdout)
    assert row["notes"] == "another model, another governor"
    assert (row["statistic"], row["change"], row["is_slower"]) == ("median", 0.1, False)


def test_benchmarks_without_a_counterpart_cannot_be_compared(tmp_path: Path) -> None:
    save(tmp_path, 1, a=bench(10))
    assert "none of these benchmarks" in str(run(tmp_path, save(tmp_path / "now", 1, b=bench(10))).exception)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, 1, a=bench(10))
    path.write_text("{")
    with pytest.raises(UserError, match=r"0001_abc.json is no saved benchmark"):
        baseline(PI, tmp_path)
