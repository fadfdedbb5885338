"""Frames that tell whether a model works: the test pattern's room without fire, with flames, and noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from edge.camera.pattern import FLAMES_FROM_S, PatternCamera
from edge.images import Frame, Mask

BRIGHT = 60
"""Grey levels by which flames brighten the room; their core by more than 100."""


@dataclass(frozen=True)
class Probe:
    """Frames of the test pattern's size."""

    room: Frame
    flames: Frame
    noise: Frame

    @property
    def flame_mask(self) -> Mask:
        """The pixels that the flames cover."""
        brighter = self.flames.astype(np.int16) - self.room
        mask: Mask = brighter.max(axis=2) > BRIGHT
        return mask


@cache
def make_probe() -> Probe:
    """Return the same frames each time."""
    pattern = PatternCamera(fps=1)
    room, flames = pattern.frame(0.0), pattern.frame(FLAMES_FROM_S + 5)
    return Probe(room, flames, np.random.default_rng(0).integers(0, 256, room.shape, np.uint8))
