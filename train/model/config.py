"""What a U-Net is made of, apart from Keras: the recipe and the command line load without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge.errors import UserError

Encoder = Literal["mobilenetv2", "original"]
Decoder = Literal["separable", "transposed"]

# The widths that Keras has MobileNetV2 ImageNet weights for.
MOBILENETV2_WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
MAX_STRIDE_PX = {"mobilenetv2": 32, "original": 16}


@dataclass(frozen=True)
class UNetConfig:
    """Size and parts of a U-Net. `height` and `width_px` are multiples of the encoder's largest stride.

    Example:
        >>> UNetConfig(height=192, width_px=320, width=0.35).check()
    """

    height: int = 224
    width_px: int = 224
    encoder: Encoder = "mobilenetv2"
    decoder: Decoder = "separable"
    width: float = 1.0
    """Width multiplier of the encoder's channels."""

    def check(self) -> None:
        """Raise `UserError` if no such network can be built."""
        stride_px = MAX_STRIDE_PX[self.encoder]
        for name, size_px in (("height", self.height), ("width", self.width_px)):
            if size_px < stride_px or size_px % stride_px:
                nearest_px = max(stride_px, round(size_px / stride_px) * stride_px)
                raise UserError(
                    f"input {name} {size_px} px does not fit the {self.encoder} encoder",
                    f"expected a multiple of {stride_px}, for example {nearest_px}",
                )
        if self.encoder == "mobilenetv2" and self.width not in MOBILENETV2_WIDTHS:
            raise UserError(f"MobileNetV2 has no width {self.width}", f"expected one of {MOBILENETV2_WIDTHS}")
        if not 0 < self.width <= 2:
            raise UserError(f"encoder width {self.width} is out of range", "expected more than 0 and at most 2")
