"""Keras -> TFLite: what the Pi relies on holds in every file, and the same model gives the same bytes."""

from __future__ import annotations

import hashlib
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
from export.convert import KINDS, Refining, artefact_paths, check_integer, convert
from export.int8.graph import Graph
from export.int8.refine import LayerEffect, Steps
from export.pipeline import Exported
from train.model.unet import Decoder, Encoder, UNetConfig, build_unet

SIDE_PX = 64

Step = tuple[str, int, list[None]]

ENVIRONMENT_OF_ANOTHER_DAY = {"PYTHONHASHSEED": "4711", "TZ": "Pacific/Apia"}

CONVERT_ELSEWHERE = """
import hashlib, sys
from train.backend import load_keras_backend
load_keras_backend(needs_tensorflow=True)
from pathlib import Path
import numpy as np
from edge.model.runtime import find_runtime
from export.convert import Refining, convert
from train.model.io import load_keras
model, frames, runtime = load_keras(Path(sys.argv[1])), np.load(sys.argv[2]), find_runtime("litert")
float32 = convert(model, "float32", runtime).flatbuffer
int8 = convert(model, "int8", runtime, calibration=frames, refining=Refining(float32), threads=2).flatbuffer
for flatbuffer in (float32, convert(model, "float16", runtime).flatbuffer, int8):
    print(hashlib.sha256(flatbuffer).hexdigest())
"""


def headed(make_head: Callable[[keras.KerasTensor], keras.KerasTensor]) -> keras.Model:
    """Rescaling, one convolution with ReLU6, and what `make_head` puts on it."""
    keras.utils.set_random_seed(4)
    frame = keras.Input((SIDE_PX, SIDE_PX, 3), name="frame")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(frame)
    x = keras.layers.ReLU(6.0)(keras.layers.Conv2D(8, 3, strides=2, padding="same")(x))
    return keras.Model(frame, make_head(x), name="headed")


def upsampled(x: keras.KerasTensor, interpolation: str) -> keras.KerasTensor:
    return keras.layers.UpSampling2D(2, interpolation=interpolation)(x)


def one_channel(x: keras.KerasTensor, activation: str) -> keras.KerasTensor:
    return keras.layers.Activation(activation)(keras.layers.Conv2D(1, 3, padding="same")(x))


def assert_integer_from_end_to_end(flatbuffer: bytes) -> None:
    graph = Graph(flatbuffer)
    assert set(graph.dtype_census()) <= {"int8", "int32", "uint8"}
    (input_,), (output,) = graph.inputs, graph.outputs
    assert (graph.dtype(input_), graph.scales(input_).tolist(), graph.zero_point(input_)) == ("uint8", [1.0], 0)
    assert (graph.dtype(output), graph.scales(output).tolist(), graph.zero_point(output)) == ("uint8", [1 / 256], 0)


def assert_weights_per_channel_and_activations_per_tensor(flatbuffer: bytes) -> None:
    graph = Graph(flatbuffer)
    for conv in graph.convolutions:
        depthwise = conv.kind == "DEPTHWISE_CONV_2D"
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


def test_int8_is_integer_from_the_frames_bytes_to_the_maps_bytes(toy_int8: bytes) -> None:
    assert_integer_from_end_to_end(toy_int8)


def test_int8_weights_have_a_scale_a_channel_and_activations_one_in_all(toy_int8: bytes) -> None:
    assert_weights_per_channel_and_activations_per_tensor(toy_int8)


@pytest.mark.slow
def test_the_unets_int8_is_integer_in_one_partition_with_scales_per_channel(
    plain_int8: bytes,
) -> None:
    assert_integer_from_end_to_end(plain_int8)
    assert_weights_per_channel_and_activations_per_tensor(plain_int8)


@pytest.mark.slow
def test_a_whole_export_made_step_by_step_gives_the_same_bytes(
    exported: tuple[Exported, list[Step]], corrected: tuple[bytes, list[LayerEffect]]
) -> None:
    made = exported[0].converted["int8"]
    assert made.flatbuffer == corrected[0]
    assert list(made.refined) == corrected[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_converted_twice_gives_the_same_bytes(
    toy: keras.Model, toy_float32: bytes, runtime: Runtime, frames: Frame, kind: str
) -> None:
    once, again = (
        convert(toy, kind, runtime, calibration=frames, refining=Refining(toy_float32), threads=threads)  # type: ignore[arg-type]
        for threads in (1, 2)
    )
    assert once == again


@pytest.mark.slow
def test_another_process_on_another_day_gives_the_same_bytes_and_says_nothing_of_it(
    toy_keras: Path, runtime: Runtime, frames: Frame, tmp_path: Path
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
        for environment in ({"PYTHONHASHSEED": "0"}, ENVIRONMENT_OF_ANOTHER_DAY)
    ]
    first, second = (process.stdout.splitlines() for process in ran)
    assert first == second
    # Three hashes and no other word: what the converter says goes to its log.
    assert len(first) == len(set(first)) == 3
    assert [process.stderr for process in ran] == ["", ""]


@pytest.mark.slow
def test_float16_keeps_constants_in_half_precision_at_about_half_the_size(float16: bytes, float32: bytes) -> None:
    graph = Graph(float16)
    constants = [index for index in range(len(graph.subgraph.tensors)) if graph.is_constant(index)]
    for conv in graph.convolutions:  # through a DEQUANTIZE each
        assert not graph.is_constant(conv.weights)
    sizes = {
        dtype: sum(np.prod(graph.shape(i)) for i in constants if graph.dtype(i) == dtype)
        for dtype in ("float16", "float32")
    }
    assert sizes["float16"] > 200_000
    assert sizes["float32"] == 0
    assert 0.45 < len(float16) / len(float32) < 0.62


@pytest.mark.slow
def test_float16_says_that_half_precision_may_be_computed_in_and_float32_does_not(
    float16: bytes, float32: bytes
) -> None:
    def reduced_precision(flatbuffer: bytes) -> list[bytes]:
        model = Graph(flatbuffer).model
        return [
            bytes(model.buffers[entry.buffer].data)
            for entry in model.metadata
            if entry.name == b"reduced_precision_support"
        ]

    assert reduced_precision(float16) == [b"fp16accfp16"]
    assert reduced_precision(float32) == []


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["mobilenetv2", "original"])
@pytest.mark.parametrize("decoder", ["separable", "transposed"])
def test_every_encoder_with_every_decoder_is_one_partition(
    runtime: Runtime, encoder: Encoder, decoder: Decoder
) -> None:
    width = 0.35 if encoder == "mobilenetv2" else 0.1
    model = build_unet(UNetConfig(32, 64, encoder, decoder, width), weights=None)
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), dtype=np.uint8)
    frames[0, 0, 0], frames[0, -1, -1] = 0, 255
    converted = convert(model, "int8", runtime, calibration=frames)
    assert converted.delegation.partitions == 1
    assert converted.delegation.stranded == ()
    assert_integer_from_end_to_end(converted.flatbuffer)


