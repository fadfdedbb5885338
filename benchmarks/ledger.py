"""The ledger: every figure of the shipped models, one JSON object a line, kept in the repository.

A line holds its stamp (date, commit), its series (kind, machine, model, data …), its causes (hashes and versions, which
could explain a change) and its figures. Every other field is a figure, so a new kind of line needs no change here.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edge.console import JsonOption, print_table
from edge.errors import UserError, run_app
from edge.quiet import quiet
from export.tables import terminal_table

LEDGER = Path(__file__).with_name("ledger.jsonl")

STAMP = ("date", "commit")
SERIES = ("kind", "machine", "cpu", "model", "data", "split", "runtime")
CAUSES = ("model_sha256", "keras_sha256", "data_sha256", "versions")
TOLERANCE = 1e-4
"""Ratios may differ by this much without a cause: the order of float additions varies."""

# Columns of the table, for kinds with more figures. --json shows all.
COLUMNS = {
    "drift": ("fire_iou", "fire_iou_drift", "fire_iou_interval[0]", "fire_iou_interval[1]", "agreement"),
    "events": (
        "fds",
        "precision",
        "recall_within_10s",
        "recall_within_30s",
        "median_delay_s",
        "false_alarms",
        "smallest",
    ),
}
DATE_CHARS = len("2026-01-01")

Entry = dict[str, Any]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def read(path: Path = LEDGER) -> list[Entry]:
    """Return every line, oldest first; an empty list without a file. Raise `UserError` for a damaged line."""
    if not path.exists():
        return []
    entries = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                entries.append(json.loads(line))
            except ValueError as error:
                raise UserError(f"{path}, line {number} is not JSON ({error})", "repair or delete the line") from error
    return entries


def append(entry: Entry, path: Path = LEDGER) -> bool:
    """Add a line unless it equals the newest of its series, stamp aside. Return whether it was added.

    The line is one write to a file opened for appending, so that two processes never interleave.
    """
    before = last(read(path), **series_of(entry))
    if before is not None and _without_stamp(before) == _without_stamp(json.loads(json.dumps(entry))):
        return False
    line = json.dumps(canonical(entry), ensure_ascii=False, allow_nan=False) + "\n"
    with path.open("ab", buffering=0) as file:
        if file.tell() and not path.read_bytes().endswith(b"\n"):
            line = "\n" + line  # an editor dropped the final newline
        file.write(line.encode())
    return True


def stamp(kind: str, machine: str) -> Entry:
    """Return the first fields of a line: time, checked-out commit, kind of measurement, machine."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {"date": date, "commit": checked_out_commit(), "kind": kind, "machine": machine}


def last(entries: Sequence[Entry], **fields: Any) -> Entry | None:
    """Return the newest entry with these fields. A field given as None must be absent or null."""
    return next((entry for entry in reversed(entries) if all(entry.get(k) == v for k, v in fields.items())), None)


def series_of(entry: Entry) -> Entry:
    """Return the fields that identify the curve of which a line is a point."""
    return {field: entry.get(field) for field in SERIES}


def figures_of(entry: Entry) -> dict[str, float]:
    """Return the numbers of a line by name; those of a list by name and index."""
    figures: dict[str, float] = {}
    for field in entry.keys() - {*STAMP, *SERIES, *CAUSES}:
        values = entry[field] if isinstance(entry[field], list) else [entry[field]]
        for index, value in enumerate(values):
            if isinstance(value, int | float) and not isinstance(value, bool):
                figures[f"{field}[{index}]" if isinstance(entry[field], list) else field] = value
    return dict(sorted(figures.items()))


