"""Convert Keras to TFLite: float32, float16 and int8, each checked for what the Pi relies on.

The batch is fixed to 1 before converting: a free batch computes shapes at run time, which cuts XNNPACK's graph. The
same model and calibration frames give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import keras
import numpy as np
from keras import layers

from edge.console import OnStep, no_steps
from edge.errors import UserError
from edge.images import Frame
from edge.model.runtime import Runtime
from edge.quiet import quiet
from export.delegation import Delegation, delegation
from export.int8.graph import Graph
from export.int8.refine import MAX_FRAMES, LayerEffect, Refinement, refine

Kind = Literal["float32", "float16", "int8"]
KINDS: tuple[Kind, ...] = get_args(Kind)

INTEGER_DTYPES = {"int8", "uint8", "int16", "int32", "int64", "bool"}
# Scale and zero point.
INPUT_QUANTIZATION = (1.0, 0)
OUTPUT_QUANTIZATION = (1 / 256, 0)


@dataclass(frozen=True)
class Converted:
    """A converted network, without a card."""

    flatbuffer: bytes
    delegation: Delegation
    refined: tuple[LayerEffect, ...] = ()
    """Effect of refinement on each layer."""


def convert(
    model: keras.Model,
    kind: Kind,
    runtime: Runtime,
    *,
    calibration: Frame | None = None,
    float32: bytes | None = None,
    refinement: Refinement = Refinement(),  # noqa: B008 - frozen
    threads: int = 1,
    on_step: OnStep = no_steps,
) -> Converted:
    """Return the model converted to one kind.

    Args:
        calibration: N x height x width x 3 RGB bytes; required for int8.
        float32: the float32 flatbuffer to refine int8 towards; None leaves int8 as converted.
        threads: CPU threads for refinement.

    Raises `UserError` if the result is not a single XNNPACK partition, or int8 is not integer throughout.

    Example:
        >>> runtime = find_runtime("litert")
        >>> float32 = convert(model, "float32", runtime).flatbuffer
        >>> int8 = convert(model, "int8", runtime, calibration=frames, float32=float32).flatbuffer
    """
    done = on_step(f"converting to {kind}", 1)
    flatbuffer = _run_converter(model, kind, calibration)
    done()
    effects: list[LayerEffect] = []
    if kind == "int8":
        check_integer(flatbuffer)
        if float32 and refinement.any and calibration is not None:
            done = on_step("refining layers", len(Graph(flatbuffer).subgraph.operators))
            frames = calibration[:MAX_FRAMES]
            flatbuffer, effects = refine(
                flatbuffer, float32, frames, runtime, refinement=refinement, threads=threads, on_operator=done
            )
    delegated = delegation(flatbuffer, runtime)
    if not delegated.is_whole:
        raise UserError(
            f"the {kind} model is cut into {delegated.partitions} XNNPACK partitions, expected 1", delegated.cause()
        )
    return Converted(flatbuffer, delegated, tuple(effects))


def check_integer(flatbuffer: bytes) -> None:
    """Raise `UserError` unless every tensor is an integer, and input and output are bytes at the expected scale."""
    graph = Graph(flatbuffer)
    floats = [index for index in range(len(graph.subgraph.tensors)) if graph.dtype(index) not in INTEGER_DTYPES]
    if floats:
        raise UserError(
            f"{len(floats)} tensors of the int8 model are not integers (first: {graph.tensor_name(floats[0])}, "
            f"{graph.dtype(floats[0])})",
            "a layer has no integer kernel; use convolutions, ReLU6, bilinear upsampling, concatenation and sigmoid",
        )
    for name, index, (scale, zero_point) in (
        ("input", graph.inputs[0], INPUT_QUANTIZATION),
        ("output", graph.outputs[0], OUTPUT_QUANTIZATION),
    ):
        actual = graph.dtype(index), float(graph.scales(index)[0]), graph.zero_point(index)
        if actual != ("uint8", scale, zero_point):
            raise UserError(
                f"the int8 model's {name} is {actual[0]} with scale {actual[1]:g} and zero point {actual[2]}, "
                f"expected uint8 with {scale:g} and {zero_point}",
                "the model must take RGB in 0..255 and end in a sigmoid",
            )


def _run_converter(model: keras.Model, kind: Kind, calibration: Frame | None) -> bytes:
    import tensorflow as tf  # takes seconds to load

    _, height, width, channels = model.input_shape
    frame = keras.Input(batch_shape=(1, height, width, channels), name="frame")
    network = keras.Model(model.inputs, model.outputs, name=model.name)  # a Sequential has no operations
    fixed = keras.Model(frame, fold_rescaling(network)(frame), name="fireseg")
    converter = tf.lite.TFLiteConverter.from_keras_model(fixed)
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
        # Lets ARMv8.2 compute in half precision; without it float16 only compresses the weights.
        converter.target_spec._experimental_supported_accumulation_type = tf.dtypes.float16
    if kind == "int8":
        if calibration is None or not len(calibration):
            raise UserError("int8 needs calibration images", "pass --data with training images")

        def representative() -> Iterator[list[np.ndarray]]:
            for image in calibration:  # one at a time: the calibrator retains its input
                yield [image[None].astype(np.float32)]

        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    with quiet(keep_on_error=True) as log:
        try:
            return bytes(converter.convert())
        except Exception as error:  # the converter raises bare exceptions too
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            problem = f"TFLite's converter refused the model for {kind} ({reason})"
            raise UserError(problem, f"see its log {log}") from error


def artefact_paths(out: Path, kinds: Sequence[Kind] = KINDS) -> dict[Kind, Path]:
    """Return the file of each kind in folder `out`."""
    return {kind: out / f"fireseg-{kind}.tflite" for kind in kinds}


def fold_rescaling(model: keras.Model) -> keras.Model:
    """Return the network with its offset-free Rescaling layers folded into the convolutions that read them.

    This saves a pass over the frame on the Pi. The converter folds what follows a convolution, such as BatchNorm, but
    nothing before it. An offset stays: SAME padding adds zeros, which an offset would not shift.

    Returns `model` itself if nothing folds.
    """
    folded = {layer.name: readers for layer in model.layers if (readers := _foldable_readers(model, layer))}
    if not folded:
        return model

    def copy(layer: keras.Layer) -> keras.Layer:
        return layers.Identity(name=layer.name) if layer.name in folded else type(layer).from_config(layer.get_config())

    without = keras.models.clone_model(model, clone_function=copy)
    without.set_weights(model.get_weights())
    for name, readers in folded.items():
        for reader in readers:
            convolution = without.get_layer(reader.name)
            convolution.kernel.assign(convolution.kernel * model.get_layer(name).scale)
    return without


def _foldable_readers(model: keras.Model, layer: keras.Layer) -> list[keras.Layer]:
    """Return the convolutions that read a pure scale; empty for any other layer or if anything else reads it."""
    if not isinstance(layer, layers.Rescaling) or layer.offset != 0 or not isinstance(layer.scale, float):
        return []
    scaled = [tensor for node in layer._inbound_nodes for tensor in node.output_tensors]
    # Operations, not layers: a function of keras.ops is a reader too.
    readers = [other for other in model.operations if any(_is_one_of(tensor, scaled) for tensor in _inputs(other))]
    only_these = all(type(reader) is layers.Conv2D and len(_inputs(reader)) == 1 for reader in readers)
    return readers if only_these and len(scaled) == 1 and not _is_one_of(scaled[0], model.outputs) else []


def _inputs(operation: keras.Operation) -> list[keras.KerasTensor]:
    """Return all that a layer, or a function of keras.ops, reads, at each place where the network calls it."""
    return [tensor for node in operation._inbound_nodes for tensor in node.input_tensors]


def _is_one_of(tensor: keras.KerasTensor, others: Sequence[keras.KerasTensor]) -> bool:
    return any(tensor is other for other in others)  # == would build an operation
