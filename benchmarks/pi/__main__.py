"""`make bench-pi`: the models that ship, on a Pi 4's and a Pi 5's processor, as far as an emulator can tell."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import ledger
from benchmarks.models import families
from benchmarks.pi.cpus import CPUS
from benchmarks.pi.system import BUILD, SUITES, check_machine
from edge.console import JsonOption, progress_bars, show_warning
from edge.errors import UserError, run_app
from edge.files import write_json, write_text
from train.backend import load_keras_backend
from train.commands.options import DataOption

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

WIDTH = 160


@app.command(epilog="Example: `python -m benchmarks.pi --suite bookworm --cpu cortex-a76 --short`")
def main(
    data: DataOption = None,
    suite: Annotated[list[str] | None, typer.Option(help="Debian releases; all by default.")] = None,
    cpu: Annotated[list[str] | None, typer.Option(help="Processors; all by default.")] = None,
    short: Annotated[bool, typer.Option("--short", help="One model, one processor, no pictures, no peers.")] = False,
    note: Annotated[bool, typer.Option(help="Add what was measured to the ledger.")] = True,
    out: Annotated[Path, typer.Option(help="Folder for pi.json and pi.md.")] = BUILD,
    as_json: JsonOption = False,
) -> None:
    """Count instructions a frame, and compare masks, in an arm64 Debian under QEMU."""
    warnings.showwarning = show_warning
    suites = [_one_of(name, SUITES, "Debian release") for name in suite or list(SUITES)]
    cpus = [CPUS[_one_of(name, CPUS, "processor")] for name in cpu or list(CPUS)]
    shipped = families()
    if not shipped:
        raise UserError("models/ holds no .keras model", "expected the shipped ones")
    check_machine()
    load_keras_backend(needs_tensorflow=True)
    from benchmarks.pi.instructions import as_row, regression
    from benchmarks.pi.measure import measure, sentences
    from export.report import markdown_table

    if short:
        suites, cpus, shipped = suites[:1], cpus[:1], shipped[:1]
    with progress_bars() as on_step:
        report, lines = measure(suites, cpus, shipped, data, short=short, on_step=on_step)
    known = ledger.read()
    counted = [line for line in lines if line["kind"] == "instructions"]
    report["regressions"] = [text for line in counted if (text := regression(line, known))]
    if note and not report["regressions"]:
        for line in lines:
            ledger.append(line)
    rows = [as_row(line) for line in report["instructions"]]
    write_json(out / "pi.json", report)
    markdown = [*markdown_table(tuple(rows[0]), [tuple(row.values()) for row in rows]), ""]
    markdown += [f"- {text}" for text in sentences(report)]
    write_text(out / "pi.md", "\n".join(markdown) + "\n")
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _print(rows, sentences(report))
    if report["regressions"]:
        raise typer.Exit(1)


def _print(rows: Sequence[dict[str, Any]], said: Sequence[str]) -> None:
    table = Table(title="Instructions a frame, one thread, under QEMU")
    for heading in rows[0]:
        table.add_column(heading, justify="left" if heading in ("model", "runtime", "cpu") else "right")
    for row in rows:
        table.add_row(*row.values())
    console = Console()
    # A pipe has no width, and the figures are what one pipes it for.
    (console if console.is_terminal else Console(width=WIDTH)).print(table)
    for text in said:
        print(text)


def _one_of(name: str, known: dict[str, Any], kind: str) -> str:
    if name not in known:
        raise UserError(f"there is no {kind} {name!r} here", f"expected one of {', '.join(known)}")
    return name


if __name__ == "__main__":
    run_app(app)
