"""Weights rounded against the float layer come nearer to it than weights rounded each to the nearest."""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt
import pytest

from edge.images import Frame
from edge.model.runtime import Runtime
from export.convert import check_integer
from export.delegation import delegation
from export.int8.gptq import WEIGHT_MAX, _round, _solve, round_layer
from export.int8.graph import Graph
from export.int8.refine import Steps, refine
from export.int8.runner import Stepwise
from train.evaluation.metrics import agreement

WEIGHTS_ALONE = Steps(ranges=False, biases=False)


@pytest.fixture(scope="module")
def rounded(plain_int8: bytes, float32: bytes, frames: Frame, runtime: Runtime) -> bytes:
    """The small U-Net with weights rounded anew and biases left alone."""
    return refine(plain_int8, float32, frames, runtime, steps=WEIGHTS_ALONE, threads=2)[0]


def maps(flatbuffer: bytes, frames: Frame, runtime: Runtime) -> npt.NDArray[np.float64]:
    """The probabilities of every frame."""
    interpreter = runtime.interpreter(flatbuffer, 2)
    given, made = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    results = []
    for frame in frames:
        interpreter.set_tensor(given["index"], frame[None].astype(given["dtype"]))
        interpreter.invoke()
        results.append(interpreter.get_tensor(made["index"])[0, :, :, 0] / (256 if made["dtype"] == np.uint8 else 1))
    return np.array(results, np.float64)


