"""The U-Net: MobileNetV2, a light decoder, and skip connections between them.

Preprocessing is part of the model: it takes RGB in 0..255 and returns the probability of fire per pixel in 0..1.
Every convolution is followed by BatchNorm and then ReLU6, so that BatchNorm folds into the convolution on export
and all inputs of a concatenation share one range (the converter forces them to one scale).

Sources: U-Net, Ronneberger et al. 2015 (arXiv 1505.04597); MobileNetV2, Sandler et al. 2018 (arXiv 1801.04381).
"""

from __future__ import annotations

import warnings
from pathlib import Path

import keras
from keras import layers

from edge.errors import UserError
from train.model.config import UNetConfig as UNetConfig

# Stride of the skip connection -> its MobileNetV2 layer: expanded maps carry more than projected ones.
SKIPS = {2: "block_1_expand_relu", 4: "block_3_expand_relu", 8: "block_6_expand_relu", 16: "block_13_expand_relu"}
BOTTLENECK = "block_16_project_BN"

# Stride of the stage's output -> filters from below and from the skip connection, at width 1.0.
DECODER_FILTERS = {16: (96, 96), 8: (48, 64), 4: (16, 32), 2: (16, 16)}

# Wider networks end in a full 3x3 convolution over few channels: with dot-product instructions (Pi 5) it costs as
# much as a separable one and is more accurate. Narrow networks are for Pis without them.
FULL_CONVOLUTION_WIDTH = 0.5

# An epoch of FireSeg is about fifty steps: with Keras' momentum of 0.99 the statistics of new layers lag for epochs.
DECODER_MOMENTUM = 0.9
# Keras' 0.999 for MobileNetV2 suits epochs of ten thousand steps; here its statistics would lag by five epochs.
ENCODER_MOMENTUM = 0.97

# Names of the layers outside the encoder start with these.
_DECODER_PREFIXES = ("decoder_", "head_")


def build_unet(config: UNetConfig, *, weights: str | Path | None = "imagenet") -> keras.Model:
    """Build the U-Net: float32 (N, height, width, 3) RGB in 0..255 -> float32 (N, height, width, 1) in 0..1.

    `weights` of the MobileNetV2 encoder: "imagenet" (Keras finds or downloads them), a path, or None for random ones.
    Raises `UserError` for an invalid config or weights that do not load.

    Example:
        >>> model = build_unet(UNetConfig(width=0.35), weights=None)
        >>> model.output_shape
        (None, 224, 224, 1)
    """
    config.check()
    frame = keras.Input((config.height, config.width_px, 3), name="frame")
    rescaled = layers.Rescaling(1 / 127.5, name="rescale")(frame)
    backbone = _mobilenetv2(rescaled, config.width, weights)
    skips = {stride: backbone.get_layer(name).output for stride, name in SKIPS.items()}
    logits = _decode(backbone.get_layer(BOTTLENECK).output, skips, config.width)
    # float32 under any dtype policy: a half-precision sigmoid saturates.
    probability = layers.Activation("sigmoid", dtype="float32", name="head_probability")(logits)
    return keras.Model(frame, probability, name="unet_mobilenetv2_separable")


def encoder_layers(model: keras.Model) -> list[keras.Layer]:
    """Return the layers of the encoder, in order."""
    return [layer for layer in model.layers if not layer.name.startswith(_DECODER_PREFIXES)]


def set_trainable(model: keras.Model, *, encoder: bool, batchnorm: bool) -> None:
    """Choose which layers train. A frozen BatchNorm also keeps its statistics: Keras 3 runs it in inference mode."""
    frozen = set() if encoder else {layer.name for layer in encoder_layers(model)}
    for layer in model.layers:
        is_frozen_norm = isinstance(layer, layers.BatchNormalization) and not batchnorm
        layer.trainable = layer.name not in frozen and not is_frozen_norm


def _mobilenetv2(rescaled: keras.KerasTensor, width: float, weights: str | Path | None) -> keras.Model:
    try:
        with warnings.catch_warnings():
            # Other sizes take the 224 px checkpoint, which suits a convolutional network.
            warnings.filterwarnings("ignore", message=".*input_shape. is undefined.*")
            backbone = keras.applications.MobileNetV2(
                input_tensor=rescaled, alpha=width, include_top=False, weights=str(weights) if weights else None
            )
    except Exception as error:  # a failed download raises a bare one
        if weights is None:
            raise
        raise UserError(
            f"MobileNetV2 weights {weights} for width {width} could not be loaded ({error})",
            "put the Keras file under $KERAS_HOME/models/, or pass --backbone-weights with a path or none",
        ) from error
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = ENCODER_MOMENTUM
    if weights:
        # Adapt from RGB in -1..1 to 0..2 by moving the offset into the first BatchNorm. On export a factor before a
        # convolution folds into its weights; an offset cannot, because the padding is zeros. Features change only in
        # the row and column that see the padding.
        kernel = backbone.get_layer("Conv1").kernel
        backbone.get_layer("bn_Conv1").moving_mean.assign_add(keras.ops.sum(kernel, axis=(0, 1, 2)))
    return backbone


def _decode(x: keras.KerasTensor, skips: dict[int, keras.KerasTensor], width: float) -> keras.KerasTensor:
    """Build the decoder: narrow before upsampling, pointwise before depthwise, no layer at full resolution.

    Four channels at half resolution hold the logits of each 2x2 block of pixels; depth-to-space arranges them
    (Shi et al. 2016, arXiv 1609.05158). At full resolution every layer costs four times as much, and bilinear
    upsampling of one channel takes 20 times the instructions of moving the bytes.
    """
    scale = min(1.0, max(0.5, width))  # half at least: the decoder has no pre-trained features to build on
    *strides, finest = DECODER_FILTERS
    for stride in strides:
        below, filters = (_channels(count * scale) for count in DECODER_FILTERS[stride])
        name = f"decoder_{stride}"
        x = _conv(x, below, 1, f"{name}_narrow")
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_up")(x)
        x = _join(x, skips[stride], filters, name)
        x = _pointwise_depthwise(x, filters, name)
    below, filters = DECODER_FILTERS[finest]
    name = f"decoder_{finest}"
    x = keras.ops.depth_to_space(_conv(x, 4 * below, 1, f"{name}_up"), 2)
    x = _join(x, skips[finest], filters, name)
    x = _conv(x, filters, 3, name) if width > FULL_CONVOLUTION_WIDTH else _pointwise_depthwise(x, filters, name)
    return keras.ops.depth_to_space(layers.Conv2D(4, 1, name="head_logits")(x), 2)


def _join(x: keras.KerasTensor, skip: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """Concatenate with the skip connection, narrowed by a 1x1 convolution."""
    return layers.Concatenate(name=f"{name}_concat")([x, _conv(skip, filters, 1, f"{name}_skip")])


def _pointwise_depthwise(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """Build a separable convolution, pointwise first: the costly depthwise part then sees half the channels."""
    x = _conv(x, filters, 1, f"{name}_pointwise")
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    return _norm_relu6(x, f"{name}_depthwise")


def _conv(x: keras.KerasTensor, filters: int, kernel: int, name: str) -> keras.KerasTensor:
    x = layers.Conv2D(filters, kernel, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return _norm_relu6(x, name)


def _norm_relu6(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = layers.BatchNormalization(momentum=DECODER_MOMENTUM, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def _channels(count: float) -> int:
    """Round to a multiple of 8, at least 16: the shapes that XNNPACK's kernels fill."""
    return max(16, int(count + 4) // 8 * 8)
