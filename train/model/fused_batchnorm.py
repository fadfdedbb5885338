"""BatchNorm as one TensorFlow kernel during training, and as Keras' own layer in saved models.

Keras 3 composes BatchNorm of nine elementwise operations, each a pass over the feature map; TensorFlow has one kernel.
Saved models contain Keras' layers alone, so that any Keras loads them.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers


@keras.saving.register_keras_serializable(package="fireseg")
class FusedBatchNormalization(layers.BatchNormalization):
    """Keras' BatchNorm over the last axis with scale and offset; when training on TensorFlow, one kernel."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """N x H x W x C in and out. Other shapes and dtypes use Keras' implementation."""
        is_tensorflow = keras.backend.backend() == "tensorflow"
        can_fuse = is_tensorflow and self.compute_dtype == "float32" and len(inputs.shape) == 4 and mask is None
        if not (can_fuse and training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        from tensorflow.compat.v1.nn import fused_batch_norm

        y, mean, variance = fused_batch_norm(
            inputs, scale=self.gamma.value, offset=self.beta.value, epsilon=self.epsilon, is_training=True
        )
        # The kernel applies Bessel's correction, n / (n - 1), to the variance; Keras does not.
        count = keras.ops.cast(keras.ops.size(inputs) // inputs.shape[-1], "float32")
        for average, value in ((self.moving_mean, mean), (self.moving_variance, variance * (count - 1) / count)):
            average.assign(average * self.momentum + value * (1 - self.momentum))
        return y


def fuse_batchnorm(model: keras.Model, policy: str = "float32") -> keras.Model:
    """Return an uncompiled copy for training, with fused BatchNorm, computing by the Keras dtype policy."""
    return _clone(model, FusedBatchNormalization, policy)


def unfuse_batchnorm(model: keras.Model) -> keras.Model:
    """Return an uncompiled copy for saving, with Keras' own layers only, computing in float32."""
    return _clone(model, layers.BatchNormalization, "float32")


def _clone(model: keras.Model, batchnorm: type[layers.BatchNormalization], policy: str) -> keras.Model:
    def clone(layer: layers.Layer | keras.Operation) -> layers.Layer | keras.Operation:
        if not isinstance(layer, layers.Layer):
            return layer  # an operation without weights computes in its input's dtype
        # The last activation stays float32: a half-precision sigmoid saturates.
        dtype = "float32" if layer.name in model.output_names else policy
        layer_class = batchnorm if isinstance(layer, layers.BatchNormalization) else layer.__class__
        return layer_class.from_config({**layer.get_config(), "dtype": dtype})

    uncompiled = keras.Model(model.input, model.output, name=model.name)
    copy = keras.models.clone_model(uncompiled, clone_function=clone)
    for layer in model.layers:
        if layer.weights:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy
