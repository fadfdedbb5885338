"""The folder of updated models: files named by their SHA-256, and links that say which one a run uses.

`current` is used, `previous` was used before, and `trial` is tried by a running loop only: a start never uses it.
Every change is one rename, so a kill or a power cut leaves a model that works.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from edge.config import Config
from edge.errors import UserError, one_line, reason_of
from edge.files import make_folder, read_limited, state_folder, sync_folder, write_durably

CURRENT, PREVIOUS, TRIAL = "current", "previous", "trial"
MAX_JSON_BYTES = 1 << 16
FRAMES_WANTED, FRAMES = "frames.wanted", "frames"
MAX_PROBLEM = 500  # letters
MAX_ATTEMPTS = 3
"""Trials of one model that may be interrupted, by a power cut or a restart, before it is given up."""


class Outcome(StrEnum):
    """How the trial of a model ended."""

    WAITING = "waiting"
    RUNNING = "running"
    ADOPTED = "adopted"
    ROLLED_BACK = "rolled back"
    BY_HAND = "rolled back by hand"
    WITHDRAWN = "withdrawn"
    INTERRUPTED = "interrupted"
    GIVEN_UP = "given up"


FAILED = (Outcome.ROLLED_BACK, Outcome.GIVEN_UP)
"""Outcomes that are reported. Interrupted trials are retried."""
PENDING = (Outcome.WAITING, Outcome.RUNNING)


@dataclass(frozen=True)
class Trial:
    """The last trial of a model, as the run wrote it."""

    sha256: str
    outcome: Outcome
    problem: str = ""
    attempts: int = 1
    """Trials of this model so far."""
    boot_id: str = ""
    """Of the boot in which it began."""

    @property
    def has_failed(self) -> bool:
        return self.outcome in FAILED

    def line(self, model: str) -> str:
        """Return how it ended, for people.

        Args:
            model: its name.
        """
        return f"{model} was {self.outcome}: {self.problem}"


class ModelStore:
    """A folder of models with its links.

    Example:
        >>> store = ModelStore(Path("/var/lib/fireseg-edge/models/base"))
        >>> store.sha256(CURRENT)
        '25cb…'
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def link(self, name: str) -> Path:
        """Return the path of a link, whether or not it exists."""
        return self.folder / f"{name}.tflite"

    def model(self, sha256: str) -> Path:
        """Return the path of a model's file, whether or not it exists."""
        return self.folder / f"{sha256}.tflite"

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of the model that a link names; empty without the link."""
        try:
            return self.link(name).readlink().stem
        except OSError:
            return ""

    def point(self, name: str, sha256: str) -> None:
        """Let a link name a model, in one step. Raises OSError."""
        temporary = self.folder / f".{name}-{secrets.token_hex(4)}"
        temporary.symlink_to(self.model(sha256).name)
        temporary.replace(self.link(name))
        sync_folder(self.folder)

    def remove(self, name: str) -> None:
        """Remove a link if it exists. Raises OSError."""
        self.link(name).unlink(missing_ok=True)
        sync_folder(self.folder)

    def adopt_trial(self) -> None:
        """Use the tried model from now on. Raises OSError. Each step may be the last before a power cut."""
        trial, current = self.sha256(TRIAL), self.sha256(CURRENT)
        if trial and current != trial:
            if current:
                self.point(PREVIOUS, current)
            else:
                self.remove(PREVIOUS)  # before the installed model there is nothing
            self.point(CURRENT, trial)
        self.remove(TRIAL)

    def roll_back(self) -> str:
        """Use the model before the current one, or the installed one; return the SHA-256 of the one given up."""
        current, previous = self.sha256(CURRENT), self.sha256(PREVIOUS)
        if previous and previous != current and self.model(previous).is_file():
            self.point(CURRENT, previous)
        else:
            self.remove(CURRENT)
        self.remove(PREVIOUS)
        return current

    def delete_unused(self) -> None:
        """Delete files that no link names, and images, such as those that a killed update left."""
        shutil.rmtree(self.folder / FRAMES, ignore_errors=True)
        used = {self.sha256(name) for name in (CURRENT, PREVIOUS, TRIAL)}
        for path in [*self.folder.glob("*.tflite"), *self.folder.glob(".*")]:
            if (path.suffix == ".tflite" and not path.is_symlink() and path.stem not in used) or path.name[0] == ".":
                with suppress(OSError):
                    path.unlink()

    def read_trial(self) -> Trial | None:
        """Return the last trial; None if there was none, or its file is damaged."""
        values = self.read_json("trial")
        try:
            trial = Trial(**values | {"outcome": Outcome(values["outcome"])})
            texts = (trial.sha256, trial.problem, trial.boot_id)
            return trial if all(isinstance(text, str) for text in texts) and type(trial.attempts) is int else None
        except (LookupError, TypeError, ValueError):
            return None

    def write_trial(self, trial: Trial) -> None:
        """Keep a trial through a power cut. Raises `UserError` or OSError."""
        self.write_json("trial", asdict(trial))

    def forget_trial(self) -> None:
        (self.folder / "trial.json").unlink(missing_ok=True)

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the values in a JSON file of the folder; empty if it is missing or damaged."""
        try:
            values = json.loads(read_limited(self.folder / f"{name}.json", MAX_JSON_BYTES, ""))
        except (UserError, ValueError, RecursionError):
            return {}
        return values if isinstance(values, dict) else {}

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """Write a JSON file durably. Raises `UserError` or OSError."""
        write_durably(self.folder / f"{name}.json", json.dumps(values, indent=1).encode())

    def note_check(self, problem: str, **values: str) -> None:
        """Write why the last update failed, for the run; empty if it did not. Raises `UserError` or OSError."""
        self.write_json("check", self.read_json("check") | {"problem": one_line(problem, MAX_PROBLEM)} | values)

    def check_user(self) -> None:
        """Raise `UserError` unless this is the user of the run: others, such as root, leave files it cannot use."""
        path, remedy = self.folder / "run.lock", "run this as the user of the run"
        try:
            uid = path.stat().st_uid
        except PermissionError as error:
            raise UserError(f"{path} could not be read ({reason_of(error)})", remedy) from error
        except OSError:  # there was no run yet
            return
        if uid != os.geteuid():
            with suppress(KeyError):
                remedy += f", {pwd.getpwuid(uid).pw_name}"
            raise UserError(f"{self.folder} belongs to a run of another user", remedy)

    @contextmanager
    def lock(self, name: str, *, owner: str) -> Iterator[None]:
        """Hold a lock, which ends with the process. Raises `UserError` if another process holds it."""
        path = make_folder(self.folder) / f"{name}.lock"
        try:
            file = path.open("a")
        except OSError as error:  # such as a file of root's, after one call with sudo
            problem = f"{path} could not be opened ({reason_of(error)})"
            raise UserError(problem, "delete it, and run this as the user of the run") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                problem = f"another {owner} uses {self.folder}"
                raise UserError(problem, "wait until it ends, or set [update] folder") from error
            yield

    def is_locked(self, name: str) -> bool:
        """Return whether another process holds a lock."""
        try:
            with (self.folder / f"{name}.lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


def model_name(config: Config) -> str:
    """Return the name of the model that is updated."""
    return config.update.model or config.model.path


def open_store(config: Config) -> ModelStore | None:
    """Return the folder of updated models; None without [update] url."""
    if not config.update.url:
        return None
    folder = Path(config.update.folder) if config.update.folder else state_folder() / "models"
    return ModelStore(folder / model_name(config))


def model_files(config: Config, *, on_reload: bool = False, rejected: str = "") -> list[Path]:
    """Return the model files that a run may use, best first: the last is the one that is installed or configured.

    Args:
        on_reload: whether a run is going on, which alone tries a model.
        rejected: SHA-256 of a model that is not tried again, although the link `trial` could not be removed.
    """
    store = open_store(config)
    names = ((TRIAL, CURRENT) if on_reload else (CURRENT, PREVIOUS)) if store else ()
    links = [store.link(name) for name in names] if store else []
    if store and store.sha256(TRIAL) == rejected:
        links = [link for link in links if link != store.link(TRIAL)]
    return [*(link for link in links if os.path.isfile(link)), config.model.file]  # noqa: PTH113  never raises


def describe_model(config: Config, sha256: str) -> str:
    """Return a short name of a model for people."""
    return f"{model_name(config)} {sha256[:12]}" if sha256 else f"{config.model.path} (installed)"


def unwritable(folder: Path, error: OSError) -> UserError:
    """Return the error for a folder in which a model could not be kept."""
    return UserError(f"{folder} could not be written ({reason_of(error)})", "free some space, or set [update] folder")
