"""`fireseg-export layers`: the layers of an int8 model by their signal-to-quantization-noise ratio (SQNR)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.console import JsonOption, ThreadsOption, print_table, progress_bars
from edge.errors import UserError
from edge.model.runtime import cores_for
from export.tables import terminal_table
from train.backend import load_keras_backend
from train.commands.options import DataOption


def layers_command(
    int8: Annotated[Path, typer.Argument(help="The int8 .tflite.")],
    float32: Annotated[Path, typer.Argument(help="The float32 .tflite of the same export.")],
    data: DataOption = None,
    count: Annotated[int, typer.Option(min=1, help="Number of training images to measure on.")] = 40,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show each layer's SQNR in dB, the lowest in isolation first."""
    cores = cores_for(threads)
    load_keras_backend(needs_tensorflow=True)
    from edge.model.card import split_model
    from edge.model.runtime import find_runtime
    from export.calibration import candidates_from_pairs, choose
    from export.int8.graph import Graph
    from export.int8.layer_sqnr import measure_layers
    from train.data.sources import open_split

    (int8_bytes, int8_card), (float32_bytes, float32_card) = (split_model(path) for path in (int8, float32))
    if _origin(int8_card) != _origin(float32_card):
        problem = f"{int8} and {float32} come from different exports"
        raise UserError(problem, "export both with one command, such as `fireseg-export all`")
    graph, float_graph = Graph(int8_bytes), Graph(float32_bytes)
    for path, found, dtype in ((int8, graph, "uint8"), (float32, float_graph, "float32")):
        if (actual := found.dtype(found.inputs[0])) != dtype:
            raise UserError(f"{path} takes {actual}, expected {dtype}", "pass the int8 model, then the float32 one")
    _, height, width, _ = graph.shape(graph.inputs[0])
    with progress_bars() as on_step:
        source, parts = open_split(data, None, 0, on_step)
        candidates = candidates_from_pairs(parts.train, on_step("reading training images", len(parts.train)))
        frames = choose(candidates, count, 0).frames(height, width)
        on_operator = on_step("running layer by layer", len(graph.subgraph.operators))
        layers = measure_layers(
            int8_bytes, float32_bytes, frames, find_runtime("litert"), threads=cores, on_operator=on_operator
        )
    layers.sort(key=lambda layer: layer.isolated_sqnr_db)
    if as_json:
        print(json.dumps([asdict(layer) for layer in layers], indent=2))
        return
    title = f"SQNR in dB, {int8.name} against {float32.name}, {len(frames)} images of {source.title}; higher is better"
    rows = [(row.layer, row.operator, f"{row.isolated_sqnr_db:.1f}", f"{row.in_model_sqnr_db:.1f}") for row in layers]
    print_table(terminal_table(("layer", "operator", "in isolation", "in the model"), rows, title=title, words=2))


def _origin(card: dict[str, Any] | None) -> tuple[str | None, str | None]:
    """Return the hashes of the Keras model and of the images on which its channels were equalized, if known."""
    calibration = (card or {}).get("calibration") or {}
    return (card or {}).get("keras_sha256"), calibration.get("sha256") if calibration.get("equalization") else None
