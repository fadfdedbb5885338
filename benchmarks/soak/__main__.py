"""`make soak`: run the camera loop under load and under faults, and check its bounds."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.models import DEFAULT_TFLITE
from benchmarks.soak.cost import measure_cost
from benchmarks.soak.faults import QUICK, Plan, try_faults
from benchmarks.soak.report import HEADINGS, cost_figures, fault_figures, quiet_figures, start_figure
from benchmarks.soak.steady import FPS, run_quietly, start_s
from edge.console import print_table, progress_bars, show_warning
from edge.errors import UserError, run_app
from edge.files import write_json, write_text
from edge.host.machine import conditions, cpu_name, read_state
from export.tables import markdown_table, terminal_table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

VIDEO_S = 40.0
QUICK_MINUTES, QUICK_VIDEO_S = 0.5, 5.0


@app.command(epilog="Example: `python -m benchmarks.soak --minutes 3 --rounds 1`")
def main(
    model: Annotated[Path, typer.Option(envvar="MODEL", help="The .tflite model.")] = DEFAULT_TFLITE,
    minutes: Annotated[float, typer.Option(min=0.5, help="Duration of the run without fire.")] = 5.0,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the throughput measurement.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="Three minutes: few faults, no check of growth.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for soak.json and soak.md.")] = Path("build/soak"),
) -> None:
    """Run the camera loop under load, without fire for minutes, and under faults. Exit code 1 if a bound fails."""
    warnings.showwarning = show_warning
    if not model.is_file():
        raise UserError(f"model {model} does not exist", "expected a .tflite file")
    before = read_state()
    plan, video_s = Plan(), VIDEO_S
    if quick:
        minutes, rounds, plan, video_s = QUICK_MINUTES, 1, QUICK, QUICK_VIDEO_S
    run = ("--model", model, "--threads", "1")
    with progress_bars() as on_step:
        cost = measure_cost(model, rounds, on_step("throughput", rounds), video_s)
        first_s = start_s(run)
        quiet = run_quietly(run, 60 * minutes, on_step(f"calm camera of {FPS:.0f} fps", round(60 * minutes)))
        faults = try_faults(model, plan, on_step)
    figures = [
        *cost_figures(cost),
        start_figure(first_s),
        *quiet_figures(quiet, with_growth=not quick),
        *fault_figures(faults, with_count=not quick),
    ]
    report = {
        "model": str(model),
        "machine": conditions(before, read_state()),
        "cost": asdict(cost),
        "start_s": first_s,
        "quiet": asdict(quiet),
        "faults": asdict(faults),
        "figures": [asdict(figure) for figure in figures],
    }
    rows = [figure.cells for figure in figures]
    write_json(out / "soak.json", report)
    write_text(out / "soak.md", markdown_table(HEADINGS, rows) + "\n")
    print_table(terminal_table(HEADINGS, rows, title=f"{model} on {cpu_name()}, one thread"))
    if not all(figure.passed for figure in figures):
        raise typer.Exit(1)


if __name__ == "__main__":
    run_app(app)
