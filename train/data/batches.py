"""Pairs -> batches for `fit`: decoded once, kept as bytes, shuffled and augmented by draws that can be made again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt

from edge.images import Frame
from edge.model.preprocess import to_model_input, to_model_mask
from train.data.augment import Augmentation, StrongAugmentation
from train.data.copy_paste import FlamePaster
from train.data.fireseg import Pair

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Examples:
    """Decoded pairs at the model's size: N x H x W x 3 RGB `uint8`, and N x H x W x 1 masks of 0 and 1."""

    images: Frame
    masks: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.images)


def decode(pairs: Sequence[Pair], height: int, width: int, on_progress: Callable[[], None] | None = None) -> Examples:
    """Read and resize all pairs. Raises `UserError` for a file that is broken."""
    images = np.empty((len(pairs), height, width, 3), np.uint8)
    masks = np.empty((len(pairs), height, width, 1), np.uint8)

    def fill(index: int) -> None:
        frame, mask = pairs[index].read()
        to_model_input(frame, height, width, out=images[index])
        masks[index, :, :, 0] = to_model_mask(mask, height, width)
        if on_progress:
            on_progress()

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, range(len(pairs))))
    return Examples(images, masks)


class Batches(keras.utils.PyDataset):
    """The batches of one epoch after another. With a seed they are shuffled and augmented; without, neither.

    `strong` augmentation also pastes flames of any example onto those of the batch.
    Order and augmentation depend on the seed, the epoch and the batch alone. The epoch is told by `start_epoch`:
    counting Keras' own `on_epoch_end` would not do, which it calls once more before the first epoch of a fresh model.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        *,
        seed: int | None = None,
        strong: bool = False,
    ) -> None:
        super().__init__(workers=1)  # no more than one: the augmentation's generators are shared
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed
        self.strong = strong
        if seed is not None:
            self.plainly, self.strongly = Augmentation(), StrongAugmentation()
            self.paste = FlamePaster(examples.images, examples.masks)
        self.start_epoch(0)

    def __len__(self) -> int:
        return math.ceil(len(self.examples) / self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        images, masks = self.examples.images[chosen], self.examples.masks[chosen]
        if self.seed is None:
            return images.astype(np.float32), masks.astype(np.float32)
        draw = np.random.default_rng((self.seed, self.epoch, index))
        augment_seed = int(draw.integers(2**31))
        if not self.strong:
            return self.plainly(images, masks, seed=augment_seed)
        self.paste(images, masks, draw)
        return self.strongly(images, masks, seed=augment_seed)

    def start_epoch(self, epoch: int) -> None:
        """Draw from now on what belongs to `epoch`, the first being 0."""
        self.epoch = epoch
        if self.seed is None:
            self.order = np.arange(len(self.examples))
        else:
            self.order = np.random.default_rng((self.seed, epoch)).permutation(len(self.examples))
