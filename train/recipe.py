"""The training recipe: the encoder frozen at first, then the whole network at a low rate.

BatchNorm that learns normalises by the batch, but the network is used with the running averages: a last phase can train
it with these, for it to settle on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edge.errors import UserError
from train.data.splits import VALIDATION_SHARE
from train.model.unet import UNetConfig


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs with one choice of what learns. `patience` epochs without a better one end it early."""

    name: str
    epochs: int
    rate: float
    encoder: bool
    """Whether the encoder's convolutions learn."""
    batch_norm: bool
    """Whether BatchNorm's statistics and scales move."""
    cosine: bool
    """Whether the rate rises over one epoch and then falls to zero along a cosine."""
    patience: int | None


@dataclass(frozen=True)
class Recipe:
    """Everything a training depends on beside its data."""

    model: UNetConfig = field(default_factory=UNetConfig)
    backbone_weights: str | None = "imagenet"
    frozen_epochs: int = 25
    frozen_rate: float = 1e-3
    patience: int = 6
    whole_epochs: int = 10
    whole_rate: float = 1e-4
    whole_batch_norm: bool = False
    """Whether BatchNorm goes on learning with the whole network."""
    settle_epochs: int = 0
    """How many epochs of the whole network follow with BatchNorm still, warmed up anew over the first of them. Where it
    stood still before, they are a warm restart and no more."""
    settle_rate: float = 1e-4
    batch_size: int = 8
    augment: Literal["plain", "strong"] = "plain"
    validation: float = VALIDATION_SHARE
    """Share of the training pairs, in whole videos, that chooses the best epoch; with 0 the last one is kept."""
    mixed_precision: bool = False
    """Whether layers compute in bfloat16, which GPUs are fast at; weights stay float32, and so does the best model."""
    seed: int = 0

    def phases(self) -> list[Phase]:
        frozen = Phase(
            "frozen", self.frozen_epochs, self.frozen_rate,
            encoder=False, batch_norm=True, cosine=False, patience=self.patience,
        )  # fmt: skip
        whole = Phase(
            "whole", self.whole_epochs, self.whole_rate,
            encoder=True, batch_norm=self.whole_batch_norm, cosine=True, patience=None,
        )  # fmt: skip
        settle = Phase(
            "settle", self.settle_epochs, self.settle_rate,
            encoder=True, batch_norm=False, cosine=True, patience=None,
        )  # fmt: skip
        return [phase for phase in (frozen, whole, settle) if phase.epochs]

    def check(self) -> None:
        """Raise `UserError` for a recipe that cannot be run."""
        self.model.check()
        for name in ("batch_size", "patience"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}", "expected at least 1")
        if min(self.frozen_epochs, self.whole_epochs) < 0 or not self.frozen_epochs + self.whole_epochs:
            raise UserError(
                f"{self.frozen_epochs} frozen and {self.whole_epochs} whole epochs", "expected 1 or more in all"
            )
        if self.settle_epochs < 0:
            raise UserError(f"settle_epochs is {self.settle_epochs}", "expected at least 0")
        if not 0 <= self.validation <= 0.5:
            raise UserError(f"validation is {self.validation}", "expected a share from 0 to 0.5")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed is {self.seed}", f"expected 0 to {2**32 - 1}")
        for name in ("frozen_rate", "whole_rate", "settle_rate"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}", "expected a learning rate between 0 and 1")
