"""Ranges that lose least: where ReLU6 does not bound a layer's output, a few outliers stretch its int8 steps for all.

The converter gives a tensor the range from the least to the greatest value that it saw. The projections that end
MobileNetV2's blocks, and the sums they enter, are linear: their greatest values are many times the usual ones. A range
that cuts these off makes the steps smaller; where it is best to cut is where the mean squared error of rounding and of
cutting together is least (Banner et al. 2019, Post training 4-bit quantization, arXiv 1810.05723, as a search).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from export.int8.graph import Graph

# These and sums take inputs of any scale. What copies or interpolates bytes has one for its input and output.
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
SAMPLES = 200_000
STEP = 0.04  # of the converter's range, for each end
LEAST = 0.2
LOW, HIGH = -128, 127

Array = npt.NDArray[np.float64]


def fit_range(graph: Graph, index: int, wanted: npt.NDArray[Any], *, seed: int) -> float:
    """Give the tensor the range that fits the real values `wanted` (frames, height, width, channels), and the layers
    that read it biases to match.

    Returns how many times smaller its steps are now; 1 where the tensor is not one to do.
    """
    importance = channel_importance(graph, index)
    if importance is None or graph.dtype(index) != "int8":
        return 1.0
    scale, zero = float(graph.scales(index)[0]), graph.zero_point(index)
    pixels = wanted.reshape(-1, wanted.shape[-1])
    rows = min(len(pixels), max(1, SAMPLES // pixels.shape[1]))
    chosen = pixels[np.random.default_rng(seed).choice(len(pixels), rows, replace=False)].astype(np.float64)
    low, high = best_range(chosen, importance, (LOW - zero) * scale, (HIGH - zero) * scale)
    new_scale = (high - low) / (HIGH - LOW)
    new_zero = int(np.clip(np.rint(LOW - low / new_scale), LOW, HIGH))
    graph.set_quantization(index, new_scale, new_zero)
    return scale / new_scale


def channel_importance(graph: Graph, index: int) -> Array | None:
    """How much an error in each channel of a tensor moves what reads it; None where a reader binds its scale.

    A convolution is moved by its squared weights; a sum by what its own readers make of it.
    """
    channels = graph.shape(index)[-1]
    evenly = np.full(channels, 1 / channels)
    total = np.zeros(channels)
    for op in graph.subgraph.operators:
        if index not in op.inputs:
            continue
        kind = graph.op_name(op)
        if kind == "ADD":
            further = channel_importance(graph, int(op.outputs[0]))
            total += evenly if further is None else further
        elif kind in CONVOLUTIONS and int(op.inputs[0]) == index:
            weights, scales = graph.constant(int(op.inputs[1]), np.int8), graph.scales(int(op.inputs[1]))
            # Depthwise weights are (1, kh, kw, channels), all others (out, kh, kw, channels).
            real = weights * (scales if kind == "DEPTHWISE_CONV_2D" else scales[:, None, None, None])
            squares = np.square(real).sum(axis=(0, 1, 2))
            total += squares / squares.sum() if len(squares) == channels and squares.any() else evenly
        else:
            return None
    return total if total.any() else None


def best_range(values: Array, importance: Array, low: float, high: float) -> tuple[float, float]:
    """The range within `low` to `high`, around zero, whose 256 steps give `values` with the least squared error."""
    least = squared_error(values, importance, low, high)
    shares = np.arange(1 - STEP, LEAST, -STEP)
    best_low, best_high = low, high
    for _ in range(2):  # one end at a time, twice: the ends hardly depend on one another
        for end in ("low", "high"):
            for share in shares:
                tried = (low * share, best_high) if end == "low" else (best_low, high * share)
                error = squared_error(values, importance, *tried)
                if error < least:
                    least, (best_low, best_high) = error, tried
    return best_low, best_high


def squared_error(values: Array, importance: Array, low: float, high: float) -> float:
    """The squared error of int8 steps from `low` to `high`, zero being one of them, weighted by channel."""
    scale = (high - low) / (HIGH - LOW)
    zero = np.rint(LOW - low / scale)
    stored = np.clip(np.rint(values / scale) + zero, LOW, HIGH)
    return float(np.square((stored - zero) * scale - values).mean(axis=0) @ importance)
