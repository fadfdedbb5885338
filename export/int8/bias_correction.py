"""Empirical bias correction: gives a layer of the int8 model its float channel means back, at no cost at run time.

Rounding the weights of a folded depthwise convolution shifts the mean of its channels, and the shifts add up through
the network. The mean of every channel of a layer's output is compared in the float and in the int8 model, and the
difference is added to the int32 bias. Layers are corrected in order of execution, each behind the corrected ones:
correcting all at once counts every shift again in each layer below it.

Source: Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction (arXiv 1906.04721),
appendix D. There pre-activations are compared; here the outputs after ReLU6, which is what the next layer sees.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.int8.graph import Convolution
from export.int8.runner import Stepwise

# A saturated ReLU6 passes on only a part of what is added to the bias; measuring again closes most of the rest.
PASSES = 2


def shift_steps(conv: Convolution, int8: Stepwise, wanted: npt.NDArray[np.float64]) -> float:
    """How far a layer's channel means lie from `wanted`: RMS over channels, in steps of its int8 output."""
    error = wanted - int8.channel_means(conv.output)
    return float(np.sqrt(np.mean(np.square(error))) / int8.graph.scales(conv.output)[0])


def correct_layer(conv: Convolution, int8: Stepwise, wanted: npt.NDArray[np.float64]) -> None:
    """Move the layer's bias so that its channel means come to `wanted`.

    The layer's output must be there, and is new afterwards. A channel that steps over its aim keeps the best bias
    seen: a channel's output depends on its own bias alone.
    """
    assert conv.bias is not None
    graph = int8.graph
    limits = np.iinfo(np.int32)
    bias = best = graph.constant(conv.bias, np.int32)
    error = least = wanted - int8.channel_means(conv.output)
    for _ in range(PASSES):
        # The bias's own scale is input scale x weight scale, for each channel.
        moved = bias.astype(np.int64) + np.rint(error / graph.scales(conv.bias)).astype(np.int64)
        bias = np.clip(moved, limits.min, limits.max).astype(np.int32)
        graph.set_constant(conv.bias, bias)
        int8.run(conv.op_index)
        error = wanted - int8.channel_means(conv.output)
        better = np.abs(error) < np.abs(least)
        best, least = np.where(better, bias, best), np.where(better, error, least)
    if not np.array_equal(best, bias):
        graph.set_constant(conv.bias, best)
        int8.run(conv.op_index)
