"""The ledger: what every shipped model was measured at, one JSON object a line, kept in the repository.

A line holds when and from which commit it was measured (`stamp`), what was measured (the series: kind, machine, model,
data …), what could explain another figure (the causes: hashes and versions), and the figures. Any field that is
neither is a figure, so that a new kind of line needs no change here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from edge.console import JsonOption, quiet
from edge.errors import UserError, run_app

LEDGER = Path(__file__).with_name("ledger.jsonl")

STAMP = ("date", "commit")
SERIES = ("kind", "machine", "cpu", "model", "data", "split", "runtime")
CAUSES = ("model_sha256", "keras_sha256", "data_sha256", "versions")
MOVED = 1e-4
"""How far a ratio may move with no cause: a hundredth of a point is the order in which floats were added up."""

# What the table shows of a kind whose lines hold more; --json shows all.
HEADLINES = {
    "drift": ("fire_iou", "fire_iou_drift", "fire_iou_interval[0]", "fire_iou_interval[1]", "agreement"),
}
DAY = len("2026-01-01")

Entry = dict[str, Any]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def read(path: Path = LEDGER) -> list[Entry]:
    """Every line, oldest first; none where there is no file. Raises `UserError` for a line that is no JSON object."""
    if not path.exists():
        return []
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise UserError(
                f"{path}, line {number} is not JSON ({error})", "expected one object a line; mend the line or delete it"
            ) from error
        if not isinstance(entry, dict):
            raise UserError(
                f"{path}, line {number} is no JSON object", "expected one a line; mend the line or delete it"
            )
        entries.append(entry)
    return entries


def append(entry: Entry, path: Path = LEDGER) -> bool:
    """Add a line, unless it says what the last one of its series says; returns whether it was added.

    The line goes out in one write to a file opened for appending, so that two processes never mix theirs.
    """
    before = last(read(path), **series_of(entry))
    if before is not None and _without_stamp(before) == _without_stamp(json.loads(json.dumps(entry))):
        return False
    line = json.dumps(canonical(entry), ensure_ascii=False, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and (there := path.read_bytes()) and not there.endswith(b"\n"):
        line = "\n" + line  # somebody's editor left the last line without its end
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(handle, line.encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    return True


def stamp(kind: str, machine: str) -> Entry:
    """The first fields of a line: now, the commit that is checked out, what is measured and on which machine."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": checked_out(),
        "kind": kind,
        "machine": machine,
    }


def last(entries: Sequence[Entry], **key: Any) -> Entry | None:
    """The newest entry whose fields are the ones given; a field given as None must be absent or null."""
    return next((entry for entry in reversed(entries) if all(entry.get(k) == v for k, v in key.items())), None)


def series_of(entry: Entry) -> Entry:
    """The fields that say which curve a line is a point of."""
    return {field: entry.get(field) for field in SERIES}


def figures_of(entry: Entry) -> dict[str, float]:
    """The numbers of a line by name; those of a list by name and place."""
    found: dict[str, float] = {}
    for field in entry.keys() - {*STAMP, *SERIES, *CAUSES}:
        values = entry[field] if isinstance(entry[field], list) else [entry[field]]
        for place, value in enumerate(values):
            if isinstance(value, int | float) and not isinstance(value, bool):
                found[f"{field}[{place}]" if isinstance(entry[field], list) else field] = value
    return dict(sorted(found.items()))


def moved(entry: Entry, entries: Sequence[Entry]) -> list[str]:
    """Figures that differ from the newest line with the very same causes: name, old and new, one sentence each.

    Whole numbers are counts and must not move at all; ratios by less than `MOVED`.
    """
    causes = {field: entry.get(field) for field in CAUSES}
    before = last(entries, **series_of(entry), **causes)
    if before is None:
        return []
    old, new = figures_of(before), figures_of(entry)
    name = " ".join(str(entry[field]) for field in ("model", "data", "split", "cpu") if entry.get(field))
    found = []
    for figure in sorted(old.keys() & new.keys()):
        are_counts = isinstance(old[figure], int) and isinstance(new[figure], int)
        if abs(new[figure] - old[figure]) > (0 if are_counts else MOVED):
            found.append(
                f"{name}: {figure} was {old[figure]} on {before.get('date', 'an unknown day')} and is "
                f"{new[figure]}, with the same model, data and versions"
            )
    return found


def canonical(entry: Entry) -> Entry:
    """The fields in the one order that keeps diffs short: stamp, series, causes, then figures by name."""
    known = [field for field in (*STAMP, *SERIES, *CAUSES) if field in entry]
    return {field: _sorted(entry[field]) for field in (*known, *sorted(entry.keys() - set(known)))}


def checked_out() -> str | None:
    """The commit, with a + where tracked files (other than the ledger) differ from it; None outside of a repository."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    if commit is None or commit.returncode:
        return None
    changed = _git("diff", "--quiet", "HEAD", "--", ".", f":(exclude){LEDGER.parent.name}/{LEDGER.name}")
    return commit.stdout.strip() + ("+" if changed is None or changed.returncode else "")


def _git(*arguments: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(["git", *arguments], cwd=LEDGER.parents[1], capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return None


def _without_stamp(entry: Entry) -> Entry:
    return {field: value for field, value in entry.items() if field not in STAMP}


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list | tuple) else value


def newest(entries: Sequence[Entry]) -> list[Entry]:
    """The last line of every series, versions of a runtime being one series, oldest series first."""
    found: dict[str, Entry] = {}
    for entry in entries:
        found[json.dumps(series_of(entry) | {"runtime": runtime_name(entry)})] = entry
    return list(found.values())


def runtime_name(entry: Entry) -> str:
    """The runtime without its version, which changes in the middle of a curve."""
    return re.sub(r" [\d.]+", "", entry.get("runtime") or "")


@app.command()
def main(
    ledger: Annotated[Path, typer.Option(help="The ledger to read.")] = LEDGER,
    out: Annotated[Path, typer.Option(help="Where to draw it.")] = Path("build/ledger/ledger.png"),
    as_json: JsonOption = False,
) -> None:
    """Draw what the shipped models were measured at over time, and show the newest line of each."""
    entries = read(ledger)
    if not entries:
        raise UserError(f"{ledger} holds no line", "expected what `make drift` writes; run that first")
    with quiet():  # the gate, which is drawn too, comes with Keras and TensorFlow
        from benchmarks.ledger_plot import draw
    draw(entries, out)
    if as_json:
        print(json.dumps(newest(entries), indent=2))
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=240)  # a pipe has no width
    for kind in dict.fromkeys(entry.get("kind") for entry in entries):
        console.print(table(str(kind), [entry for entry in newest(entries) if entry.get("kind") == kind]))
    print(f"{len(entries)} lines drawn in {out}")


def table(kind: str, entries: Sequence[Entry]) -> Table:
    """Lines of one kind: what they are of, when that was measured, and their figures."""
    facts = [field for field in (*SERIES[1:], "date") if any(entry.get(field) for entry in entries)]
    known = list(dict.fromkeys(name for entry in entries for name in figures_of(entry)))
    figures = [name for name in HEADLINES.get(kind, known) if name in known]
    made = Table(title=kind, title_justify="left")
    for heading in (*facts, *figures):
        made.add_column(heading.replace("_", " "), justify="right" if heading in figures else "left")
    for entry in entries:
        found = figures_of(entry)
        cells = [str(entry.get(field) or "–")[: DAY if field == "date" else None] for field in facts]
        made.add_row(*cells, *(f"{round(found[name], 5):,}" if name in found else "–" for name in figures))
    return made


if __name__ == "__main__":
    run_app(app)
