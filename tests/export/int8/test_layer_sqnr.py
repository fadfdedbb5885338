"""Which layers int8 loses its precision in: the layer with damaged weights has the lowest SQNR."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.images import Frame
from edge.model.runtime import Runtime
from export.int8.graph import Graph
from export.int8.layer_sqnr import MAX_SQNR_DB, measure_layers, sqnr_db


def test_a_tenth_of_error_is_20_decibels() -> None:
    signal = np.array([1.0, -2.0, 3.0])
    assert sqnr_db(signal, 1.1 * signal) == pytest.approx(20)
    assert sqnr_db(signal, signal) == MAX_SQNR_DB
    assert sqnr_db(np.zeros(3), signal) == -MAX_SQNR_DB


@given(values=st.lists(st.floats(1, 100), min_size=1, max_size=20), factor=st.floats(0.01, 100))
def test_decibels_do_not_depend_on_the_unit(values: list[float], factor: float) -> None:
    signal = np.array(values)
    quantized = signal + 0.25
    assert sqnr_db(factor * signal, factor * quantized) == pytest.approx(sqnr_db(signal, quantized), abs=0.01)


@pytest.mark.slow
def test_each_layer_is_measured_in_isolation_and_in_the_model(
    unet_int8: bytes, unet_float32: bytes, frames: Frame, runtime: Runtime
) -> None:
    progress: list[None] = []
    on_operator = lambda: progress.append(None)  # noqa: E731
    graph, damaged = Graph(unet_int8), 20
    weights = graph.constant(graph.convolutions[damaged].weights, np.int8)
    graph.set_constant(graph.convolutions[damaged].weights, (weights // 16 * 16).astype(np.int8))
    layers = measure_layers(graph.pack(), unet_float32, frames[:4], runtime, threads=2, on_operator=on_operator)
    assert len(layers) == len(graph.convolutions)
    assert len(progress) == len(graph.subgraph.operators)
    assert int(np.argmin([layer.isolated_sqnr_db for layer in layers])) == damaged
    assert all(5 < layer.isolated_sqnr_db < 80 for layer in layers[:damaged])
    # The first layer reads the frame itself, without loss.
    assert layers[0].isolated_sqnr_db == pytest.approx(layers[0].in_model_sqnr_db, abs=0.2)
    isolated, in_model = zip(*((layer.isolated_sqnr_db, layer.in_model_sqnr_db) for layer in layers), strict=True)
    assert np.mean(isolated) > np.mean(in_model)
