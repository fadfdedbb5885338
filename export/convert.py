"""Keras -> TFLite: float32, float16 and int8, each checked for what the Pi relies on.

The batch is fixed to 1 before converting: with a free one, shapes are computed at run time and XNNPACK gets the graph
in pieces. Nothing here depends on the day or the machine: the same model and calibration give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import keras
import numpy as np

from edge.console import OnStep, no_steps, quiet
from edge.errors import UserError
from edge.images import Frame
from edge.model.runtime import Runtime
from export.delegation import Delegation, delegation
from export.folding import fold_rescaling
from export.int8.graph import Graph
from export.int8.refine import ALL_STEPS, DEFAULT_FRAMES, LayerEffect, Steps, refine

Kind = Literal["float32", "float16", "int8"]
KINDS: tuple[Kind, ...] = get_args(Kind)

INTEGER_DTYPES = {"int8", "uint8", "int16", "int32", "int64", "bool"}
INPUT_QUANTISATION = (1.0, 0)
OUTPUT_QUANTISATION = (1 / 256, 0)


@dataclass(frozen=True)
class Converted:
    """A converted network, without its card yet."""

    kind: Kind
    flatbuffer: bytes
    delegation: Delegation
    refined: tuple[LayerEffect, ...] = ()
    """What refining did to each layer."""


@dataclass(frozen=True)
class Refining:
    """How int8 is brought back to the float model, which is given as its flatbuffer."""

    float32: bytes
    steps: Steps = ALL_STEPS
    frames: int = DEFAULT_FRAMES
    """How many calibration frames to measure on."""


def convert(
    model: keras.Model,
    kind: Kind,
    runtime: Runtime,
    *,
    calibration: Frame | None = None,
    refining: Refining | None = None,
    threads: int = 1,
    on_converted: Callable[[], None] = lambda: None,
    on_step: OnStep = no_steps,
) -> Converted:
    """Convert to one kind.

    Args:
        calibration: N x H x W x 3 RGB bytes; int8 needs them.
        refining: how to bring int8 back to the float; None leaves it as the converter made it.
        threads: cores that refining computes on.
        on_converted: called when the converter is done.
        on_step: told of refining; gives the function it calls after each operator.

    Raises `UserError` where the model does not come out as the Pi needs it.
    """
    flatbuffer = _run_converter(model, kind, calibration)
    on_converted()
    effects: list[LayerEffect] = []
    if kind == "int8":
        check_integer(flatbuffer)
        if refining and calibration is not None and refining.steps.any:
            done = on_step("refining layers", len(Graph(flatbuffer).subgraph.operators))
            flatbuffer, effects = refine(
                flatbuffer,
                refining.float32,
                calibration[: refining.frames],
                runtime,
                steps=refining.steps,
                threads=threads,
                on_operator=done,
            )
    found = delegation(flatbuffer, runtime)
    if not found.is_whole:
        raise UserError(
            f"the {kind} model falls into {found.partitions} XNNPACK partitions, expected 1", f"{found.blame()}"
        )
    return Converted(kind, flatbuffer, found, tuple(effects))


def check_integer(flatbuffer: bytes) -> None:
    """Raise `UserError` unless every tensor is an integer and bytes go in and come out as they are."""
    graph = Graph(flatbuffer)
    floats = [index for index in range(len(graph.subgraph.tensors)) if graph.dtype(index) not in INTEGER_DTYPES]
    if floats:
        raise UserError(
            f"{len(floats)} tensors of the int8 model are not integers (first: {graph.tensor_name(floats[0])}, "
            f"{graph.dtype(floats[0])})",
            "a layer has no integer kernel; keep to convolutions, ReLU6, bilinear "
            "upsampling, concatenation and sigmoid",
        )
    for name, index, expected in (
        ("input", graph.inputs[0], INPUT_QUANTISATION),
        ("output", graph.outputs[0], OUTPUT_QUANTISATION),
    ):
        found = (float(graph.scales(index)[0]), graph.zero_point(index))
        if graph.dtype(index) != "uint8" or found != expected:
            raise UserError(
                f"the int8 model's {name} is {graph.dtype(index)} with scale {found[0]:g} and zero point {found[1]}, "
                f"expected uint8 with {expected[0]:g} and {expected[1]}",
                "the model must take RGB in 0..255 and end in a sigmoid",
            )


def _run_converter(model: keras.Model, kind: Kind, calibration: Frame | None) -> bytes:
    import tensorflow as tf  # takes seconds: only what converts waits for it

    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"Keras runs on {keras.backend.backend()}, but the converter needs TensorFlow", "unset KERAS_BACKEND"
        )
    _, height, width, channels = model.input_shape
    frame = keras.Input(batch_shape=(1, height, width, channels), name="frame")
    converter = tf.lite.TFLiteConverter.from_keras_model(
        keras.Model(frame, fold_rescaling(model)(frame), name="fireseg")
    )
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
        # Without this a float16 file is weight compression alone; with it ARMv8.2 computes in half precision.
        converter.target_spec._experimental_supported_accumulation_type = tf.dtypes.float16
    if kind == "int8":
        if calibration is None or not len(calibration):
            raise UserError("int8 needs calibration images", "pass --data with training images")

        def representative() -> Iterator[list[np.ndarray]]:
            for image in calibration:  # one at a time: the calibrator keeps what it is given
                yield [image[None].astype(np.float32)]

        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.uint8
    with quiet(keep_on_error=True) as log:
        try:
            return bytes(converter.convert())
        except Exception as error:  # the converter raises its own kinds and bare ones
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise UserError(
                f"TFLite's converter refused the model for {kind} ({reason})", f"its log is {log}"
            ) from error


def artefact_paths(out: Path, kinds: Sequence[Kind] = KINDS) -> dict[Kind, Path]:
    """Where each kind is written below `out`."""
    return {kind: out / f"fireseg-{kind}.tflite" for kind in kinds}
