"""Biases that were pushed off are put back: by the float's channel means, layer by layer, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from edge.errors import UserError
from edge.images import Frame
from edge.model.runtime import Runtime
from export.int8.graph import Graph
from export.int8.refine import LayerEffect, Steps, refine


def shifted(flatbuffer: bytes, *, every: int, offset: float, seed: int = 0) -> bytes:
    """The model with every so-many-th layer's biases moved up by random amounts, `offset` wide in real units."""
    graph, rng = Graph(flatbuffer), np.random.default_rng(seed)
    for conv in graph.convolutions[::every]:
        if conv.bias is not None:
            # Upwards: a channel pushed below zero falls silent, and tells nothing of how far.
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
    """Refine the biases alone."""
    return refine(
        int8,
        float32,
        frames,
        runtime,
        steps=Steps(ranges=False, weights=False),
        threads=threads,
        on_operator=on_operator,
    )


def outputs(runtime: Runtime, flatbuffer: bytes, frames: Frame) -> npt.NDArray[np.float64]:
    """The maps of all frames in real numbers."""
    interpreter = runtime.interpreter(flatbuffer, 1)
    input_, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    maps = []
    for frame in frames:
        interpreter.set_tensor(input_["index"], frame[None].astype(input_["dtype"]))
        interpreter.invoke()
        maps.append(interpreter.get_tensor(output["index"])[0].astype(np.float64))
    return np.stack(maps) / (256 if output["dtype"] == np.uint8 else 1)


def channel_means(runtime: Runtime, flatbuffer: bytes, frames: Frame) -> dict[str, npt.NDArray[np.float64]]:
    """Each convolution's channel means in real numbers, from the whole graph at once."""
    graph = Graph(flatbuffer)
    interpreter = runtime.interpreter(graph.with_outputs([conv.output for conv in graph.convolutions]), 1)
    input_, outputs_ = interpreter.get_input_details()[0], interpreter.get_output_details()
    sums = [np.zeros(detail["shape"][-1]) for detail in outputs_]
    for frame in frames:
        interpreter.set_tensor(input_["index"], frame[None].astype(input_["dtype"]))
        interpreter.invoke()
        for total, detail in zip(sums, outputs_, strict=True):
            total += interpreter.get_tensor(detail["index"]).mean(axis=(0, 1, 2), dtype=np.float64)
    means = {}
    for conv, total in zip(graph.convolutions, sums, strict=True):
        mean = total / len(frames)
        if graph.dtype(conv.output) == "int8":
            mean = (mean - graph.zero_point(conv.output)) * graph.scales(conv.output)[0]
        means[graph.tensor_name(conv.output)] = mean
    return means


def steps_off(
    means: dict[str, npt.NDArray[np.float64]], wanted: dict[str, npt.NDArray[np.float64]], graph: Graph
) -> list[float]:
    """How far each layer's channel means lie off: RMS over channels, in steps of its output."""
    found = []
    for conv in graph.convolutions:
        name = graph.tensor_name(conv.output)
        found.append(float(np.sqrt(np.mean((means[name] - wanted[name]) ** 2)) / graph.scales(conv.output)[0]))
    return found


