"""Empirical bias correction: restore the float's channel means by changing int32 biases, at no cost at run time.

Rounding the weights of a folded depthwise convolution shifts the mean of its channels, and the shifts add up through
the network. For each channel of a layer's output, the difference of the float's and the int8 model's mean is added to
the bias. Layers are corrected in order of execution, each behind corrected ones. Correcting all at once would count a
shift again in every layer below.

Source: Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction (arXiv 1906.04721),
appendix D. The paper compares pre-activations; here it is the outputs after ReLU6, which the next layer reads.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.int8.graph import Convolution
from export.int8.runner import OperatorRunner

# A saturated ReLU6 passes on part of a bias change only; a second pass closes most of the rest.
PASSES = 2


def mean_shift_steps(conv: Convolution, int8: OperatorRunner, float_means: npt.NDArray[np.float64]) -> float:
    """Return how far the layer's channel means are from `float_means`: RMS over channels, in steps of its output."""
    error = float_means - int8.channel_means(conv.output)
    return float(np.sqrt(np.mean(np.square(error))) / int8.graph.scales(conv.output)[0])


def correct_bias(conv: Convolution, int8: OperatorRunner, float_means: npt.NDArray[np.float64]) -> None:
    """Change the layer's bias so that its channel means come close to `float_means`, and run the layer again.

    The layer must have run. Each channel keeps the best bias seen, since it depends on its own bias alone.
    """
    assert conv.bias is not None
    graph = int8.graph
    bias = best = graph.constant(conv.bias, np.int32)
    error = least = float_means - int8.channel_means(conv.output)
    for _ in range(PASSES):
        # A bias's scale is input scale x weight scale, per channel.
        graph.set_bias(conv, bias.astype(np.int64) + np.rint(error / graph.scales(conv.bias)).astype(np.int64))
        bias = graph.constant(conv.bias, np.int32)
        int8.run(conv.op_index)
        error = float_means - int8.channel_means(conv.output)
        better = np.abs(error) < np.abs(least)
        best, least = np.where(better, bias, best), np.where(better, error, least)
    if not np.array_equal(best, bias):
        graph.set_bias(conv, best)
        int8.run(conv.op_index)
