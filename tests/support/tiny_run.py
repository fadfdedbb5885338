"""A training of seconds that the tests of the recipe share, and what two runs must have in common to be the same."""

from __future__ import annotations

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
from train.run_state import Row, read_state

SIDE_PX = 16


def small_network(config: UNetConfig, weights: str | None = None) -> keras.Model:
    """A stand-in for the U-Net with its layers' names, since tracing the real one takes most of a test's time."""
    frame = x = keras.Input((config.height, config.width_px, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    for name in ("encoder_1", "decoder_1"):
        x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
        x = keras.layers.ReLU(6.0, name=f"{name}_relu")(x)
    logits = keras.layers.Conv2D(1, 1, name="head_logits")(x)
    return keras.Model(frame, keras.layers.Activation("sigmoid", name="head_probability")(logits), name="small")


TINY = Recipe(
    model=UNetConfig(SIDE_PX, SIDE_PX, "original", "separable", width=0.1),
    backbone_weights=None,
    frozen_epochs=2,
    whole_epochs=2,
    frozen_rate=0.01,
    batch_size=4,
    seed=3,
)
DATA = "ab" * 32


def examples(count: int, seed: int) -> Examples:
    """Bright blocks that burn, in noise that does not."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 100, (count, SIDE_PX, SIDE_PX, 3), np.uint8)
    masks = np.zeros((count, SIDE_PX, SIDE_PX, 1), np.uint8)
    for index, (top, left) in enumerate(rng.integers(0, SIDE_PX // 2, (count, 2))):
        masks[index, top : top + 6, left : left + 6] = 1
    images[masks[..., 0] == 1] = (250, 150, 40)
    return Examples(images, masks)


LEARN, VALIDATE = examples(12, seed=1), examples(4, seed=2)


def train(out: Path, recipe: Recipe = TINY, *, data_sha256: str = DATA, resume: bool = False) -> keras.Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "build_unet", small_network)
        return fit(recipe, LEARN, VALIDATE, out, data_sha256=data_sha256, resume=resume, verbose=0)


def curve(out: Path) -> list[Row]:
    """The history without its clock."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in read_state(out).history]


def weights(out: Path, file: str) -> list[np.ndarray[Any, Any]]:
    return [weight.numpy() for weight in keras.models.load_model(out / file, compile=False).weights]


def assert_same_run(out: Path, whole: Path) -> None:
    mine, theirs = curve(out), curve(whole)
    assert [(row["phase"], row["epoch"]) for row in mine] == [(row["phase"], row["epoch"]) for row in theirs]
    for a, b in zip(mine, theirs, strict=True):
        for name in ("loss", "val_loss", "fire_iou", "val_fire_iou"):
            assert a[name] == pytest.approx(b[name], rel=1e-5, abs=1e-6), (name, a["epoch"])
    for file in ("best.keras", str(read_state(whole).last)):
        for one, other in zip(weights(out, file), weights(whole, file), strict=True):
            assert np.allclose(one, other, rtol=1e-4, atol=1e-5)
