"""The newest picture for whoever watches: encoded once for all of them, never for nobody, never by the loop's thread.

Viewers pull: each waits for a result newer than its last, and asks for its JPEG; the first to ask has it made, the
others get the same. Who is slow asks seldom, which costs nobody else anything.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge.images import Frame, Mask, encode_jpeg, overlay
from edge.messages import FrameResult
from edge.sinks.web.bell import Notifier

if TYPE_CHECKING:  # the loop's thread must not wait for asyncio to be loaded
    import asyncio

WIDTH_PX = 960
"""Pictures are at most so wide: a browser shows no more of them, and a Pi's network is soon full."""
INTERVAL_S = 0.1
FRESH_S = 10.0
"""A picture that is older is not shown as if it were now."""


@dataclass(frozen=True)
class Picture:
    """One encoded frame."""

    number: int
    jpeg: bytes


class Live:
    """The newest result, and its picture with and without the fire marked.

    Args:
        executor: where pictures are encoded.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._newest: FrameResult | None = None
        self._came_s = 0.0
        self._bell = Notifier()
        self._made: dict[bool, Picture] = {}
        self._making: dict[bool, asyncio.Task[Picture]] = {}
        self._next_s: dict[bool, float] = {}
        self.viewers = 0

    def offer(self, result: FrameResult) -> None:
        """By the loop's thread."""
        self._newest, self._came_s = result, time.monotonic()
        self._bell.ring()

    def close(self) -> None:
        """Every viewer's pictures end."""
        self._bell.close()

    # In the server's event loop.

    async def pictures(self, marked: bool) -> AsyncIterator[bytes]:
        """JPEGs as they come, the newest each time. Raises `Closed` at the end of the run."""
        self.viewers += 1
        try:
            number, rung = 0, 0 if self._fresh() else self._bell.rung
            while True:
                rung = await self._bell.wait(rung)
                picture = await self._picture(marked)
                if picture.number != number:
                    number = picture.number
                    yield picture.jpeg
        finally:
            self.viewers -= 1

    async def snapshot(self, marked: bool) -> bytes | None:
        """The picture of now; None where there is none."""
        return (await self._picture(marked)).jpeg if self._fresh() else None

    def _fresh(self) -> bool:
        return self._newest is not None and time.monotonic() - self._came_s <= FRESH_S

    async def _picture(self, marked: bool) -> Picture:
        import asyncio

        assert self._newest is not None
        made = self._made.get(marked)
        if made is not None and made.number == self._newest.frame:
            return made
        making = self._making.get(marked)
        if making is None:
            making = self._making[marked] = asyncio.create_task(self._make(marked))
            making.add_done_callback(lambda _: self._making.pop(marked))
        return await asyncio.shield(making)  # a viewer that leaves must not take it from the others

    async def _make(self, marked: bool) -> Picture:
        import asyncio

        await asyncio.sleep(self._next_s.get(marked, 0.0) - time.monotonic())
        self._next_s[marked] = time.monotonic() + INTERVAL_S
        result = self._newest
        assert result is not None
        draw = self._executor.submit(jpeg_of, result.rgb, result.mask if marked else None, WIDTH_PX)
        self._made[marked] = Picture(result.frame, await asyncio.wrap_future(draw))
        return self._made[marked]


def jpeg_of(rgb: Frame, mask: Mask | None, width_px: int) -> bytes:
    """A frame as a JPEG of at most that width, with the burning areas of `mask` marked."""
    height, width = rgb.shape[:2]
    if width > width_px:
        size = (width_px, round(height * width_px / width))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return encode_jpeg(rgb if mask is None else overlay(rgb, mask), quality=80)
