"""`make bench-compare`: time the models again and fail where one became slower than this machine's baseline.

Of each benchmark the newest saved run counts that was made on a machine of this board and processor. Medians are
compared; where either run was noisy, minima, since what else a machine does only ever makes a run slower.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from edge.console import JsonOption
from edge.errors import UserError, run_app
from edge.host.machine import conditions, read_state

ROOT = Path(__file__).parents[1]
STORAGE = ROOT / ".benchmarks"
THRESHOLD = 0.10
NOISY = 0.10
"""Above this share of the median, the interquartile range says that the median is the machine's doing."""
EXIT_SLOWER = 1
# What may explain a change, by the field that tells.
NOTED = {"model_sha256": "another model", "runtime": "another runtime", "governor": "another governor"}

Saved = dict[str, dict[str, Any]]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Change:
    """One benchmark, then and now."""

    name: str
    statistic: str
    reason: str
    before_ms: float
    now_ms: float
    notes: str
    is_slower: bool

    @property
    def share(self) -> float:
        return self.now_ms / self.before_ms - 1


def load(path: Path) -> Saved:
    """The benchmarks of one saved run, by name. Raises `UserError` where the file is none."""
    try:
        return {bench["name"]: bench for bench in json.loads(path.read_text())["benchmarks"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no saved benchmark ({error!r})",
            "expected what `make bench` writes; delete it and run that again",
        ) from error


def baseline(machine: dict[str, Any], storage: Path = STORAGE) -> Saved:
    """The newest run of each benchmark on this kind of machine. Raises `UserError` where there is none."""
    found: Saved = {}
    for path in sorted(storage.glob("*/[0-9]*.json"), key=lambda path: path.name):
        for name, bench in load(path).items():
            if is_same_machine(bench["extra_info"], machine):
                found[name] = bench
    if not found:
        where = machine["board"] or machine["cpu"]
        raise UserError(f"no baseline of this machine ({where}) in {storage}", "expected one; make it by `make bench`")
    return found


def is_same_machine(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two runs may be compared: an SD card moves from board to board, and so do the files on it."""
    return (a.get("board"), a.get("cpu")) == (b.get("board"), b.get("cpu"))


def pick_statistic(before: dict[str, float], now: dict[str, float]) -> tuple[str, str]:
    """Which statistic to compare two runs by, and why."""
    noise = max(stats["iqr"] / stats["median"] for stats in (before, now))
    if noise > NOISY:
        return "min", f"noisy: IQR {noise:.0%} of the median"
    return "median", f"calm: IQR {noise:.0%} of the median"


def compare(before: Saved, now: Saved, threshold: float = THRESHOLD) -> list[Change]:
    """What changed in every benchmark that both runs hold, in the order of the later."""
    changes = []
    for name in now:
        if name not in before:
            continue
        old, new = before[name], now[name]
        statistic, reason = pick_statistic(old["stats"], new["stats"])
        before_ms, now_ms = (1000 * bench["stats"][statistic] for bench in (old, new))
        differing = [
            label for field, label in NOTED.items() if old["extra_info"].get(field) != new["extra_info"].get(field)
        ]
        is_slower = now_ms > before_ms * (1 + threshold)
        changes.append(Change(name, statistic, reason, before_ms, now_ms, ", ".join(differing), is_slower))
    if not changes:
        raise UserError(
            "the baseline holds none of these benchmarks",
            "expected some in common; run `make bench` with the same MODEL",
        )
    return changes


def measure() -> Saved:
    """Run the benchmarks without saving them."""
    with tempfile.TemporaryDirectory(prefix="fireseg-") as folder:
        path = Path(folder) / "now.json"
        arguments = [
            "benchmarks/test_latency.py",
            "--benchmark-only",
            "-q",
            "--benchmark-quiet",
            f"--benchmark-json={path}",
        ]
        done = subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=ROOT, stdout=sys.stderr, check=False)
        if done.returncode:
            raise UserError(
                "the benchmarks did not run through", "expected times to compare; see what pytest said above"
            )
        return load(path)


def troubles(now: Saved) -> list[str]:
    """Why a run says nothing of the code."""
    return list(dict.fromkeys(reason for bench in now.values() for reason in bench["extra_info"].get("trouble", [])))


@app.command()
def main(
    threshold: Annotated[float, typer.Option(help="How much slower fails, in percent.")] = THRESHOLD * 100,
    now: Annotated[Path | None, typer.Option(help="Compare this saved run instead of measuring.")] = None,
    storage: Annotated[Path, typer.Option(help="Where `make bench` saves.")] = STORAGE,
    as_json: JsonOption = False,
) -> None:
    """Compare this machine's times with its baseline: exit code 1 where a benchmark became slower."""
    state = read_state()
    before = baseline(conditions(state, state), storage)
    measured = load(now) if now else measure()
    changes = compare(before, measured, threshold / 100)
    if as_json:
        print(json.dumps([{**asdict(change), "change": round(change.share, 4)} for change in changes], indent=2))
    else:
        show(changes)
    if reasons := troubles(measured):
        raise UserError(f"{'; '.join(reasons)}", "such times cannot be compared; cool it, feed it well, and run again")
    slower = [change for change in changes if change.is_slower]
    for change in slower:
        typer.echo(
            f"SLOWER: {change.name} by {change.share:.0%}, more than {threshold:g} %, by the {change.statistic} "
            f"({change.reason})",
            err=True,
        )
    if slower:
        raise typer.Exit(EXIT_SLOWER)


def show(changes: list[Change]) -> None:
    """The comparison as a table, as wide as it is where nobody looks."""
    table = Table("benchmark", "baseline ms", "now ms", "change", "by", "because", "note")
    for change in changes:
        figures = (f"{change.before_ms:.2f}", f"{change.now_ms:.2f}", f"{change.share:+.1%}")
        table.add_row(change.name, *figures, change.statistic, change.reason, change.notes)
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table, markup=False)


if __name__ == "__main__":
    run_app(app)
