"""The U-Net: shapes, skip connections, the order of layers, trainable layers and pre-trained weights."""

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

# Saving warns of each layer without weights.
pytestmark = pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning")

COMBINATIONS = [
    pytest.param(encoder, decoder, marks=[] if (encoder, decoder) == ("original", "separable") else [pytest.mark.slow])
    for encoder in get_args(Encoder)
    for decoder in get_args(Decoder)
]
CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose)


@cache
def unet(encoder: Encoder = "mobilenetv2", decoder: Decoder = "separable", width: float = 0.35) -> keras.Model:
    """A network of 32 x 64 pixels with random weights. Shared: do not train it."""
    keras.utils.set_random_seed(0)
    return build_unet(UNetConfig(32, 64, encoder, decoder, width), weights=None)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    """Keras' MobileNetV2 of width 0.35 for RGB in -1..1, and a file of its weights."""
    frame = keras.Input((64, 64, 3))
    rescaled = layers.Rescaling(1 / 127.5, offset=-1)(frame)
    model = keras.applications.MobileNetV2(input_tensor=rescaled, alpha=0.35, include_top=False, weights=None)
    path = tmp_path_factory.mktemp("backbone") / "narrow.weights.h5"
    model.save_weights(path)
    return model, path


def parents(layer: keras.Layer) -> list[keras.Layer]:
    tensors = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor._keras_history.operation for tensor in tensors]


def children(model: keras.Model, layer: keras.Layer) -> list[keras.Layer]:
    return [other for other in model.layers[1:] if any(parent is layer for parent in parents(other))]


def is_decoder(layer: keras.Layer) -> bool:
    return layer.name.startswith(("decoder_", "head_"))


def source_of_skip(concatenation: keras.Layer) -> str:
    """Return the encoder layer that the second input of a concatenation comes from."""
    layer = parents(concatenation)[1]
    while is_decoder(layer):
        (layer,) = parents(layer)
    return str(layer.name)


def convolutions(model: keras.Model) -> Iterator[keras.Layer]:
    return (layer for layer in model.layers if isinstance(layer, CONVOLUTIONS) and layer.name != "head_logits")


def encoder_params(model: keras.Model) -> int:
    return sum(layer.count_params() for layer in encoder_layers(model))


def noise(height: int = 32, width: int = 64, count: int = 2) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "decoder"), COMBINATIONS)
def test_frames_map_to_one_probability_per_pixel(encoder: Encoder, decoder: Decoder) -> None:
    model = unet(encoder, decoder)
    assert model.input_shape == (None, 32, 64, 3)
    assert model.output_shape == (None, 32, 64, 1)
    probability = np.asarray(model(noise()))
    assert probability.shape == (2, 32, 64, 1) and probability.dtype == np.float32
    assert probability.min() >= 0 and probability.max() <= 1
    assert probability.std() > 0


@pytest.mark.slow
def test_rescaling_is_a_factor_that_folds_into_the_first_convolution() -> None:
    model = unet("mobilenetv2")
    (rescale,) = children(model, model.layers[0])
    assert np.allclose(rescale(np.array([0.0, 127.5, 255.0])), [0, 1, 2])


@pytest.mark.slow
def test_weights_of_a_file_give_keras_features_except_at_the_padding(backbone: tuple[keras.Model, Path]) -> None:
    published, path = backbone
    model = build_unet(UNetConfig(64, 64, width=0.35), weights=path)
    expected, features = (
        np.asarray(keras.Model(network.inputs, network.get_layer("Conv1_relu").output)(noise(64, 64)))
        for network in (published, model)
    )
    assert expected.std() > 0
    assert np.allclose(expected[:, :-1, :-1], features[:, :-1, :-1], atol=1e-4)
    assert not np.allclose(expected, features, atol=1e-4)  # zero padding was grey and is black
    loaded = [layer for layer in encoder_layers(model) if layer.weights]
    assert len(loaded) == 2 * 51
    for layer in loaded:
        for weight, original in zip(layer.weights, published.get_layer(layer.name).weights, strict=True):
            # The one exception absorbs the offset of the input.
            same = (weight.numpy() == original.numpy()).all()
            assert same or weight.path == "bn_Conv1/moving_mean", weight.path


