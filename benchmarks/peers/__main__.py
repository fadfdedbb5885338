"""`make bench-peers`: the shipped network under other runtimes, interleaved, with what each makes of FireSeg's test."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.peers.catalogue import PEERS, choose
from edge.console import JsonOption, progress_bars, show_warning
from edge.errors import UserError, run_app
from edge.files import make_folder, write_json, write_text
from edge.host.machine import conditions, read_state
from export import SHIPPED_MODEL
from train.backend import load_keras_backend
from train.cli import DataOption, SplitOption

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")

OUT = Path("build/peers")
THREADS = (1, 2)
WIDTH = 250  # of the table where nobody looks: a pipe has no width


@app.command(epilog="Example: `python -m benchmarks.peers --data data/fireseg --only onnxruntime --threads 1`")
def compare(
    keras: Annotated[Path, typer.Option(envvar="MODEL", help="The .keras model.")] = SHIPPED_MODEL,
    int8: Annotated[Path | None, typer.Option(help="Its int8 .tflite; NAME-int8.tflite beside it by default.")] = None,
    models: Annotated[Path, typer.Option(help="Folder for the converted models.")] = OUT / "models",
    data: DataOption = None,
    split: SplitOption = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(help="Cores to compute on; give it several times for several; 1 and 2 by default."),
    ] = None,
    rounds: Annotated[int, typer.Option(help="How often each peer runs a burst.")] = 30,
    only: Annotated[
        list[str] | None,
        typer.Option(help=f"Peers to compare, such as {PEERS[2].name} or onnxruntime; all by default."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for peers.json, peers.md, peers.png and the environments.")] = OUT,
    as_json: JsonOption = False,
) -> None:
    """Compare runtimes: the same network, input and threads, in one interleaved run; how fast, and how well."""
    warnings.showwarning = show_warning
    counts = sorted(set(threads or THREADS))
    if rounds < 1 or counts[0] < 1:
        raise UserError(f"{rounds} rounds on {counts[0]} threads", "expected at least 1 of each")
    peers = choose(only or [])
    load_keras_backend(needs_tensorflow=True)
    from benchmarks.peers.client import Client
    from benchmarks.peers.convert import find_source, make_models
    from benchmarks.peers.inputs import calibration_frames, write_frames
    from benchmarks.peers.measure import measure
    from benchmarks.peers.picture import draw
    from benchmarks.peers.report import Report, make_rows
    from benchmarks.peers.runtimes import Environment
    from train.data.sources import open_split
    from train.evaluation.evaluate import evaluate
    from train.model.io import KerasPredictor, load_keras

    source = find_source(keras, int8)
    make_folder(out)
    environments = out / "environments"

    def prepare(environment: Environment) -> Path:
        return environment.prepare(environments.resolve())

    with progress_bars() as on_step:
        opened, parts = open_split(data, split, 0, on_step)
        predictor = KerasPredictor(load_keras(keras))
        reference = evaluate(predictor, parts.test, on_step("judging the Keras float", len(parts.test)))
        frames = out.resolve() / "maps" / "frames.npy"
        write_frames(parts.test, predictor.height, predictor.width, frames)
        calibration, calibrated = calibration_frames(source.card, parts, predictor.height, predictor.width, on_step)
        made = make_models(source, calibration, models.resolve(), prepare, on_step)
        before = read_state()
        found = measure(
            peers,
            made,
            counts,
            rounds,
            frames,
            prepare,
            lambda peer, model, count: Client(
                prepare(peer.environment),
                peer.adapter,
                model,
                count,
                peer.precision,
                out / "logs" / f"{peer.name}-{count}.log",
            ),
            on_step,
        )
        after = read_state()
    machine = {**conditions(before, after), "load_after": after.load}
    facts = {
        "model": {"keras": str(keras), "int8": str(source.int8), "keras_sha256": source.card["keras_sha256"]},
        "data": {"title": opened.title, "split": parts.name, "images": len(parts.test), "sha256": parts.sha256},
        "calibration": calibrated,
        "rounds": rounds,
        "machine": machine,
    }
    title = f"{keras.name} on {opened.title}, split {parts.name}, {len(parts.test)} images"
    report = Report(facts, title, counts, make_rows(found, reference))
    write_json(out / "peers.json", report.as_json())
    write_text(out / "peers.md", report.as_markdown())
    draw(report, out / "peers.png")
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
        return
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(report.table())
    for line in report.failures:
        print(f"not measured: {line}")
    for line in machine["trouble"]:
        print(f"not to be trusted: {line}")
    print(f"written to {out}: peers.json, peers.md, peers.png; the converted models lie in {models}")


if __name__ == "__main__":
    run_app(app)
