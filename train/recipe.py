"""The training recipe, defined once: each field has its default, a help text, and its bounds or choices.

The flags of `fireseg-train fit` and the keys of a recipe file are made from these fields: `frozen_lr` becomes
`--frozen-lr` and `frozen-lr = 1e-3`. Training runs through up to three phases:

1. encoder frozen: the decoder trains on ImageNet features;
2. fine-tuning: the whole network trains;
3. BatchNorm frozen: the network adapts to the running averages that inference uses.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from edge.config_schema import field, unknown_key, validation_error
from edge.errors import UserError
from train.data.splits import MAX_VALIDATION_SHARE, VALIDATION_SHARE
from train.model.config import UNetConfig

SHIPPED_DIR = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Phase:
    """Consecutive epochs that train the same layers. `patience` epochs without improvement end the phase early."""

    name: str
    epochs: int
    lr: float
    encoder: bool  # train the encoder's convolutions
    batchnorm: bool  # train BatchNorm's scales and update its statistics
    cosine: bool  # warm up for one epoch, then decay to zero along a cosine
    patience: int | None


def _learning_rate(default: float, doc: str) -> Any:
    return field(default, doc, low=1e-8, high=0.9)


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a training run besides its data."""

    width: float = field(UNetConfig.width, "Width multiplier of the encoder, such as 0.35 or 1.0.")
    size: str = field(str(UNetConfig.height), "Input size in pixels: 224, or HEIGHTxWIDTH.")
    backbone_weights: str = field("imagenet", "Initial MobileNetV2 weights: imagenet, a path, or none.")
    frozen_epochs: int = field(25, "Epochs with the encoder frozen, at most.", low=0)
    frozen_lr: float = _learning_rate(1e-3, "Learning rate with the encoder frozen.")
    patience: int = field(6, "End the frozen phase after this many epochs without improvement.", low=1)
    finetune_epochs: int = field(10, "Epochs of the whole network after that.", low=0)
    finetune_lr: float = _learning_rate(1e-4, "Peak learning rate of fine-tuning; decays along a cosine.")
    finetune_batchnorm: bool = field(False, "Train BatchNorm during fine-tuning.")
    bn_frozen_epochs: int = field(0, "Extra fine-tuning epochs with BatchNorm frozen.", low=0)
    bn_frozen_lr: float = _learning_rate(1e-4, "Peak learning rate of the epochs with BatchNorm frozen.")
    batch_size: int = field(8, "Images per step.", low=1)
    augment: str = field("plain", "Augmentation; strong also pastes flames.", choices=("plain", "strong"))
    validation: float = field(
        VALIDATION_SHARE,
        "Share of training videos that chooses the best epoch; 0 keeps the last.",
        low=0,
        high=MAX_VALIDATION_SHARE,
    )
    hold_out: bool = field(True, "Hold out 20 % of the groups of each extra set for testing.")
    extra_share: float = field(
        0.0, "Repeat the extra sets' images until they are this share of an epoch; 0 for once each.", low=0, high=0.9
    )
    negative_weight: float = field(
        0.0, "Weight of the hardest pixels of images without fire in the loss; 0 for none.", low=0, high=10
    )
    start_weight: float = field(
        0.0, "Weight of --start in the average with the trained network that is saved; 0 for none.", low=0, high=0.9
    )
    mixed_precision: bool = field(False, "Compute in bfloat16, for GPUs; weights stay float32.")
    seed: int = field(0, "Seed of weights, order, augmentation and validation videos.", low=0, high=2**32 - 1)

    @property
    def model(self) -> UNetConfig:
        """The network to build. Raises `UserError` for a size that is not in pixels."""
        match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", self.size.lower())
        if match is None:
            raise UserError(f"size is {self.size!r}", "expected pixels such as 224, or HEIGHTxWIDTH such as 192x320")
        return UNetConfig(int(match[1]), int(match[2] or match[1]), self.width)

    @property
    def weights(self) -> str | None:
        """Initial encoder weights, as `build_unet` takes them."""
        return None if self.backbone_weights == "none" else self.backbone_weights

    def phases(self) -> list[Phase]:
        """The phases that have epochs, in order."""
        phases = (
            Phase("frozen", self.frozen_epochs, self.frozen_lr, False, True, cosine=False, patience=self.patience),
            Phase(
                "finetune", self.finetune_epochs, self.finetune_lr, True, self.finetune_batchnorm,
                cosine=True, patience=None,
            ),
            Phase("bn_frozen", self.bn_frozen_epochs, self.bn_frozen_lr, True, False, cosine=True, patience=None),
        )  # fmt: skip
        return [phase for phase in phases if phase.epochs]

    def check(self) -> None:
        """Raise `UserError` for a recipe that cannot be run."""
        for name, value in asdict(self).items():
            if remedy := remedy_for(name, value):
                raise UserError(f"{name} is {value!r}", remedy)
        self.model.check()
        if not self.frozen_epochs + self.finetune_epochs:
            raise UserError("frozen_epochs and finetune_epochs are both 0", "expected 1 or more in all")
        if self.start_weight and self.frozen_epochs:
            # Fine-tuning would go on from the average, and the average would be averaged.
            raise UserError("start_weight needs a fine-tuning of the whole network", "set frozen_epochs to 0")
        if self.start_weight and self.validation:
            # Validation would judge the trained network, and its average with the start would be saved.
            raise UserError("start_weight and validation exclude each other", "set validation to 0")


FIELDS = {entry.name: entry for entry in fields(Recipe)}
TYPES = get_type_hints(Recipe)


def remedy_for(name: str, value: Any) -> str | None:
    """Return what the field expects instead of the value; None if the value is valid."""
    return validation_error(value, TYPES[name], FIELDS[name])


def read_recipe(name: str) -> dict[str, Any]:
    """Read a TOML recipe, by path or by the name of a shipped one; keys are flag names.

    Raises `UserError` naming what is wrong.
    """
    path = Path(name) if Path(name).suffix else SHIPPED_DIR / f"{name}.toml"
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors may write a byte order mark
    except FileNotFoundError as error:
        shipped = ", ".join(sorted(file.stem for file in SHIPPED_DIR.glob("*.toml")))
        raise UserError(f"recipe {name} does not exist", f"expected a .toml file, or one of {shipped}") from error
    except (OSError, ValueError, RecursionError) as error:  # TOML's own errors and those of UTF-8 are ValueErrors
        raise UserError(f"recipe {name} could not be read ({error})", "expected TOML, `flag = value` a line") from error
    flags = {key.replace("_", "-"): key for key in FIELDS}
    if type(settings.get("size")) is int:
        settings["size"] = str(settings["size"])
    for flag, value in settings.items():
        if flag not in flags:
            raise UserError(*unknown_key(flag, f"recipe {name}", flags).split(": ", 1))
        if remedy := remedy_for(flags[flag], value):
            raise UserError(f"recipe {name} has {flag} = {value!r}", remedy)
    return settings
