"""Fused BatchNorm gives the results of Keras' own layers, with other kernels and precisions."""

from __future__ import annotations

from functools import cache

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from tests.support.tiny_run import small_network
from train.model.fused_batchnorm import FusedBatchNormalization, fuse_batchnorm, unfuse_batchnorm
from train.model.unet import UNetConfig, build_unet, set_trainable

# Saving warns of each layer without weights.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning")]

Images = npt.NDArray[np.float32]


@cache
def unet() -> keras.Model:
    """A narrow network, 32 x 64. Shared: do not train it."""
    keras.utils.set_random_seed(0)
    return build_unet(UNetConfig(32, 64, width=0.35), weights=None)


def noise(*shape: int, seed: int = 0) -> Images:
    return np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32)


def norms(model: keras.Model) -> list[layers.BatchNormalization]:
    return [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]


def kernels(model: keras.Model, frames: Images) -> set[str]:
    """Return the types of the operations of a training step."""
    call = tf.function(lambda x: model(x, training=True)).get_concrete_function(frames)
    return {operation.type for operation in call.graph.get_operations()}


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 4), height=st.integers(1, 7), width=st.integers(2, 7), channels=st.integers(1, 5),
    scale=st.floats(0.1, 10), offset=st.floats(-10, 10), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_fused_batchnorm_trains_like_keras_own(
    batch: int, height: int, width: int, channels: int, scale: float, offset: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = tf.constant((rng.normal(size=(batch, height, width, channels)) * scale + offset).astype(np.float32))
    weights = tf.constant(rng.normal(size=x.shape).astype(np.float32))
    results = []
    for layer_class in (layers.BatchNormalization, FusedBatchNormalization):
        norm = layer_class(momentum=0.9)
        norm.build(x.shape)
        norm.gamma.assign(np.arange(channels) + 0.5)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = norm(x, training=True)
            loss = tf.reduce_sum(y * weights)
        gradients = tape.gradient(loss, [x, norm.gamma.value, norm.beta.value])
        results.append([y, *gradients, norm.moving_mean, norm.moving_variance])
    for own, fused in zip(*results, strict=True):
        own, fused = np.asarray(own), np.asarray(fused)
        assert np.abs(fused - own).max() <= 1e-3 * max(1.0, np.abs(own).max())


def test_a_training_step_uses_the_fused_kernel_unless_batchnorm_is_frozen() -> None:
    model = fuse_batchnorm(small_network(UNetConfig(32, 64)))
    trained = kernels(model, noise(2, 32, 64, 3))
    assert "FusedBatchNormV3" in trained
    assert "SquaredDifference" not in trained, "Keras' own variance"
    set_trainable(model, encoder=True, batchnorm=False)
    assert "FusedBatchNormV3" not in kernels(model, noise(2, 32, 64, 3))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_unfusing_restores_keras_layers_and_the_same_bits(policy: str) -> None:
    model = unet()
    unfused = unfuse_batchnorm(fuse_batchnorm(model, policy))
    assert {type(layer) for layer in norms(unfused)} == {layers.BatchNormalization}
    assert {layer.compute_dtype for layer in unfused.layers} == {"float32"}
    assert [weight.path for weight in unfused.weights] == [weight.path for weight in model.weights]
    frames = noise(2, 32, 64, 3)
    assert (np.asarray(unfused(frames)) == np.asarray(model(frames))).all()


def test_mixed_precision_computes_in_bfloat16_to_nearly_the_same_result() -> None:
    model, frames = unet(), noise(2, 32, 64, 3)
    mixed = fuse_batchnorm(model, "mixed_bfloat16")
    assert {layer.compute_dtype for layer in mixed.layers if layer.weights} == {"bfloat16"}
    half, expected = np.asarray(mixed(frames)), np.asarray(model(frames))
    assert half.dtype == np.float32
    assert (half != expected).any() and np.abs(half - expected).max() < 0.01
    assert np.isfinite(np.asarray(mixed(frames, training=True))).all()
