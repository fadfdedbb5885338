"""Reload configuration and model during a run: prepared and proven in the background, applied between two frames.

Whatever goes wrong, the old ones stay in use: a bad model or configuration must never end a run.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from edge.config import Config
from edge.detection.zones import ZoneMap
from edge.errors import MAX_LETTERS, UserError, one_line, reason_of
from edge.model.card import read_model
from edge.model.proof import flame_pixels, prove
from edge.model.segmenter import Segmenter
from edge.secrets import redact
from edge.threads import Worker

log = logging.getLogger(__name__)

RELOADED = ("model", "alarm", "loop", "zones", "ignored")
"""Tables that a reload applies; all others need a restart."""


@dataclass(frozen=True)
class Setup:
    """A configuration with its model, loaded."""

    config: Config
    segmenter: Segmenter
    zones: ZoneMap
    model_sha256: str
    flame_pixels: int
    """Fire pixels that the model finds in the test pattern's flames."""


def prepare(
    config: Config, *, current: Setup | None = None, is_proven: Callable[[str], bool] = lambda _: False
) -> tuple[Setup, bytes]:
    """Load what a configuration asks for; return it with the bytes of the model file. Raises `UserError`.

    Args:
        current: what runs now. A model with the same bytes is not loaded again; one that misses the test pattern's
            flames is refused if the current one detects them.
        is_proven: returns whether the model with a SHA-256 needs no proof in a child process.
    """
    path = config.model.file
    data = read_model(path)  # read once: the bytes that are proven are those that run
    digest = hashlib.sha256(data).hexdigest()
    if current and current.model_sha256 == digest and current.config.model.threads == config.model.threads:
        segmenter, pixels = current.segmenter, current.flame_pixels
    else:
        proven_pixels = None if is_proven(digest) else prove(path, data)
        if current and current.flame_pixels and proven_pixels == 0:
            problem = f"{path} detects no fire in the test pattern's flames, as the current model does"
            raise UserError(problem, "copy it again, or restart to use it anyway")
        segmenter = Segmenter(path, threads=config.model.threads or None, data=data)
        pixels = flame_pixels(segmenter) if proven_pixels is None else proven_pixels
    zones = ZoneMap(config.zones, config.ignored, segmenter.height, segmenter.width)
    return Setup(config, segmenter, zones, digest, pixels), data


def applied_config(running: Config, new: Config) -> Config:
    """Return the configuration in use after a reload of `new`: tables that need a restart stay as they are."""
    return replace(running, **{name: getattr(new, name) for name in RELOADED})


class Reloadable(Protocol):
    """Requests to the loop."""

    reload: bool


class Reloader:
    """Carries out requested reloads. `poll` is for the loop's thread and never blocks.

    Args:
        prepare: returns the new setup; called in another thread.
        apply: puts it to use; called in the loop's thread.
        fallback: why the run began with the last configuration and model that worked; empty if it did not.
    """

    def __init__(self, prepare: Callable[[], Setup], apply: Callable[[Setup], None], *, fallback: str = "") -> None:
        self._prepare, self._apply = prepare, apply
        self._worker: Worker | None = None
        self._outcome: Setup | Exception | None = None
        self.fallback = fallback
        self.failed = 0
        """Reloads rejected so far."""

    def poll(self, control: Reloadable) -> None:
        """Begin a reload if one is requested; apply or reject one that is ready."""
        if self._worker is None and control.reload:
            control.reload = False
            self._worker = Worker("reload", self._run)
            self._worker.start()
        if self._outcome is None:
            return
        outcome, self._outcome, self._worker = self._outcome, None, None
        try:
            if isinstance(outcome, Exception):
                raise outcome
            self._apply(outcome)
            self.fallback = ""
        except Exception as error:  # any kind: the old configuration and model are still good
            self.failed += 1
            log.error("new configuration rejected, the old one stays in use: %s", describe(error))
            log.debug("traceback", exc_info=error)

    def _run(self) -> None:
        try:
            self._outcome = self._prepare()
        except Exception as error:
            self._outcome = error


def describe(error: Exception) -> str:
    """Return an error as one line of bounded length, without credentials."""
    return one_line(redact(reason_of(error)), MAX_LETTERS)
