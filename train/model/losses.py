"""The loss: binary cross-entropy plus Dice on probabilities, in `keras.ops` for any backend."""

from __future__ import annotations

import keras
from keras import ops

HARD_SHARE = 0.005
"""Pixels of an image that count as its hardest: as many as a small false alarm has."""
TEMPERATURE = 1.6
"""The loss multiplies the logits by this, so that the network's own probabilities are calibrated: with Dice alone they
are overconfident. 1.6 calibrated networks trained without it, on held-out web images (Guo et al. 2017,
arXiv 1706.04599)."""


def sharpen(probability: keras.KerasTensor) -> keras.KerasTensor:
    """Return the sigmoid of `TEMPERATURE` times the logit. Within epsilon of 0 and 1 the gradient is 0."""
    epsilon = keras.config.epsilon()
    clipped = ops.clip(probability, epsilon, 1 - epsilon)
    return ops.sigmoid(TEMPERATURE * (ops.log(clipped) - ops.log(1 - clipped)))


@keras.saving.register_keras_serializable(package="fireseg")
class BCEDice(keras.losses.Loss):
    """Mean binary cross-entropy plus one minus the soft Dice coefficient of the whole batch, of sharpened predictions.

    Cross-entropy weighs all pixels alike, and nine tenths are background; Dice (Milletari et al. 2016,
    arXiv 1606.04797) weighs fire by its own area. Dice is pooled over the batch, so that an image without fire costs
    only its false positives.

    A false alarm of a few pixels barely changes either term. With a `negative_weight`, the mean cross-entropy of the
    hardest `HARD_SHARE` of the pixels of each image without fire is added, times the weight (hard example mining:
    Shrivastava et al. 2016, arXiv 1604.03540). At fire boundaries the hardest pixels have uncertain labels; images
    without fire have none.
    """

    def __init__(
        self, smooth_px: float = 1.0, negative_weight: float = 0.0, name: str = "bce_dice", **kwargs: object
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.smooth_px, self.negative_weight = smooth_px, negative_weight

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Return (N, H, W), whose mean is the loss; inputs are (N, H, W, 1), truth 0 or 1, prediction 0..1."""
        y_pred = sharpen(y_pred)
        y_true = ops.cast(y_true, y_pred.dtype)
        overlap = ops.sum(y_true * y_pred)
        dice = (2 * overlap + self.smooth_px) / (ops.sum(y_true) + ops.sum(y_pred) + self.smooth_px)
        cross_entropy = keras.losses.binary_crossentropy(y_true, y_pred)
        loss = cross_entropy + (1 - dice)
        if self.negative_weight:
            height, width = cross_entropy.shape[1:]
            pixels = ops.reshape(cross_entropy, (-1, height * width))
            hardest, _ = ops.top_k(pixels, max(1, round(HARD_SHARE * height * width)), sorted=False)
            has_fire = ops.cast(ops.any(y_true > 0, axis=(1, 2, 3)), loss.dtype)
            loss += self.negative_weight * ((1 - has_fire) * ops.mean(hardest, axis=1))[:, None, None]
        return loss

    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), "smooth_px": self.smooth_px, "negative_weight": self.negative_weight}
