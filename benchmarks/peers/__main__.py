"""`make bench-peers`: latency and accuracy of the shipped network under other runtimes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.models import DEFAULT_KERAS
from benchmarks.peers.runtimes import BUILD, PEERS, choose
from edge.console import progress_bars, show_warning
from edge.errors import UserError, run_app
from edge.files import write_json, write_text
from edge.host.machine import conditions, read_state
from train.backend import load_keras_backend
from train.commands.options import DataOption, SplitOption

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")

THREADS = (1, 2)
PIPE_WIDTH = 250


@app.command(epilog="Example: `python -m benchmarks.peers --data data/fireseg --only onnxruntime --threads 1`")
def main(
    keras: Annotated[
        Path, typer.Option(envvar="MODEL", help="The .keras model, with its NAME-int8.tflite beside it.")
    ] = DEFAULT_KERAS,
    data: DataOption = None,
    split: SplitOption = None,
    threads: Annotated[list[int] | None, typer.Option(help="CPU threads; repeatable; 1 and 2 by default.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Bursts per peer.")] = 30,
    only: Annotated[
        list[str] | None,
        typer.Option(help=f"Peers to compare, such as {PEERS[2].name} or onnxruntime; repeatable; all by default."),
    ] = None,
) -> None:
    """Compare runtimes on the same network, input and threads, interleaved in one run; write into build/peers."""
    warnings.showwarning = show_warning
    counts = sorted(set(threads or THREADS))
    if counts[0] < 1:
        raise UserError(f"--threads {counts[0]}", "expected at least 1")
    peers = choose(only or [])
    load_keras_backend(needs_tensorflow=True)
    from benchmarks.peers.convert import calibration_frames, find_int8, make_models
    from benchmarks.peers.measure import measure, write_frames
    from benchmarks.peers.report import Report, draw, make_rows
    from train.data.sources import open_split
    from train.evaluation.evaluate import evaluate
    from train.model.io import KerasPredictor, load_keras

    int8, card = find_int8(keras)
    with progress_bars() as on_step:
        source, parts = open_split(data, split, 0, on_step)
        predictor = KerasPredictor(load_keras(keras))
        size = (predictor.height, predictor.width)
        reference = evaluate(predictor, parts.test, on_step("evaluating the Keras float", len(parts.test)))
        frames = BUILD / "maps" / "frames.npy"
        write_frames(parts.test, *size, frames)
        calibration, calibration_facts = calibration_frames(card, parts, *size, on_step)
        converted = make_models(keras, int8, calibration, BUILD / "models", on_step)
        before = read_state()
        results = measure(peers, converted, counts, rounds, frames, on_step)
        after = read_state()
    machine = {**conditions(before, after), "load_after": after.load}
    facts = {
        "model": {"keras": str(keras), "int8": str(int8), "keras_sha256": card["keras_sha256"]},
        "data": {"title": source.title, "split": parts.name, "images": len(parts.test), "sha256": parts.sha256},
        "calibration": calibration_facts,
        "rounds": rounds,
        "machine": machine,
    }
    title = f"{keras.name} on {source.title}, split {parts.name}, {len(parts.test)} images"
    report = Report(facts, title, counts, make_rows(results, reference))
    write_json(BUILD / "peers.json", report.as_json())
    write_text(BUILD / "peers.md", report.as_markdown())
    draw(report, BUILD / "peers.png")
    console = Console()
    (console if console.is_terminal else Console(width=PIPE_WIDTH)).print(report.table())
    for line in report.failures:
        print(f"not measured: {line}")
    for line in machine["trouble"]:
        print(f"not reliable: {line}")
    print(f"{BUILD} holds peers.json, peers.md, peers.png and the converted models")


if __name__ == "__main__":
    run_app(app)
