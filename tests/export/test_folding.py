"""The scale of the input in the first convolution's weights."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from export.folding import fold_rescaling
from train.model.unet import UNetConfig, build_unet

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)


def network(rescaling: keras.Layer, *, second_reader: bool = False) -> keras.Model:
    frame = keras.Input((32, 32, 3))
    scaled = rescaling(frame)
    x = layers.Conv2D(4, 3, padding="same", name="first")(scaled)
    if second_reader:
        x = layers.Concatenate()([x, scaled])
    return keras.Model(frame, layers.Conv2D(1, 1, activation="sigmoid")(x))


def rescalings(model: keras.Model) -> int:
    return sum(isinstance(layer, layers.Rescaling) for layer in model.layers)


def test_a_factor_goes_into_the_weights_and_the_output_stays() -> None:
    model = network(layers.Rescaling(1 / 127.5))
    folded = fold_rescaling(model)
    assert (rescalings(model), rescalings(folded)) == (1, 0)
    assert np.allclose(folded(FRAMES), model(FRAMES), atol=1e-5)
    assert np.allclose(folded.get_layer("first").kernel * 127.5, model.get_layer("first").kernel, atol=1e-6)


def test_a_u_net_of_ours_folds_and_gives_the_same_map() -> None:
    model = build_unet(UNetConfig(32, 32, width=0.35), weights=None)
    folded = fold_rescaling(model)
    assert rescalings(folded) == 0
    assert np.allclose(folded(FRAMES), model(FRAMES), atol=1e-5)


def test_the_model_that_is_given_is_not_changed() -> None:
    model = network(layers.Rescaling(1 / 127.5))
    before = [weight.copy() for weight in model.get_weights()]
    fold_rescaling(model)
    assert all(np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))


def test_an_offset_is_left_alone_because_the_padding_would_not_be_shifted() -> None:
    model = network(layers.Rescaling(1 / 127.5, offset=-1))
    assert fold_rescaling(model) is model


def test_a_scale_that_something_else_reads_too_is_left_alone() -> None:
    model = network(layers.Rescaling(1 / 127.5), second_reader=True)
    assert fold_rescaling(model) is model