def random_problem(seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Correlated inputs (1, rows, inputs), float weights (1, inputs, outputs), and coarse steps (1, outputs)."""
    rng = np.random.default_rng(seed)
    given = rng.normal(size=(1, 2000, 12)) @ rng.normal(size=(12, 12)) + rng.normal(size=12)
    matrix = rng.normal(size=(1, 12, 5))
    return given, matrix, np.abs(matrix).max(axis=1) / 15


@pytest.mark.parametrize("seed", range(8))
def test_the_layers_output_is_nearer_to_the_floats_than_with_each_weight_rounded_to_the_nearest(seed: int) -> None:
    given, matrix, scales = random_problem(seed)
    target = given @ matrix
    steps, bias = _solve(given, target, matrix, scales)
    error = np.square(given @ (steps * scales[:, None]) + bias - target).mean()
    nearest = np.rint(matrix / scales[:, None]) * scales[:, None]
    plain = np.square((given - given.mean(axis=1)) @ (nearest - matrix)).mean()  # its mean shift forgiven
    assert error < 0.8 * plain


def test_an_input_that_comes_in_too_weak_is_made_up_for() -> None:
    given, matrix, _ = random_problem(0)
    weak = given.copy()
    weak[:, :, 3] *= 0.5
    wide = np.abs(matrix).max(axis=1) / WEIGHT_MAX * 2.5
    steps, bias = _solve(weak, given @ matrix, matrix, wide)
    plain = np.rint(matrix / wide[:, None]) * wide[:, None]
    error = np.square(weak @ (steps * wide[:, None]) + bias - given @ matrix).mean()
    assert error < 0.5 * np.square(weak @ plain - given @ matrix).mean()
    assert np.abs(steps).max() <= WEIGHT_MAX


def test_weights_are_whole_steps_within_int8_in_the_order_they_came() -> None:
    _, matrix, scales = random_problem(3)
    steps = _round(matrix, np.eye(12)[None], scales)  # inputs that do not correlate: nothing to hand on
    np.testing.assert_array_equal(steps, np.rint(matrix / scales[:, None]))


def test_every_group_of_a_depthwise_layer_is_solved_by_itself() -> None:
    rng = np.random.default_rng(5)
    given, matrix = rng.normal(size=(4, 500, 9)), rng.normal(size=(4, 9, 1))
    scales = np.abs(matrix).max(axis=1) / 31
    together, biases = _solve(given, given @ matrix, matrix, scales)
    for group in range(4):
        one = slice(group, group + 1)
        alone, bias = _solve(given[one], given[one] @ matrix[one], matrix[one], scales[one])
        np.testing.assert_array_equal(together[one], alone)
        np.testing.assert_allclose(biases[one], bias)


def test_a_dead_channel_does_no_harm() -> None:
    given = np.zeros((2, 100, 9))
    matrix = np.random.default_rng(0).normal(size=(2, 9, 1))
    scales = np.abs(matrix).max(axis=1) / WEIGHT_MAX
    steps, bias = _solve(given, given @ matrix, matrix, scales)
    assert np.isfinite(steps).all()
    np.testing.assert_array_equal(steps, np.rint(matrix / scales[:, None]))
    np.testing.assert_array_equal(bias, 0)


def test_the_map_comes_nearer_to_the_floats(
    rounded: bytes, plain_int8: bytes, float32: bytes, frames: Frame, runtime: Runtime
) -> None:
    wanted = maps(float32, frames, runtime)
    plain, refined = (maps(model, frames, runtime) for model in (plain_int8, rounded))
    assert np.abs(refined - wanted).mean() < 0.9 * np.abs(plain - wanted).mean()
    assert agreement(refined >= 0.5, wanted >= 0.5) >= agreement(plain >= 0.5, wanted >= 0.5)


def test_it_stays_an_integer_model_of_the_same_size_in_one_partition(
    rounded: bytes, plain_int8: bytes, runtime: Runtime
) -> None:
    check_integer(rounded)
    assert delegation(rounded, runtime).is_whole
    before, after = Graph(plain_int8), Graph(rounded)
    assert before.op_census() == after.op_census()
    for conv in after.convolutions:
        np.testing.assert_array_equal(before.scales(conv.weights), after.scales(conv.weights))


def test_the_same_model_and_frames_give_the_same_bytes(
    rounded: bytes, plain_int8: bytes, float32: bytes, frames: Frame, runtime: Runtime
) -> None:
    assert refine(plain_int8, float32, frames, runtime, steps=WEIGHTS_ALONE, threads=2)[0] == rounded


def test_a_layer_with_too_many_inputs_is_left_as_it_is(
    plain_int8: bytes, float32: bytes, frames: Frame, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.int8.gptq.MAX_FAN_IN", 2)
    graph, float_graph = Graph(plain_int8), Graph(float32)
    run, float_run = Stepwise(graph, frames, runtime, 1), Stepwise(float_graph, frames.astype(np.float32), runtime, 1)
    assert not round_layer(graph.convolutions[0], run, float_graph.convolutions[0], float_run, seed=0)
    assert graph.pack() == Graph(plain_int8).pack()


def test_padding_is_where_tensorflow_puts_it(runtime: Runtime) -> None:
    """A strided layer's patches, weighed by hand, give the very output that the interpreter gives."""
    from export.convert import _run_converter
    from export.int8.gptq import _patches

    keras.utils.set_random_seed(0)
    inputs = keras.Input((9, 12, 3))
    outputs = keras.layers.Conv2D(4, 3, strides=2, padding="same", bias_initializer="random_normal")(inputs)
    graph = Graph(_run_converter(keras.Model(inputs, outputs), "float32", None))
    frame = np.random.default_rng(0).normal(size=(1, 9, 12, 3)).astype(np.float32)
    run = Stepwise(graph, frame, runtime, 1)
    conv = graph.convolutions[0]
    run.advance(conv.op_index + 1)
    made = run.values[conv.output][0]
    run.values[conv.data] = frame
    position = tuple(axis.ravel() for axis in np.indices((1, *made.shape[:2])))
    patches = _patches(conv, run, position)
    assert conv.bias is not None
    weights = graph.constant(conv.weights, np.float32).reshape(4, -1)
    by_hand = patches.reshape(len(patches), -1) @ weights.T + graph.constant(conv.bias, np.float32)
    np.testing.assert_allclose(by_hand.reshape(made.shape), made, atol=1e-5)
