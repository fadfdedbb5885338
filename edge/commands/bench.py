"""`fireseg-edge bench`: latency of a model on this machine, with the state of the machine beside it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edge.commands.options import ModelArgument, RuntimeOption
from edge.console import JsonOption, ThreadsOption, show_warning
from edge.files import sha256
from edge.host.machine import conditions, cpu_name, read_state
from edge.model.latency import BENCH_FRAME, FULL_RUNS, FULL_SECONDS, WHOLE, Latency, bench_frame, stages, time_runs
from edge.model.segmenter import Segmenter


def bench_command(
    model: ModelArgument,
    threads: ThreadsOption = None,
    runtime: RuntimeOption = None,
    seconds: Annotated[float, typer.Option(help="Shortest measurement of each stage, in seconds.")] = 2.0,
    full: Annotated[
        bool,
        typer.Option(
            help=f"MLPerf's single-stream rule for whole frames: at least {FULL_RUNS} frames and {FULL_SECONDS:g} s, "
            "reported as the 90th percentile."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Time a model on this machine, from a 1280x720 frame to its probability map."""
    segmenter = Segmenter(model, threads=threads, runtime=runtime)
    before = read_state()
    timed = {
        name: time_single_stream(run, seconds) if full and name == WHOLE else time_runs(run, min_seconds=seconds)
        for name, run in stages(segmenter, bench_frame()).items()
    }
    machine = conditions(before, read_state())
    whole = timed[WHOLE]
    rows = {name: latency_row(latency) for name, latency in timed.items()}
    facts: dict[str, Any] = {
        "model": str(model),
        "model_sha256": sha256(model),
        "runtime": str(segmenter.runtime),
        "threads": segmenter.threads,
        "cpu": cpu_name(),
        "machine": machine,
        "frame": f"{BENCH_FRAME[1]}x{BENCH_FRAME[0]}",
        "full": full,
        "queries": whole.runs,
        "seconds": round(whole.seconds, 3),
        "p90_ms": round(whole.p90_ms, 3),
        "stages": rows,
    }
    for reason in machine["trouble"]:
        show_warning(f"{reason}: these times are not comparable; cool it, use the official power supply, measure again")
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    title = f"{model.name}, {segmenter.runtime}, {segmenter.threads} threads, {facts['cpu']}"
    table = Table("stage", "median ms", "p90 ms", "p99 ms", "frames/s", title=title)
    for name, row in rows.items():
        times = (f"{row[key]:.2f}" for key in ("median_ms", "p90_ms", "p99_ms"))
        table.add_row(name, *times, f"{row['frames_per_s']:.0f}")
    Console().print(table)
    if full:
        print(f"p90 latency: {whole.p90_ms:.2f} ms ({whole.runs} frames one by one in {whole.seconds:.0f} s)")
    print(conditions_line(machine))


def time_single_stream(
    run: Callable[[], object], seconds: float, *, min_runs: int | None = None, min_seconds: float | None = None
) -> Latency:
    """Return the latency by MLPerf's single-stream rule. The bar is drawn between runs, so that it is not timed."""
    min_runs = FULL_RUNS if min_runs is None else min_runs
    seconds = max(seconds, FULL_SECONDS if min_seconds is None else min_seconds)
    runs, started_s = 0, time.monotonic()
    with Progress(console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        task = progress.add_task(f"timing {WHOLE}s", total=100)

        def on_run() -> None:
            nonlocal runs
            runs += 1
            percent = int(100 * min(runs / min_runs, (time.monotonic() - started_s) / (seconds or 1)))
            if percent > progress.tasks[task].completed:
                progress.update(task, completed=percent, refresh=True)

        return time_runs(run, min_runs=min_runs, min_seconds=seconds, on_run=on_run)


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


def latency_row(latency: Latency) -> dict[str, float]:
    """Return a latency as JSON, rounded to microseconds."""
    return {
        "runs": latency.runs,
        "median_ms": round(latency.median_ms, 3),
        "p90_ms": round(latency.p90_ms, 3),
        "p99_ms": round(latency.p99_ms, 3),
        "frames_per_s": round(latency.frames_per_s, 1),
    }
