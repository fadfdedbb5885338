"""Ranges of int8 tensors: cut off where that loses least, and nothing else of the network moved by it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import UserError
from edge.images import Frame
from edge.model.runtime import Runtime
from export.convert import check_integer
from export.delegation import delegation
from export.int8.graph import Graph
from export.int8.range_search import best_range, channel_importance, fit_range, squared_error
from export.int8.refine import Steps, refine
from tests.export.int8.test_gptq import maps

ONE = np.ones(1)


def test_a_range_stretched_by_outliers_is_cut_off() -> None:
    """The converter's range is that of all frames: of so many numbers that some lie far out."""
    values = np.random.default_rng(0).laplace(0, 1, (100_000, 1))
    low, high = best_range(values, ONE, -40, 60)
    assert -16 < low < -6 and 6 < high < 16
    assert squared_error(values, ONE, low, high) < 0.3 * squared_error(values, ONE, -40, 60)


def test_a_range_that_is_filled_evenly_stays() -> None:
    values = np.random.default_rng(0).uniform(-1, 2, (20_000, 1))
    assert best_range(values, ONE, -1, 2) == (-1, 2)


def test_an_outlier_in_a_channel_that_matters_is_kept() -> None:
    values = np.random.default_rng(0).normal(0, 1, (5_000, 2))
    values[::50, 1] = 40.0
    _, indifferent = best_range(values, np.array([1.0, 0.0]), -40, 40)
    _, attentive = best_range(values, np.array([0.01, 1.0]), -40, 40)
    assert indifferent < 16
    assert attentive > 36


@given(
    values=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=50),
    low=st.floats(-120, 0),
    high=st.floats(1, 120),
)
def test_a_range_never_grows_always_holds_zero_and_never_loses_more(
    values: list[float], low: float, high: float
) -> None:
    column = np.array(values)[:, None]
    found = best_range(column, ONE, low, high)
    assert low <= found[0] <= 0 <= found[1] <= high
    assert squared_error(column, ONE, *found) <= squared_error(column, ONE, low, high)


def block(graph: Graph) -> int:
    """The output of the encoder's second projection: linear, and read by a sum and a convolution."""
    return next(graph.output_of(at) for at in graph.operators("ADD"))


def test_readers_biases_mean_the_same_under_the_new_scale(plain_int8: bytes) -> None:
    before, after = Graph(plain_int8), Graph(plain_int8)
    index = block(after)
    after.set_quantization(index, 0.5 * float(before.scales(index)[0]), 3)
    readers = [conv for conv in after.convolutions if conv.data == index]
    assert readers
    for conv in readers:
        assert conv.bias is not None
        real_before = before.constant(conv.bias, np.int32) * before.scales(conv.bias)
        real_after = after.constant(conv.bias, np.int32) * after.scales(conv.bias)
        np.testing.assert_allclose(real_after, real_before, atol=float(after.scales(conv.bias).max()))
        np.testing.assert_allclose(after.scales(conv.bias), after.scales(index) * after.scales(conv.weights), rtol=1e-5)


def test_a_tensor_whose_reader_copies_bytes_keeps_its_scale(plain_int8: bytes) -> None:
    graph = Graph(plain_int8)
    (resized, *_) = (int(graph.subgraph.operators[at].inputs[0]) for at in graph.operators("RESIZE_BILINEAR"))
    assert channel_importance(graph, resized) is None
    scale = float(graph.scales(resized)[0])
    assert fit_range(graph, resized, np.zeros((1, 2, 2, graph.shape(resized)[-1])), seed=0) == 1
    assert float(graph.scales(resized)[0]) == scale


@pytest.mark.slow
def test_the_map_comes_nearer_to_the_floats_and_the_pi_still_takes_it_whole(
    plain_int8: bytes, float32: bytes, frames: Frame, runtime: Runtime
) -> None:
    fitted, _ = refine(plain_int8, float32, frames, runtime, steps=Steps(weights=False, biases=False), threads=2)
    check_integer(fitted)
    assert delegation(fitted, runtime).is_whole
    wanted = maps(float32, frames, runtime)
    before, after = (np.square(maps(one, frames, runtime) - wanted).mean() for one in (plain_int8, fitted))
    assert after < 0.97 * before


def test_networks_with_other_sums_are_refused_in_one_line_and_only_where_ranges_are_asked_for(
    plain_int8: bytes, float32: bytes, frames: Frame, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = iter([[1, 2], [1]])
    monkeypatch.setattr(Graph, "operators", lambda *_: next(sums))
    with pytest.raises(UserError, match=r"2 sums and the float 1.*leave out --range-fitting"):
        refine(plain_int8, float32, frames[:1], runtime, threads=1)
    nothing = Steps(ranges=False, weights=False, biases=False)
    refine(plain_int8, float32, frames[:1], runtime, steps=nothing, threads=1)
