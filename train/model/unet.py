"""The U-Net: a choice of encoder, a choice of decoder, and skip connections between them.

Everything a camera frame needs lies inside the model: it takes RGB in 0..255 and gives the probability of fire per
pixel in 0..1. Every convolution is followed by BatchNorm and then ReLU6, in that order, so that BatchNorm folds into
the convolution on export and all inputs of a concatenation share one range (the converter forces them to one scale).

Sources: U-Net, Ronneberger et al. 2015 (arXiv 1505.04597); MobileNetV2, Sandler et al. 2018 (arXiv 1801.04381).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras
from keras import layers

from edge.errors import UserError

Encoder = Literal["mobilenetv2", "original"]
Decoder = Literal["separable", "transposed"]

# The widths Keras has MobileNetV2 ImageNet weights for.
MOBILENETV2_WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)

# Stride of the feature map -> the MobileNetV2 layer that gives it: expanded maps carry more than projected ones.
MOBILENETV2_SKIPS = {
    2: "block_1_expand_relu",
    4: "block_3_expand_relu",
    8: "block_6_expand_relu",
    16: "block_13_expand_relu",
}
MOBILENETV2_BOTTLENECK = "block_16_project_BN"
MOBILENETV2_STRIDE = 32

# Stride of the stage's output -> filters from below and from the skip connection, at width 1.0.
SEPARABLE_FILTERS = {16: (96, 96), 8: (48, 64), 4: (16, 32), 2: (16, 16)}
TRANSPOSED_FILTERS = {16: 256, 8: 128, 4: 64, 2: 32, 1: 16}
ORIGINAL_FILTERS = {1: 64, 2: 128, 4: 256, 8: 512, 16: 1024}  # as in the paper; 16 is the bottleneck

# Encoders wider than this end in a full 3x3 convolution over few channels: where there are dot-product instructions
# (Pi 5) it costs as much as a separable one and learns more. Narrow ones are for Pis without them.
FULL_CONVOLUTION_WIDTH = 0.5

# An epoch of FireSeg is some fifty steps: Keras' momentum of 0.99 would leave the statistics of fresh layers near
# their initial values for many epochs, and validation near zero.
DECODER_MOMENTUM = 0.9
# Keras gives MobileNetV2 0.999, for epochs of ten thousand steps: its statistics would lag by five epochs here.
ENCODER_MOMENTUM = 0.97

# Layers of ours are named with these prefixes; every other layer belongs to the encoder.
_DECODER_PREFIXES = ("decoder_", "head_")


@dataclass(frozen=True)
class UNetConfig:
    """What a U-Net is made of. `height` and `width_px` are multiples of the encoder's stride."""

    height: int = 224
    width_px: int = 224
    encoder: Encoder = "mobilenetv2"
    decoder: Decoder = "separable"
    width: float = 1.0
    """Width multiplier of the encoder's channels."""

    def check(self) -> None:
        """Raise `UserError` where no such network can be built."""
        stride = MOBILENETV2_STRIDE if self.encoder == "mobilenetv2" else max(ORIGINAL_FILTERS)
        for name, size_px in (("height", self.height), ("width", self.width_px)):
            if size_px < stride or size_px % stride:
                near = max(stride, round(size_px / stride) * stride)
                raise UserError(
                    f"input {name} {size_px} px does not fit the {self.encoder} encoder",
                    f"expected a multiple of {stride}, for example {near}",
                )
        if self.encoder == "mobilenetv2" and self.width not in MOBILENETV2_WIDTHS:
            raise UserError(f"MobileNetV2 has no width {self.width}", f"expected one of {MOBILENETV2_WIDTHS}")
        if not 0 < self.width <= 2:
            raise UserError(f"encoder width {self.width} is out of range", "expected more than 0 and at most 2")