@pytest.mark.slow
def test_the_default_model_has_1_992_260_parameters() -> None:
    assert UNetConfig() == UNetConfig(224, 224, "mobilenetv2", "separable", 1.0)
    model = unet(width=1.0)
    assert (model.count_params(), encoder_params(model)) == (1_992_260, 1_843_264)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", get_args(Decoder))
def test_skip_connections_leave_mobilenet_at_its_widest_maps(decoder: Decoder) -> None:
    model = unet("mobilenetv2", decoder)
    sources = {layer.name: source_of_skip(layer) for layer in model.layers if isinstance(layer, layers.Concatenate)}
    assert sources == {
        "decoder_16_concat": "block_13_expand_relu",
        "decoder_8_concat": "block_6_expand_relu",
        "decoder_4_concat": "block_3_expand_relu",
        "decoder_2_concat": "block_1_expand_relu",
    }
    assert children(model, model.get_layer("block_16_project_BN"))[0].name.startswith("decoder_16")


@pytest.mark.slow
def test_the_original_encoder_and_transposed_decoder_are_the_papers() -> None:
    model = unet("original", "transposed")
    sources = [source_of_skip(layer) for layer in model.layers if isinstance(layer, layers.Concatenate)]
    assert sources == ["encoder_8_b_relu", "encoder_4_b_relu", "encoder_2_b_relu", "encoder_1_b_relu"]
    transposed = [layer for layer in model.layers if isinstance(layer, layers.Conv2DTranspose)]
    assert [layer.kernel_size for layer in transposed] == [(2, 2)] * 4
    assert model.get_layer("head_logits").output.shape == (None, 32, 64, 1)


