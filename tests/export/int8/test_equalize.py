"""Equalization keeps predictions and reduces the rounding error of int8."""

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
    return block(layers.Add(name="sum")([linear(block(first), name="second"), first]))


def _with_bias(x: Tensor) -> Tensor:
    return layers.ReLU(6)(norm(layers.Conv2D(8, 1, strides=2)(linear(x, name="first"))))


def _read_twice(x: Tensor) -> Tensor:
    first = linear(x, name="first")
    return layers.Concatenate()([block(first), block(first, filters=2)])


def _nested(x: Tensor) -> Tensor:
    inner = keras.Input(x.shape[1:])
    return keras.Model(inner, block(linear(inner)))(x)


EQUALIZED: dict[str, Callable[[Tensor], Tensor]] = {
    "residual": _residual,
    "biased and strided reader": _with_bias,
    "two readers": _read_twice,
}


def _through_shared_convolution(x: Tensor) -> Tensor:
    shared = layers.Conv2D(8, 1)
    return layers.Add()([norm(shared(linear(x))), norm(shared(linear(x)))])


def _through_shared_sum(x: Tensor) -> Tensor:
    shared = layers.Add()
    a, b, c = (linear(x) for _ in range(3))
    return layers.Concatenate()([block(shared([a, b])), block(shared([b, c]))])


def _from_shared_norm(x: Tensor) -> Tensor:
    shared = layers.BatchNormalization(beta_initializer="ones")
    first, second = (shared(layers.Conv2D(4, 1)(x)) for _ in range(2))
    return layers.Concatenate()([block(first), block(second)])


def _read_and_returned(x: Tensor) -> Tensor:
    first = linear(x)
    return [block(first), first]


def _broadcast(x: Tensor) -> Tensor:
    return block(layers.Add()([linear(x), linear(x, filters=1)]))


def _reader_is_read_twice(x: Tensor) -> Tensor:
    reader = layers.Conv2D(4, 1)(linear(x))
    return layers.Concatenate()([norm(reader), layers.ReLU(6)(reader)])


def _dense(x: Tensor) -> Tensor:
    flat = layers.BatchNormalization()(layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))
    return layers.Dense(2)(flat)


def _custom_norm(x: Tensor) -> Tensor:
    return block(RectifiedNorm(beta_initializer="ones")(layers.Conv2D(4, 1)(x)))


class RectifiedNorm(layers.BatchNormalization):
    """A BatchNorm that is not linear."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        return keras.ops.relu(super().call(inputs, training=training, mask=mask))


UNCHANGED: dict[str, Callable[[Tensor], Tensor]] = {
    "a reader that sees zeros beyond the edge": lambda x: block(linear(x), kernel=3),
    "a reader without BatchNorm": lambda x: layers.Conv2D(1, 1)(linear(x)),
    "a reader with an activation": lambda x: norm(layers.Conv2D(2, 1, activation="relu")(linear(x))),
    "a depthwise reader": lambda x: layers.ReLU(6)(norm(layers.DepthwiseConv2D(1)(linear(x)))),
    "a grouped reader": lambda x: norm(layers.Conv2D(4, 1, groups=2)(linear(x))),
    "a reader that two layers read": _reader_is_read_twice,
    "a sum with what ReLU6 bounds": lambda x: block(layers.Add()([linear(x, filters=8), x])),
    "a sum of different channels": _broadcast,
    "a sum that is called twice": _through_shared_sum,
    "a convolution that is called twice": _through_shared_convolution,
    "a BatchNorm that is called twice": _from_shared_norm,
    "a BatchNorm without scale": lambda x: block(linear(x, scale=False)),
    "a BatchNorm without offset": lambda x: block(layers.BatchNormalization(center=False)(layers.Conv2D(4, 1)(x))),
    "a BatchNorm of rows": lambda x: block(layers.BatchNormalization(axis=1)(layers.Conv2D(4, 1)(x))),
    "a BatchNorm of vectors": _dense,
    "another kind of BatchNorm": _custom_norm,
    "also an output": _read_and_returned,
    "a nested model": _nested,
    "nothing linear": lambda x: block(x),
}


def outputs(model: keras.Model, frames: Frame | None = None) -> list[npt.NDArray[np.float32]]:
    output = model((pictures() if frames is None else frames).astype(np.float32), training=False)
    return [keras.ops.convert_to_numpy(tensor) for tensor in (output if isinstance(output, list) else [output])]


def ranges(model: keras.Model, layer: str, frames: Frame) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the centre and the half range of each channel of a layer's output."""
    (values,) = outputs(keras.Model(model.inputs, model.get_layer(layer).output), frames)
    low, high = values.min(axis=(0, 1, 2)), values.max(axis=(0, 1, 2))
    return (low + high) / 2, (high - low) / 2


@pytest.mark.parametrize("structure", EQUALIZED | UNCHANGED)
def test_the_network_predicts_the_same(structure: str) -> None:
    model = network((EQUALIZED | UNCHANGED)[structure])
    before = model.get_weights()
    after = equalize(model, pictures())
    for expected, actual in zip(outputs(model), outputs(after), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
    assert all(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True)), "the original stays"
    is_equal = all(np.array_equal(*pair) for pair in zip(before, after.get_weights(), strict=True))
    assert is_equal == (structure in UNCHANGED)


@pytest.mark.parametrize("structure", EQUALIZED)
def test_the_channels_of_a_linear_tensor_have_one_range(structure: str) -> None:
    model = network(EQUALIZED[structure])
    after = equalize(model, pictures())
    names = ("first", "second", "sum") if structure == "residual" else ("first",)
    _, before = ranges(model, "first", pictures())
    assert before.max() / before.min() > 1.3
    shares = []
    for name in names:
        centre, half_range = ranges(after, name, pictures())
        if name != "sum":  # the centre of a sum follows from those of its terms
            np.testing.assert_allclose(centre, 0, atol=1e-5)
        shares.append((np.abs(centre) + half_range) * factor_of(model, after))
    # In the tensors joined by an addition, the one whose channel is relatively widest sets its factor.
    widest = np.max([share / share.max() for share in shares], axis=0)
    np.testing.assert_allclose(factor_of(model, after), widest / widest.max(), rtol=1e-3)


def factor_of(model: keras.Model, after: keras.Model) -> npt.NDArray[np.float32]:
    """Return what each channel of "first" was divided by."""
    was, now = (keras.ops.convert_to_numpy(each.get_layer("first").gamma) for each in (model, after))
    return np.asarray(was / now, np.float32)


def test_a_tensor_that_is_always_zero_stays_so() -> None:
    model = network(_with_bias)
    layer = model.get_layer("first")
    layer.set_weights([np.zeros(4), np.zeros(4), *layer.get_weights()[2:]])
    np.testing.assert_allclose(outputs(equalize(model, pictures()))[0], outputs(model)[0], rtol=1e-4, atol=1e-4)


def test_a_sequential_network_is_equalized_too() -> None:
    keras.utils.set_random_seed(1)
    pointwise = [
        layers.Conv2D(4, 1),
        layers.BatchNormalization(gamma_initializer=keras.initializers.RandomUniform(1, 9)),
    ]
    model = keras.Sequential(
        [keras.Input((SIDE_PX, SIDE_PX, 3)), *pointwise, layers.Conv2D(4, 1), layers.BatchNormalization()]
    )
    after = equalize(model, pictures())
    np.testing.assert_allclose(outputs(after)[0], outputs(model)[0], rtol=1e-4, atol=1e-2)
    assert not np.array_equal(after.layers[2].gamma, model.layers[1].gamma)


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
