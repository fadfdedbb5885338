"""The form a network is trained in, and the form it is kept in: the same layers and weights, computed in other ways.

Keras 3 puts BatchNorm together from nine elementwise operations, each a pass over the feature map; TensorFlow has one
kernel for it. What is kept is made of Keras' own layers again, so that any Keras loads it.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers


@keras.saving.register_keras_serializable(package="fireseg")
class FusedBatchNormalization(layers.BatchNormalization):
    """Keras' BatchNorm over the last axis, with scale and offset, its defaults.

    Where it learns on TensorFlow it runs as one kernel, to the same result.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """N x H x W x C in and out. What is not float32, or has no such shape, goes the way Keras has for it."""
        takes = keras.backend.backend() == "tensorflow" and self.compute_dtype == "float32" and len(inputs.shape) == 4
        if not (takes and training and self.trainable and mask is None):
            return super().call(inputs, training=training, mask=mask)
        from tensorflow.compat.v1.nn import fused_batch_norm

        y, mean, variance = fused_batch_norm(
            inputs, scale=self.gamma.value, offset=self.beta.value, epsilon=self.epsilon, is_training=True
        )
        # The kernel gives the sample's variance corrected for its size, by n / (n - 1), which Keras does not.
        count = keras.ops.cast(keras.ops.size(inputs) // inputs.shape[-1], "float32")
        self._follow(self.moving_mean, mean)
        self._follow(self.moving_variance, variance * (count - 1) / count)
        return y

    def _follow(self, statistic: keras.Variable, seen: Any) -> None:
        statistic.assign(statistic * self.momentum + seen * (1 - self.momentum))


def to_train(model: keras.Model, policy: str = "float32") -> keras.Model:
    """A copy with the same weights, not compiled, its layers computing by one of Keras' dtype policies."""
    return _copy(model, FusedBatchNormalization, policy)


def to_keep(model: keras.Model) -> keras.Model:
    """A copy with the same weights, not compiled, of Keras' own layers, all of them computing in float32."""
    return _copy(model, layers.BatchNormalization, "float32")


def _copy(model: keras.Model, batch_norm: type[layers.BatchNormalization], policy: str) -> keras.Model:
    def copy_of(layer: layers.Layer | keras.Operation) -> layers.Layer | keras.Operation:
        if not isinstance(layer, layers.Layer):
            return layer  # an operation without weights, which computes in what it is given
        # The last activation stays at float32: a half-precision sigmoid saturates.
        dtype = "float32" if layer.name in model.output_names else policy
        form = batch_norm if isinstance(layer, layers.BatchNormalization) else layer.__class__
        return form.from_config({**layer.get_config(), "dtype": dtype})

    uncompiled = keras.Model(model.input, model.output, name=model.name)
    copied = keras.models.clone_model(uncompiled, clone_function=copy_of)
    for layer in model.layers:
        if layer.weights:
            copied.get_layer(layer.name).set_weights(layer.get_weights())
    return copied
