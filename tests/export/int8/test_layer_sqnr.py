"""Which layers int8 loses its precision in: the report finds the one that was spoilt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import UserError
from edge.images import Frame
from edge.model.runtime import Runtime
from export.int8.graph import Graph
from export.int8.layer_sqnr import LOUDEST_DB, decibels, layer_noise


@pytest.fixture(scope="module")
def few(frames: Frame) -> Frame:
    return frames[:4]


def test_a_tenth_of_error_is_20_decibels() -> None:
    signal = np.array([1.0, -2.0, 3.0])
    assert decibels(signal, 1.1 * signal) == pytest.approx(20)
    assert decibels(signal, signal) == LOUDEST_DB
    assert decibels(np.zeros(3), signal) == -LOUDEST_DB


@given(values=st.lists(st.floats(1, 100), min_size=1, max_size=20), factor=st.floats(0.01, 100))
def test_decibels_do_not_depend_on_the_unit(values: list[float], factor: float) -> None:
    wanted = np.array(values)
    got = wanted + 0.25
    assert decibels(factor * wanted, factor * got) == pytest.approx(decibels(wanted, got), abs=0.01)


def test_every_layer_is_judged_by_itself_and_in_the_model(
    plain_int8: bytes, float32: bytes, few: Frame, runtime: Runtime
) -> None:
    steps: list[None] = []
    found = layer_noise(plain_int8, float32, few, runtime, threads=2, on_operator=lambda: steps.append(None))
    graph = Graph(plain_int8)
    assert len(found) == len(graph.convolutions)
    assert len(steps) == len(graph.subgraph.operators)
    assert all(5 < layer.own_db < 80 for layer in found)
    # The first layer reads the frame itself, without a loss: there is nothing above it.
    assert found[0].own_db == pytest.approx(found[0].running_db, abs=0.2)
    assert np.mean([layer.own_db for layer in found]) > np.mean([layer.running_db for layer in found])


def test_a_layer_whose_weights_are_spoilt_is_the_one_to_blame(
    plain_int8: bytes, float32: bytes, few: Frame, runtime: Runtime
) -> None:
    graph, spoilt = Graph(plain_int8), 20
    weights = graph.constant(graph.convolutions[spoilt].weights, np.int8)
    graph.set_constant(graph.convolutions[spoilt].weights, (weights // 16 * 16).astype(np.int8))
    found = layer_noise(graph.pack(), float32, few, runtime, threads=2)
    assert int(np.argmin([layer.own_db for layer in found])) == spoilt


def test_two_different_networks_are_not_compared(
    plain_int8: bytes, toy_float32: bytes, few: Frame, runtime: Runtime
) -> None:
    with pytest.raises(UserError, match="same layers in the same order: compare exports of one network"):
        layer_noise(plain_int8, toy_float32, few, runtime, threads=1)
