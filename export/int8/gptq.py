"""GPTQ for TFLite convolutions: round weights so that the layer's output stays, at no cost at run time.

For each layer, behind the refined int8 layers above it:

1. Sample output pixels; take the input patch of each in the int8 model and in the float model.
2. Fit the weights by ridge regression: int8 inputs to the float layer's output. This undoes errors made above.
3. Sort the layer's inputs by variance, the most varying first.
4. Round one input's weights to int8 steps. Spread the rounding error over the inputs not rounded yet, by the upper
   Cholesky factor of the inverse Gram matrix (the Hessian of the squared error). Repeat for every input.
5. Set the bias to what makes the mean outputs equal.

Weight scales stay as the converter chose them.

Sources: Frantar et al. 2022, GPTQ (arXiv 2210.17323), for steps 3 and 4; Hubara et al. 2020, Improving Post Training
Neural Quantization (arXiv 2006.10518), for fitting on quantized inputs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.int8.graph import Convolution
from export.int8.runner import LayerPair, OperatorRunner

Array = npt.NDArray[np.float64]

# Pull of the fit towards the float weights, and the addition to the Gram diagonal before inverting. Both are shares of
# the mean squared input, so that inputs that hardly vary on the calibration frames keep their trained weights.
RIDGE = 0.3
DAMPING = 0.01
WEIGHT_MAX = 127  # symmetric, as the TFLite specification requires
# Bounds on the sample, for time and memory: patches, and values in all.
MAX_ROWS = 20_000
MAX_VALUES = 8_000_000
# Larger layers stay as converted: time grows with the cube of the fan-in.
MAX_FAN_IN = 3000


def round_weights(layer: LayerPair, *, seed: int) -> bool:
    """Replace a convolution's int8 weights and bias, and return whether it is of a supported form.

    Transposed, dilated and grouped convolutions, those without a bias and those of more than `MAX_FAN_IN` inputs stay
    as converted.
    """
    conv, float_conv = layer.conv, layer.float_conv
    if conv.operator not in ("CONV_2D", "DEPTHWISE_CONV_2D") or conv.bias is None:
        return False
    graph, float_graph = layer.run.graph, layer.float_run.graph
    shape = graph.shape(conv.weights)
    depthwise = conv.operator == "DEPTHWISE_CONV_2D"
    fan_in = int(np.prod(shape[1:3])) * (1 if depthwise else shape[3])
    options = graph.subgraph.operators[conv.op_index].builtinOptions
    dilated = max(options.dilationHFactor, options.dilationWFactor) > 1
    grouped = graph.shape(conv.data)[3] != shape[3]  # or with a depth multiplier
    if dilated or grouped or fan_in > MAX_FAN_IN:
        return False
    values_per_row = fan_in * (shape[3] if depthwise else 1)
    inputs, float_inputs = _sample_patches(layer, seed, values_per_row)
    weights = float_graph.constant(float_conv.weights, np.float32).astype(np.float64)
    # One system of equations per group: a depthwise convolution has one per channel, any other a single one.
    if depthwise:  # weights (1, kh, kw, channels) -> (channels, taps, 1)
        matrix = weights.reshape(-1, shape[3]).T[:, :, None]
        inputs, float_inputs = (np.ascontiguousarray(rows.transpose(2, 0, 1)) for rows in (inputs, float_inputs))
        scales = graph.scales(conv.weights)[:, None]  # (groups, outputs of a group)
    else:  # weights (out, kh, kw, in) -> (1, taps x in, out)
        matrix = weights.reshape(shape[0], -1).T[None]
        inputs, float_inputs = (rows.reshape(1, len(rows), -1) for rows in (inputs, float_inputs))
        scales = graph.scales(conv.weights)[None]
    rounded, bias = _solve(inputs, float_inputs @ matrix, matrix, scales)
    stored = rounded[:, :, 0].T.reshape(shape) if depthwise else rounded[0].T.reshape(shape)
    graph.set_constant(conv.weights, stored.astype(np.int8))
    if float_conv.bias is not None:
        bias = bias + float_graph.constant(float_conv.bias, np.float32)
    graph.set_bias(conv, np.rint(bias / graph.scales(conv.bias)))
    return True


def _solve(inputs: Array, target: Array, matrix: Array, scales: Array) -> tuple[Array, Array]:
    """Return weights in int8 steps (groups, inputs, outputs) and the bias that bring inputs @ weights close to target.

    `inputs` is (groups, rows, inputs), `target` (groups, rows, outputs), `matrix` the float weights, `scales` their
    steps (groups, outputs).
    """
    inputs_mean, target_mean = inputs.mean(axis=1, keepdims=True), target.mean(axis=1, keepdims=True)
    centred = inputs - inputs_mean
    across = centred.transpose(0, 2, 1)
    gram = across @ centred
    rounded = _round(_fit(gram, across @ (target - target_mean), matrix), gram, scales)
    bias = target_mean - inputs_mean @ (rounded * scales[:, None])
    return rounded, bias.reshape(-1)


def _sample_patches(layer: LayerPair, seed: int, values_per_row: int) -> tuple[Array, Array]:
    """Return the input patches of random output pixels, in both graphs: (rows, taps, channels) each."""
    _, height, width, _ = layer.run.graph.shape(layer.conv.output)
    pixels = layer.run.count * height * width
    rows = min(MAX_ROWS, MAX_VALUES // values_per_row, pixels)
    chosen = np.random.default_rng(seed).choice(pixels, rows, replace=False)
    position = np.unravel_index(chosen, (layer.run.count, height, width))
    return _patches(layer.conv, layer.run, position), _patches(layer.float_conv, layer.float_run, position)


def _patches(conv: Convolution, run: OperatorRunner, position: tuple[npt.NDArray[np.intp], ...]) -> Array:
    """Return the input patch of each output pixel; zero outside the frame, as SAME padding has it."""
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
            taps.append(run.dequantize(conv.data, stored) * inside[:, None])
    return np.stack(taps, axis=1)


def _starts(
    at: npt.NDArray[np.intp], stride: int, kernel: int, size_in: int, size_out: int, padding: int
) -> npt.NDArray[np.intp]:
    """Return where the patch of an output position starts; TensorFlow puts SAME padding's odd pixel at the end."""
    same = padding == 0
    before = max((size_out - 1) * stride + kernel - size_in, 0) // 2 if same else 0
    return at * stride - before


def _fit(gram: Array, overlap: Array, matrix: Array) -> Array:
    """Return the ridge regression towards the float weights, per group (step 2)."""
    pull = RIDGE * _mean_diagonal(gram) * np.eye(gram.shape[1])
    return np.asarray(np.linalg.solve(gram + pull, overlap + pull @ matrix), np.float64)


def _round(matrix: Array, gram: Array, scales: Array) -> Array:
    """Round (groups, inputs, outputs) to whole steps of `scales` (groups, outputs) (steps 3 and 4)."""
    groups, inputs, _ = matrix.shape
    order = np.argsort(-np.diagonal(gram, axis1=1, axis2=2), axis=1, kind="stable")
    group = np.arange(groups)[:, None]
    left = matrix[group, order]
    damped = gram + DAMPING * _mean_diagonal(gram) * np.eye(inputs)
    ordered = damped[group[:, :, None], order[:, :, None], order[:, None, :]]
    # Row by row, the upper Cholesky factor says how the inputs not rounded yet take over an error.
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
    """Return the mean of each group's diagonal (groups, 1, 1), above zero even for channels dead on every frame."""
    return np.diagonal(gram, axis1=1, axis2=2).mean(axis=1)[:, None, None] + 1e-9