@pytest.mark.parametrize(("encoder", "decoder"), COMBINATIONS)
def test_convolutions_lead_to_batchnorm_and_relu6_so_that_concatenations_share_a_range(
    encoder: Encoder, decoder: Decoder
) -> None:
    model = unet(encoder, decoder)
    for layer in convolutions(model):
        assert not layer.use_bias, layer.name
        assert layer.output.shape[-1] % 8 == 0, layer.name
        after = children(model, layer)
        if isinstance(after[0], layers.ZeroPadding2D):
            continue
        assert [type(child) for child in after] == [layers.BatchNormalization], layer.name
        if is_decoder(layer) or encoder == "original":
            (relu,) = children(model, after[0])
            assert isinstance(relu, layers.ReLU) and relu.max_value == 6, layer.name
    concatenations = [layer for layer in model.layers if isinstance(layer, layers.Concatenate)]
    assert len(concatenations) >= 3
    for layer in concatenations:
        stride = int(layer.name.split("_")[1])
        assert layer.output.shape[1:3] == (32 // stride, 64 // stride)
        for parent in parents(layer):
            moves_only = not isinstance(parent, layers.ReLU)  # upsampling, depth to space
            clipped = parents(parent)[0] if moves_only else parent
            assert isinstance(clipped, layers.ReLU) and clipped.max_value == 6, parent.name


@pytest.mark.slow
@pytest.mark.parametrize(("width", "full"), [(1.0, ["decoder_2_conv"]), (0.35, [])])
def test_the_separable_decoder_is_light_at_full_resolution(width: float, full: list[str]) -> None:
    model = unet(width=width)
    decoder = [layer for layer in convolutions(model) if is_decoder(layer)]
    assert not any(isinstance(layer, layers.Conv2DTranspose) for layer in decoder)
    plain = [layer for layer in decoder if not isinstance(layer, layers.DepthwiseConv2D)]
    assert [layer.name for layer in plain if layer.kernel_size != (1, 1)] == full
    fine = [layer.output.shape[3] for layer in model.layers[1:] if layer.output.shape[1:3] == (32, 64)]
    assert set(fine) == {1, 3}  # the mask, and the frame before the first convolution
    assert model.get_layer("head_logits").output.shape == (None, 16, 32, 4)


@pytest.mark.slow
def test_four_logits_at_half_resolution_become_a_2x2_block() -> None:
    model = unet("mobilenetv2")
    logits = keras.Model(model.inputs, model.get_layer("head_logits").output)(noise())
    expected = 1 / (1 + np.exp(-np.asarray(logits)))
    probability = np.asarray(model(noise()))
    for at in range(4):
        assert np.allclose(probability[:, at // 2 :: 2, at % 2 :: 2, 0], expected[..., at], atol=1e-6)


@pytest.mark.slow
def test_the_decoder_narrows_with_the_encoder_to_half_at_most() -> None:
    models = [unet(width=width) for width in (0.35, 0.5, 1.0)]
    encoders = [encoder_params(model) for model in models]
    assert encoders == sorted(encoders)
    decoders = [model.count_params() - encoder for model, encoder in zip(models, encoders, strict=True)]
    assert decoders[0] < decoders[1] < decoders[2] < 8 * decoders[0]
    narrow, half = (unet("original", width=width) for width in (0.25, 0.5))
    for name in ("decoder_2_skip_conv", "decoder_4_pointwise_conv"):
        assert narrow.get_layer(name).filters == half.get_layer(name).filters


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [False, True])
@pytest.mark.parametrize("batchnorm", [False, True])
def test_a_step_changes_trainable_weights_only(encoder: bool, batchnorm: bool) -> None:
    model = build_unet(UNetConfig(16, 32, "original", "separable", width=0.1), weights=None)
    set_trainable(model, encoder=False, batchnorm=False)
    set_trainable(model, encoder=encoder, batchnorm=batchnorm)  # frozen layers can be made trainable again
    before = {weight.path: weight.numpy().copy() for weight in model.weights}
    model.compile(keras.optimizers.Adam(0.01), BCEDice(), run_eagerly=True)
    truth = np.zeros((4, 16, 32, 1), np.float32)
    truth[:, :8] = 1
    model.train_on_batch(noise(16, 32, 4), truth)
    changed = {weight.path for weight in model.weights if (weight.numpy() != before[weight.path]).any()}
    assert changed == {
        path
        for path in before
        if (batchnorm or "_bn/" not in path) and (encoder or path.startswith(("decoder_", "head_")))
    }
    statistics = {path for path in before if "moving_" in path and path.startswith("decoder_")}
    assert statistics and statistics & changed == (statistics if batchnorm else set())


def test_missing_weights_are_refused_with_where_to_put_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.weights\.h5 for width 0\.35 .*KERAS_HOME") as caught:
        build_unet(UNetConfig(32, 32, width=0.35), weights=tmp_path / "none.weights.h5")
    assert len(caught.value.lines) == 1


@pytest.mark.slow
def test_weights_of_another_width_or_format_are_refused(backbone: tuple[keras.Model, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"narrow\.weights\.h5 for width 0\.5 could not be loaded"):
        build_unet(UNetConfig(32, 32, width=0.5), weights=backbone[1])
    text = tmp_path / "notes.weights.h5"
    text.write_text("text")
    with pytest.raises(UserError, match=r"notes\.weights\.h5 for width 0\.35 could not be loaded"):
        build_unet(UNetConfig(32, 32, width=0.35), weights=text)


@pytest.mark.slow
@pytest.mark.parametrize("width", [0.35, 1.0])
def test_imagenet_weights_are_found_in_keras_home(width: float) -> None:
    home = os.environ.get("KERAS_HOME", "")
    file = Path(home, "models", f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{width}_224_no_top.h5")
    if not home or not file.is_file():
        pytest.skip("KERAS_HOME is not set, or holds no models/mobilenet_v2_*_no_top.h5: set it to run this test")
    model = build_unet(UNetConfig(64, 64, width=width), weights="imagenet")
    means = [layer.moving_mean.numpy() for layer in encoder_layers(model) if hasattr(layer, "moving_mean")]
    assert all(mean.any() for mean in means), "random weights have zero statistics"


def assert_statistics_follow_within_an_epoch(model: keras.Model) -> None:
    momenta = [layer.momentum for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    assert momenta and max(momenta) ** 180 < 0.01, "an epoch of 1,500 images has about 180 steps"


@pytest.mark.parametrize(("encoder", "decoder"), COMBINATIONS)
def test_batchnorm_statistics_follow_within_an_epoch(encoder: Encoder, decoder: Decoder) -> None:
    assert_statistics_follow_within_an_epoch(unet(encoder, decoder))


@pytest.mark.slow
def test_a_saved_model_is_the_same_after_loading(tmp_path: Path) -> None:
    model, frames = unet("mobilenetv2"), noise()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert (np.asarray(loaded(frames)) == np.asarray(model(frames))).all()
    assert loaded.name == "unet_mobilenetv2_separable"
    assert_statistics_follow_within_an_epoch(loaded)