def unexplained_changes(entry: Entry, entries: Sequence[Entry]) -> list[str]:
    """Return a sentence for each figure that differs from the newest line with the same causes.

    Whole numbers are counts and must be equal; ratios may differ by `TOLERANCE`.
    """
    before = last(entries, **series_of(entry), **{field: entry.get(field) for field in CAUSES})
    if before is None:
        return []
    old, new = figures_of(before), figures_of(entry)
    name = " ".join(str(entry[field]) for field in ("model", "data", "split", "cpu") if entry.get(field))
    changes = []
    for figure in sorted(old.keys() & new.keys()):
        are_counts = isinstance(old[figure], int) and isinstance(new[figure], int)
        if abs(new[figure] - old[figure]) > (0 if are_counts else TOLERANCE):
            then = f"{figure} was {old[figure]} on {before.get('date')} and is {new[figure]}"
            changes.append(f"{name}: {then}, with the same model, data and versions")
    return changes


def canonical(entry: Entry) -> Entry:
    """Order the fields so that diffs stay short: stamp, series, causes, then figures by name."""
    known = [field for field in (*STAMP, *SERIES, *CAUSES) if field in entry]
    nested = json.loads(json.dumps(entry, sort_keys=True))
    return {field: nested[field] for field in (*known, *sorted(entry.keys() - set(known)))}


def checked_out_commit() -> str | None:
    """Return the commit, with a + if tracked files other than the ledger differ. None outside of a repository."""
    if shutil.which("git") is None:
        return None
    commit = _git("rev-parse", "--short=12", "HEAD")
    if commit.returncode:
        return None
    changed = _git("diff", "--quiet", "HEAD", "--", ".", f":(exclude){LEDGER.parent.name}/{LEDGER.name}")
    return commit.stdout.strip() + "+" * bool(changed.returncode)


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=LEDGER.parents[1], capture_output=True, text=True, check=False)


def _without_stamp(entry: Entry) -> Entry:
    return {field: value for field, value in entry.items() if field not in STAMP}


def newest(entries: Sequence[Entry]) -> list[Entry]:
    """Return the last line of every series, oldest series first. Versions of a runtime are one series."""
    lines: dict[str, Entry] = {}
    for entry in entries:
        lines[json.dumps(series_of(entry) | {"runtime": runtime_name(entry)})] = entry
    return list(lines.values())


def runtime_name(entry: Entry) -> str:
    """Return the runtime without its version, which changes in the middle of a curve."""
    return re.sub(r" [\d.]+", "", entry.get("runtime") or "")


@app.command()
def main(
    ledger: Annotated[Path, typer.Option(help="Ledger to read.")] = LEDGER,
    out: Annotated[Path, typer.Option(help="Plot to write.")] = Path("build/ledger/ledger.png"),
    as_json: JsonOption = False,
) -> None:
    """Plot the figures of the shipped models over time, and show the newest line of each series."""
    entries = read(ledger)
    if not entries:
        raise UserError(f"{ledger} is empty", "write to it with `make drift`")
    with quiet():  # the plotted gate is imported from export, with Keras and TensorFlow
        from benchmarks.ledger_plot import draw
    draw([entry | {"runtime": runtime_name(entry)} for entry in entries], out)
    if as_json:
        print(json.dumps(newest(entries), indent=2))
        return
    for kind in dict.fromkeys(entry.get("kind") for entry in entries):
        print_table(table(str(kind), [entry for entry in newest(entries) if entry.get("kind") == kind]))
    print(f"{out} shows {len(entries)} lines")


def table(kind: str, entries: Sequence[Entry]) -> Table:
    """Return a table of lines of one kind: their series, date and figures."""
    facts = [field for field in (*SERIES[1:], "date") if any(entry.get(field) for entry in entries)]
    known = list(dict.fromkeys(name for entry in entries for name in figures_of(entry)))
    columns = [name for name in COLUMNS.get(kind, known) if name in known]
    rows = []
    for entry in entries:
        figures = figures_of(entry)
        cells = [str(entry.get(field) or "–")[: DATE_CHARS if field == "date" else None] for field in facts]
        rows.append([*cells, *(f"{round(figures[name], 5):,}" if name in figures else "–" for name in columns)])
    headings = [name.replace("_", " ") for name in (*facts, *columns)]
    return terminal_table(headings, rows, title=kind, words=len(facts))


if __name__ == "__main__":
    run_app(app)
