"""`fireseg-edge`: what runs on the Pi. Needs no TensorFlow."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, track
from rich.table import Table

from edge.commands.config import config_app
from edge.commands.doctor import doctor_command
from edge.commands.run import run_command
from edge.commands.service import install_service_command
from edge.console import JsonOption, ThreadsOption, show_warning
from edge.errors import run_app
from edge.files import sha256
from edge.host.machine import conditions, cpu_name, read_state
from edge.images import output_paths, read_rgb, write_mask
from edge.model.latency import (
    BENCH_FRAME,
    FULL_RUNS,
    FULL_SECONDS,
    WHOLE,
    Latency,
    bench_frame,
    stages,
    time_runs,
)
from edge.model.segmenter import Segmenter

app = typer.Typer(
    help="See fire with a Raspberry Pi camera. Not a life-safety device: never rely on it in place of a smoke alarm.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(config_app, name="config")
app.command("run", epilog="Example: `fireseg-edge run --source test-pattern --max-frames 300`")(run_command)
app.command("doctor", epilog="Example: `fireseg-edge doctor --source /dev/video0`")(doctor_command)
app.command("install-service", epilog="Example: `sudo fireseg-edge install-service --config fireseg.toml`")(
    install_service_command
)

ModelArgument = Annotated[Path, typer.Argument(help="A .tflite model, such as models/fireseg-base-int8.tflite.")]
RuntimeOption = Annotated[str | None, typer.Option(help="litert or tflite-runtime; the best one installed by default.")]


@app.callback()
def main() -> None:
    """See fire with a Raspberry Pi camera."""
    warnings.showwarning = show_warning


@app.command(epilog="Example: `fireseg-edge segment models/fireseg-base-int8.tflite photo.jpg --out masks`")
def segment(
    model: ModelArgument,
    images: Annotated[list[Path], typer.Argument(help="Pictures to look at.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME-mask.png and NAME-overlay.jpg.")] = Path("build/segment"),
    threads: ThreadsOption = None,
    runtime: RuntimeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mark the burning pixels of pictures."""
    segmenter = Segmenter(model, threads=threads, runtime=runtime)
    outputs = output_paths(images, out)
    rows: list[dict[str, Any]] = []
    for path in track(images, "segmenting", console=Console(stderr=True), disable=len(images) < 2, transient=True):
        frame = read_rgb(path)
        mask = segmenter.mask(frame)
        mask_path, overlay_path = outputs[path]
        write_mask(frame, mask, mask_path, overlay_path)
        rows.append(
            {
                "image": str(path),
                "fire_share": round(float(mask.mean()), 6),
                "mask": str(mask_path),
                "overlay": str(overlay_path),
            }
        )
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table("image", "fire, % of pixels", "overlay", title=f"{model.name} on {segmenter.runtime}")
    for row in rows:
        table.add_row(str(row["image"]), f"{row['fire_share'] * 100:.2f}", str(row["overlay"]))
    Console().print(table)


@app.command(epilog="Example: `fireseg-edge bench models/fireseg-base-int8.tflite --threads 1`")
def bench(
    model: ModelArgument,
    threads: ThreadsOption = None,
    runtime: RuntimeOption = None,
    seconds: Annotated[float, typer.Option(help="How long to measure each stage, at least.")] = 2.0,
    full: Annotated[
        bool,
        typer.Option(
            help=f"Measure whole frames by MLPerf's rule for one stream: {FULL_RUNS} at least, for {FULL_SECONDS:g} s "
            "at least, and the 90th percentile counts."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Time a model on this machine, from a 1280x720 frame to its map."""
    segmenter = Segmenter(model, threads=threads, runtime=runtime)
    before = read_state()
    timed = {
        name: time_fully(run, seconds) if full and name == WHOLE else time_runs(run, min_seconds=seconds)
        for name, run in stages(segmenter, bench_frame()).items()
    }
    machine = conditions(before, read_state())
    whole = timed[WHOLE]
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
    }
    for reason in machine["trouble"]:
        show_warning(f"{reason}: these times say little; cool it, feed it 5 V at its full current, and measure again")
    if as_json:
        print(
            json.dumps({**facts, "stages": {name: latency_row(latency) for name, latency in timed.items()}}, indent=2)
        )
        return
    title = f"{model.name}, {segmenter.runtime}, {segmenter.threads} threads, {facts['cpu']}"
    table = Table("stage", "median ms", "p90 ms", "p99 ms", "frames/s", title=title)
    for name, latency in timed.items():
        row = latency_row(latency)
        table.add_row(
            name, *(f"{row[key]:.2f}" for key in ("median_ms", "p90_ms", "p99_ms")), f"{row['frames_per_s']:.0f}"
        )
    Console().print(table)
    if full:
        print(f"p90 latency: {whole.p90_ms:.2f} ms ({whole.runs} frames one by one in {whole.seconds:.0f} s)")
    print(conditions_line(machine))


def time_fully(run: Callable[[], object], seconds: float) -> Latency:
    """Time by MLPerf's rule, with a bar that is drawn between runs: a thread that draws would be timed as well."""
    seconds = max(seconds, FULL_SECONDS)
    done = 0
    started_s = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[runs]} frames"),
    )
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        task = progress.add_task(f"timing {WHOLE}s", total=100, runs=0)
        shown = 0

        def on_run() -> None:
            nonlocal done, shown
            done += 1
            percent = int(100 * min(done / FULL_RUNS, (time.monotonic() - started_s) / seconds, 1))
            if percent > shown:
                shown = percent
                progress.update(task, completed=percent, runs=done, refresh=True)

        return time_runs(run, min_runs=FULL_RUNS, min_seconds=seconds, on_run=on_run)


def conditions_line(machine: dict[str, Any]) -> str:
    """What the machine was like, as far as it says."""
    parts = [machine["cpu"]]
    if machine["governor"]:
        parts.append(f"governor {machine['governor']}")
    if machine["temperature_after_c"] is not None:
        before_c, after_c = machine["temperature_before_c"], machine["temperature_after_c"]
        parts.append(
            f"{after_c:.0f} °C" if before_c is None else f"{before_c:.0f} °C before and {after_c:.0f} °C after"
        )
    if machine["throttled_since_boot"] is not None:
        parts.append("throttled since boot: " + (", ".join(machine["throttled_since_boot"]) or "never"))
    if machine["load"] is not None:
        parts.append(f"load {machine['load']:.1f} before")
    return "; ".join(parts)


def latency_row(latency: Latency) -> dict[str, float]:
    """A latency for JSON, in microsecond steps."""
    return {
        "runs": latency.runs,
        "median_ms": round(latency.median_ms, 3),
        "p90_ms": round(latency.p90_ms, 3),
        "p99_ms": round(latency.p99_ms, 3),
        "frames_per_s": round(latency.frames_per_s, 1),
    }


def run() -> None:
    """Entry point."""
    try:
        run_app(app)
    except SystemExit as ending:
        leave(ending)


def leave(ending: SystemExit) -> NoReturn:
    """End the process, at once where a thread still hangs in a camera's driver or in a slow disk.

    Python shuts down under the feet of such a thread, and ends it by force when it comes back: inside C++ that aborts
    the whole process, with "FATAL: exception not rethrown" as its last words.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ending.code if isinstance(ending.code, int) else 0 if ending.code is None else 1)
    raise ending
