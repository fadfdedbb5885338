"""`fireseg-edge bench`: latency of a model on this machine, with the state of the machine beside it."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from edge.commands.options import ModelOption, RuntimeOption, load_segmenter
from edge.console import JsonOption, ThreadsOption, show_warning
from edge.files import sha256
from edge.host.machine import conditions, cpu_name, read_state
from edge.model.latency import (
    BENCH_FRAME,
    FULL_RUNS,
    FULL_SECONDS,
    WHOLE,
    Latency,
    bench_frame,
    compare_kinds,
    kind_line,
    stages,
    time_runs,
)
from edge.model.segmenter import Segmenter
from edge.model.shipped import DEFAULT_MODEL, find_model

KIND_RUNS = 10  # in each of the rounds that compare the kinds of a model


def bench_command(
    model: ModelOption = DEFAULT_MODEL,
    threads: ThreadsOption = None,
    runtime: RuntimeOption = None,
    seconds: Annotated[float, typer.Option(help="Minimum duration of each stage, in seconds.")] = 2.0,
    full: Annotated[
        bool, typer.Option(help=f"Time whole frames by MLPerf's rule: at least {FULL_RUNS} and {FULL_SECONDS:g} s.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Time a model on this machine, from a 1280x720 frame to its probability map."""
    segmenter = load_segmenter(model, threads=threads, runtime=runtime)
    before = read_state()
    timed = time_stages(segmenter, seconds, full=full)
    others = compare_kinds(segmenter, runs=KIND_RUNS, runtime=runtime)
    machine = conditions(before, read_state())
    rows = {
        name: {key: round(value, 3) for key, value in (*vars(latency).items(), ("frames_per_s", latency.frames_per_s))}
        for name, latency in timed.items()
    }
    for reason in machine["trouble"]:
        show_warning(f"{reason}: these times are not comparable; cool it, use the official power supply, measure again")
    if as_json:
        facts = {
            "model": model,
            "model_sha256": sha256(find_model(model)),
            "runtime": str(segmenter.runtime),
            "threads": segmenter.threads,
            "cpu": cpu_name(),
            "machine": machine,
            "frame": f"{BENCH_FRAME[1]}x{BENCH_FRAME[0]}",
            "full": full,
            "queries": rows[WHOLE]["runs"],
            "seconds": rows[WHOLE]["seconds"],
            "p90_ms": rows[WHOLE]["p90_ms"],
            "stages": rows,
            "other_kinds": {name: round(ratio, 3) for name, ratio in others.items()},
        }
        print(json.dumps(facts, indent=2))
        return
    title = f"{find_model(model).name}, {segmenter.runtime}, {segmenter.threads} threads, {cpu_name()}"
    table = Table("stage", "runs", "median ms", "p90 ms", "p99 ms", "frames/s", title=title)
    for name, row in rows.items():
        times = (f"{row[key]:.2f}" for key in ("median_ms", "p90_ms", "p99_ms"))
        table.add_row(name, str(row["runs"]), *times, f"{row['frames_per_s']:.0f}")
    Console().print(table)
    for name, ratio in others.items():
        print(kind_line(name, ratio))
    print(conditions_line(machine))


def time_stages(
    segmenter: Segmenter, seconds: float, *, full: bool, full_runs: int = FULL_RUNS, full_seconds: float = FULL_SECONDS
) -> dict[str, Latency]:
    """Return the latency of each stage; with `full`, that of whole frames by MLPerf's single-stream rule."""
    timed = {}
    for name, run in stages(segmenter, bench_frame()).items():
        if full and name == WHOLE:
            print(f"timing {WHOLE}s for at least {full_seconds:.0f} s", file=sys.stderr)
            timed[name] = time_runs(run, min_runs=full_runs, min_seconds=max(seconds, full_seconds))
        else:
            timed[name] = time_runs(run, min_seconds=seconds)
    return timed


def conditions_line(machine: dict[str, Any]) -> str:
    """Return the state of the machine in one line, without what it does not report."""
    before_c, after_c = machine["temperature_before_c"], machine["temperature_after_c"]
    throttled = machine["throttled_since_boot"]
    parts = [
        machine["cpu"],
        machine["governor"] and f"governor {machine['governor']}",
        before_c is not None and after_c is not None and f"{before_c:.0f} °C before and {after_c:.0f} °C after",
        throttled is not None and f"throttled since boot: {', '.join(throttled) or 'never'}",
        machine["load"] is not None and f"load {machine['load']:.1f} before",
    ]
    return "; ".join(filter(None, parts))