def build_unet(config: UNetConfig, *, weights: str | Path | None = "imagenet") -> keras.Model:
    """Build the U-Net: float32 (N, height, width, 3) RGB in 0..255 -> float32 (N, height, width, 1) in 0..1.

    `weights` of the MobileNetV2 encoder: "imagenet" (Keras finds or downloads them), a path, or None for random ones.
    """
    config.check()
    frame = keras.Input((config.height, config.width_px, 3), name="frame")
    rescaled = layers.Rescaling(1 / 127.5, name="rescale")(frame)
    if config.encoder == "mobilenetv2":
        bottleneck, skips = _mobilenetv2(rescaled, config.width, weights)
    else:
        bottleneck, skips = _original(rescaled, config.width)
    decode = _decode_separable if config.decoder == "separable" else _decode_transposed
    logits = decode(bottleneck, skips, config.width)
    # float32 whatever the policy of mixed precision: a half-precision sigmoid saturates.
    probability = layers.Activation("sigmoid", dtype="float32", name="head_probability")(logits)
    return keras.Model(frame, probability, name=f"unet_{config.encoder}_{config.decoder}")


def encoder_layers(model: keras.Model) -> list[keras.Layer]:
    """The layers of the encoder, in order."""
    return [layer for layer in model.layers if not layer.name.startswith(_DECODER_PREFIXES)]


def set_trainable(model: keras.Model, *, encoder: bool, batch_norm: bool) -> None:
    """Choose what learns. A BatchNorm that does not learn also keeps its statistics (Keras 3 runs it in inference)."""
    for layer in model.layers:
        layer.trainable = True
    if not encoder:
        for layer in encoder_layers(model):
            layer.trainable = False
    if not batch_norm:
        for layer in model.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.trainable = False


def _mobilenetv2(
    rescaled: keras.KerasTensor, width: float, weights: str | Path | None
) -> tuple[keras.KerasTensor, dict[int, keras.KerasTensor]]:
    try:
        with warnings.catch_warnings():
            # Sizes Keras has no checkpoint for take the 224 px one, rightly: the network is convolutional.
            warnings.filterwarnings("ignore", message=".*input_shape. is undefined.*")
            backbone = keras.applications.MobileNetV2(
                input_tensor=rescaled, alpha=width, include_top=False, weights=str(weights) if weights else None
            )
    except Exception as error:  # a failed download raises a bare one
        if weights is None:
            raise
        raise UserError(
            f"MobileNetV2 weights {weights} for width {width} could not be loaded ({error})",
            "put the Keras file "
            "under $KERAS_HOME/models/, or pass --backbone-weights PATH, or --backbone-weights none for random ones",
        ) from error
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = ENCODER_MOMENTUM
    if weights:
        _take_bytes(backbone)
    skips = {stride: backbone.get_layer(name).output for stride, name in MOBILENETV2_SKIPS.items()}
    return backbone.get_layer(MOBILENETV2_BOTTLENECK).output, skips


def _take_bytes(backbone: keras.Model) -> None:
    """Let pre-trained layers that expect RGB in -1..1 take it in 0..2: the offset goes into the first BatchNorm.

    A factor before a convolution folds into its weights on export, an offset would not: its padding is zeros. The
    features stay as they were but for those that see the padding, one row and one column.
    """
    convolution, norm = backbone.get_layer("Conv1"), backbone.get_layer("bn_Conv1")
    norm.moving_mean.assign_add(keras.ops.sum(convolution.kernel, axis=(0, 1, 2)))


def _original(rescaled: keras.KerasTensor, width: float) -> tuple[keras.KerasTensor, dict[int, keras.KerasTensor]]:
    """Ronneberger's encoder: double convolution, then max pooling, four times; 'same' padding instead of 'valid'."""
    x, skips = rescaled, {}
    *strides, deepest = ORIGINAL_FILTERS
    for stride in strides:
        x = _double_conv(x, _channels(ORIGINAL_FILTERS[stride] * width), f"encoder_{stride}")
        skips[stride] = x
        x = layers.MaxPooling2D(2, name=f"encoder_{stride}_pool")(x)
    return _double_conv(x, _channels(ORIGINAL_FILTERS[deepest] * width), f"encoder_{deepest}"), skips


