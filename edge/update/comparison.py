"""Compare a new model with the old one in a child process: self-test, time, and frames without an alarm.

A new model that crashes or hangs ends the child alone.
"""

from __future__ import annotations

import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from edge.child import run_python
from edge.errors import UserError, reason_of
from edge.images import Frame, read_rgb
from edge.model.probe import make_probe
from edge.model.proof import PROOF_BYTES, limit_memory
from edge.model.runtime import find_runtime
from edge.model.segmenter import Segmenter
from edge.model.self_test import check_maps
from edge.update.trial import MARKED_SHARE, marks_too_much, too_slow

TIMEOUT_S = 180.0
TIMED = 30  # runs of each model, in turn, so that other load slows both
MIN_FRAMES = 5  # fewer say nothing about false alarms
CHILD = "from edge.update.comparison import answer_parent; answer_parent()"


@dataclass(frozen=True)
class Comparison:
    """A new model beside the old one, on the same frames."""

    old_ms: float
    new_ms: float
    frames: int
    """Frames without an alarm."""
    old_marked: int
    """Number of them in which a model detects fire."""
    new_marked: int
    self_test: str
    old_flame_pixels: int
    new_flame_pixels: int

    def objection(self, max_slower: float, max_marked: float) -> str:
        """Return why the new model must not be tried; empty if it may."""
        if self.old_flame_pixels and not self.new_flame_pixels:
            return "it detects no fire in the test pattern's flames, as the old one does"
        if slower := too_slow(self.new_ms, self.old_ms, max_slower):
            return slower
        if self.frames < MIN_FRAMES:
            return ""
        return marks_too_much(self.new_marked / self.frames, self.old_marked / self.frames, max_marked)


def compare(old: Path, new: Path, frames: Path) -> Comparison:
    """Return the comparison of a new model with the old one. Raises `UserError` if it fails.

    Args:
        frames: a folder of images without fire, which may be empty or missing.
    """
    try:
        done = run_python(CHILD, *map(str, (old, new, frames)), data=b"", timeout_s=TIMEOUT_S)
        answer = json.loads(done.stdout) if done.returncode == 0 else {}
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        problem = f"{new.name} could not be compared with the old model ({reason_of(error)})"
        raise UserError(problem, "the next call tries again") from error
    if "problem" in answer:
        raise UserError(answer["problem"], answer["remedy"])
    if done.returncode:
        code = done.returncode
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise UserError(f"{new.name} crashes the interpreter ({how})", "publish another model")
    return Comparison(**answer)


def answer_parent() -> None:
    """Compare the two models named in the arguments and print the result as JSON; the child process."""
    old_path, new_path, folder = map(Path, sys.argv[1:4])
    signal.alarm(math.ceil(TIMEOUT_S))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter prints, too
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(OSError):
        os.nice(10)
    find_runtime()
    try:
        limit_memory(2 * PROOF_BYTES + 4 * (old_path.stat().st_size + new_path.stat().st_size))
        answer: dict[str, object] = asdict(_compare(old_path, new_path, folder))
    except UserError as error:
        answer = {"problem": error.problem, "remedy": error.remedy}
    except Exception as error:  # any kind: a model is data, and this process exists to find out
        answer = {"problem": f"the model cannot be used ({reason_of(error)})", "remedy": "publish another model"}
    with out:
        json.dump(answer, out)


def _compare(old_path: Path, new_path: Path, folder: Path) -> Comparison:
    old, new = Segmenter(old_path, threads=1), Segmenter(new_path, threads=1)
    self_test = check_maps(new)
    probe = make_probe()
    times_ms = [
        (_time_ms(old, frame), _time_ms(new, frame)) for frame in (TIMED * [probe.room, probe.flames])[: TIMED + 2]
    ][2:]  # the first runs warm up
    marked, count = [0, 0], 0
    for path in sorted(folder.glob("*.jpg")):
        try:
            frame = read_rgb(path)
        except UserError:  # a frame that was being written
            continue
        count += 1
        for index, segmenter in enumerate((old, new)):
            marked[index] += bool(segmenter.mask(frame).mean() >= MARKED_SHARE)
    old_ms, new_ms = (statistics.median(column) for column in zip(*times_ms, strict=True))
    old_flames, new_flames = (int(segmenter.mask(probe.flames).sum()) for segmenter in (old, new))
    return Comparison(old_ms, new_ms, count, marked[0], marked[1], self_test, old_flames, new_flames)


def _time_ms(segmenter: Segmenter, frame: Frame) -> float:
    started_s = time.perf_counter()
    segmenter(frame)
    return (time.perf_counter() - started_s) * 1000
