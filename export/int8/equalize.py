"""Equalize the channels of linear tensors before conversion: the same network, with less rounding in int8.

A tensor has one int8 scale and zero point, set by its widest channel, so narrow channels get few of the 256 levels.
Where nothing but sums lie between two convolutions (behind the projections that end MobileNetV2's blocks), the
BatchNorm that writes a channel can centre it and divide it by a factor, and the convolutions that read it undo both:
the factor in their kernels, the centre in their BatchNorms. Tensors that an addition joins share their factors.

Source: Nagel et al. 2019, Data-Free Quantization (arXiv 1906.04721), section 4.1, on activations instead of weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from edge.images import Frame

MIN_FACTOR = 1 / 32  # of a channel that hardly varies on the calibration frames: on others it may vary more
BATCH_SIZE = 8

Values = npt.NDArray[np.float32]  # one per channel
Readers = dict[str, list[keras.Operation]]
"""The operations that read a layer's output, by the layer's name; the model itself for its outputs."""
Group = list[keras.Layer]  # BatchNorms and additions whose outputs share their factors


def equalize(model: keras.Model, frames: Frame) -> keras.Model:
    """Return a copy of the network, equal up to float rounding, whose linear tensors have channels of similar range.

    Args:
        frames: N x height x width x 3 RGB bytes, on which the ranges are measured.

    Example:
        >>> int8 = convert(equalize(model, frames), "int8", runtime, calibration=frames).flatbuffer
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    readers = _readers(copy)
    groups = list(_linear_groups(copy, readers))
    if groups:
        ranges = _channel_ranges(copy, [layer for group in groups for layer in group], frames)
        for group in groups:
            _equalize_group(group, readers, ranges)
    return copy


def _equalize_group(group: Group, readers: Readers, ranges: dict[str, tuple[Values, Values]]) -> None:
    centres: dict[str, Values] = {}
    half_ranges = []
    for layer in group:  # in order of execution: the terms of a sum come before it
        low, high = ranges[layer.name]
        terms = [centres[name] for name in _terms(layer)]
        centre = np.asarray(np.sum(terms, axis=0) if terms else (low + high) / 2, np.float32)
        centres[layer.name] = centre
        half_ranges.append(np.maximum(high - centre, centre - low))
    shares = [half_range / max(float(half_range.max()), 1e-9) for half_range in half_ranges]
    factors = np.clip(np.max(shares, axis=0), MIN_FACTOR, 1)
    for layer in group:
        centre = centres[layer.name]
        if not _terms(layer):
            layer.gamma.assign(layer.gamma / factors)
            layer.beta.assign((layer.beta - centre) / factors)
        for reader in readers[layer.name]:
            if type(reader) is layers.Conv2D:
                (norm,) = readers[reader.name]
                norm.moving_mean.assign(norm.moving_mean - centre @ ops.convert_to_numpy(reader.kernel)[0, 0])
                reader.kernel.assign(reader.kernel * factors[:, None])


def _linear_groups(model: keras.Model, readers: Readers) -> Iterator[Group]:
    """Yield groups of tensors that BatchNorms write, and that sums of the group and 1x1 convolutions alone read."""
    left = {layer.name: layer for layer in model.layers if _is_norm(layer) or _is_sum(layer)}
    while left:
        group = [left.pop(next(iter(left)))]
        is_linear = True
        for layer in group:  # grows
            sums = [reader.name for reader in readers[layer.name] if _is_sum(reader)]
            for name in (*_terms(layer), *sums):
                if name in left:
                    group.append(left.pop(name))
                is_linear = is_linear and any(name == other.name for other in group)
            is_linear = is_linear and all(
                _is_sum(reader) or _can_absorb(reader, readers) for reader in readers[layer.name]
            )
        if is_linear and len({layer.output.shape[-1] for layer in group}) == 1:  # an addition may broadcast
            order = [layer.name for layer in model.layers]
            yield sorted(group, key=lambda layer: order.index(layer.name))


def _is_norm(layer: keras.Operation) -> bool:
    """Whether this is a BatchNorm with scale and offset, over the last axis."""
    is_norm = isinstance(layer, layers.BatchNormalization) and layer.scale and layer.center and layer.axis in (-1, 3)
    return is_norm and _is_called_once(layer)


def _is_sum(layer: keras.Operation) -> bool:
    return type(layer) is layers.Add and _is_called_once(layer)


def _is_called_once(layer: keras.Operation) -> bool:
    """Whether the network calls this once, for feature maps."""
    return len(layer._inbound_nodes) == 1 and len(layer.output.shape) == 4


def _can_absorb(reader: keras.Operation, readers: Readers) -> bool:
    """Whether this is a 1x1 convolution with a BatchNorm: wider ones see zeros beyond the edge, not the centre."""
    is_pointwise = type(reader) is layers.Conv2D and reader.kernel_size == (1, 1) and reader.groups == 1
    if not is_pointwise or reader.data_format != "channels_last" or not _is_called_once(reader):
        return False
    after = readers[reader.name]
    return reader.activation is keras.activations.linear and len(after) == 1 and _is_norm(after[0])


def _terms(layer: keras.Layer) -> list[str]:
    """Return the names of the layers that an addition adds up; none for a BatchNorm."""
    return [_name(tensor) for tensor in layer._inbound_nodes[0].input_tensors] if _is_sum(layer) else []


def _name(tensor: keras.KerasTensor) -> str:
    return str(tensor._keras_history.operation.name)


def _readers(model: keras.Model) -> Readers:
    readers: Readers = {operation.name: [] for operation in model.operations}
    for operation in model.operations:
        for node in operation._inbound_nodes:
            for name in {_name(tensor) for tensor in node.input_tensors}:
                readers[name].append(operation)
    for output in model.outputs:
        readers[_name(output)].append(model)
    return readers


def _channel_ranges(model: keras.Model, of: Sequence[keras.Layer], frames: Frame) -> dict[str, tuple[Values, Values]]:
    """Return the lowest and the highest value of each channel of the layers' outputs, by the layer's name."""
    bounds = [bound(layer.output, axis=(1, 2)) for layer in of for bound in (ops.min, ops.max)]
    found = keras.Model(model.inputs, bounds).predict(frames, batch_size=BATCH_SIZE, verbose=0)
    lows, highs = (values.min(axis=0) for values in found[::2]), (values.max(axis=0) for values in found[1::2])
    return {layer.name: (low, high) for layer, low, high in zip(of, lows, highs, strict=True)}
