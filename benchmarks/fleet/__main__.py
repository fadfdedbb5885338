"""`make soak-fleet`: run simulated cameras on one broker and one Prometheus; no event may be lost."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.fleet.report import HEADINGS, figures
from benchmarks.fleet.soak import Plan, run_fleet
from edge.console import JsonOption, print_table, progress_bars
from edge.errors import run_app
from edge.files import write_json, write_text
from edge.host.machine import conditions, cpu_name, read_state
from export.tables import markdown_table, terminal_table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Example: `python -m benchmarks.fleet --minutes 1 --cameras 10`")
def main(
    cameras: Annotated[int, typer.Option(min=1, max=500, help="Simulated cameras, each a process.")] = 50,
    minutes: Annotated[float, typer.Option(min=0.1, help="Duration.")] = 10.0,
    broker_kills: Annotated[int, typer.Option(min=0, help="How often the broker is killed.")] = 5,
    fire_period_s: Annotated[float, typer.Option(min=10, help="Seconds between two fires of a camera.")] = 30.0,
    seed: Annotated[int, typer.Option(help="Of the times at which brokers and cameras are killed.")] = 0,
    as_json: JsonOption = False,
    out: Annotated[Path, typer.Option(help="Folder for fleet.json and fleet.md.")] = Path("build/soak-fleet"),
) -> None:
    """Run simulated cameras, kill the broker and some of them. Exit code 1 if events are lost, altered or reordered."""
    before = read_state()
    plan = Plan(cameras, 60 * minutes, broker_kills, fire_period_s=fire_period_s, seed=seed)
    with tempfile.TemporaryDirectory(prefix="fireseg-fleet-") as folder, progress_bars() as on_step:
        run = run_fleet(Path(folder), plan, on_step)
    after = read_state()
    report = {"plan": asdict(plan), "machine": conditions(before, after), "load_after": after.load, "run": asdict(run)}
    rows = [figure.cells for figure in figures(plan, run)]
    write_json(out / "fleet.json", report)
    write_text(out / "fleet.md", markdown_table(HEADINGS, rows) + "\n")
    if as_json:
        typer.echo(json.dumps(report))
    else:
        print_table(terminal_table(HEADINGS, rows, title=f"{cameras} cameras on {cpu_name()}"))
    if not all(figure.passed for figure in figures(plan, run)):
        raise typer.Exit(1)


if __name__ == "__main__":
    run_app(app)
