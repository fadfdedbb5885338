"""Batches for `fit`: decoded once, stored as bytes, shuffled and augmented reproducibly."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt

from edge.images import Frame
from edge.model.preprocess import to_model_input, to_model_mask
from train.data.augment import Arrays, Augmentation, StrongAugmentation
from train.data.copy_paste import FlamePaster
from train.data.devices import ONE_DEVICE, Devices
from train.data.fireseg import Pair, map_pairs


@dataclass(frozen=True)
class Examples:
    """Decoded pairs at the model size: N x H x W x 3 RGB `uint8`, and N x H x W x 1 masks of 0 and 1."""

    images: Frame
    masks: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.images)


def decode(pairs: Sequence[Pair], height: int, width: int, on_progress: Callable[[], None] = lambda: None) -> Examples:
    """Read and resize all pairs. Raises `UserErrors` that list and count the broken files."""
    images = np.empty((len(pairs), height, width, 3), np.uint8)
    masks = np.empty((len(pairs), height, width, 1), np.uint8)

    def fill(index: int) -> None:
        frame, mask = pairs[index].read()
        to_model_input(frame, height, width, out=images[index])
        masks[index, :, :, 0] = to_model_mask(mask, height, width)
        on_progress()

    map_pairs(fill, range(len(pairs)))
    return Examples(images, masks)


def warn_of_masks(examples: Examples) -> None:
    """Warn if fire covers none or most of the masks, which may be inverted or not what they seem."""
    fire_share = float(examples.masks.mean())
    if not 0 < fire_share < 0.5:
        warnings.warn(f"fire covers {fire_share:.0%} of the training masks; see `fireseg-train check`", stacklevel=2)
    elif full := int(examples.masks.all(axis=(1, 2, 3)).sum()):
        warnings.warn(f"{full} of the training masks are fire everywhere; see `fireseg-train check`", stacklevel=2)


class Batches(keras.utils.PyDataset):
    """The batches of an epoch, shuffled and augmented with a seed, in order and unchanged without.

    `strong` augmentation also pastes flames of other examples into the batch. Order and augmentation depend only on
    seed, epoch and batch. `start_epoch` sets the epoch: Keras' `on_epoch_end` cannot count epochs, since Keras calls
    it once more before the first epoch of a new model. `devices` share each batch: an epoch leaves out the last
    examples of its order that would not fill them all, less than one for each device.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        *,
        seed: int | None = None,
        strong: bool = False,
        devices: Devices = ONE_DEVICE,
    ) -> None:
        super().__init__(workers=1)  # one, because the batches share the augmentation's generators
        self.examples, self.batch_size, self.seed, self.devices = examples, batch_size, seed, devices
        if seed is not None:
            self.augment: Augmentation | StrongAugmentation = StrongAugmentation() if strong else Augmentation()
            self.paste = FlamePaster(examples.images, examples.masks) if strong else None
        self.start_epoch(0)

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, index: int) -> Arrays:
        images, masks = self._batch(index)
        # Each host augments the whole batch, so that the curve does not depend on the number of hosts.
        share = len(images) // self.devices.hosts
        own = slice(self.devices.host * share, (self.devices.host + 1) * share)
        return images[own], masks[own]

    def _batch(self, index: int) -> Arrays:
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        images, masks = self.examples.images[chosen], self.examples.masks[chosen]
        if self.seed is None:
            return images.astype(np.float32), masks.astype(np.float32)
        draw = np.random.default_rng((self.seed, self.epoch, index))
        augment_seed = int(draw.integers(2**31))
        if self.paste:
            self.paste(images, masks, draw)
        return self.augment(images, masks, seed=augment_seed)

    def start_epoch(self, epoch: int) -> None:
        """Set the epoch of the following batches, from 0."""
        self.epoch, self.order = epoch, np.arange(len(self.examples))
        if self.seed is not None:
            np.random.default_rng((self.seed, epoch)).shuffle(self.order)
        self.order = self.order[: len(self.order) // self.devices.count * self.devices.count]
