"""The names of an event's files in the folder of clips: its id, and what follows the id."""

from __future__ import annotations

import re
from collections.abc import Collection

EVENT_ID = re.compile(r"\d{8}T\d{6}Z-[a-z0-9-]{1,40}-[0-9a-f]{4}")
"""As `edge.detection.events.fire_id` makes them."""
FRAME, MASK_SUFFIX, VERDICT_SUFFIX = "-frame-", "-mask.png", "-verdict.json"


def event_of(file_name: str, ids: Collection[str]) -> str | None:
    """Return which of the ids a file belongs to; None if to none.

    Example:
        >>> event_of("20261122T224100Z-stove-3f9a-start.jpg", {"20261122T224100Z-stove-3f9a"})
        '20261122T224100Z-stove-3f9a'
    """
    stem = file_name.partition(".")[0]
    while stem and stem not in ids:
        stem = stem.rpartition("-")[0]
    return stem or None
