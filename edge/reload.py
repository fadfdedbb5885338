"""Reload configuration and model during a run: prepared and proven in the background, applied between two frames.

Whatever goes wrong, the old ones stay in use: a bad model or configuration must never end a run.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edge.config import Config
from edge.detection.zones import ZoneMap
from edge.errors import MAX_LETTERS, UserError, one_line, reason_of
from edge.model.card import read_model
from edge.model.proof import flame_pixels, prove
from edge.model.segmenter import Segmenter
from edge.model.self_test import check_maps
from edge.secrets import redact
from edge.signals import RunControl
from edge.threads import Worker
from edge.update.store import model_files

log = logging.getLogger(__name__)

RELOADED = ("model", "alarm", "detection", "loop", "arming", "drill", "zones", "ignored")
"""Tables that a reload applies; all others need a restart."""
RELOAD_TIMEOUT_S = 300.0
"""A reload that takes longer hangs, such as on a network drive; the proof of a model takes at most a minute."""


@dataclass(frozen=True)
class Setup:
    """A configuration with its model, loaded."""

    config: Config
    segmenter: Segmenter
    zones: ZoneMap
    model_sha256: str
    flame_pixels: int
    """Fire pixels that the model finds in the test pattern's flames."""
    self_test: str
    """What the self-test of the model's card says."""
    fallback: str = ""
    """Why this is not the newest model; empty if it is."""


def prepare(
    config: Config,
    *,
    current: Setup | None = None,
    rejected: str = "",
    is_proven: Callable[[str], bool] = lambda _: False,
    proof: Callable[[Path, bytes], int] | None = None,
) -> tuple[Setup, bytes]:
    """Load what a configuration asks for; return it with the bytes of the model file. Raises `UserError`.

    Args:
        current: what runs now. A model with the same bytes is not loaded again; one that misses the test pattern's
            flames is refused if the current one detects them.
        rejected: SHA-256 of a model that was tried and is not tried again.
        is_proven: returns whether the model with a SHA-256 needs no proof in a child process.
        proof: proves the model; `prove` by default.
    """
    on_reload, problem = current is not None, ""
    *better, last = model_files(config, on_reload=on_reload, rejected=rejected)
    for path in better:
        try:
            return _prepare(path, config, current, is_proven, proof or prove, problem)
        except UserError as error:
            if on_reload:  # the model that runs is good
                raise
            problem = problem or str(error)
            log.error("%s", error)
    return _prepare(last, config, current, is_proven, proof or prove, problem)


def _prepare(
    path: Path,
    config: Config,
    current: Setup | None,
    is_proven: Callable[[str], bool],
    proof: Callable[[Path, bytes], int],
    fallback: str,
) -> tuple[Setup, bytes]:
    """Return the setup with one model file, and its bytes. Raises `UserError`."""
    data = read_model(path)  # read once: the bytes that are proven are those that run
    digest = hashlib.sha256(data).hexdigest()
    if current and current.model_sha256 == digest and current.config.model.threads == config.model.threads:
        segmenter, pixels, self_test = current.segmenter, current.flame_pixels, current.self_test
    else:
        proven_pixels = None if is_proven(digest) else proof(path, data)
        if current and current.flame_pixels and proven_pixels == 0:
            problem = f"{path} detects no fire in the test pattern's flames, as the current model does"
            raise UserError(problem, "copy it again, or restart to use it anyway")
        segmenter = Segmenter(path, threads=config.model.threads or None, data=data)
        self_test = check_maps(segmenter)
        pixels = flame_pixels(segmenter) if proven_pixels is None else proven_pixels
    zones = ZoneMap(config.zones, config.ignored, segmenter.height, segmenter.width)
    return Setup(config, segmenter, zones, digest, pixels, self_test, fallback), data


def applied_config(running: Config, new: Config) -> Config:
    """Return the configuration in use after a reload of `new`: tables that need a restart stay as they are."""
    return replace(running, **{name: getattr(new, name) for name in RELOADED})


class Reloader:
    """Carries out requested reloads. `poll` is for the loop's thread and never blocks.

    Args:
        prepare: returns the new setup; called in another thread.
        apply: puts it to use; called in the loop's thread.
        fallback: why the run began with the last configuration and model that worked; empty if it did not.
        now_s: returns the seconds of a monotonic clock.
    """

    def __init__(
        self,
        prepare: Callable[[], Setup],
        apply: Callable[[Setup], None],
        *,
        fallback: str = "",
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prepare, self._apply, self._now_s = prepare, apply, now_s
        self._worker: Worker | None = None
        self._deadline_s = 0.0
        self._outcome: list[Setup | Exception] = []  # of the current worker; a hung one keeps its list
        self.fallback = fallback
        self.failed = 0
        """Reloads rejected so far."""

    def poll(self, control: RunControl) -> None:
        """Begin a reload if one is requested; apply or reject one that is ready."""
        if self._worker is None and control.reload:
            control.reload = False
            self._outcome, self._deadline_s = [], self._now_s() + RELOAD_TIMEOUT_S
            self._worker = Worker("reload", partial(self._run, self._outcome))
            self._worker.start()
        if self._worker is None:
            return
        if not self._outcome:
            if self._now_s() < self._deadline_s:
                return
            self._worker.join(0)  # not restarted; it may hang for ever
            error = UserError(f"the reload took more than {RELOAD_TIMEOUT_S:g} s", "check the disk or network drive")
            self._outcome.append(error)
        outcome, self._worker = self._outcome[0], None
        try:
            if isinstance(outcome, Exception):
                raise outcome
            self._apply(outcome)
            self.fallback = ""
        except Exception as error:  # any kind: the old configuration and model are still good
            self.failed += 1
            log.error("new configuration rejected, the old one stays in use: %s", describe(error))
            log.debug("traceback", exc_info=error)

    def _run(self, outcome: list[Setup | Exception]) -> None:
        try:
            outcome.append(self._prepare())
        except Exception as error:
            outcome.append(error)


def describe(error: Exception) -> str:
    """Return an error as one line of bounded length, without credentials."""
    return one_line(redact(reason_of(error)), MAX_LETTERS)
