"""The loss: binary cross-entropy plus Dice on probabilities, in `keras.ops` for any backend."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="fireseg")
class BCEDice(keras.losses.Loss):
    """Mean binary cross-entropy plus one minus the soft Dice coefficient of the whole batch.

    Cross-entropy weighs all pixels alike, and nine tenths are background; Dice (Milletari et al. 2016,
    arXiv 1606.04797) weighs fire by its own area. Dice is pooled over the batch, so that an image without fire costs
    only its false positives.
    """

    def __init__(self, smooth_px: float = 1.0, name: str = "bce_dice", **kwargs: object) -> None:
        super().__init__(name=name, **kwargs)
        self.smooth_px = smooth_px

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Return (N, H, W), whose mean is the loss; inputs are (N, H, W, 1), truth 0 or 1, prediction 0..1."""
        y_true = ops.cast(y_true, y_pred.dtype)
        overlap = ops.sum(y_true * y_pred)
        dice = (2 * overlap + self.smooth_px) / (ops.sum(y_true) + ops.sum(y_pred) + self.smooth_px)
        return keras.losses.binary_crossentropy(y_true, y_pred) + (1 - dice)

    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), "smooth_px": self.smooth_px}
