"""`make bench-compare`: time models and detection again and fail if one is slower than this machine's baseline.

The baseline of a benchmark is its newest saved run on the same board and processor. Medians are compared; if either run
was noisy, minima, because other load can only slow a run down.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edge.console import print_table
from edge.errors import UserError, run_app
from edge.host.machine import conditions, read_state

ROOT = Path(__file__).parents[1]
STORAGE = ROOT / ".benchmarks"
THRESHOLD_PERCENT = 10.0
NOISY = 0.10
"""Interquartile range, as a fraction of the median, above which the median reflects the machine."""
EXIT_SLOWER = 1
EXPLANATIONS = {"model_sha256": "another model", "runtime": "another runtime", "governor": "another governor"}

SavedRun = dict[str, dict[str, Any]]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Change:
    """One benchmark, before and now."""

    name: str
    statistic: str
    reason: str
    before_ms: float
    now_ms: float
    notes: str
    is_slower: bool

    @property
    def fraction(self) -> float:
        return self.now_ms / self.before_ms - 1


def load(path: Path) -> SavedRun:
    """Read the benchmarks of a saved run, by name. Raise `UserError` for any other file."""
    try:
        return {bench["name"]: bench for bench in json.loads(path.read_text())["benchmarks"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a saved benchmark ({error!r})", "delete it and run `make bench`") from error


def baseline(machine: dict[str, Any], storage: Path = STORAGE) -> SavedRun:
    """Return the newest run of each benchmark on this board and processor. Raise `UserError` without any."""
    newest: SavedRun = {}
    for path in sorted(storage.glob("*/[0-9]*.json"), key=lambda path: path.name):
        for name, bench in load(path).items():
            if all(bench["extra_info"].get(key) == machine.get(key) for key in ("board", "cpu")):
                newest[name] = bench
    if not newest:
        where = machine["board"] or machine["cpu"]
        raise UserError(f"no baseline of this machine ({where}) in {storage}", "make one with `make bench`")
    return newest


def pick_statistic(before: dict[str, float], now: dict[str, float]) -> tuple[str, str]:
    """Return the statistic to compare two runs by, and the reason."""
    noise = max(stats["iqr"] / stats["median"] for stats in (before, now))
    if noise > NOISY:
        return "min", f"noisy: IQR {noise:.0%} of the median"
    return "median", f"calm: IQR {noise:.0%} of the median"


def compare(before: SavedRun, now: SavedRun, threshold: float = THRESHOLD_PERCENT / 100) -> list[Change]:
    """Return the change of every benchmark that both runs hold. Raise `UserError` if there is none."""
    changes = []
    for name in (name for name in now if name in before):
        old, new = before[name], now[name]
        statistic, reason = pick_statistic(old["stats"], new["stats"])
        before_ms, now_ms = (1000 * bench["stats"][statistic] for bench in (old, new))
        notes = [note for key, note in EXPLANATIONS.items() if old["extra_info"].get(key) != new["extra_info"].get(key)]
        is_slower = now_ms > before_ms * (1 + threshold)
        changes.append(Change(name, statistic, reason, before_ms, now_ms, ", ".join(notes), is_slower))
    if not changes:
        raise UserError("the baseline holds none of these benchmarks", "run `make bench` with the same MODEL")
    return changes


def benchmark_files() -> list[str]:
    """Return the files to run: for a MODEL its latency alone, since the detection is timed with a shipped one."""
    return ["benchmarks/test_latency.py", *([] if os.environ.get("MODEL") else ["benchmarks/test_detection.py"])]


def measure() -> SavedRun:
    """Run the benchmarks without saving them."""
    with tempfile.TemporaryDirectory(prefix="fireseg-") as folder:
        path = Path(folder) / "now.json"
        options = ["--benchmark-only", "-q", "--benchmark-quiet", f"--benchmark-json={path}"]
        command = [sys.executable, "-m", "pytest", *benchmark_files(), *options]
        if subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False).returncode:
            raise UserError("the benchmarks failed", "see pytest's output above")
        return load(path)


@app.command()
def main(
    threshold: Annotated[float, typer.Option(help="Slowdown that fails, in percent.")] = THRESHOLD_PERCENT,
    now: Annotated[Path | None, typer.Option(help="Compare this saved run instead of measuring.")] = None,
    storage: Annotated[Path, typer.Option(help="Folder in which `make bench` saves.")] = STORAGE,
) -> None:
    """Compare this machine's latency with its baseline. Exit code 1 if a benchmark is slower."""
    state = read_state()
    before = baseline(conditions(state, state), storage)
    measured = load(now) if now else measure()
    changes = compare(before, measured, threshold / 100)
    table = Table("benchmark", "baseline ms", "now ms", "change", "by", "because", "note")
    for change in changes:
        times = (f"{change.before_ms:.2f}", f"{change.now_ms:.2f}", f"{change.fraction:+.1%}")
        table.add_row(change.name, *times, change.statistic, change.reason, change.notes)
    print_table(table)
    if trouble := sorted({text for bench in measured.values() for text in bench["extra_info"].get("trouble", [])}):
        remedy = "such times cannot be compared; cool the machine, check its supply, run again"
        raise UserError("; ".join(trouble), remedy)
    slower = [change for change in changes if change.is_slower]
    for change in slower:
        basis = f"by the {change.statistic} ({change.reason})"
        typer.echo(f"SLOWER: {change.name} by {change.fraction:.0%}, more than {threshold:g} %, {basis}", err=True)
    if slower:
        raise typer.Exit(EXIT_SLOWER)


if __name__ == "__main__":
    run_app(app)