def test_int8_is_refined_where_that_is_asked_for_and_told_of_it(
    toy: keras.Model, toy_int8: bytes, toy_float32: bytes, runtime: Runtime, frames: Frame
) -> None:
    steps: list[tuple[str, int]] = []
    told: list[str] = []

    def on_step(description: str, total: int) -> Callable[[], None]:
        steps.append((description, total))
        return lambda: told.append(description)

    refining = Refining(toy_float32, Steps(weights=False))
    converted = convert(toy, "int8", runtime, calibration=frames, refining=refining, on_step=on_step)
    assert converted.flatbuffer != toy_int8
    assert len(converted.refined) == 4
    ((_, total),) = steps
    assert total == len(told) == len(Graph(toy_int8).subgraph.operators)
    untouched = Refining(toy_float32, Steps(False, False, False))
    assert convert(toy, "int8", runtime, calibration=frames, refining=untouched).flatbuffer == toy_int8


def test_a_model_with_float_tensors_left_is_not_taken_for_int8(toy_float32: bytes) -> None:
    with pytest.raises(UserError, match=r"\d+ tensors of the int8 model are not integers .*float32.*no integer kernel"):
        check_integer(toy_float32)


@pytest.mark.parametrize("activation", ["linear", "tanh"])
def test_a_model_without_a_sigmoid_at_its_end_is_refused(runtime: Runtime, frames: Frame, activation: str) -> None:
    model = headed(lambda x: one_channel(upsampled(x, "bilinear"), activation))
    with pytest.raises(
        UserError, match=r"output is uint8 with scale .* expected uint8 with 0\.00390625 and 0.*sigmoid"
    ):
        convert(model, "int8", runtime, calibration=frames)


def test_a_model_that_does_not_see_whole_bytes_is_refused(toy: keras.Model, runtime: Runtime, frames: Frame) -> None:
    with pytest.raises(UserError, match=r"input is uint8 with scale 0\.\d+ .* must take RGB in 0\.\.255"):
        convert(toy, "int8", runtime, calibration=(frames // 2).astype(np.uint8))


def test_an_output_of_another_scale_is_refused_whoever_wrote_it(toy_int8: bytes) -> None:
    graph = Graph(toy_int8)
    graph.subgraph.tensors[graph.outputs[0]].quantization.scale = np.array([1 / 255], np.float32)
    with pytest.raises(UserError, match=r"output is uint8 with scale 0\.00392157"):
        check_integer(graph.pack())


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
def test_an_activation_that_xnnpack_has_no_integer_kernel_for_is_refused_by_name(
    runtime: Runtime, frames: Frame, activation: str
) -> None:
    model = headed(lambda x: one_channel(upsampled(keras.layers.Activation(activation)(x), "bilinear"), "sigmoid"))
    with pytest.raises(UserError, match=rf"falls into 2 XNNPACK partitions, expected 1: .*{activation.upper()}"):
        convert(model, "int8", runtime, calibration=frames)


def test_an_operator_the_converter_does_not_know_is_one_line_and_a_log(runtime: Runtime, frames: Frame) -> None:
    model = headed(lambda x: one_channel(upsampled(keras.ops.erfinv(x / 7), "bilinear"), "sigmoid"))
    with pytest.raises(UserError, match="converter refused the model for int8") as caught:
        convert(model, "int8", runtime, calibration=frames)
    assert "\n" not in str(caught.value)
    found = re.search(r"its log is (\S+)", str(caught.value))
    assert found
    log = Path(found[1])
    assert log.stat().st_size > 0
    log.unlink()


def test_artefacts_are_named_after_their_kind(tmp_path: Path) -> None:
    assert artefact_paths(tmp_path, ["float16"]) == {"float16": tmp_path / "fireseg-float16.tflite"}
    assert len(set(artefact_paths(tmp_path).values())) == len(KINDS)


def test_converting_leaves_the_model_as_it_was(toy: keras.Model, runtime: Runtime, frames: Frame) -> None:
    def fingerprint() -> str:
        return hashlib.sha256(b"".join(weights.tobytes() for weights in toy.get_weights())).hexdigest()

    before, given = fingerprint(), frames.copy()
    convert(toy, "int8", runtime, calibration=frames)
    assert fingerprint() == before
    assert np.array_equal(frames, given)
    assert toy.input_shape[0] is None  # the batch is fixed in the copy alone
