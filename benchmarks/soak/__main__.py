"""`make soak`: run the camera loop under load and under faults, and check its bounds."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from benchmarks.models import DEFAULT_TFLITE
from benchmarks.soak.cost import VIEWERS, measure_cost
from benchmarks.soak.faults import QUICK, Plan, try_faults
from benchmarks.soak.report import cost_figures, fault_figures, markdown, quiet_figures, start_figure, verdict
from benchmarks.soak.steady import FPS, run_quietly, start_s
from edge.console import JsonOption, print_table, progress_bars, show_warning
from edge.errors import UserError, run_app
from edge.files import write_json, write_text
from edge.host.machine import conditions, cpu_name, read_state

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

TOPIC = "fireseg/soak/event"
QUICK_MINUTES, QUICK_VIDEO_S = 0.5, 5.0


@app.command(epilog="Example: `python -m benchmarks.soak --minutes 3 --rounds 1`")
def main(
    model: Annotated[Path, typer.Option(envvar="MODEL", help="The .tflite model.")] = DEFAULT_TFLITE,
    minutes: Annotated[float, typer.Option(min=0.5, help="Duration of the run without fire.")] = 5.0,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of the throughput measurement; 0 skips it.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Threads for the network; decoding takes another one.")] = 1,
    faults: Annotated[bool, typer.Option(help="Try the faults.")] = True,
    quick: Annotated[bool, typer.Option("--quick", help="Two minutes: few faults, no check of growth.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for soak.json and soak.md.")] = Path("build/soak"),
    as_json: JsonOption = False,
) -> None:
    """Run the camera loop under load, without fire for minutes, and under faults. Exit code 1 if a bound fails."""
    warnings.showwarning = show_warning
    if not model.is_file():
        raise UserError(f"model {model} does not exist", "expected a .tflite file")
    before = read_state()
    run = ("--model", model, "--threads", str(threads))
    plan, cost, outcome = Plan(), None, None
    if quick:
        minutes, rounds, plan = QUICK_MINUTES, min(rounds, 1), QUICK
    with progress_bars() as on_step:
        if rounds:
            step = on_step("throughput", rounds)
            cost = measure_cost(model, threads, rounds, step, *([QUICK_VIDEO_S] if quick else []))
        first_s = start_s(run)
        quiet = run_quietly(run, 60 * minutes, on_step(f"calm camera of {FPS:.0f} fps", round(60 * minutes)))
        if faults:
            outcome = try_faults(model, TOPIC, plan, on_step("faults", sum(plan)))
    figures = [
        *(cost_figures(cost) if cost else []),
        start_figure(first_s),
        *quiet_figures(quiet, with_growth=not quick),
        *(fault_figures(outcome) if outcome else []),
    ]
    report = {
        "model": str(model),
        "threads": threads,
        "viewers": VIEWERS,
        "machine": conditions(before, read_state()),
        "cost": asdict(cost) if cost else None,
        "start_s": first_s,
        "quiet": asdict(quiet),
        "faults": asdict(outcome) if outcome else None,
        "figures": [asdict(figure) for figure in figures],
    }
    write_json(out / "soak.json", report)
    write_text(out / "soak.md", markdown(figures))
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        table = Table("what", "measured", "bound", "", title=f"{model} on {cpu_name()}, threads: {threads}")
        for figure in figures:
            table.add_row(figure.what, figure.measured, figure.bound, verdict(figure))
        print_table(table)
    if not all(figure.passed for figure in figures):
        raise typer.Exit(1)


if __name__ == "__main__":
    run_app(app)
