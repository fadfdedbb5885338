"""Bias correction restores the float's channel means layer by layer, and changes nothing but biases."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from edge.images import Frame
from edge.model.runtime import Runtime
from export.int8.graph import Graph
from export.int8.refine import LayerEffect, Refinement, refine
from export.int8.runner import OperatorRunner
from tests.export.interpreting import mean_error, probabilities

pytestmark = pytest.mark.slow


def shift_biases(flatbuffer: bytes, *, every: int, offset: float) -> bytes:
    """Return the model with the biases of every `every`-th layer moved up by random amounts, in real units."""
    graph, rng = Graph(flatbuffer), np.random.default_rng(0)
    for conv in graph.convolutions[::every]:
        if conv.bias is not None:
            # Upwards: a channel pushed below zero is silent, and shows nothing of how far.
            moved = np.abs(rng.normal(0, offset, graph.shape(conv.bias))) / graph.scales(conv.bias)
            graph.set_constant(conv.bias, graph.constant(conv.bias, np.int32) + np.rint(moved).astype(np.int32))
    return graph.pack()


def correct_biases(
    int8: bytes,
    float32: bytes,
    frames: Frame,
    runtime: Runtime,
    *,
    threads: int = 1,
    on_operator: Callable[[], None] = lambda: None,
) -> tuple[bytes, list[LayerEffect]]:
    biases_alone = Refinement(weight_rounding=False)
    return refine(int8, float32, frames, runtime, refinement=biases_alone, threads=threads, on_operator=on_operator)


def layer_means(runtime: Runtime, flatbuffer: bytes, frames: Frame) -> list[npt.NDArray[np.float64]]:
    """Each convolution's channel means in real numbers."""
    graph = Graph(flatbuffer)
    run = OperatorRunner(graph, frames.astype(graph.dtype(graph.inputs[0])), runtime, 2)
    means = []
    for conv in graph.convolutions:
        run.run_through(conv.op_index)
        means.append(run.channel_means(conv.output))
        run.release(conv.op_index)
    return means


def shifts_in_steps(
    means: list[npt.NDArray[np.float64]], float_means: list[npt.NDArray[np.float64]], graph: Graph
) -> list[float]:
    """RMS over channels of each layer's shift, in steps of its output."""
    rms = [float(np.sqrt(np.mean((a - b) ** 2))) for a, b in zip(means, float_means, strict=True)]
    return [shift / graph.scales(conv.output)[0] for shift, conv in zip(rms, graph.convolutions, strict=True)]


def test_biases_shifted_throughout_the_network_are_restored(
    corrected: tuple[bytes, list[LayerEffect]], unet_float32: bytes, frames: Frame, runtime: Runtime
) -> None:
    good, _ = corrected
    shifted = shift_biases(good, every=3, offset=0.12)
    restored, effects = correct_biases(shifted, unet_float32, frames, runtime)
    maps = {name: probabilities(runtime, model, frames) for name, model in
            (("float", unet_float32), ("good", good), ("shifted", shifted), ("restored", restored))}  # fmt: skip
    loss, own_loss = mean_error(maps["shifted"], maps["good"]), mean_error(maps["good"], maps["float"])
    assert loss > 2 * own_loss  # the shift did harm
    assert mean_error(maps["restored"], maps["good"]) < loss / 2
    assert mean_error(maps["restored"], maps["float"]) < 1.5 * own_loss
    float_means = layer_means(runtime, unet_float32, frames)
    shifts = {
        name: shifts_in_steps(layer_means(runtime, model, frames), float_means, Graph(model))
        for name, model in (("shifted", shifted), ("restored", restored), ("good", good))
    }
    assert np.mean(shifts["shifted"]) > 5
    assert np.mean(shifts["restored"]) < 0.3
    assert max(shifts["restored"]) < 0.8
    assert np.mean(shifts["good"]) < 0.1
    assert sum(effect.before_steps > 2 for effect in effects) >= len(effects) // 4


def test_correcting_a_converted_model_improves_every_layer_and_changes_only_biases(
    corrected: tuple[bytes, list[LayerEffect]], unet_int8: bytes, unet_float32: bytes, frames: Frame, runtime: Runtime
) -> None:
    graph, (refined, effects) = Graph(unet_int8), corrected
    float_maps = probabilities(runtime, unet_float32, frames)
    plain = mean_error(probabilities(runtime, unet_int8, frames), float_maps)
    assert mean_error(probabilities(runtime, refined, frames), float_maps) < plain
    assert [effect.operator for effect in effects] == [conv.operator for conv in graph.convolutions]
    for effect, conv in zip(effects, graph.convolutions, strict=True):
        assert effect.layer in graph.tensor_name(conv.output)
    assert all(effect.after_steps <= effect.before_steps for effect in effects)
    assert sum(e.after_steps for e in effects) < sum(e.before_steps for e in effects) / 2
    assert_only_biases_differ(graph, Graph(refined))


def test_a_shift_of_the_first_layer_is_corrected_there_and_not_again_below(
    toy_int8: bytes, toy_float32: bytes, frames: Frame, runtime: Runtime
) -> None:
    graph = Graph(toy_int8)
    first, *later = [conv.bias for conv in graph.convolutions if conv.bias is not None]
    values = graph.constant(first, np.int32)
    graph.set_constant(first, values + np.rint(0.5 / graph.scales(first)).astype(np.int32))
    from_plain, _ = correct_biases(toy_int8, toy_float32, frames, runtime)
    from_shifted, effects = correct_biases(graph.pack(), toy_float32, frames, runtime)
    assert effects[0].before_steps > 10
    # Correcting all layers at once would count the shift a second time in the later ones.
    plain, shifted = Graph(from_plain), Graph(from_shifted)
    for bias in later:
        difference = shifted.constant(bias, np.int32) - plain.constant(bias, np.int32)
        assert np.abs(difference * graph.scales(bias)).max() < 0.05
    maps = [probabilities(runtime, model, frames) for model in (from_shifted, from_plain)]
    assert mean_error(*maps) < 0.01


def test_a_corrected_model_has_little_left_to_correct(
    toy_int8: bytes, toy_float32: bytes, frames: Frame, runtime: Runtime
) -> None:
    once, first = correct_biases(shift_biases(toy_int8, every=1, offset=0.05), toy_float32, frames, runtime)
    _, second = correct_biases(once, toy_float32, frames, runtime)
    assert min(effect.before_steps for effect in first) > 2
    for before, after in zip(first, second, strict=True):
        assert after.before_steps < before.before_steps / 4


def assert_only_biases_differ(before: Graph, after: Graph) -> None:
    assert before.op_census() == after.op_census()
    changed = set()
    for index, (old, new) in enumerate(zip(before.subgraph.tensors, after.subgraph.tensors, strict=True)):
        assert before.tensor_name(index) == after.tensor_name(index)
        if before.is_constant(index):
            dtype = before.dtype(index)
            if not np.array_equal(before.constant(index, dtype), after.constant(index, dtype)):
                changed.add(index)
        if old.quantization is not None and old.quantization.scale is not None:
            assert np.array_equal(old.quantization.scale, new.quantization.scale)
    assert changed
    assert changed <= {conv.bias for conv in before.convolutions}
