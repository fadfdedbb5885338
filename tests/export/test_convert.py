"""Conversion: what the Pi relies on holds in every file, and the same model gives the same bytes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from edge.errors import UserError
from edge.images import Frame
from edge.model.runtime import Runtime
from export.convert import check_integer, convert, fold_rescaling
from export.int8.graph import Graph
from export.int8.refine import Refinement, refine
from train.model.unet import UNetConfig, build_unet

pytestmark = pytest.mark.slow

SIDE_PX = 64

CONVERT_ELSEWHERE = """
import hashlib, sys
from train.backend import load_keras_backend
load_keras_backend(needs_tensorflow=True)
from pathlib import Path
import numpy as np
from edge.model.runtime import find_runtime
from export.convert import convert
from train.model.io import load_keras
model, frames, runtime = load_keras(Path(sys.argv[1])), np.load(sys.argv[2]), find_runtime("litert")
float32 = convert(model, "float32", runtime).flatbuffer
int8 = convert(model, "int8", runtime, calibration=frames, float32=float32, threads=2).flatbuffer
for flatbuffer in (float32, convert(model, "float16", runtime).flatbuffer, int8):
    print(hashlib.sha256(flatbuffer).hexdigest())
"""


def headed(make_head: Callable[[keras.KerasTensor], keras.KerasTensor]) -> keras.Model:
    """Rescaling, one convolution with ReLU6, and the head."""
    keras.utils.set_random_seed(4)
    frame = keras.Input((SIDE_PX, SIDE_PX, 3), name="frame")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(frame)
    x = keras.layers.ReLU(6.0)(keras.layers.Conv2D(8, 3, strides=2, padding="same")(x))
    return keras.Model(frame, make_head(x), name="headed")


def upsampled(x: keras.KerasTensor, interpolation: str) -> keras.KerasTensor:
    return keras.layers.UpSampling2D(2, interpolation=interpolation)(x)


def one_channel(x: keras.KerasTensor, activation: str) -> keras.KerasTensor:
    return keras.layers.Activation(activation)(keras.layers.Conv2D(1, 3, padding="same")(x))


def assert_integer_throughout(flatbuffer: bytes) -> None:
    graph = Graph(flatbuffer)
    assert set(graph.dtype_census()) <= {"int8", "int32", "uint8"}
    (input_,), (output,) = graph.inputs, graph.outputs
    assert (graph.dtype(input_), graph.scales(input_).tolist(), graph.zero_point(input_)) == ("uint8", [1.0], 0)
    assert (graph.dtype(output), graph.scales(output).tolist(), graph.zero_point(output)) == ("uint8", [1 / 256], 0)


def assert_weights_per_channel_and_activations_per_tensor(flatbuffer: bytes) -> None:
    graph = Graph(flatbuffer)
    for conv in graph.convolutions:
        depthwise = conv.operator == "DEPTHWISE_CONV_2D"
        channels = graph.shape(conv.weights)[3 if depthwise else 0]
        assert len(graph.scales(conv.weights)) == channels
        assert not np.any(graph.subgraph.tensors[conv.weights].quantization.zeroPoint)
        assert np.abs(graph.constant(conv.weights, np.int8).astype(int)).max() <= 127
        if conv.bias is not None:
            products = graph.scales(conv.data)[0] * graph.scales(conv.weights)
            np.testing.assert_allclose(graph.scales(conv.bias), products, rtol=1e-5)
    weights = {index for conv in graph.convolutions for index in (conv.weights, conv.bias)}
    activations = [index for op in graph.subgraph.operators for index in op.outputs]
    for index in activations:
        assert index not in weights
        assert len(graph.scales(int(index))) == 1


@pytest.mark.parametrize("fixture", ["toy_int8", "unet_int8"])
def test_int8_is_integer_throughout_with_a_weight_scale_per_channel(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    flatbuffer = request.getfixturevalue(fixture)
    assert_integer_throughout(flatbuffer)
    assert_weights_per_channel_and_activations_per_tensor(flatbuffer)


def test_int8_is_refined_towards_the_float_if_asked(
    toy: keras.Model, toy_int8: bytes, toy_float32: bytes, runtime: Runtime, frames: Frame
) -> None:
    steps: list[tuple[str, int]] = []
    progress: list[str] = []

    def on_step(description: str, total: int) -> Callable[[], None]:
        steps.append((description, total))
        return lambda: progress.append(description)

    converted = convert(toy, "int8", runtime, calibration=frames, float32=toy_float32, on_step=on_step)
    refined, effects = refine(toy_int8, toy_float32, frames, runtime, threads=1)
    assert (converted.flatbuffer, list(converted.refined)) == (refined, effects)
    operators = len(Graph(toy_int8).subgraph.operators)
    assert steps == [("converting to int8", 1), ("refining layers", operators)]
    assert [(description, progress.count(description)) for description, _ in steps] == steps
    neither = Refinement(weight_rounding=False, bias_correction=False)
    plain = convert(toy, "int8", runtime, calibration=frames, float32=toy_float32, refinement=neither)
    assert plain.flatbuffer == toy_int8


def test_another_process_on_another_day_gives_the_same_bytes_silently(
    toy_keras: Path, frames: Frame, tmp_path: Path
) -> None:
    np.save(tmp_path / "frames.npy", frames)
    ran = [
        subprocess.run(
            [sys.executable, "-c", CONVERT_ELSEWHERE, str(toy_keras), str(tmp_path / "frames.npy")],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **environment},
        )
        for environment in ({"PYTHONHASHSEED": "0"}, {"PYTHONHASHSEED": "4711", "TZ": "Pacific/Apia"})
    ]
    first, second = (process.stdout.splitlines() for process in ran)
    assert first == second
    # Nothing but the three hashes: the converter's output goes to its log.
    assert len(first) == len(set(first)) == 3
    assert [process.stderr for process in ran] == ["", ""]


def test_float16_holds_half_precision_constants_and_allows_half_precision_arithmetic(
    toy: keras.Model, toy_float32: bytes, runtime: Runtime
) -> None:
    float16 = convert(toy, "float16", runtime).flatbuffer
    graph = Graph(float16)
    constants = [index for index in range(len(graph.subgraph.tensors)) if graph.is_constant(index)]
    assert "float32" not in {graph.dtype(index) for index in constants}
    assert not any(graph.is_constant(conv.weights) for conv in graph.convolutions)  # through a DEQUANTIZE each
    assert reduced_precision(float16) == [b"fp16accfp16"]
    assert reduced_precision(toy_float32) == []


def reduced_precision(flatbuffer: bytes) -> list[bytes]:
    model = Graph(flatbuffer).model
    entries = [entry for entry in model.metadata if entry.name == b"reduced_precision_support"]
    return [bytes(model.buffers[entry.buffer].data) for entry in entries]


def test_the_u_net_is_one_partition(runtime: Runtime) -> None:
    model = build_unet(UNetConfig(32, 64, width=0.35), weights=None)
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), dtype=np.uint8)
    frames[0, 0, 0], frames[0, -1, -1] = 0, 255
    converted = convert(model, "int8", runtime, calibration=frames)
    assert converted.delegation.partitions == 1
    assert converted.delegation.stranded == ()
    assert_integer_throughout(converted.flatbuffer)


def test_float_tensors_in_an_int8_model_are_refused(toy_float32: bytes) -> None:
    with pytest.raises(UserError, match=r"\d+ tensors of the int8 model are not integers .*float32.*no integer kernel"):
        check_integer(toy_float32)


@pytest.mark.parametrize("activation", ["linear", "tanh"])
def test_a_model_that_does_not_end_in_a_sigmoid_is_refused(runtime: Runtime, frames: Frame, activation: str) -> None:
    model = headed(lambda x: one_channel(upsampled(x, "bilinear"), activation))
    with pytest.raises(
        UserError, match=r"output is uint8 with scale .* expected uint8 with 0\.00390625 and 0.*sigmoid"
    ):
        convert(model, "int8", runtime, calibration=frames)


def test_calibration_frames_that_do_not_span_0_to_255_are_refused(
    toy: keras.Model, runtime: Runtime, frames: Frame
) -> None:
    with pytest.raises(UserError, match=r"input is uint8 with scale 0\.\d+ .* must take RGB in 0\.\.255"):
        convert(toy, "int8", runtime, calibration=(frames // 2).astype(np.uint8))


@pytest.mark.parametrize("calibration", [None, np.empty((0, SIDE_PX, SIDE_PX, 3), np.uint8)])
def test_int8_without_calibration_images_is_refused(
    toy: keras.Model, runtime: Runtime, calibration: Frame | None
) -> None:
    with pytest.raises(UserError, match="int8 needs calibration images"):
        convert(toy, "int8", runtime, calibration=calibration)


def test_nearest_upsampling_is_refused_and_named_as_the_cause(runtime: Runtime) -> None:
    model = headed(lambda x: one_channel(upsampled(x, "nearest"), "sigmoid"))
    with pytest.raises(UserError, match=r"XNNPACK partitions, expected 1: .*nearest upsampling.*use bilinear"):
        convert(model, "float32", runtime)


@pytest.mark.parametrize("activation", ["gelu", "hard_swish"])
def test_an_activation_without_an_integer_kernel_is_refused_by_name(
    runtime: Runtime, frames: Frame, activation: str
) -> None:
    model = headed(lambda x: one_channel(upsampled(keras.layers.Activation(activation)(x), "bilinear"), "sigmoid"))
    with pytest.raises(UserError, match=rf"is cut into 2 XNNPACK partitions, expected 1: .*{activation.upper()}"):
        convert(model, "int8", runtime, calibration=frames)


def test_an_operator_unknown_to_the_converter_is_one_line_and_a_log(runtime: Runtime, frames: Frame) -> None:
    model = headed(lambda x: one_channel(upsampled(keras.ops.erfinv(x / 7), "bilinear"), "sigmoid"))
    with pytest.raises(UserError, match="converter refused the model for int8") as caught:
        convert(model, "int8", runtime, calibration=frames)
    assert "\n" not in str(caught.value)
    match = re.search(r"see its log (\S+)", str(caught.value))
    assert match
    log = Path(match[1])
    assert log.stat().st_size > 0
    log.unlink()


def test_converting_leaves_the_model_as_it_was(toy: keras.Model, runtime: Runtime, frames: Frame) -> None:
    weights_before, frames_before = [weights.tobytes() for weights in toy.get_weights()], frames.copy()
    convert(toy, "int8", runtime, calibration=frames)
    assert [weights.tobytes() for weights in toy.get_weights()] == weights_before
    assert np.array_equal(frames, frames_before)
    assert toy.input_shape[0] is None  # the batch is fixed in a copy


def scaled(rescaling: keras.Layer, *, second_reader: bool = False) -> keras.Model:
    """A network whose first convolution reads the rescaled frame, and perhaps something else too."""
    frame = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(rescaled := rescaling(frame))
    if second_reader:
        x = keras.layers.Concatenate()([x, rescaled])
    return keras.Model(frame, keras.layers.Conv2D(1, 1, activation="sigmoid")(x))


@pytest.mark.parametrize("of_project", [False, True])
def test_a_scale_folds_into_the_first_convolution_of_a_copy(of_project: bool) -> None:
    model = scaled(keras.layers.Rescaling(1 / 127.5))
    if of_project:
        model = build_unet(UNetConfig(32, 32, width=0.35), weights=None)
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    before = [weights.tobytes() for weights in model.get_weights()]
    folded = fold_rescaling(model)
    assert not any(isinstance(layer, keras.layers.Rescaling) for layer in folded.layers)
    assert np.allclose(folded(frames), model(frames), atol=1e-5)
    assert [weights.tobytes() for weights in model.get_weights()] == before


def test_an_offset_or_a_scale_with_a_second_reader_does_not_fold() -> None:
    offset = scaled(keras.layers.Rescaling(1 / 127.5, offset=-1))
    assert fold_rescaling(offset) is offset  # the zeros of the padding would not shift with the frame
    shared = scaled(keras.layers.Rescaling(1 / 127.5), second_reader=True)
    assert fold_rescaling(shared) is shared


def test_a_scale_that_a_function_of_keras_ops_reads_does_not_fold() -> None:
    frame = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 127.5)(frame)
    convolved = keras.layers.Conv2D(1, 3, padding="same")(x)
    model = keras.Model(frame, keras.layers.Activation("sigmoid")(convolved + keras.ops.mean(x, -1, keepdims=True)))
    assert fold_rescaling(model) is model


def test_a_scale_that_is_an_output_or_whose_convolution_reads_more_does_not_fold() -> None:
    frame = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 127.5)(frame)
    convolution = keras.layers.Conv2D(1, 3, padding="same")
    convolved = convolution(x)
    output = keras.Model(frame, [convolved, x])
    assert fold_rescaling(output) is output
    twice = keras.Model(frame, keras.layers.Add()([convolved, convolution(frame)]))
    assert fold_rescaling(twice) is twice


def test_a_scale_folds_beside_functions_of_keras_ops_that_read_other_tensors() -> None:
    frame = keras.Input((32, 32, 3))
    convolved = keras.layers.Conv2D(1, 3, padding="same")(keras.layers.Rescaling(1 / 127.5)(frame))
    model = keras.Model(frame, keras.layers.Activation("sigmoid")(keras.ops.relu(convolved) * 2.0))
    folded = fold_rescaling(model)
    assert not any(isinstance(layer, keras.layers.Rescaling) for layer in folded.layers)
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    assert np.allclose(folded(frames), model(frames), atol=1e-5)
