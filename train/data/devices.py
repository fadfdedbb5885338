"""The devices and hosts among which batches are divided."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Devices:
    """The devices that share each batch equally, and the hosts that have them."""

    count: int = 1
    """Of all hosts together."""
    hosts: int = 1
    host: int = 0
    """Number of this host, from 0."""


ONE_DEVICE = Devices()
