"""`fireseg-export layers`: which layers of an int8 model lose the most."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from edge.console import JsonOption, print_table, progress_bars
from edge.model.runtime import cores_for
from train.backend import load_keras_backend
from train.commands.options import DataOption


def layers_command(
    int8: Annotated[Path, typer.Argument(help="The int8 .tflite.")],
    float32: Annotated[Path, typer.Argument(help="The float32 .tflite of the same network.")],
    data: DataOption = None,
    count: Annotated[int, typer.Option(min=1, help="On how many training images.")] = 40,
    threads: Annotated[int | None, typer.Option(min=1, help="Cores to compute on; all by default.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show each layer's signal-to-noise of int8 against the float, the worst by itself first."""
    load_keras_backend(needs_tensorflow=True)
    from edge.model.card import split_model
    from edge.model.runtime import find_runtime
    from export.calibration import candidates_from_pairs, choose
    from export.int8.graph import Graph
    from export.int8.layer_sqnr import layer_noise
    from train.data.sources import open_split

    networks = [split_model(path)[0] for path in (int8, float32)]
    graph = Graph(networks[0])
    _, height, width, _ = graph.shape(graph.inputs[0])
    with progress_bars() as on_step:
        source, parts = open_split(data, "official", 0, on_step)
        candidates = candidates_from_pairs(parts.train, on_step("reading training images", len(parts.train)))
        frames = choose(candidates, count, 0).frames(height, width)
        done = on_step("running layer by layer", len(graph.subgraph.operators))
        found = layer_noise(
            networks[0], networks[1], frames, find_runtime("litert"), threads=cores_for(threads), on_operator=done
        )
    found.sort(key=lambda layer: layer.own_db)
    if as_json:
        print(json.dumps([asdict(layer) for layer in found], indent=2))
        return
    table = Table(
        title=f"{int8.name} against {float32.name}, {len(frames)} images of {source.title}; dB, more is better"
    )
    for heading in ("layer", "kind", "by itself", "in the model"):
        table.add_column(heading, justify="left" if heading in ("layer", "kind") else "right")
    for layer in found:
        table.add_row(layer.layer, layer.kind, f"{layer.own_db:.1f}", f"{layer.running_db:.1f}")
    print_table(table)