def _decode_transposed(x: keras.KerasTensor, skips: dict[int, keras.KerasTensor], width: float) -> keras.KerasTensor:
    """The paper's decoder: up-convolution, concatenation with the skip, double convolution; up to full resolution."""
    for stride, filters in TRANSPOSED_FILTERS.items():
        if stride == 16 and 16 not in skips:
            continue  # the original encoder's bottleneck already lies at stride 16
        filters = _channels(filters * _decoder_scale(width))
        name = f"decoder_{stride}"
        x = layers.Conv2DTranspose(filters, 2, strides=2, use_bias=False, name=f"{name}_up")(x)
        x = _norm_relu6(x, f"{name}_up")
        if stride in skips:
            x = layers.Concatenate(name=f"{name}_concat")([x, skips[stride]])
        x = _double_conv(x, filters, name)
    return layers.Conv2D(1, 1, name="head_logits")(x)


def _decode_separable(x: keras.KerasTensor, skips: dict[int, keras.KerasTensor], width: float) -> keras.KerasTensor:
    """The Pi's decoder: narrow before widening the picture, mix channels before pixels, nothing at full resolution.

    The logits of each 2x2 block of pixels are predicted at half resolution, as four channels, and laid out by
    depth-to-space (Shi et al. 2016, arXiv 1609.05158): at full resolution every layer costs four times as much, and a
    bilinear upsampling of one channel takes 20 times the instructions of moving the bytes.
    """
    *strides, finest = SEPARABLE_FILTERS
    for stride in strides:
        if stride == 16 and 16 not in skips:
            continue
        below, filters = (_channels(wanted * _decoder_scale(width)) for wanted in SEPARABLE_FILTERS[stride])
        name = f"decoder_{stride}"
        x = _conv(x, below, 1, f"{name}_narrow")
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_up")(x)
        x = _join(x, skips[stride], filters, name)
        x = _pointwise_depthwise(x, filters, name)
    below, filters = SEPARABLE_FILTERS[finest]
    name = f"decoder_{finest}"
    x = keras.ops.depth_to_space(_conv(x, 4 * below, 1, f"{name}_up"), 2)
    x = _join(x, skips[finest], filters, name)
    x = _conv(x, filters, 3, name) if width > FULL_CONVOLUTION_WIDTH else _pointwise_depthwise(x, filters, name)
    return keras.ops.depth_to_space(layers.Conv2D(4, 1, name="head_logits")(x), 2)


def _join(x: keras.KerasTensor, skip: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """Concatenate with a skip connection that a 1x1 convolution has narrowed."""
    return layers.Concatenate(name=f"{name}_concat")([x, _conv(skip, filters, 1, f"{name}_skip")])


def _pointwise_depthwise(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """A separable convolution, channels first: the depthwise half, the dear one, then runs on half as many."""
    x = _conv(x, filters, 1, f"{name}_pointwise")
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    return _norm_relu6(x, f"{name}_depthwise")


def _double_conv(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    return _conv(_conv(x, filters, 3, f"{name}_a"), filters, 3, f"{name}_b")


def _conv(x: keras.KerasTensor, filters: int, kernel: int, name: str) -> keras.KerasTensor:
    x = layers.Conv2D(filters, kernel, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return _norm_relu6(x, name)


def _norm_relu6(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = layers.BatchNormalization(momentum=DECODER_MOMENTUM, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def _decoder_scale(width: float) -> float:
    """A narrow encoder gets a narrower decoder, but not below half: it holds what ImageNet did not teach."""
    return min(1.0, max(0.5, width))


def _channels(wanted: float) -> int:
    """The nearest multiple of 8, at least 16: the shapes XNNPACK's kernels fill."""
    return max(16, int(wanted + 4) // 8 * 8)
