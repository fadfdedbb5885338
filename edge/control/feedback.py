"""Verdicts on fires, "fire" or "not a fire", kept beside their frames and clips. They never leave the machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from edge.control.actions import Actions, Answer, Arguments, text_argument
from edge.control.quiet_actions import FORGET, REMEMBER
from edge.errors import UserError, one_line, reason_of
from edge.event_files import EVENT_ID, FRAME, MASK_SUFFIX, VERDICT_SUFFIX, event_of
from edge.files import read_limited, write_private

FIRE_FILE = re.compile(r"-(start|peak|end|frame-\w+)(-overlay|-mask)?\.(jpg|png)|\.(mp4|webm)")
"""What follows the id in the name of a fire's file; files of camera problems end differently."""
MAX_BYTES = 4096  # of a verdict's file
QUIET_WAIT_S = 5.0  # for the loop's thread, which takes actions between two frames


class Verdict(StrEnum):
    """A person's judgement of an event."""

    FIRE = "fire"
    NOT_A_FIRE = "not a fire"


@dataclass(frozen=True)
class JudgedFire:
    """A fire in the folder of clips, and the verdict on it."""

    id: str
    verdict: Verdict | None
    time: str
    """When the verdict was given, UTC, ISO 8601; empty without one."""
    frames: int
    """Number of frames kept for training."""
    size_bytes: int
    """Of all its files."""


def register_verdict(
    actions: Actions, folder: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> None:
    """Offer the action "verdict" on the fires in a folder.

    "Not a fire" also makes the place of the fire quiet; taking it back ends that. If it is not quiet, the answer's
    `problem` is the reason.
    """

    def quiet_problem(id_: str) -> str:
        """Ask the loop's thread to make a place quiet; return why it is not, or an empty text."""
        try:
            actions.submit(REMEMBER, {"id": id_}, origin=f"verdict on {id_}").result(QUIET_WAIT_S)
        except UserError as error:
            return f"its place is not quiet: {error}"
        except TimeoutError:
            return "its place is not quiet yet: the run does not respond"
        return ""

    def handle(arguments: Arguments) -> Answer:
        id_, verdict = text_argument(arguments, "id"), arguments.get("verdict")
        had_verdict = give_verdict(folder, id_, verdict, now())
        problem = ""
        if verdict == Verdict.NOT_A_FIRE:
            problem = quiet_problem(id_)
        elif had_verdict == Verdict.NOT_A_FIRE:
            actions.submit(FORGET, {"id": id_}, origin=f"verdict on {id_}")
        return {"id": id_, "verdict": verdict, "problem": problem}

    actions.register("verdict", handle, is_slow=True)


def give_verdict(folder: Path, id_: str, verdict: Any, time: datetime) -> Verdict | None:
    """Write the verdict on a fire, or remove it if the verdict is empty; return the one before. Raises `UserError`."""
    if not EVENT_ID.fullmatch(id_):
        raise UserError(f"id is {one_line(repr(id_))}", "expected that of a fire, such as 20261122T224100Z-stove-3f9a")
    if verdict not in (*Verdict, ""):
        expected = f'expected "{Verdict.FIRE}", "{Verdict.NOT_A_FIRE}", or "" to take it back'
        raise UserError(f"verdict is {one_line(repr(verdict))}", expected)
    if not any(FIRE_FILE.fullmatch(path.name.removeprefix(id_)) for path in folder.glob(f"{id_}*")):
        raise UserError(f"the fire {id_} has no files in {folder}", "they were deleted, or are not written yet")
    path = folder / f"{id_}{VERDICT_SUFFIX}"
    before = read_verdict(path)[0]
    if verdict:
        text = json.dumps({"id": id_, "verdict": verdict, "time": time.isoformat(timespec="seconds")}, indent=2)
        write_private(path, f"{text}\n".encode())
    else:
        path.unlink(missing_ok=True)
    return before


def read_verdict(path: Path) -> tuple[Verdict | None, str]:
    """Return the verdict in a file and its time; None and an empty text without a valid one."""
    try:
        values = json.loads(read_limited(path, MAX_BYTES, "give the verdict again"))
        return Verdict(values["verdict"]), one_line(str(values["time"]))
    except (UserError, ValueError, KeyError, TypeError, RecursionError):
        return None, ""


def list_fires(folder: Path) -> list[JudgedFire]:
    """Return the fires in a folder of clips, the oldest first. Raises `UserError` if it cannot be read."""
    try:
        sizes_bytes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    except FileNotFoundError:  # no fire so far
        return []
    except OSError as error:
        problem = f"{folder} could not be read ({reason_of(error)})"
        raise UserError(problem, "run it as the service's user, or root") from error
    ids = {match[0] for name in sizes_bytes if (match := re.match(f"{EVENT_ID.pattern}(?=[.-])", name))}
    files: dict[str, set[str]] = {}
    for name in sizes_bytes:
        if id_ := event_of(name, ids):
            files.setdefault(id_, set()).add(name)
    fires = []
    for id_, names in sorted(files.items()):
        if any(FIRE_FILE.fullmatch(name.removeprefix(id_)) for name in names):
            frames = sum(frame_name(name) in names for name in names)
            size_bytes = sum(sizes_bytes[name] for name in names)
            fires.append(JudgedFire(id_, *read_verdict(folder / f"{id_}{VERDICT_SUFFIX}"), frames, size_bytes))
    return fires


def frame_name(mask_name: str) -> str | None:
    """Return the file name of the frame that belongs to a mask's; None for other files."""
    is_mask = FRAME in mask_name and mask_name.endswith(MASK_SUFFIX)
    return f"{mask_name.removesuffix(MASK_SUFFIX)}.jpg" if is_mask else None
