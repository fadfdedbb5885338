"""Keep the folder of images and clips within its limits of size and age.

Fires with a verdict are kept for training: they have a size limit of their own, and no age limit.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.errors import counted
from edge.event_files import VERDICT_SUFFIX, event_of
from edge.sinks.video import MEMORY_DIR, SCRATCH_PREFIX

log = logging.getLogger(__name__)

EVENT_FILE = re.compile(r"\d{8}T.*\.(jpg|png|mp4|json)")
TEMPORARY_FILE = re.compile(r"\.\d{8}T.*-[0-9a-f]{8}\.(jpg|png|mp4|json)")
"""As `edge.files.replacing` names it; a killed run leaves one."""
ABANDONED_AFTER_S = 3600.0
CATCH_UP = 24.0
"""Hours of age that the limit advances per hour at most, so that a wrong clock can be set right before files go."""
PROTECTED_S = 6 * 3600.0
"""A file goes for its age only after this run has seen it for so long: a new fire is safe from a wrong clock.

Not a whole day, so that the limit holds on a machine that runs by day or restarts every night.
"""


@dataclass(frozen=True, order=True)
class EventFile:
    mtime_s: float
    path: Path
    size_bytes: int


class Retention:
    """Deletes the oldest event files of a folder. Files with other names, such as a person's own, are left alone.

    Args:
        max_bytes: limit of all event files together, without those of fires with a verdict.
        max_age_s: limit of each file's age.
        feedback_bytes: limit of the fires with a verdict; the oldest above it fall under the other limits.
        now: wall clock in seconds, as in the files' modification times.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: float,
        max_age_s: float,
        feedback_bytes: float = 0.0,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._max_bytes, self._max_age_s = folder, max_bytes, max_age_s
        self._feedback_bytes, self._over_limit = feedback_bytes, 0
        self._now, self._clock = now, clock
        self._limit_s: float | None = None
        self._limit_set_s = 0.0
        self._seen_s: dict[Path, float] = {}  # when this run first saw each file
        self._undeletable: set[Path] = set()

    def apply(self) -> list[Path]:
        """Delete files until the folder is within its limits; return the deleted paths. Logs what cannot be deleted."""
        found, clock_s = list(self._matching()), self._clock()
        files = sorted(file for file in found if not file.path.name.startswith("."))
        self._seen_s = {file.path: self._seen_s.get(file.path, clock_s) for file in files}
        kept = self._kept_for_training(files)
        files = [file for file in files if file.path not in kept]
        limit_s = self._oldest_allowed_s(files)
        total_bytes = sum(file.size_bytes for file in files)
        deleted = []
        for file in files:
            is_old = file.mtime_s < limit_s and clock_s - self._seen_s[file.path] >= PROTECTED_S
            if total_bytes > self._max_bytes or is_old:
                total_bytes -= file.size_bytes  # also of one that stays: others must not go in its place
                if self._delete(file.path):
                    deleted.append(file.path)
        for file in found:
            if file.path.name.startswith(".") and abs(self._now() - file.mtime_s) > ABANDONED_AFTER_S:
                self._delete(file.path)
        return deleted

    def _kept_for_training(self, files: list[EventFile]) -> set[Path]:
        """Return the files of fires with a verdict, the newest fires first, until their limit is reached."""
        names = (file.path.name for file in files)
        ids = {name.removesuffix(VERDICT_SUFFIX) for name in names if name.endswith(VERDICT_SUFFIX)}
        fires: dict[str, list[EventFile]] = {}
        for file in files:
            if id_ := event_of(file.path.name, ids):
                fires.setdefault(id_, []).append(file)
        kept: set[Path] = set()
        total_bytes, within_limit = 0, 0
        for _, of_fire in sorted(fires.items(), reverse=True):  # an id begins with its time
            total_bytes += sum(file.size_bytes for file in of_fire)
            if total_bytes > self._feedback_bytes:
                break
            kept.update(file.path for file in of_fire)
            within_limit += 1
        if len(fires) - within_limit > self._over_limit:
            count, limit_mb = counted(len(fires) - within_limit, "fire"), self._feedback_bytes / 1e6
            log.info("%s with a verdict, the oldest, may be deleted: [clips] feedback_mb is %g", count, limit_mb)
        self._over_limit = len(fires) - within_limit
        return kept

    def _oldest_allowed_s(self, files: list[EventFile]) -> float:
        """Return the modification time before which files go. It moves on in small steps, also after a restart."""
        clock_s = self._clock()
        limit_s = self._now() - self._max_age_s
        if self._limit_s is not None:
            limit_s = min(limit_s, self._limit_s + CATCH_UP * (clock_s - self._limit_set_s))
        elif files:
            limit_s = min(limit_s, files[0].mtime_s)
        self._limit_s, self._limit_set_s = limit_s, clock_s
        return limit_s

    def _matching(self) -> Iterator[EventFile]:
        """Yield the event files, and the temporary ones, whose names begin with a dot."""
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if EVENT_FILE.fullmatch(entry.name) or TEMPORARY_FILE.fullmatch(entry.name):
                        with suppress(FileNotFoundError):
                            status = entry.stat(follow_symlinks=False)
                            if stat.S_ISREG(status.st_mode):
                                yield EventFile(status.st_mtime, self._folder / entry.name, status.st_size)
        except FileNotFoundError:  # no fire so far
            return

    def _delete(self, path: Path) -> bool:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            if path not in self._undeletable:
                self._undeletable.add(path)
                log.error("%s could not be deleted (%s)", path, error.strerror)
            return False
        self._undeletable.discard(path)
        return True


def remove_abandoned_scratch() -> None:
    """Delete the folders in memory that a killed run left."""
    for folder in MEMORY_DIR.glob(f"{SCRATCH_PREFIX}*"):
        with suppress(OSError):
            if abs(time.time() - folder.stat().st_mtime) > ABANDONED_AFTER_S:
                shutil.rmtree(folder, ignore_errors=True)
