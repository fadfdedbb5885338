""".tflite, float32 or int8 -> ONNX: NCHW throughout, without transpositions, simplified.

    python -m benchmarks.peers.conversions.onnx_from_tflite SOURCE.tflite ACTIVATIONS TARGET.onnx

Input and output are named `frame` and `probability`. An int8 model keeps its weights and scales. With ACTIVATIONS
uint8, the zero points of its activations are shifted by 128, which changes no value.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx  # type: ignore[import-not-found, unused-ignore]
import onnxslim  # type: ignore[import-not-found, unused-ignore]
import tensorflow as tf

INPUT, OUTPUT = "frame", "probability"
OPSET = 17  # the newest that all peers read
QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
ELEMENTWISE = (*QUANTISERS, "Mul", "Add", "Transpose")
SHIFT = 128


def convert(source: Path, activations: str, target: Path) -> None:
    """Convert a model. Raise RuntimeError if a transposition remains, which would slow every peer."""
    interpreter = tf.lite.Interpreter(str(source))
    frame, probability = (
        details[0]["name"] for details in (interpreter.get_input_details(), interpreter.get_output_details())
    )
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.onnx"
        command = [sys.executable, "-m", "tf2onnx.convert", "--tflite", str(source), "--output", str(raw)]
        command += ["--opset", str(OPSET), "--inputs-as-nchw", frame, "--outputs-as-nchw", probability]
        subprocess.run(command, check=True)
        model = onnxslim.slim(onnx.load(raw))
    drop_transpositions(model.graph)
    if activations == "uint8":
        make_unsigned(model.graph)
    rename(model.graph, frame, INPUT)
    rename(model.graph, probability, OUTPUT)
    del model.graph.value_info[:]  # stale types and shapes
    model = onnxslim.slim(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


def drop_transpositions(graph: Any) -> None:
    """Remove the pairs that tf2onnx leaves around an int8 model's rescaling, which is elementwise."""
    producers = {output: node for node in graph.node for output in node.output}
    constants = {constant.name: constant for constant in graph.initializer}
    for last in [node for node in graph.node if node.op_type == "Transpose"]:
        between, node = [], producers.get(last.input[0])
        while node is not None and node.op_type in ELEMENTWISE[:-1]:
            between.append(node)
            node = producers.get(node.input[0])
        sizes = [np.prod(constants[name].dims) for op in between for name in op.input[1:] if name in constants]
        if node is None or node.op_type != "Transpose" or any(size > 1 for size in sizes):
            continue
        for transposition in (node, last):
            replace(graph, transposition.output[0], transposition.input[0])
            graph.node.remove(transposition)
    if remaining := sum(node.op_type == "Transpose" for node in graph.node):
        raise RuntimeError(f"tf2onnx left {remaining} transpositions in the graph")


def make_unsigned(graph: Any) -> None:
    """Change activations from int8 to uint8: bytes and zero points rise by 128, values stay."""
    constants = {constant.name: onnx.numpy_helper.to_array(constant) for constant in graph.initializer}
    added: set[str] = set()
    for node in graph.node:
        if node.op_type not in QUANTISERS or node.input[0] in constants:
            continue  # a weight or bias
        zero_point = constants[node.input[2]]
        if zero_point.dtype != np.int8:
            continue
        shifted = np.array(zero_point.astype(np.int16) + SHIFT, np.uint8)
        name = f"unsigned_zero_point_{int(shifted)}"
        if name not in added:
            graph.initializer.append(onnx.numpy_helper.from_array(shifted, name))
            added.add(name)
        node.input[2] = name


def rename(graph: Any, old: str, new: str) -> None:
    """Rename a tensor everywhere."""
    for value in (*graph.input, *graph.output):
        if value.name == old:
            value.name = new
    replace(graph, old, new)
    for node in graph.node:
        node.output[:] = [new if name == old else name for name in node.output]


def replace(graph: Any, old: str, new: str) -> None:
    """Make every reader of one tensor read another."""
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


if __name__ == "__main__":
    convert(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
