"""`make soak`: the camera loop for some minutes under load and under faults, and whether it keeps what it promises."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.soak.cost import VIEWERS, Cost, measure_cost
from benchmarks.soak.faults import BROKER_KILLS, CAMERA_KILLS, TERMINATIONS, Faults, try_faults
from benchmarks.soak.report import Figure, cost_figures, fault_figures, quiet_figures, start_figure
from benchmarks.soak.steady import FPS, Quiet, start_s, watch_quietly
from edge.config import DEFAULT_MODEL
from edge.console import JsonOption, progress_bars, show_warning
from edge.errors import UserError, run_app
from edge.files import write_json, write_text
from edge.host.machine import conditions, cpu_name, read_state

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

OUT = Path("build/soak")
WIDTH = 140
TOPIC = "fireseg/soak/event"
OTHER_FAULTS = 3  # disk, model, clock


@app.command(epilog="Example: `python -m benchmarks.soak --minutes 3 --rounds 1`")
def main(
    model: Annotated[Path, typer.Option(envvar="MODEL", help="The .tflite model.")] = Path(DEFAULT_MODEL),
    minutes: Annotated[float, typer.Option(min=0.5, help="How long to watch quietly.")] = 5.0,
    rounds: Annotated[int, typer.Option(min=0, help="How often to measure the loop's cost; 0 for never.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Cores for the network; another one decodes.")] = 1,
    faults: Annotated[bool, typer.Option(help="Whether to try the faults.")] = True,
    out: Annotated[Path, typer.Option(help="Folder for soak.json and soak.md.")] = OUT,
    as_json: JsonOption = False,
) -> None:
    """Run the camera loop under load, quietly for minutes, and under faults; exit code 1 where a bound is not kept."""
    warnings.showwarning = show_warning
    if not model.is_file():
        raise UserError(f"model {model} could not be read", "expected a .tflite file")
    before = read_state()
    run = ("--model", model, "--threads", str(threads))
    cost: Cost | None = None
    survived: Faults | None = None
    with progress_bars() as on_step:
        if rounds:
            cost = measure_cost(model, threads, rounds, on_step("the loop's cost", rounds))
        first_s = start_s(run)
        quiet: Quiet = watch_quietly(run, 60 * minutes, on_step(f"a calm camera of {FPS:.0f} fps", round(60 * minutes)))
        if faults:
            steps = CAMERA_KILLS + BROKER_KILLS + TERMINATIONS + OTHER_FAULTS
            survived = try_faults(model, TOPIC, on_step("faults", steps))
    figures = [
        *(cost_figures(cost) if cost else []),
        start_figure(first_s),
        *quiet_figures(quiet),
        *(fault_figures(survived) if survived else []),
    ]
    report = {
        "model": str(model),
        "threads": threads,
        "viewers": VIEWERS,
        "machine": conditions(before, read_state()),
        "cost": asdict(cost) if cost else None,
        "start_s": first_s,
        "quiet": asdict(quiet),
        "faults": asdict(survived) if survived else None,
        "figures": [asdict(figure) for figure in figures],
    }
    write_json(out / "soak.json", report)
    write_text(out / "soak.md", markdown(figures))
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        show(figures, f"{model} on {cpu_name()}, {threads} thread{'s' * (threads > 1)}")
    if not all(figure.kept for figure in figures):
        raise typer.Exit(1)


def rows(figures: list[Figure]) -> list[tuple[str, str, str, str]]:
    return [(one.what, one.found, one.bound, "kept" if one.kept else "NOT KEPT") for one in figures]


def markdown(figures: list[Figure]) -> str:
    head = "| what | found | bound | |\n|---|---:|---:|---|\n"
    return head + "".join("| " + " | ".join(row) + " |\n" for row in rows(figures))


def show(figures: list[Figure], title: str) -> None:
    table = Table(title=title)
    justified: list[tuple[str, Any]] = [("what", "left"), ("found", "right"), ("bound", "right"), ("", "left")]
    for heading, justify in justified:
        table.add_column(heading, justify=justify)
    for row in rows(figures):
        table.add_row(*row)
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(table)


if __name__ == "__main__":
    run_app(app)
