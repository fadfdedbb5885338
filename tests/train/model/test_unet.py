"""The U-Net: shapes, skip connections, the order of layers, trainable layers and pre-trained weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import pytest
from keras import layers

from edge.errors import UserError
from train.model.losses import BCEDice
from train.model.unet import UNetConfig, build_unet, encoder_layers, set_trainable

# Saving warns of each layer without weights.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning")]


@cache
def unet(width: float = 0.35) -> keras.Model:
    """A network of 32 x 64 pixels with random weights. Shared: do not train it."""
    keras.utils.set_random_seed(0)
    return build_unet(UNetConfig(32, 64, width), weights=None)


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
    kinds = (layers.Conv2D, layers.DepthwiseConv2D)
    return (layer for layer in model.layers if isinstance(layer, kinds) and layer.name != "head_logits")


def encoder_params(model: keras.Model) -> int:
    return sum(layer.count_params() for layer in encoder_layers(model))


def noise(height: int = 32, width: int = 64, count: int = 2) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3)).astype(np.float32)


def test_frames_map_to_one_probability_per_pixel() -> None:
    model = unet()
    assert (model.input_shape, model.output_shape) == ((None, 32, 64, 3), (None, 32, 64, 1))
    probability = np.asarray(model(noise()))
    assert probability.shape == (2, 32, 64, 1) and probability.dtype == np.float32
    assert probability.min() >= 0 and probability.max() <= 1
    assert probability.std() > 0


def test_rescaling_is_a_factor_that_folds_into_the_first_convolution() -> None:
    (rescale,) = children(unet(), unet().layers[0])
    assert np.allclose(rescale(np.array([0.0, 127.5, 255.0])), [0, 1, 2])


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


def test_the_default_model_has_1_992_260_parameters() -> None:
    assert UNetConfig() == UNetConfig(224, 224, 1.0)
    model = unet(width=1.0)
    assert (model.count_params(), encoder_params(model)) == (1_992_260, 1_843_264)


def test_skip_connections_leave_mobilenet_at_its_widest_maps() -> None:
    model = unet()
    sources = {layer.name: source_of_skip(layer) for layer in model.layers if isinstance(layer, layers.Concatenate)}
    assert sources == {
        "decoder_16_concat": "block_13_expand_relu",
        "decoder_8_concat": "block_6_expand_relu",
        "decoder_4_concat": "block_3_expand_relu",
        "decoder_2_concat": "block_1_expand_relu",
    }
    assert children(model, model.get_layer("block_16_project_BN"))[0].name.startswith("decoder_16")


def test_convolutions_lead_to_batchnorm_and_relu6_so_that_concatenations_share_a_range() -> None:
    model = unet()
    for layer in convolutions(model):
        assert not layer.use_bias, layer.name
        assert layer.output.shape[-1] % 8 == 0, layer.name
        after = children(model, layer)
        if isinstance(after[0], layers.ZeroPadding2D):
            continue
        assert [type(child) for child in after] == [layers.BatchNormalization], layer.name
        if is_decoder(layer):
            (relu,) = children(model, after[0])
            assert isinstance(relu, layers.ReLU) and relu.max_value == 6, layer.name
    for layer in (layer for layer in model.layers if isinstance(layer, layers.Concatenate)):
        stride = int(layer.name.split("_")[1])
        assert layer.output.shape[1:3] == (32 // stride, 64 // stride)
        for parent in parents(layer):
            moves_only = not isinstance(parent, layers.ReLU)  # upsampling, depth to space
            clipped = parents(parent)[0] if moves_only else parent
            assert isinstance(clipped, layers.ReLU) and clipped.max_value == 6, parent.name


@pytest.mark.parametrize(("width", "full"), [(1.0, ["decoder_2_conv"]), (0.35, [])])
def test_the_decoder_is_light_at_full_resolution(width: float, full: list[str]) -> None:
    model = unet(width=width)
    plain = [x for x in convolutions(model) if is_decoder(x) and not isinstance(x, layers.DepthwiseConv2D)]
    assert [layer.name for layer in plain if layer.kernel_size != (1, 1)] == full
    fine = [layer.output.shape[3] for layer in model.layers[1:] if layer.output.shape[1:3] == (32, 64)]
    assert set(fine) == {1, 3}  # the mask, and the frame before the first convolution
    assert model.get_layer("head_logits").output.shape == (None, 16, 32, 4)


def test_four_logits_at_half_resolution_become_a_2x2_block() -> None:
    model = unet()
    logits = keras.Model(model.inputs, model.get_layer("head_logits").output)(noise())
    expected = 1 / (1 + np.exp(-np.asarray(logits)))
    probability = np.asarray(model(noise()))
    for at in range(4):
        assert np.allclose(probability[:, at // 2 :: 2, at % 2 :: 2, 0], expected[..., at], atol=1e-6)


def test_the_decoder_narrows_with_the_encoder_to_half_at_most() -> None:
    narrow, half, whole = (unet(width=width) for width in (0.35, 0.5, 1.0))
    assert encoder_params(narrow) < encoder_params(half) < encoder_params(whole)
    for name in ("decoder_8_skip_conv", "decoder_8_pointwise_conv"):
        filters = [model.get_layer(name).filters for model in (narrow, half, whole)]
        assert filters == [filters[2] // 2, filters[2] // 2, filters[2]]


@pytest.mark.parametrize("encoder", [False, True])
@pytest.mark.parametrize("batchnorm", [False, True])
def test_a_step_changes_trainable_weights_only(encoder: bool, batchnorm: bool) -> None:
    model = build_unet(UNetConfig(64, 64, width=0.35), weights=None)
    set_trainable(model, encoder=False, batchnorm=False)
    set_trainable(model, encoder=encoder, batchnorm=batchnorm)  # frozen layers can be made trainable again
    before = {weight.path: weight.numpy().copy() for weight in model.weights}
    model.compile(keras.optimizers.Adam(0.01), BCEDice(), run_eagerly=True)
    truth = np.zeros((4, 64, 64, 1), np.float32)
    truth[:, :32] = 1
    model.train_on_batch(noise(64, 64, 4), truth)
    changed = {weight.path for weight in model.weights if (weight.numpy() != before[weight.path]).any()}
    expected = {
        weight.path
        for layer in model.layers
        if (encoder or is_decoder(layer)) and (batchnorm or not isinstance(layer, layers.BatchNormalization))
        for weight in layer.weights
    }
    assert changed <= expected  # a few kernels before a saturated ReLU6 have no gradient
    assert "head_logits/kernel" in changed
    assert encoder == any(not path.startswith(("decoder_", "head_")) for path in changed)
    assert batchnorm == any("moving_" in path for path in changed)


def test_missing_weights_are_refused_with_where_to_put_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.weights\.h5 for width 0\.35 .*KERAS_HOME") as caught:
        build_unet(UNetConfig(32, 32, width=0.35), weights=tmp_path / "none.weights.h5")
    assert len(caught.value.lines) == 1


def test_weights_of_another_width_or_format_are_refused(backbone: tuple[keras.Model, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"narrow\.weights\.h5 for width 0\.5 could not be loaded"):
        build_unet(UNetConfig(32, 32, width=0.5), weights=backbone[1])
    text = tmp_path / "notes.weights.h5"
    text.write_text("text")
    with pytest.raises(UserError, match=r"notes\.weights\.h5 for width 0\.35 could not be loaded"):
        build_unet(UNetConfig(32, 32, width=0.35), weights=text)


@pytest.mark.parametrize("width", [0.35, 1.0])
def test_imagenet_weights_are_found_in_keras_home(width: float) -> None:
    home = os.environ.get("KERAS_HOME", "")
    file = Path(home, "models", f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{width}_224_no_top.h5")
    if not home or not file.is_file():
        pytest.skip("KERAS_HOME is not set, or holds no models/mobilenet_v2_*_no_top.h5: set it to run this test")
    model = build_unet(UNetConfig(64, 64, width=width), weights="imagenet")
    means = [layer.moving_mean.numpy() for layer in encoder_layers(model) if hasattr(layer, "moving_mean")]
    assert all(mean.any() for mean in means), "random weights have zero statistics"


def test_a_saved_model_is_the_same_after_loading_and_its_statistics_follow_within_an_epoch(tmp_path: Path) -> None:
    model, frames = unet(), noise()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert (np.asarray(loaded(frames)) == np.asarray(model(frames))).all()
    assert loaded.name == "unet_mobilenetv2_separable"
    momenta = [layer.momentum for layer in loaded.layers if isinstance(layer, layers.BatchNormalization)]
    assert momenta and max(momenta) ** 180 < 0.01, "an epoch of 1,500 images has about 180 steps"
