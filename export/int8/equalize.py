"""Equalize the channels of linear tensors before conversion: the same predictions, with less rounding in int8.

A tensor has one int8 scale and zero point, set by its widest channel, so narrow channels get few of the 256 levels.
Between two convolutions with only additions and no activation in between, as behind the projections that end
MobileNetV2's blocks, BatchNorm centres and scales each channel. The next convolution's kernel and BatchNorm undo it.
Tensors that an addition joins share their factors. Nested models are not equalized.

Source: Nagel et al. 2019, Data-Free Quantization (arXiv 1906.04721), section 4.1, on activations instead of weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from edge.images import Frame

MIN_FACTOR = 1 / 32  # a channel that is flat on the calibration frames may vary on others
BATCH_SIZE = 8

Values = npt.NDArray[np.float32]  # one per channel
Readers = dict[str, list[keras.Operation]]
"""The operations that read a layer's output, by the layer's name; the model itself for its outputs."""
Group = list[keras.Layer]  # BatchNorms and additions whose outputs share their factors, in order of execution


def equalize(model: keras.Model, frames: Frame) -> keras.Model:
    """Return a copy of the network whose linear tensors have channels of similar range; it predicts the same.

    Args:
        frames: N x height x width x 3 RGB bytes, on which the ranges are measured.

    Example:
        >>> int8 = convert(equalize(model, frames), "int8", runtime, calibration=frames).flatbuffer
    """
    network = keras.Model(model.inputs, model.outputs, name=model.name)  # a Sequential has no operations
    copy = keras.models.clone_model(network)
    copy.set_weights(model.get_weights())
    readers = _readers(copy)
    groups = list(_linear_groups(copy, readers))
    if groups:
        ranges = _channel_ranges(copy, [layer for group in groups for layer in group], frames)
        for group in groups:
            _equalize_group(group, readers, ranges)
    return copy


def _equalize_group(group: Group, readers: Readers, ranges: dict[str, tuple[Values, Values]]) -> None:
    """Replace y by (y - centre) / factor in each tensor, and undo it in the readers' kernels and moving means."""
    centres: dict[str, Values] = {}
    shares = []
    for layer in group:
        low, high = ranges[layer.name]
        terms = [centres[name] for name in _terms(layer)]
        centre = np.asarray(np.sum(terms, axis=0) if terms else (low + high) / 2, np.float32)
        half_range = np.maximum(high - centre, centre - low)
        centres[layer.name] = centre
        shares.append(half_range / max(float(half_range.max()), 1e-9))  # a tensor of zeros has no range
    factors = np.clip(np.max(shares, axis=0), MIN_FACTOR, 1)
    for layer in group:
        centre = centres[layer.name]
        if _is_norm(layer):
            layer.gamma.assign(layer.gamma / factors)
            layer.beta.assign((layer.beta - centre) / factors)
        for reader in readers[layer.name]:
            if not _is_sum(reader):
                (norm,) = readers[reader.name]
                norm.moving_mean.assign(norm.moving_mean - centre @ ops.convert_to_numpy(reader.kernel)[0, 0])
                reader.kernel.assign(reader.kernel * factors[:, None])


def _linear_groups(model: keras.Model, readers: Readers) -> Iterator[Group]:
    """Yield connected groups of BatchNorms and additions that only the group's additions and 1x1 convolutions read."""
    remaining = {layer.name: layer for layer in model.layers if _is_norm(layer) or _is_sum(layer)}
    position = {layer.name: number for number, layer in enumerate(model.layers)}
    while remaining:
        group = [remaining.pop(next(iter(remaining)))]
        for layer in group:  # the group grows meanwhile
            group += [remaining.pop(name) for name in _joined(layer, readers) if name in remaining]
        names = {layer.name for layer in group}
        joined = {name for layer in group for name in _joined(layer, readers)}
        others = [reader for layer in group for reader in readers[layer.name] if not _is_sum(reader)]
        has_one_width = len({layer.output.shape[-1] for layer in group}) == 1  # an addition may broadcast
        if joined <= names and has_one_width and all(_can_undo(reader, readers) for reader in others):
            yield sorted(group, key=lambda layer: position[layer.name])


def _joined(layer: keras.Layer, readers: Readers) -> list[str]:
    """Return the names of the additions that read a layer, and of the terms of an addition."""
    return [*_terms(layer), *(reader.name for reader in readers[layer.name] if _is_sum(reader))]


def _terms(layer: keras.Layer) -> list[str]:
    """Return the names of the layers that an addition adds up; none for a BatchNorm."""
    return [_name(tensor) for tensor in layer._inbound_nodes[0].input_tensors] if _is_sum(layer) else []


def _is_norm(layer: keras.Operation) -> bool:
    """Whether this is a BatchNorm with scale and offset, over the last axis."""
    is_norm = type(layer) is layers.BatchNormalization and layer.scale and layer.center and layer.axis in (-1, 3)
    return is_norm and _is_called_once(layer)


def _is_sum(layer: keras.Operation) -> bool:
    return type(layer) is layers.Add and _is_called_once(layer)


def _is_called_once(layer: keras.Layer) -> bool:
    """Whether the network calls this layer once."""
    return len(layer._inbound_nodes) == 1


def _can_undo(reader: keras.Operation, readers: Readers) -> bool:
    """Whether this 1x1 convolution and the BatchNorm after it can absorb the factors and centres.

    A larger kernel also reads zero padding, which no offset reaches.
    """
    if type(reader) is not layers.Conv2D or reader.kernel_size != (1, 1) or reader.groups != 1:
        return False
    after = readers[reader.name]
    is_plain = reader.activation is keras.activations.linear and not getattr(reader, "lora_enabled", False)
    return is_plain and len(after) == 1 and _is_norm(after[0])


def _name(tensor: keras.KerasTensor) -> str:
    return str(tensor._keras_history.operation.name)


def _readers(model: keras.Model) -> Readers:
    readers: Readers = {operation.name: [] for operation in model.operations}
    for operation in model.operations:
        for node in operation._inbound_nodes:
            for tensor in node.input_tensors:
                readers[_name(tensor)].append(operation)
    for output in model.outputs:
        readers[_name(output)].append(model)
    return readers


def _channel_ranges(
    model: keras.Model, measured: Sequence[keras.Layer], frames: Frame
) -> dict[str, tuple[Values, Values]]:
    """Return the lowest and the highest value of each channel of the layers' outputs, by the layer's name."""
    bounds = [bound(layer.output, axis=(1, 2)) for layer in measured for bound in (ops.min, ops.max)]
    values = keras.Model(model.inputs, bounds).predict(frames, batch_size=BATCH_SIZE, verbose=0)
    lows, highs = (
        [of_frames.min(axis=0) for of_frames in values[::2]],
        [of_frames.max(axis=0) for of_frames in values[1::2]],
    )
    return {layer.name: (low, high) for layer, low, high in zip(measured, lows, highs, strict=True)}
