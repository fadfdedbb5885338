"""Live frames for any number of viewers: each JPEG is encoded once, on demand, and never in the loop's thread.

Viewers pull: each waits for a result newer than its last and asks for the JPEG. The first request encodes it, the
others share it. Slow viewers skip frames and cost the others nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import cv2

from edge.images import Frame, Mask, encode_jpeg, overlay, shrink
from edge.messages import FrameResult, TrackStatus

MAX_WIDTH_PX = 960  # the page shows no more, and a Pi's network fills up soon
MIN_INTERVAL_S = 0.1
CANDIDATE_RGB, CONFIRMED_RGB, QUIET_RGB = (255, 221, 0), (255, 32, 16), (96, 176, 255)  # as in the page's legend


class Notifier:
    """Wakes the coroutines of the server's event loop from any thread. Costs next to nothing when none waits."""

    def __init__(self) -> None:
        self.count = 0  # notifications so far
        self._closed = False
        self._wakers: set[Callable[[], object]] = set()

    def notify(self) -> None:
        self.count += 1  # before waking: `changes` then reads the new count
        for wake in tuple(self._wakers):
            with suppress(RuntimeError):  # the server's loop has just ended
                wake()

    def close(self) -> None:
        """End every `changes`, now and later."""
        self._closed = True
        self.notify()

    async def changes(self, seen: int = -1) -> AsyncGenerator[None, None]:
        """Yield when `count` has moved past `seen`, and after each later change, until closed.

        Changes that happen while the consumer is busy are merged into one.
        """
        changed = asyncio.Event()
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, changed.set)
        self._wakers.add(wake)
        try:
            while not self._closed:
                if self.count == seen:
                    changed.clear()
                    await changed.wait()
                else:
                    seen = self.count
                    yield
        finally:
            self._wakers.discard(wake)


class LiveFrames:
    """The newest result as a JPEG, with and without the fire overlay, encoded in an executor.

    Args:
        stale_after_s: older frames are not served as current.
    """

    def __init__(self, executor: Executor, stale_after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._executor = executor
        self.stale_after_s = stale_after_s
        self._clock = clock
        self._newest: FrameResult | None = None
        self._received_s = 0.0
        self._notifier = Notifier()
        self.viewers = 0
        self.restart()

    def restart(self) -> None:
        """Forget what belongs to the server's former event loop, before a new one runs."""
        self._variants = {True: Variant(), False: Variant()}

    def publish(self, result: FrameResult) -> None:
        self._newest, self._received_s = result, self._clock()
        self._notifier.notify()

    def close(self) -> None:
        """End every viewer's stream."""
        self._notifier.close()

    # The rest runs in the server's event loop.

    async def jpegs(self, with_overlay: bool) -> AsyncGenerator[bytes, None]:
        """Yield the newest JPEG again and again, each at most once, until closed."""
        self.viewers += 1
        try:
            sent = -1
            async for _ in self._notifier.changes(-1 if self._is_fresh() else self._notifier.count):
                variant = await self._encode(with_overlay)
                if variant.number != sent:
                    sent = variant.number
                    yield variant.jpeg
        finally:
            self.viewers -= 1

    async def snapshot(self, with_overlay: bool) -> bytes | None:
        """Return the current JPEG, or None without a fresh frame."""
        return (await self._encode(with_overlay)).jpeg if self._is_fresh() else None

    def _is_fresh(self) -> bool:
        return self._newest is not None and self._clock() - self._received_s <= self.stale_after_s

    async def _encode(self, with_overlay: bool) -> Variant:
        """Encode the newest result, unless another viewer has since this one asked."""
        variant, asked_at = self._variants[with_overlay], self._notifier.count
        async with variant.lock:
            if variant.number < asked_at:
                await asyncio.sleep(variant.next_s - time.monotonic())
                variant.next_s = time.monotonic() + MIN_INTERVAL_S
                number, result = self._notifier.count, self._newest
                assert result is not None
                mask = result.mask if with_overlay else None
                job = self._executor.submit(render_jpeg, result.rgb, mask, result.tracks, max_width_px=MAX_WIDTH_PX)
                variant.jpeg, variant.number = await asyncio.wrap_future(job), number
        return variant


@dataclass
class Variant:
    """The newest JPEG with or without the overlay."""

    number: int = -1  # of the result, as the notifier counts
    jpeg: bytes = b""
    next_s: float = 0.0  # when the next may be encoded
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


def render_jpeg(rgb: Frame, mask: Mask | None, tracks: Sequence[TrackStatus] = (), *, max_width_px: int) -> bytes:
    """Return an RGB frame as a JPEG of at most `max_width_px`, with the fire pixels of `mask` tinted and tracks boxed.

    Nothing is drawn without a mask.
    """
    rgb = shrink(rgb, max_width_px)
    if mask is None:
        return encode_jpeg(rgb, quality=80)
    drawn = overlay(rgb, mask)
    height, width = drawn.shape[:2]
    for track in sorted(tracks, key=lambda track: track.confirmed):  # confirmed ones on top
        left, top, right, bottom = (
            round(edge * (size - 1)) for edge, size in zip(track.box, (width, height) * 2, strict=True)
        )
        colour, thickness = (CONFIRMED_RGB, 3) if track.confirmed else (CANDIDATE_RGB, 2)
        if track.quiet:
            colour = QUIET_RGB
        cv2.rectangle(drawn, (left, top), (right, bottom), colour, thickness)
    return encode_jpeg(drawn, quality=80)
