"""The files of an event queue: lock its folder, read documents safely, end fires that a run left open."""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from edge.errors import counted
from edge.files import service_folder, state_folder, write_bytes
from edge.messages import END, RECOVERED

FILE_NAME = re.compile(r"[0-9]{12}\.json")
OPEN_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
MAX_DOCUMENT_BYTES = 1 << 20
MAX_NUMBER = 10**11  # larger numbers are not ours, in a file name and in an event
DEAD, MAX_DEAD = "dead", 100  # folder of the documents that are set aside, and their number
RESTART = "restart"  # the reason in the end event of a fire that an earlier run left open


class Document(NamedTuple):
    """A stored document."""

    number: int
    size_bytes: int
    age_s: float


def outbox_folder(configured: str) -> Path:
    """Return the folder of all outboxes: as configured, else systemd's or the user's state directory."""
    if configured:
        return Path(configured)
    return state_folder() / "spool" if service_folder() else state_folder()


def lock_folder(folder: Path) -> tuple[int, list[Document], int]:
    """Create and lock the folder of one queue, and delete the unfinished files of an earlier run.

    Returns a handle that holds the lock, the stored documents in order, and the next number. Raises `OSError`;
    `BlockingIOError` if another run uses the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        documents, now_s = [], time.time()
        for path in folder.iterdir():
            with suppress(OSError):
                if FILE_NAME.fullmatch(path.name):
                    status = path.lstat()
                    age_s = max(0.0, now_s - status.st_mtime)
                    size = status.st_size if status.st_size <= MAX_DOCUMENT_BYTES else 0  # otherwise not ours
                    documents.append(Document(int(path.stem), size, age_s))
                elif path.name.startswith(".") and path.suffix == ".json":
                    path.unlink()
        documents.sort()
        if documents and documents[-1].number >= MAX_NUMBER:  # the next number must be free and keep its twelve digits
            for number, document in enumerate(documents):
                (folder / f"{document.number:012d}.json").rename(folder / f"{number:012d}.json")
                documents[number] = document._replace(number=number)
        dead = folder / DEAD
        used = [document.number for document in documents]
        used += [int(path.stem) for path in (dead.iterdir() if dead.is_dir() else ()) if FILE_NAME.fullmatch(path.name)]
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            error.strerror = "another run uses it; give each its own [spool] folder"
        raise
    return handle, documents, max((number + 1 for number in used if number < MAX_NUMBER), default=1)


def read_document(path: Path) -> bytes:
    """Return a JSON document. Never blocks on a pipe, and never reads more than `MAX_DOCUMENT_BYTES`.

    Raises `OSError`, `ValueError`, or `RecursionError` for deeply nested JSON.
    """
    with open(path, "rb", opener=_open_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("not a regular file")
        data = file.read(MAX_DOCUMENT_BYTES + 1)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"larger than {MAX_DOCUMENT_BYTES} bytes")
    json.loads(data)
    return data


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


def as_event(data: bytes) -> dict[str, Any] | None:
    """Return an event of a fire, the camera or an update, or None for any other document."""
    with suppress(ValueError, RecursionError):
        event = json.loads(data)
        match event:
            case {"id": str(id_), "number": int(number), "kind": str()} if 0 <= number < MAX_NUMBER:
                return event if OPEN_NAME.fullmatch(id_) else None
    return None


def is_last(event: dict[str, Any]) -> bool:
    """Return whether a fire, or a problem, ends with this event."""
    return event["kind"] in (END, RECOVERED)


def outlives_run(event: dict[str, Any]) -> bool:
    """Return whether a later run ends what this event began: a failed update stays one after a restart."""
    return event.get("type") == "update"


def open_path(folder: Path, fire_id: str) -> Path:
    """Return the file of the last delivered event of a fire or camera problem that has not ended."""
    return folder / f"open-{fire_id}.json"


def retire(path: Path, data: bytes) -> None:
    """Delete the file of a delivered document; keep the last event of what has not ended. Raises `OSError`."""
    event = as_event(data)
    if event and not is_last(event) and not outlives_run(event):
        path.replace(open_path(path.parent, event["id"]))
        return
    if event:
        open_path(path.parent, event["id"]).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def interrupted_ends(folder: Path, waiting: Iterable[Path]) -> list[bytes]:
    """Return the end of each fire and camera problem whose last event, delivered or waiting, is not its end."""
    ends: dict[str, bytes] = {}
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    with suppress(OSError):
        for path in [*folder.glob("open-*.json"), *waiting]:
            with suppress(OSError, ValueError, RecursionError):
                if (event := as_event(read_document(path))) and not outlives_run(event):
                    end = {"kind": END, "share": 0.0} if event.get("type") != "camera" else {"kind": RECOVERED}
                    end |= {"number": event["number"] + 1, "time": now, "reason": RESTART}
                    ends[event["id"]] = b"" if is_last(event) else json.dumps(event | end).encode()
    return [end for end in ends.values() if end]


def move_aside(path: Path, data: bytes | None) -> Path:
    """Move a document, or write `data` if it is not on disk, to the dead letters; return their folder.

    The oldest beyond `MAX_DEAD` are deleted. Raises `OSError` or `UserError`.
    """
    dead = path.parent / DEAD
    if not dead.is_dir():
        with suppress(FileNotFoundError):
            dead.replace(dead.with_suffix(".old"))  # a file, or a link that leads nowhere
    if data is None:
        dead.mkdir(exist_ok=True)
        path.rename(dead / path.name)
    else:
        write_bytes(dead / path.name, data)
    for old in sorted(dead.iterdir())[:-MAX_DEAD]:
        old.rmdir() if old.is_dir() else old.unlink()
    return dead


def warn_about_orphans(folder: Path, used: Collection[Path]) -> Iterator[str]:
    """Yield a warning for each outbox with events of a receiver that is no longer configured."""
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            if path in used or not path.name.startswith(("mqtt-", "webhook-", "notify-")):
                continue
            with suppress(OSError):  # locked: another run uses it
                handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    if count := sum(bool(FILE_NAME.fullmatch(name)) for name in os.listdir(handle)):  # noqa: PTH208
                        yield (
                            f"{counted(count, 'event')} for another receiver in {path}: sent once [mqtt], "
                            "[webhook] or the URL file names it again; delete the folder if not needed"
                        )
                finally:
                    os.close(handle)
