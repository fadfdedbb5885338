"""What is in a `.tflite`: operators, dtypes, inputs and outputs, multiply-adds, parameters, partitions, card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge.errors import UserError
from edge.files import sha256
from edge.model.card import split_model
from edge.model.runtime import find_runtime
from export.delegation import delegation
from export.int8.graph import Graph


def inspect(path: Path) -> dict[str, Any]:
    """Describe a model file. Raises `UserError` where it is none."""
    flatbuffer, card = split_model(path)
    try:
        graph = Graph(flatbuffer)
        found = delegation(flatbuffer, find_runtime("litert"))
    except UserError:
        raise
    except Exception as error:  # a cut flatbuffer fails in whichever of the generated readers meets the end
        raise UserError(f"{path} is cut short or damaged", "copy or export it again") from error
    return {
        "path": str(path),
        "size_bytes": path.stat().st_size,
        "sha256": sha256(path),
        "inputs": [_tensor(graph, index) for index in graph.inputs],
        "outputs": [_tensor(graph, index) for index in graph.outputs],
        "operators": dict(graph.op_census().most_common()),
        "tensor_dtypes": dict(graph.dtype_census().most_common()),
        "multiply_adds": graph.multiply_adds(),
        "parameters": graph.parameters(),
        "partitions": found.partitions,
        "stranded": list(found.stranded),
        "boundary": list(found.boundary),
        "card": card,
    }


def _tensor(graph: Graph, index: int) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": graph.tensor_name(index),
        "shape": list(graph.shape(index)),
        "dtype": graph.dtype(index),
    }
    quantisation = graph.subgraph.tensors[index].quantization
    if quantisation is not None and quantisation.scale is not None and len(quantisation.scale):
        described |= {"scale": float(graph.scales(index)[0]), "zero_point": graph.zero_point(index)}
    return described
