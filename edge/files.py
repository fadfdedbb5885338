"""Atomic writes, bounded reads, and the SHA-256 of files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edge.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends, and is deleted if it fails.

    It keeps the suffix, by which Keras and OpenCV choose the format. Raises `UserError` if it cannot be written.
    """
    temporary = make_folder(path.parent) / f".{path.stem}-{secrets.token_hex(4)}{path.suffix}"
    try:
        temporary.touch(exist_ok=False)  # with the umask's permissions
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):  # the error of the block counts
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write the file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_private(path: Path, data: bytes) -> None:
    """Write the file atomically, for its owner alone to read."""
    with replacing(path) as temporary:
        temporary.chmod(0o600)
        temporary.write_bytes(data)


def write_durably(path: Path, data: bytes, *, like: Path | None = None) -> None:
    """Write the file atomically and flush it to disk, so that it survives a power cut.

    Args:
        like: a file whose mode and owner it gets.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        if like:
            status, own = like.stat(), os.fstat(file.fileno())
            if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode))
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, so that a rename survives a power cut."""
    with suppress(OSError):  # not supported by every file system
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_limited(path: Path, max_bytes: int, remedy: str, kind: str = "") -> bytes:
    """Return the bytes of a regular file. Never waits for a writer, as opening a FIFO would.

    Args:
        remedy: what to do if it cannot be read.
        kind: what the file is, for errors.
    Raises `UserError`, also for a file of more than `max_bytes`.
    """
    name = f"{kind} {path}".lstrip()
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("not a regular file")
            if status.st_size <= max_bytes:
                return file.read(status.st_size)
    except (OSError, ValueError) as error:  # ValueError: also a path with a zero byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{name} could not be read ({reason})", remedy) from error
    raise UserError(f"{name} has {status.st_size / 1e6:.1f} MB", f"expected at most {max_bytes / 1e6:.1f} MB")


def make_folder(folder: Path) -> Path:
    """Create `folder` with its parents and return it. Raises `UserError` if it cannot be created or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error
    return folder


def nearest_folder(path: Path) -> Path:
    """Return the path, or the nearest of its parents, that is a folder."""
    # Unlike Path.is_dir, False for a name that is too long.
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if os.path.isdir(folder))  # noqa: PTH112


def check_writable(*folders: Path) -> None:
    """Raise `UserError` if one of the folders could not be created or written to, without creating it."""
    for folder in folders:
        # Like a file, a link to what does not exist, such as an unmounted stick, is in the way of a folder.
        existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise _unwritable(folder, f"{existing} {'is not writable' if existing.is_dir() else 'is not a folder'}")


def printable(path: Path | str) -> str:
    """Return a path as text that every stream and protocol takes: bytes that are not UTF-8 become such as \\xe9."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def service_folder() -> Path | None:
    """Return the state folder that systemd gives a service; None for any other process."""
    state = os.environ.get("STATE_DIRECTORY")
    return Path(state.split(":")[0]) if state else None


def state_folder() -> Path:
    """Return where a run keeps what outlives it: systemd's state folder of a service, else the user's."""
    if service := service_folder():
        return service
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    except RuntimeError:  # users without a home directory, as in containers
        state = tempfile.gettempdir()
    return Path(state) / "fireseg-edge"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal. Raises `UserError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"{printable(path)} could not be read ({error.strerror})", "check path and permissions"
        ) from error


def _unwritable(path: Path, reason: OSError | str) -> UserError:
    number = reason.errno if isinstance(reason, OSError) else None
    reason = reason if isinstance(reason, str) else reason.strerror or str(reason)
    remedy = "free some space" if number in (errno.ENOSPC, errno.EDQUOT) else "choose a writable folder"
    if number == errno.EACCES or reason.endswith("is not writable"):
        remedy += f", or give it to this user: chown -R {os.getuid()}:{os.getgid()}"
    return UserError(f"{path} could not be written ({reason})", remedy)
