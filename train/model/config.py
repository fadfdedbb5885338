"""Size and width of the U-Net. Imports no Keras, so recipes and `--help` load fast."""

from __future__ import annotations

from dataclasses import dataclass

from edge.errors import UserError

# The widths that Keras has MobileNetV2 ImageNet weights for.
WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
STRIDE_PX = 32


@dataclass(frozen=True)
class UNetConfig:
    """Size of a U-Net: input in pixels, multiples of 32, and the width multiplier of the encoder's channels."""

    height: int = 224
    width_px: int = 224
    width: float = 1.0

    def check(self) -> None:
        """Raise `UserError` if no such network can be built."""
        for name, size_px in (("height", self.height), ("width", self.width_px)):
            if size_px < STRIDE_PX or size_px % STRIDE_PX:
                nearest_px = max(STRIDE_PX, round(size_px / STRIDE_PX) * STRIDE_PX)
                raise UserError(
                    f"input {name} {size_px} px does not fit the encoder",
                    f"expected a multiple of {STRIDE_PX}, for example {nearest_px}",
                )
        if self.width not in WIDTHS:
            raise UserError(f"MobileNetV2 has no width {self.width}", f"expected one of {WIDTHS}")
