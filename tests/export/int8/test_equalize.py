"""Equalization gives the same network, whose linear tensors lose less when they are rounded to int8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from keras import layers

from edge.images import Frame
from edge.model.runtime import Runtime
from export.convert import convert
from export.int8.equalize import MIN_FACTOR, equalize
from tests.export.interpreting import mean_error, probabilities

SIDE_PX = 16
LINEAR = ("block_1_project_BN", "block_2_project_BN", "block_2_add", "block_16_project_BN")

Tensor = Any  # keras.KerasTensor


def pictures() -> Frame:
    return np.random.default_rng(0).integers(0, 256, (6, SIDE_PX, SIDE_PX, 3), np.uint8)


def norm(x: Tensor, *, scale: bool = True, name: str | None = None) -> Tensor:
    """BatchNorm with random values: its channels differ in mean and range."""
    uneven = keras.initializers.RandomUniform(-2, 2)
    gamma = keras.initializers.RandomUniform(0.2, 3) if scale else "ones"
    return layers.BatchNormalization(
        scale=scale, gamma_initializer=gamma, beta_initializer=uneven, moving_mean_initializer=uneven, name=name
    )(x)


def block(x: Tensor, filters: int = 8, kernel: int = 1) -> Tensor:
    """Convolution, BatchNorm, ReLU6."""
    return layers.ReLU(6)(norm(layers.Conv2D(filters, kernel, padding="same", use_bias=False)(x)))


def linear(x: Tensor, *, scale: bool = True, filters: int = 4, name: str | None = None) -> Tensor:
    """Convolution and BatchNorm, without an activation."""
    return norm(layers.Conv2D(filters, 1, use_bias=False)(x), scale=scale, name=name)


def network(tail: Callable[[Tensor], Tensor]) -> keras.Model:
    keras.utils.set_random_seed(1)
    frame = keras.Input((SIDE_PX, SIDE_PX, 3))
    return keras.Model(frame, tail(block(layers.Rescaling(1 / 127.5)(frame))))


def _residual(x: Tensor) -> Tensor:
    first = linear(x, name="first")
    return block(layers.Add()([linear(block(first), name="second"), first]))


def _with_bias(x: Tensor) -> Tensor:
    return layers.ReLU(6)(norm(layers.Conv2D(8, 1, strides=2)(linear(x, name="first"))))


def _read_twice(x: Tensor) -> Tensor:
    first = linear(x, name="first")
    return layers.Concatenate()([block(first), block(first, filters=2)])


EQUALIZED: dict[str, Callable[[Tensor], Tensor]] = {
    "residual": _residual,
    "biased and strided reader": _with_bias,
    "two readers": _read_twice,
}


def _through_shared_convolution(x: Tensor) -> Tensor:
    shared = layers.Conv2D(8, 1)
    return layers.Add()([norm(shared(linear(x))), norm(shared(linear(x)))])


def _read_and_returned(x: Tensor) -> Tensor:
    first = linear(x)
    return [block(first), first]


def _broadcast(x: Tensor) -> Tensor:
    return block(layers.Add()([linear(x), linear(x, filters=1)]))


KEPT: dict[str, Callable[[Tensor], Tensor]] = {
    "a reader that sees zeros beyond the edge": lambda x: block(linear(x), kernel=3),
    "a reader without BatchNorm": lambda x: layers.Conv2D(1, 1)(linear(x)),
    "a reader with an activation": lambda x: norm(layers.Conv2D(2, 1, activation="relu")(linear(x))),
    "a depthwise reader": lambda x: layers.ReLU(6)(norm(layers.DepthwiseConv2D(1)(linear(x)))),
    "a grouped reader": lambda x: norm(layers.Conv2D(4, 1, groups=2)(linear(x))),
    "a sum with what ReLU6 bounds": lambda x: block(layers.Add()([linear(x, filters=8), x])),
    "a sum of different channels": _broadcast,
    "no scale": lambda x: block(linear(x, scale=False)),
    "also an output": _read_and_returned,
    "a convolution that is called twice": _through_shared_convolution,
    "nothing linear": lambda x: block(x),
}


def outputs(model: keras.Model) -> list[npt.NDArray[np.float32]]:
    found = model.predict(pictures(), verbose=0)
    return found if isinstance(found, list) else [found]


def ranges(model: keras.Model, layer: str, frames: Frame) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the centre and the half range of each channel of a layer's output."""
    values = keras.Model(model.inputs, model.get_layer(layer).output).predict(frames, verbose=0)
    low, high = values.min(axis=(0, 1, 2)), values.max(axis=(0, 1, 2))
    return (low + high) / 2, (high - low) / 2


@pytest.mark.parametrize("structure", EQUALIZED | KEPT)
def test_the_network_predicts_the_same(structure: str) -> None:
    model = network((EQUALIZED | KEPT)[structure])
    before = model.get_weights()
    after = equalize(model, pictures())
    for expected, found in zip(outputs(model), outputs(after), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert all(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True)), "the original stays"
    is_equal = all(np.array_equal(*pair) for pair in zip(before, after.get_weights(), strict=True))
    assert is_equal == (structure in KEPT)


@pytest.mark.parametrize("structure", EQUALIZED)
def test_the_channels_of_a_linear_tensor_have_one_range(structure: str) -> None:
    model = network(EQUALIZED[structure])
    _, before = ranges(model, "first", pictures())
    centre, after = ranges(equalize(model, pictures()), "first", pictures())
    assert before.max() / before.min() > 1.3
    np.testing.assert_allclose(centre, 0, atol=1e-5)
    if structure != "residual":  # there the widest of three tensors sets the factor of a channel
        np.testing.assert_allclose(after, after[0], rtol=1e-4)


def test_a_channel_that_never_varies_on_the_frames_is_not_enlarged_without_bound() -> None:
    model = network(_with_bias)
    layer = model.get_layer("first")
    gamma, *others = layer.get_weights()
    layer.set_weights([gamma * [0, 1, 1, 1], *others])
    after = equalize(model, pictures())
    np.testing.assert_allclose(outputs(after)[0], outputs(model)[0], rtol=1e-4, atol=1e-4)
    reader, was = (next(x for x in m.layers if isinstance(x, layers.Conv2D) and x.use_bias) for m in (after, model))
    np.testing.assert_allclose(reader.kernel[:, :, 0], was.kernel[:, :, 0] * MIN_FACTOR, rtol=1e-6)


@pytest.mark.slow
def test_the_u_net_equalized_loses_less_in_int8(
    unet: keras.Model, unet_float32: bytes, unet_int8: bytes, frames: Frame, runtime: Runtime
) -> None:
    after = equalize(unet, frames)
    for name in LINEAR:
        shares = [half / half.max() for _, half in (ranges(unet, name, frames), ranges(after, name, frames))]
        assert shares[0].mean() + 0.1 < shares[1].mean(), name
    equalized = convert(after, "int8", runtime, calibration=frames).flatbuffer
    float32, plain, better = (probabilities(runtime, model, frames) for model in (unet_float32, unet_int8, equalized))
    assert mean_error(float32, better) < 0.95 * mean_error(float32, plain)
