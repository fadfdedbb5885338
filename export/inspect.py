"""Describe a `.tflite`: operators, dtypes, inputs and outputs, multiply-adds, parameters, partitions, card."""

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
    """Return a description of a model file, ready for JSON. Raises `UserError` for any other file.

    Example:
        >>> inspect(Path("models/fireseg-base-int8.tflite"))["partitions"]
        1
    """
    flatbuffer, card = split_model(path)
    try:
        graph = Graph(flatbuffer)
        delegated = delegation(flatbuffer, find_runtime("litert"))
    except UserError:  # no runtime
        raise
    except Exception as error:  # a cut flatbuffer fails in any of the generated readers
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
        "partitions": delegated.partitions,
        "stranded": list(delegated.stranded),
        "boundary": list(delegated.boundary),
        "card": card,
    }


def _tensor(graph: Graph, index: int) -> dict[str, Any]:
    described = {"name": graph.tensor_name(index), "shape": list(graph.shape(index)), "dtype": graph.dtype(index)}
    quantization = graph.subgraph.tensors[index].quantization
    if quantization is None or quantization.scale is None or not len(quantization.scale):
        return described
    return {**described, "scale": float(graph.scales(index)[0]), "zero_point": graph.zero_point(index)}
