"""GPTQ brings a layer closer to the float than rounding each weight to the nearest step."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edge.images import Frame
from edge.model.runtime import Runtime
from export.delegation import delegation
from export.int8.gptq import WEIGHT_MAX, _patches, _round, _solve
from export.int8.graph import Graph
from export.int8.refine import Refinement, refine
from export.int8.runner import OperatorRunner
from tests.export.interpreting import mean_error, probabilities
from train.evaluation.metrics import agreement


def random_problem(seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Correlated inputs (1, rows, inputs), float weights (1, inputs, outputs), and coarse steps (1, outputs)."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(1, 2000, 12)) @ rng.normal(size=(12, 12)) + rng.normal(size=12)
    matrix = rng.normal(size=(1, 12, 5))
    return inputs, matrix, np.abs(matrix).max(axis=1) / 15


@pytest.mark.parametrize("seed", range(8))
def test_gptq_beats_rounding_each_weight_to_the_nearest(seed: int) -> None:
    inputs, matrix, scales = random_problem(seed)
    target = inputs @ matrix
    steps, bias = _solve(inputs, target, matrix, scales)
    error = np.square(inputs @ (steps * scales[:, None]) + bias - target).mean()
    nearest = np.rint(matrix / scales[:, None]) * scales[:, None]
    plain = np.square((inputs - inputs.mean(axis=1)) @ (nearest - matrix)).mean()  # without its mean shift
    assert error < 0.8 * plain


def test_a_weakened_input_is_compensated() -> None:
    inputs, matrix, _ = random_problem(0)
    weak = inputs.copy()
    weak[:, :, 3] *= 0.5
    wide = np.abs(matrix).max(axis=1) / WEIGHT_MAX * 2.5
    steps, bias = _solve(weak, inputs @ matrix, matrix, wide)
    plain = np.rint(matrix / wide[:, None]) * wide[:, None]
    error = np.square(weak @ (steps * wide[:, None]) + bias - inputs @ matrix).mean()
    assert error < 0.5 * np.square(weak @ plain - inputs @ matrix).mean()
    assert np.abs(steps).max() <= WEIGHT_MAX


def test_uncorrelated_inputs_round_to_the_nearest_step_in_their_order() -> None:
    _, matrix, scales = random_problem(3)
    steps = _round(matrix, np.eye(12)[None], scales)
    np.testing.assert_array_equal(steps, np.rint(matrix / scales[:, None]))


def test_every_group_of_a_depthwise_layer_is_solved_alone() -> None:
    rng = np.random.default_rng(5)
    inputs, matrix = rng.normal(size=(4, 500, 9)), rng.normal(size=(4, 9, 1))
    scales = np.abs(matrix).max(axis=1) / 31
    together, biases = _solve(inputs, inputs @ matrix, matrix, scales)
    for group in range(4):
        one = slice(group, group + 1)
        alone, bias = _solve(inputs[one], inputs[one] @ matrix[one], matrix[one], scales[one])
        np.testing.assert_array_equal(together[one], alone)
        np.testing.assert_allclose(biases[one], bias)


def test_a_dead_channel_keeps_its_weights() -> None:
    inputs = np.zeros((2, 100, 9))
    matrix = np.random.default_rng(0).normal(size=(2, 9, 1))
    scales = np.abs(matrix).max(axis=1) / WEIGHT_MAX
    steps, bias = _solve(inputs, inputs @ matrix, matrix, scales)
    assert np.isfinite(steps).all()
    np.testing.assert_array_equal(steps, np.rint(matrix / scales[:, None]))
    np.testing.assert_array_equal(bias, 0)


@pytest.mark.slow
def test_rounding_weights_brings_the_map_closer_and_keeps_scales_and_partition(
    unet_int8: bytes, unet_float32: bytes, frames: Frame, runtime: Runtime
) -> None:
    weights_alone = Refinement(bias_correction=False)
    rounded, _ = refine(unet_int8, unet_float32, frames, runtime, refinement=weights_alone, threads=2)
    float_maps, plain, refined = (probabilities(runtime, model, frames) for model in (unet_float32, unet_int8, rounded))
    assert mean_error(refined, float_maps) < 0.9 * mean_error(plain, float_maps)
    assert agreement(refined >= 0.5, float_maps >= 0.5) >= agreement(plain >= 0.5, float_maps >= 0.5)
    assert delegation(rounded, runtime).is_whole
    before, after = Graph(unet_int8), Graph(rounded)
    assert before.op_census() == after.op_census()
    assert before.dtype_census() == after.dtype_census()
    for conv in after.convolutions:
        np.testing.assert_array_equal(before.scales(conv.weights), after.scales(conv.weights))


@pytest.mark.slow
def test_the_same_model_and_frames_give_the_same_bytes(
    toy_int8: bytes, toy_float32: bytes, frames: Frame, runtime: Runtime
) -> None:
    once, again = (refine(toy_int8, toy_float32, frames, runtime, threads=threads) for threads in (1, 2))
    assert once == again
    assert once[0] != toy_int8


@pytest.mark.slow
def test_padding_is_where_tensorflow_puts_it(runtime: Runtime) -> None:
    """A strided layer's patches times its weights are the interpreter's output."""
    import keras

    from export.convert import _run_converter

    keras.utils.set_random_seed(0)
    inputs = keras.Input((9, 12, 3))
    outputs = keras.layers.Conv2D(4, 3, strides=2, padding="same", bias_initializer="random_normal")(inputs)
    graph = Graph(_run_converter(keras.Model(inputs, outputs), "float32", None))
    frame = np.random.default_rng(0).normal(size=(1, 9, 12, 3)).astype(np.float32)
    run = OperatorRunner(graph, frame, runtime, 1)
    conv = graph.convolutions[0]
    run.run_through(conv.op_index)
    output = run.values[conv.output][0]
    position = tuple(axis.ravel() for axis in np.indices((1, *output.shape[:2])))
    patches = _patches(conv, run, position)
    assert conv.bias is not None
    weights = graph.constant(conv.weights, np.float32).reshape(4, -1)
    by_hand = patches.reshape(len(patches), -1) @ weights.T + graph.constant(conv.bias, np.float32)
    np.testing.assert_allclose(by_hand.reshape(output.shape), output, atol=1e-5)
