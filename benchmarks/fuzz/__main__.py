"""`make fuzz`: give damaged inputs to the edge, each in a process with bounds, and list what fails."""

from __future__ import annotations

import itertools
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Annotated, Any

import cv2
import typer
from rich.table import Table

from benchmarks.fuzz.reload import try_reloads
from benchmarks.fuzz.sandbox import Ending, Trial, run_trial
from benchmarks.fuzz.targets import KINDS, PICTURE, Kind, warm_up
from edge.camera.pattern import PatternCamera
from edge.console import JsonOption, print_table
from edge.errors import UserError, run_app
from edge.files import write_bytes, write_json, write_text
from edge.images import write_image

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

RELOADS = "reloads"
NAMES = (*KINDS, RELOADS)
MAX_KEPT = 5
"""Failing inputs to keep of each symptom."""


@dataclass
class Tally:
    """How the inputs of one kind ended."""

    name: str
    endings: Counter[str] = field(default_factory=Counter)
    worst_bytes: int = 0
    symptoms: dict[str, list[str]] = field(default_factory=dict)
    """Names of the inputs that failed, by symptom."""

    def add(self, name: str, trial: Trial, data: bytes, folder: Path) -> None:
        self.endings[trial.ending] += 1
        self.worst_bytes = max(self.worst_bytes, trial.peak_bytes)
        if trial.failed:
            names = self.symptoms.setdefault(trial.symptom, [])
            names.append(name)
            if len(names) <= MAX_KEPT:
                write_bytes(folder / name, data)
                write_text(folder / f"{name}.txt", f"{trial.symptom}\n{_command(name)}\n\n{trial.stderr}")

    @property
    def row(self) -> dict[str, Any]:
        endings = {ending.value: self.endings[ending] for ending in Ending}
        return {"kind": self.name, "tried": self.endings.total(), **endings, "worst MB": round(self.worst_bytes / 1e6)}

    @property
    def findings(self) -> list[dict[str, Any]]:
        """The symptoms, the most frequent first."""
        return [
            {"kind": self.name, "times": len(names), "symptom": symptom, "repeat": _command(names[0])}
            for symptom, names in sorted(self.symptoms.items(), key=lambda item: -len(item[1]))
        ]


@app.command(epilog='Example: `make fuzz ARGS="--minutes 1 --seed 7 --only models"`')
def main(
    minutes: Annotated[float, typer.Option(min=0.01, help="Duration, shared evenly by all kinds.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Of the random numbers; the same seed gives the same inputs.")] = 0,
    only: Annotated[list[str] | None, typer.Option(help=f"Kinds to try: {', '.join(NAMES)}.")] = None,
    number: Annotated[int | None, typer.Option(help="Try only the input of this number.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the report and for inputs that fail.")] = Path("build/fuzz"),
    as_json: JsonOption = False,
) -> None:
    """Give damaged inputs to the edge. Exit code 1 if one crashes it, hangs it, raises or takes 512 MB of memory.

    An input must be accepted (exit code 0) or refused (exit code 2 and an error line).
    """
    if unknown := sorted(set(only or ()) - set(NAMES)):
        raise UserError(f"--only {unknown[0]}", f"expected one of {', '.join(NAMES)}")
    cv2.setNumThreads(1)
    warm_up()
    tallies = []
    for name in only or NAMES:
        tally, end_s = Tally(name), time.monotonic() + 60 * minutes / len(only or NAMES)
        trials = try_reloads(seed, end_s) if name == RELOADS else _try_kind(name, KINDS[name], seed, number, end_s)
        for input_name, trial, data in trials:
            tally.add(input_name, trial, data, out)
        failures = sum(map(len, tally.symptoms.values()))
        print(f"{name}: {tally.endings.total()} inputs, {failures} failures", file=sys.stderr, flush=True)
        tallies.append(tally)
    findings = [finding for tally in tallies for finding in tally.findings]
    report = {"seed": seed, "kinds": [tally.row for tally in tallies], "findings": findings}
    write_json(out / "fuzz.json", report)
    if as_json:
        typer.echo((out / "fuzz.json").read_text().rstrip())
    else:
        table = Table(*tallies[0].row)
        for tally in tallies:
            table.add_row(*map(str, tally.row.values()))
        print_table(table)
        for finding in findings:
            print("{kind}, {times} times: {symptom}\n    {repeat}".format(**finding))
    if findings:
        raise typer.Exit(1)


def _try_kind(
    name: str, kind: Kind, seed: int, only_number: int | None, end_s: float
) -> Iterator[tuple[str, Trial, bytes]]:
    """Yield name, outcome and data of each input until the time is over, or of one input."""
    with tempfile.TemporaryDirectory(prefix="fireseg-fuzz-") as scratch:
        valid, folder = Path(scratch) / PICTURE, Path(scratch) / "trial"
        write_image(valid, PatternCamera(fps=1).frame(20.0))
        in_time = itertools.takewhile(lambda _: time.monotonic() < end_s, itertools.count(1))
        for number in [only_number] if only_number else in_time:
            data = kind.make(Random(f"{seed}/{name}/{number}"))
            path = folder / "input" / f"{name}-{seed}-{number}{kind.suffix}"
            path.parent.mkdir(parents=True)
            path.write_bytes(data)
            shutil.copy(valid, folder)
            yield path.name, run_trial(lambda path=path: kind.run(path), folder), data  # type: ignore[misc]
            shutil.rmtree(folder)


def _command(name: str) -> str:
    """Return how to repeat an input; a reload depends on those before it."""
    kind, seed, number = name.partition(".")[0].rsplit("-", 2)
    return f'make fuzz ARGS="--only {kind} --seed {seed}{"" if kind == RELOADS else f" --number {number}"}"'


if __name__ == "__main__":
    run_app(app)