def mean_error(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    return float(np.abs(a - b).mean())


@pytest.mark.slow
def test_biases_pushed_off_through_the_whole_network_are_put_back(
    corrected: tuple[bytes, list[LayerEffect]], float32: bytes, frames: Frame, runtime: Runtime
) -> None:
    good, _ = corrected
    broken = shifted(good, every=3, offset=0.12)
    restored, effects = correct_biases(broken, float32, frames, runtime)
    wanted, float_maps = outputs(runtime, good, frames), outputs(runtime, float32, frames)
    lost = mean_error(outputs(runtime, broken, frames), wanted)
    own_loss = mean_error(wanted, float_maps)
    assert lost > 2 * own_loss  # the shift did break it
    assert mean_error(outputs(runtime, restored, frames), wanted) < lost / 2
    left = mean_error(outputs(runtime, restored, frames), float_maps)
    assert left < 1.5 * own_loss
    float_means = channel_means(runtime, float32, frames)
    shifts = {
        name: steps_off(channel_means(runtime, flatbuffer, frames), float_means, Graph(flatbuffer))
        for name, flatbuffer in (("broken", broken), ("restored", restored), ("good", good))
    }
    assert np.mean(shifts["broken"]) > 5
    assert np.mean(shifts["restored"]) < 0.3
    assert max(shifts["restored"]) < 0.8
    assert np.mean(shifts["good"]) < 0.1
    assert sum(effect.before_steps > 2 for effect in effects) >= len(effects) // 4


@pytest.mark.slow
def test_correcting_the_converters_own_rounding_brings_the_map_nearer_to_the_floats(
    corrected: tuple[bytes, list[LayerEffect]], plain_int8: bytes, float32: bytes, frames: Frame, runtime: Runtime
) -> None:
    float_maps = outputs(runtime, float32, frames)
    plain = mean_error(outputs(runtime, plain_int8, frames), float_maps)
    assert mean_error(outputs(runtime, corrected[0], frames), float_maps) < plain


@pytest.mark.slow
def test_every_convolution_is_listed_in_order_and_none_got_worse(
    corrected: tuple[bytes, list[LayerEffect]], plain_int8: bytes
) -> None:
    graph, (_, effects) = Graph(plain_int8), corrected
    assert [effect.kind for effect in effects] == [conv.kind for conv in graph.convolutions]
    for effect, conv in zip(effects, graph.convolutions, strict=True):
        assert effect.layer in graph.tensor_name(conv.output)
    assert all(effect.after_steps <= effect.before_steps for effect in effects)
    assert sum(e.after_steps for e in effects) < sum(e.before_steps for e in effects) / 2


@pytest.mark.slow
def test_only_the_biases_of_the_network_change(corrected: tuple[bytes, list[LayerEffect]], plain_int8: bytes) -> None:
    assert_only_biases_differ(Graph(plain_int8), Graph(corrected[0]))


def test_only_the_biases_change(toy_int8: bytes, toy_float32: bytes, frames: Frame, runtime: Runtime) -> None:
    broken = shifted(toy_int8, every=1, offset=0.5)
    restored, _ = correct_biases(broken, toy_float32, frames, runtime)
    assert_only_biases_differ(Graph(broken), Graph(restored))


def test_a_shift_of_the_first_layer_is_mended_there_and_not_again_behind_it(
    toy_int8: bytes, toy_float32: bytes, frames: Frame, runtime: Runtime
) -> None:
    graph = Graph(toy_int8)
    first, *later = [conv.bias for conv in graph.convolutions if conv.bias is not None]
    values = graph.constant(first, np.int32)
    graph.set_constant(first, values + np.rint(0.5 / graph.scales(first)).astype(np.int32))
    from_whole, _ = correct_biases(toy_int8, toy_float32, frames, runtime)
    from_broken, effects = correct_biases(graph.pack(), toy_float32, frames, runtime)
    assert effects[0].before_steps > 10
    # Behind the mended layer nothing is left to mend: all at once, these would take the shift a second time.
    whole, broken = Graph(from_whole), Graph(from_broken)
    for bias in later:
        difference = broken.constant(bias, np.int32) - whole.constant(bias, np.int32)
        assert np.abs(difference * graph.scales(bias)).max() < 0.05
    assert mean_error(outputs(runtime, from_broken, frames), outputs(runtime, from_whole, frames)) < 0.01


def test_the_same_model_and_frames_give_the_same_bytes(
    toy_int8: bytes, toy_float32: bytes, frames: Frame, runtime: Runtime
) -> None:
    broken = shifted(toy_int8, every=1, offset=0.3)
    once, effects = correct_biases(broken, toy_float32, frames, runtime)
    again, effects_again = correct_biases(broken, toy_float32, frames, runtime, threads=2)
    assert once == again
    assert effects == effects_again


def test_a_corrected_model_has_next_to_nothing_left_to_correct(
    toy_int8: bytes, toy_float32: bytes, frames: Frame, runtime: Runtime
) -> None:
    once, first = correct_biases(shifted(toy_int8, every=1, offset=0.05), toy_float32, frames, runtime)
    _, second = correct_biases(once, toy_float32, frames, runtime)
    # Less is left each time; all of it never, where a channel that fell silent has to be woken again.
    assert min(effect.before_steps for effect in first) > 2
    for before, after in zip(first, second, strict=True):
        assert after.before_steps < before.before_steps / 4


def test_progress_is_told_of_every_operator(
    toy_int8: bytes, toy_float32: bytes, frames: Frame, runtime: Runtime
) -> None:
    told: list[int] = []
    correct_biases(toy_int8, toy_float32, frames[:1], runtime, on_operator=lambda: told.append(1))
    assert len(told) == len(Graph(toy_int8).subgraph.operators)


@pytest.mark.slow
def test_the_float_of_another_network_is_refused(
    toy_int8: bytes, float32: bytes, frames: Frame, runtime: Runtime
) -> None:
    with pytest.raises(UserError, match="do not have the same layers in the same order"):
        correct_biases(toy_int8, float32, frames, runtime)


def assert_only_biases_differ(before: Graph, after: Graph) -> None:
    assert len(before.subgraph.tensors) == len(after.subgraph.tensors)
    assert [before.op_name(op) for op in before.subgraph.operators] == [
        after.op_name(op) for op in after.subgraph.operators
    ]
    biases = {conv.bias for conv in before.convolutions}
    changed = set()
    for index in range(len(before.subgraph.tensors)):
        assert before.tensor_name(index) == after.tensor_name(index)
        if before.is_constant(index):
            old = before.constant(index, before.dtype(index))
            new = after.constant(index, before.dtype(index))
            if not np.array_equal(old, new):
                changed.add(index)
        quantisation = [graph.subgraph.tensors[index].quantization for graph in (before, after)]
        if quantisation[0] is not None and quantisation[0].scale is not None:
            assert np.array_equal(quantisation[0].scale, quantisation[1].scale)
    assert changed
    assert changed <= biases
