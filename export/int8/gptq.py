"""Weights rounded to int8 so that the layer's output stays, where rounding each to the nearest would move it.

A layer's weights are first fitted by least squares to what the float layer gives, on the inputs that the int8 layers
before it really give: errors made above are undone here as far as one layer can. Then one input's weights after another
are rounded, and the error of each rounding is handed on to the inputs not rounded yet, which take over what they can.
Scales stay, so the result costs nothing at run time.

Sources: Frantar et al. 2022, GPTQ (arXiv 2210.17323), for the rounding; Hubara et al. 2020, Improving Post Training
Neural Quantization (arXiv 2006.10518), for fitting a layer on the quantised inputs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.int8.graph import Convolution, Graph
from export.int8.runner import Stepwise

Array = npt.NDArray[np.float64]

# How strongly the fit is drawn to the float weights, and how much is added to the diagonal before inverting, both in
# shares of the mean squared input: enough that inputs which hardly vary on the calibration frames stay as trained.
RIDGE = 0.3
DAMPING = 0.01
WEIGHT_MAX = 127  # symmetric, as the TFLite specification asks of weights
# What is sampled of the frames' pixels: rows for the fit, and numbers in all, which bound the memory.
MAX_ROWS = 20_000
MAX_NUMBERS = 8_000_000
# A full 3x3 convolution over more inputs than this is left as the converter rounded it: time grows with the cube.
MAX_FAN_IN = 3000


def round_layer(conv: Convolution, int8: Stepwise, float_conv: Convolution, float32: Stepwise, seed: int) -> bool:
    """Replace a convolution's int8 weights, and its bias by what fits them. Returns whether the layer was one to do:
    transposed, dilated and grouped ones stay as the converter rounded them, as do those of more than `MAX_FAN_IN`.

    Both graphs must have been run up to this layer, and hold its inputs.
    """
    if conv.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D") or conv.bias is None:
        return False
    graph, float_graph = int8.graph, float32.graph
    shape = graph.shape(conv.weights)
    depthwise = conv.kind == "DEPTHWISE_CONV_2D"
    fan_in = int(np.prod(shape[1:3])) * (1 if depthwise else shape[3])
    options = graph.subgraph.operators[conv.op_index].builtinOptions
    dilated = max(options.dilationHFactor, options.dilationWFactor) > 1
    grouped = graph.shape(conv.data)[3] != shape[3]  # a grouped convolution, or a depth multiplier
    if dilated or grouped or fan_in > MAX_FAN_IN:
        return False
    given, wanted = _samples(conv, int8, float_conv, float32, seed, fan_in * (shape[3] if depthwise else 1))
    weights = float_graph.constant(float_conv.weights, np.float32).astype(np.float64)
    # One system of equations a group: a depthwise convolution has one a channel, any other a single one.
    if depthwise:  # weights (1, kh, kw, channels) -> (channels, taps, 1)
        matrix = weights.reshape(-1, shape[3]).T[:, :, None]
        given, wanted = (np.ascontiguousarray(rows.transpose(2, 0, 1)) for rows in (given, wanted))
        scales = graph.scales(conv.weights)[:, None]  # (groups, outputs of a group)
    else:  # weights (out, kh, kw, in) -> (1, taps x in, out)
        matrix = weights.reshape(shape[0], -1).T[None]
        given, wanted = (rows.reshape(1, len(rows), -1) for rows in (given, wanted))
        scales = graph.scales(conv.weights)[None]
    rounded, bias = _solve(given, wanted @ matrix, matrix, scales)
    stored = rounded[:, :, 0].T.reshape(shape) if depthwise else rounded[0].T.reshape(shape)
    graph.set_constant(conv.weights, stored.astype(np.int8))
    if float_conv.bias is not None:
        bias = bias + float_graph.constant(float_conv.bias, np.float32)
    set_bias(graph, conv, bias)
    return True


def _solve(given: Array, target: Array, matrix: Array, scales: Array) -> tuple[Array, Array]:
    """Weights in steps, (groups, inputs, outputs), and the bias beside them, so that given @ weights is like target.

    `given` is (groups, rows, inputs), `target` (groups, rows, outputs), `matrix` the float weights, `scales` their
    steps (groups, outputs).
    """
    given_mean, target_mean = given.mean(axis=1, keepdims=True), target.mean(axis=1, keepdims=True)
    centred = given - given_mean
    across = centred.transpose(0, 2, 1)
    gram = across @ centred
    rounded = _round(_fit(gram, across @ (target - target_mean), matrix), gram, scales)
    bias = target_mean - given_mean @ (rounded * scales[:, None])
    return rounded, bias.reshape(-1)


def set_bias(graph: Graph, conv: Convolution, bias: Array) -> None:
    """Store a real-valued bias in its int32 steps, which are input scale x weight scale, one a channel."""
    assert conv.bias is not None
    steps = np.rint(bias / graph.scales(conv.bias))
    limits = np.iinfo(np.int32)
    graph.set_constant(conv.bias, np.clip(steps, limits.min, limits.max).astype(np.int32))


def _samples(
    conv: Convolution, int8: Stepwise, float_conv: Convolution, float32: Stepwise, seed: int, numbers_a_row: int
) -> tuple[Array, Array]:
    """The input patches of random output pixels, in both graphs: (rows, taps, channels) each."""
    _, height, width, _ = int8.graph.shape(conv.output)
    pixels = int8.count * height * width
    rows = min(MAX_ROWS, MAX_NUMBERS // numbers_a_row, pixels)
    chosen = np.random.default_rng(seed).choice(pixels, rows, replace=False)
    position = np.unravel_index(chosen, (int8.count, height, width))
    return _patches(conv, int8, position), _patches(float_conv, float32, position)


def _patches(conv: Convolution, run: Stepwise, position: tuple[npt.NDArray[np.intp], ...]) -> Array:
    """The input patch behind each output pixel; outside of the picture it is zero, as SAME padding has it."""
    frame, row, column = position
    values = run.values[conv.data]
    _, in_height, in_width, _ = values.shape
    _, kernel_height, kernel_width, _ = run.graph.shape(conv.weights)
    options = run.graph.subgraph.operators[conv.op_index].builtinOptions
    tops = _starts(row, options.strideH, kernel_height, in_height, run.graph.shape(conv.output)[1], options.padding)
    lefts = _starts(column, options.strideW, kernel_width, in_width, run.graph.shape(conv.output)[2], options.padding)
    taps = []
    for down in range(kernel_height):
        for right in range(kernel_width):
            y, x = tops + down, lefts + right
            inside = (y >= 0) & (y < in_height) & (x >= 0) & (x < in_width)
            stored = values[frame, np.clip(y, 0, in_height - 1), np.clip(x, 0, in_width - 1)]
            taps.append(run.real(conv.data, stored) * inside[:, None])
    return np.stack(taps, axis=1)


def _starts(
    at: npt.NDArray[np.intp], stride: int, kernel: int, size_in: int, size_out: int, padding: int
) -> npt.NDArray[np.intp]:
    """Where the patch of an output position begins; TensorFlow puts the odd pixel of SAME padding behind."""
    same = padding == 0
    before = max((size_out - 1) * stride + kernel - size_in, 0) // 2 if same else 0
    return at * stride - before


def _fit(gram: Array, overlap: Array, matrix: Array) -> Array:
    """Ridge regression towards the float weights, for each group."""
    pull = RIDGE * _mean_diagonal(gram) * np.eye(gram.shape[1])
    return np.asarray(np.linalg.solve(gram + pull, overlap + pull @ matrix), np.float64)


def _round(matrix: Array, gram: Array, scales: Array) -> Array:
    """Round (groups, inputs, outputs) to steps of `scales` (groups, outputs); the most varying inputs come first."""
    groups, inputs, _ = matrix.shape
    order = np.argsort(-np.diagonal(gram, axis1=1, axis2=2), axis=1, kind="stable")
    group = np.arange(groups)[:, None]
    left = matrix[group, order]
    damped = gram + DAMPING * _mean_diagonal(gram) * np.eye(inputs)
    ordered = damped[group[:, :, None], order[:, :, None], order[:, None, :]]
    # The upper Cholesky factor of the inverse holds, row by row, how the inputs not rounded yet take over an error.
    factor = np.linalg.cholesky(np.linalg.inv(ordered)).transpose(0, 2, 1)
    rounded = np.empty_like(left)
    for index in range(inputs):
        rounded[:, index] = np.clip(np.rint(left[:, index] / scales), -WEIGHT_MAX, WEIGHT_MAX)
        error = (left[:, index] - rounded[:, index] * scales) / factor[:, index, index, None]
        left[:, index + 1 :] -= factor[:, index, index + 1 :, None] * error[:, None]
    result = np.empty_like(rounded)
    result[group, order] = rounded
    return result


def _mean_diagonal(gram: Array) -> Array:
    """For each group, (groups, 1, 1); never quite zero, for channels that are dead on every frame."""
    return np.diagonal(gram, axis1=1, axis2=2).mean(axis=1)[:, None, None] + 1e-9
