"""A training run of seconds that tests share, and a comparison of two runs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from train import fit as fitting
from train.data.batches import Examples
from train.fit import fit
from train.model.unet import UNetConfig
from train.recipe import Recipe
from train.training_state import Row, read_state

SIDE_PX = 32


def small_network(config: UNetConfig, *, weights: str | None = None) -> keras.Model:
    """A stand-in for the U-Net with its layer names: tracing the real network takes most of a test's time."""
    frame = x = keras.Input((config.height, config.width_px, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    for name in ("encoder_1", "decoder_1"):
        x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
        x = keras.layers.ReLU(6.0, name=f"{name}_relu")(x)
    logits = keras.layers.Conv2D(1, 1, name="head_logits")(x)
    return keras.Model(frame, keras.layers.Activation("sigmoid", name="head_probability")(logits), name="small")


TINY = Recipe(
    size=str(SIDE_PX),
    width=0.35,
    backbone_weights="none",
    frozen_epochs=2,
    finetune_epochs=2,
    frozen_lr=0.01,
    batch_size=4,
    seed=3,
)
DATA_SHA256 = "ab" * 32


def examples(count: int, seed: int) -> Examples:
    """Bright blocks as fire, noise as background."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 100, (count, SIDE_PX, SIDE_PX, 3), np.uint8)
    masks = np.zeros((count, SIDE_PX, SIDE_PX, 1), np.uint8)
    for index, (top, left) in enumerate(rng.integers(0, SIDE_PX // 2, (count, 2))):
        masks[index, top : top + 6, left : left + 6] = 1
    images[masks[..., 0] == 1] = (250, 150, 40)
    return Examples(images, masks)


TRAINING, VALIDATION = examples(12, seed=1), examples(4, seed=2)
NO_IMAGES = Examples(TRAINING.images[:0], TRAINING.masks[:0])


def train(
    out: Path,
    recipe: Recipe = TINY,
    *,
    validation: Examples = VALIDATION,
    data_sha256: str = DATA_SHA256,
    start: Path | None = None,
    resume: bool = False,
    eager: bool = True,
) -> keras.Model:
    """Train the small network, by default without graphs: tracing them takes longer than these few steps."""
    import tensorflow as tf  # other backends import this module too

    tf.config.run_functions_eagerly(eager)
    try:
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Even though the `tf.config")  # tf.data keeps its graphs
            patch.setattr(fitting, "build_unet", small_network)
            return fit(recipe, TRAINING, validation, out, data_sha256=data_sha256, start=start, resume=resume)
    finally:
        tf.config.run_functions_eagerly(False)


def curve(out: Path) -> list[Row]:
    """Return the history without its times."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in read_state(out).history]


def weights(out: Path, file: str) -> list[np.ndarray[Any, Any]]:
    return [weight.numpy() for weight in keras.models.load_model(out / file, compile=False).weights]


def assert_same_run(out: Path, reference: Path) -> None:
    mine, theirs = curve(out), curve(reference)
    assert [(row["phase"], row["epoch"]) for row in mine] == [(row["phase"], row["epoch"]) for row in theirs]
    for row, expected in zip(mine, theirs, strict=True):
        for name in ("loss", "val_loss", "fire_iou", "val_fire_iou"):
            assert row[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-6), (name, row["epoch"])
    for file in ("best.keras", str(read_state(reference).last)):
        for a, b in zip(weights(out, file), weights(reference, file), strict=True):
            assert np.allclose(a, b, rtol=1e-4, atol=1e-5)
