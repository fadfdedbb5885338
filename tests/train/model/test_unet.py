"""The U-Net: its shapes, its skip connections, the order of its layers, and what of it learns when."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import keras
import numpy as np
import numpy.typing as npt
import pytest
from keras import layers

from edge.errors import UserError
from train.model.losses import BCEDice
from train.model.unet import Decoder, Encoder, UNetConfig, build_unet, encoder_layers, set_trainable

# Keras looks for weights of layers that have none, and tells so one by one.
pytestmark = pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning")

COMBINATIONS = [(encoder, decoder) for encoder in get_args(Encoder) for decoder in get_args(Decoder)]
CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose)


@cache
def unet(encoder: Encoder, decoder: Decoder = "separable") -> keras.Model:
    """A narrow network, 32 x 64. Shared: read it, never train it."""
    keras.utils.set_random_seed(0)
    return build_unet(UNetConfig(32, 64, encoder, decoder, width=0.35), weights=None)


def parents(layer: keras.Layer) -> list[keras.Layer]:
    tensors = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor._keras_history.operation for tensor in tensors]


def children(model: keras.Model, layer: keras.Layer) -> list[keras.Layer]:
    return [other for other in model.layers[1:] if any(parent is layer for parent in parents(other))]


def is_ours(layer: keras.Layer) -> bool:
    return layer.name.startswith(("decoder_", "head_"))


def source_of_skip(concatenation: keras.Layer) -> str:
    """The layer of the encoder that the second input of a concatenation comes from."""
    layer = parents(concatenation)[1]
    while is_ours(layer):
        (layer,) = parents(layer)
    return str(layer.name)


def convolutions(model: keras.Model) -> Iterator[keras.Layer]:
    return (layer for layer in model.layers if isinstance(layer, CONVOLUTIONS) and layer.name != "head_logits")


def noise(height: int = 32, width: int = 64, count: int = 2) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3)).astype(np.float32)


@pytest.mark.parametrize(("encoder", "decoder"), COMBINATIONS)
def test_raw_frames_go_in_and_a_probability_a_pixel_comes_out(encoder: Encoder, decoder: Decoder) -> None:
    model = unet(encoder, decoder)
    assert model.input_shape == (None, 32, 64, 3)
    assert model.output_shape == (None, 32, 64, 1)
    made = np.asarray(model(noise()))
    assert made.shape == (2, 32, 64, 1) and made.dtype == np.float32
    assert made.min() >= 0 and made.max() <= 1
    assert made.std() > 0


def test_0_to_255_is_scaled_by_a_factor_alone_which_folds_into_the_first_convolution() -> None:
    model = unet("mobilenetv2")
    (rescale,) = children(model, model.layers[0])
    assert np.allclose(rescale(np.array([0.0, 127.5, 255.0])), [0, 1, 2])


def test_pre_trained_features_are_those_of_a_frame_in_minus_1_to_1_but_at_the_padding(tmp_path: Path) -> None:
    frame = keras.Input((64, 64, 3))
    published = keras.applications.MobileNetV2(
        input_tensor=layers.Rescaling(1 / 127.5, offset=-1)(frame), alpha=0.35, include_top=False, weights=None
    )
    published.save_weights(tmp_path / "published.weights.h5")
    ours = build_unet(UNetConfig(64, 64, width=0.35), weights=tmp_path / "published.weights.h5")
    theirs, mine = (
        np.asarray(keras.Model(model.inputs, model.get_layer("Conv1_relu").output)(noise(64, 64)))
        for model in (published, ours)
    )
    assert theirs.std() > 0
    assert np.allclose(theirs[:, :-1, :-1], mine[:, :-1, :-1], atol=1e-4)
    assert not np.allclose(theirs, mine, atol=1e-4)  # the last row and column see zeros that were grey and are black


def parameter_counts(model: keras.Model) -> dict[str, int]:
    return {"total": model.count_params(), "encoder": sum(layer.count_params() for layer in encoder_layers(model))}


def test_the_default_model_has_1_992_260_parameters() -> None:
    assert parameter_counts(build_unet(UNetConfig(), weights=None)) == {"total": 1_992_260, "encoder": 1_843_264}


@pytest.mark.parametrize("decoder", get_args(Decoder))
def test_skips_leave_mobilenet_where_its_maps_are_widest(decoder: Decoder) -> None:
    model = unet("mobilenetv2", decoder)
    sources = {layer.name: source_of_skip(layer) for layer in model.layers if isinstance(layer, layers.Concatenate)}
    assert sources == {
        "decoder_16_concat": "block_13_expand_relu",
        "decoder_8_concat": "block_6_expand_relu",
        "decoder_4_concat": "block_3_expand_relu",
        "decoder_2_concat": "block_1_expand_relu",
    }
    assert children(model, model.get_layer("block_16_project_BN"))[0].name.startswith("decoder_16")


@pytest.mark.parametrize(("encoder", "decoder"), COMBINATIONS)
def test_a_skip_lies_at_the_stride_of_its_stage(encoder: Encoder, decoder: Decoder) -> None:
    found = [layer for layer in unet(encoder, decoder).layers if isinstance(layer, layers.Concatenate)]
    assert len(found) >= 3
    for layer in found:
        stride = int(layer.name.split("_")[1])
        assert layer.output.shape[1:3] == (32 // stride, 64 // stride)


def test_the_original_skips_come_before_each_pooling() -> None:
    model = unet("original", "transposed")
    sources = [source_of_skip(layer) for layer in model.layers if isinstance(layer, layers.Concatenate)]
    assert sources == ["encoder_8_b_relu", "encoder_4_b_relu", "encoder_2_b_relu", "encoder_1_b_relu"]


@pytest.mark.parametrize(("encoder", "decoder"), COMBINATIONS)
def test_every_convolution_is_followed_by_batch_norm_and_has_no_bias_of_its_own(
    encoder: Encoder, decoder: Decoder
) -> None:
    model = unet(encoder, decoder)
    for layer in convolutions(model):
        after = children(model, layer)
        if isinstance(after[0], layers.ZeroPadding2D):
            continue
        assert [type(child) for child in after] == [layers.BatchNormalization], layer.name
        assert not layer.use_bias, layer.name


@pytest.mark.parametrize(("encoder", "decoder"), COMBINATIONS)
def test_after_batch_norm_comes_relu6_so_that_what_is_concatenated_shares_one_range(
    encoder: Encoder, decoder: Decoder
) -> None:
    model = unet(encoder, decoder)
    ours = [layer for layer in convolutions(model) if is_ours(layer) or encoder == "original"]
    assert len(ours) >= 7
    for layer in ours:
        (norm,) = children(model, layer)
        (relu,) = children(model, norm)
        assert isinstance(relu, layers.ReLU) and relu.max_value == 6, layer.name
    for layer in model.layers:
        if isinstance(layer, layers.Concatenate):
            for parent in parents(layer):
                moves_only = not isinstance(parent, layers.ReLU)  # upsampling, depth to space
                clipped = parents(parent)[0] if moves_only else parent
                assert isinstance(clipped, layers.ReLU) and clipped.max_value == 6, parent.name


@pytest.mark.parametrize(("width", "full"), [(1.0, ["decoder_2_conv"]), (0.35, [])])
def test_the_separable_decoder_has_one_full_3x3_if_wide_and_nothing_but_one_channel_at_full_resolution(
    width: float, full: list[str]
) -> None:
    model = build_unet(UNetConfig(32, 64, width=width), weights=None)
    ours = [layer for layer in convolutions(model) if is_ours(layer)]
    assert not any(isinstance(layer, layers.Conv2DTranspose) for layer in ours)
    plain = [layer for layer in ours if not isinstance(layer, layers.DepthwiseConv2D)]
    assert [layer.name for layer in plain if layer.kernel_size != (1, 1)] == full
    fine = [layer.output.shape[3] for layer in model.layers[1:] if layer.output.shape[1:3] == (32, 64)]
    assert set(fine) == {1, 3}  # the mask, and the frame before the first convolution
    assert model.get_layer("head_logits").output.shape == (None, 16, 32, 4)


def test_each_logit_of_half_resolution_becomes_its_own_pixel_of_a_2x2_block() -> None:
    model = unet("mobilenetv2")
    logits = keras.Model(model.inputs, model.get_layer("head_logits").output)(noise())
    expected = 1 / (1 + np.exp(-np.asarray(logits)))
    made = np.asarray(model(noise()))
    for place in range(4):
        assert np.allclose(made[:, place // 2 :: 2, place % 2 :: 2, 0], expected[..., place], atol=1e-6)


def test_the_transposed_decoder_is_the_papers() -> None:
    model = unet("original", "transposed")
    up = [layer for layer in model.layers if isinstance(layer, layers.Conv2DTranspose)]
    assert [layer.kernel_size for layer in up] == [(2, 2)] * 4
    assert model.get_layer("head_logits").output.shape == (None, 32, 64, 1)


def test_a_wider_encoder_has_more_channels_and_the_decoder_no_fewer_than_half() -> None:
    counts = [parameter_counts(build_unet(UNetConfig(32, 32, width=width), weights=None)) for width in (0.35, 0.5, 1.0)]
    assert [count["encoder"] for count in counts] == sorted(count["encoder"] for count in counts)
    decoders = [count["total"] - count["encoder"] for count in counts]
    assert decoders[0] < decoders[1] < decoders[2] < 8 * decoders[0]
    narrow, half = (UNetConfig(32, 32, "original", width=width) for width in (0.25, 0.5))
    narrow_model, half_model = (build_unet(config, weights=None) for config in (narrow, half))
    for name in ("decoder_2_skip_conv", "decoder_4_pointwise_conv"):
        assert narrow_model.get_layer(name).filters == half_model.get_layer(name).filters


def test_all_channels_are_multiples_of_8() -> None:
    for encoder, decoder in COMBINATIONS:
        assert {layer.output.shape[-1] % 8 for layer in convolutions(unet(encoder, decoder))} == {0}


@pytest.mark.parametrize("encoder", [False, True])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_step_moves_what_is_trainable_and_nothing_else(encoder: bool, batch_norm: bool) -> None:
    model = build_unet(UNetConfig(16, 32, "original", "separable", width=0.1), weights=None)
    set_trainable(model, encoder=encoder, batch_norm=batch_norm)
    before = {weight.path: weight.numpy().copy() for weight in model.weights}
    model.compile(keras.optimizers.Adam(0.01), BCEDice(), run_eagerly=True)
    truth = np.zeros((4, 16, 32, 1), np.float32)
    truth[:, :8] = 1
    model.train_on_batch(noise(16, 32, 4), truth)
    moved = {weight.path for weight in model.weights if (weight.numpy() != before[weight.path]).any()}

    ours, norms = "decoder_", "_bn/"
    kernels = {path for path in before if norms not in path}
    of_encoder = {path for path in before if not path.startswith((ours, "head_"))}
    expected = {path for path in before if (batch_norm or path in kernels) and (encoder or path not in of_encoder)}
    assert moved == expected
    statistics = {path for path in before if "moving_" in path and path.startswith(ours)}
    assert statistics
    assert statistics <= moved if batch_norm else not statistics & moved


def test_a_frozen_mobilenet_keeps_its_statistics_too() -> None:
    model = build_unet(UNetConfig(32, 32, width=0.35), weights=None)
    set_trainable(model, encoder=False, batch_norm=True)
    frozen = encoder_layers(model)
    assert sum(isinstance(layer, layers.BatchNormalization) for layer in frozen) > 40
    before = [weight.numpy().copy() for layer in frozen for weight in layer.weights]
    outside = [layer for layer in model.layers if is_ours(layer) and isinstance(layer, layers.BatchNormalization)]
    means = [layer.moving_mean.numpy().copy() for layer in outside]
    model(noise(32, 32), training=True)
    after = [weight.numpy() for layer in frozen for weight in layer.weights]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    assert all((layer.moving_mean.numpy() != mean).any() for layer, mean in zip(outside, means, strict=True))


def test_what_was_frozen_learns_again_when_it_is_told_to() -> None:
    model = build_unet(UNetConfig(16, 16, "original", width=0.1), weights=None)
    all_weights = len(model.trainable_weights)
    set_trainable(model, encoder=False, batch_norm=False)
    assert 0 < len(model.trainable_weights) < all_weights
    set_trainable(model, encoder=True, batch_norm=True)
    assert len(model.trainable_weights) == all_weights


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (UNetConfig(height=100), r"input height 100 px .* expected a multiple of 32, for example 96"),
        (UNetConfig(width_px=225), r"input width 225 px .* multiple of 32, for example 224"),
        (UNetConfig(height=0), r"input height 0 px .* for example 32"),
        (UNetConfig(height=-32), r"input height -32 px"),
        (UNetConfig(height=40, encoder="original"), r"the original encoder: expected a multiple of 16"),
        (UNetConfig(width=0.6), r"MobileNetV2 has no width 0\.6: expected one of \(0\.35, 0\.5"),
        (UNetConfig(encoder="original", width=0), r"encoder width 0 is out of range"),
        (UNetConfig(encoder="original", width=3), r"encoder width 3 is out of range"),
        (UNetConfig(encoder="original", width=float("nan")), r"encoder width nan is out of range"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_with_what_can(config: UNetConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_unet(config, weights=None)


def test_missing_weights_are_named_with_where_they_belong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.weights\.h5 for width 0\.35 .*KERAS_HOME") as caught:
        build_unet(UNetConfig(32, 32, width=0.35), weights=tmp_path / "none.weights.h5")
    assert len(caught.value.lines) == 1


def test_weights_of_another_width_or_of_no_kind_are_refused(tmp_path: Path) -> None:
    narrow = tmp_path / "narrow.weights.h5"
    keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, weights=None).save_weights(narrow)
    with pytest.raises(UserError, match=r"narrow\.weights\.h5 for width 0\.5 could not be loaded"):
        build_unet(UNetConfig(32, 32, width=0.5), weights=narrow)
    text = tmp_path / "notes.weights.h5"
    text.write_text("not weights")
    with pytest.raises(UserError, match=r"notes\.weights\.h5 for width 0\.35 could not be loaded"):
        build_unet(UNetConfig(32, 32, width=0.35), weights=text)


def test_weights_from_a_file_reach_the_encoder(tmp_path: Path) -> None:
    path = tmp_path / "backbone.weights.h5"
    backbone = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, weights=None)
    backbone.save_weights(path)
    model = build_unet(UNetConfig(32, 32, width=0.35), weights=path)
    loaded = [layer for layer in encoder_layers(model) if layer.weights]
    assert len(loaded) == 2 * 51
    for layer in loaded:
        for mine, theirs in zip(layer.weights, backbone.get_layer(layer.name).weights, strict=True):
            # That one takes the offset of the input: see the features' own test.
            assert (mine.numpy() == theirs.numpy()).all() or mine.path == "bn_Conv1/moving_mean", mine.path


@pytest.mark.parametrize("width", [0.35, 1.0])
def test_imagenet_weights_are_found_below_keras_home(width: float) -> None:
    home = os.environ.get("KERAS_HOME", "")
    file = Path(home, "models", f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{width}_224_no_top.h5")
    if not home or not file.is_file():
        pytest.skip("KERAS_HOME is not set, or holds no models/mobilenet_v2_*_no_top.h5: set it to run this test")
    model = build_unet(UNetConfig(64, 64, width=width), weights="imagenet")
    means = [layer.moving_mean.numpy() for layer in encoder_layers(model) if hasattr(layer, "moving_mean")]
    assert all(mean.any() for mean in means), "random weights have statistics of zero"


def test_a_saved_model_says_the_same_after_loading(tmp_path: Path) -> None:
    model, frames = unet("mobilenetv2"), noise()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert (np.asarray(again(frames)) == np.asarray(model(frames))).all()
    assert again.name == "unet_mobilenetv2_separable"


def test_mixed_precision_still_gives_float32_probabilities() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build_unet(UNetConfig(16, 16, "original", width=0.1), weights=None)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.output.dtype == "float32"


@pytest.mark.parametrize(("encoder", "decoder"), COMBINATIONS)
def test_statistics_follow_what_is_learnt_within_an_epoch_of_a_small_set_and_go_on_so_when_loaded(
    encoder: Encoder, decoder: Decoder, tmp_path: Path
) -> None:
    unet(encoder, decoder).save(tmp_path / "model.keras")
    for model in (unet(encoder, decoder), keras.models.load_model(tmp_path / "model.keras")):
        momenta = [layer.momentum for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
        assert momenta and max(momenta) ** 180 < 0.01, "an epoch of 1,500 pictures has some 180 steps"
