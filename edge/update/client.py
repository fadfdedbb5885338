"""Fetch a model from a repository by The Update Framework (TUF): signed, fresh, and never older than one seen before.

python-tuf's client does all checks. This module names the files and turns failures into one line.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge import __version__
from edge.config import Config
from edge.errors import UserError, one_line, reason_of
from edge.files import make_folder, read_limited, sync_folder
from edge.model.card import FLATBUFFER_SHA256, MAX_MODEL_BYTES, check_card, split_model
from edge.secrets import redact
from edge.update.store import ModelStore, model_name, unwritable

MACHINE_ID = Path("/etc/machine-id")
MAX_ROOT_BYTES = 1 << 19
METADATA_S, MODEL_S = 120.0, 60.0
"""All metadata must arrive within this time, and a model within this and its size at `MIN_BYTES_PER_S`."""
MIN_BYTES_PER_S = 10_000
PARTIAL = ".download"
STAGES = 10_000  # of a roll-out


@dataclass(frozen=True)
class Published:
    """A model in a repository, as its signed metadata describes it."""

    name: str
    sha256: str
    size_bytes: int
    roll_out_percent: float
    minimum_version: str
    card: dict[str, Any]
    """Facts of the model's card."""

    @property
    def is_for_this_machine(self) -> bool:
        """Whether the roll-out has reached this machine."""
        return is_rolled_out(self.sha256, self.roll_out_percent, machine_identity())


class Repository:
    """The repository of a configuration. Every method raises `UserError`, in one line.

    Example:
        >>> repository = Repository(config, store)
        >>> published = repository.latest()
        >>> path = repository.fetch(published)
    """

    def __init__(self, config: Config, store: ModelStore) -> None:
        self._url, self._store, self._name = config.update.url.rstrip("/"), store, model_name(config)
        self._target = f"{self._name}.tflite"
        root_path = Path(config.update.root)
        root = read_limited(root_path, MAX_ROOT_BYTES, "copy the repository's root.json there", "root of trust")
        try:
            from tuf.ngclient import Updater, UpdaterConfig

            from edge.update.fetcher import DeadlineFetcher
        except ModuleNotFoundError as error:
            problem = f"model updates need the package tuf ({error.name} is missing)"
            raise UserError(problem, "pip install 'fireseg-edge[update]', or '.[update]' in a clone") from error
        # Metadata of another root is not this repository's: begin again from the new root.
        metadata = make_folder(store.folder / f"tuf-{hashlib.sha256(root).hexdigest()[:12]}")
        with self._explained():
            self._fetcher = DeadlineFetcher(f"fireseg-edge/{__version__}")
            self._updater = Updater(
                str(metadata), f"{self._url}/metadata/", str(store.folder), f"{self._url}/targets/",
                fetcher=self._fetcher, config=UpdaterConfig(max_root_rotations=64), bootstrap=root,
            )  # fmt: skip

    def latest(self) -> Published:
        """Return the published model of the configured name."""
        self._fetcher.begin(METADATA_S)
        with self._explained():
            self._updater.refresh()
            self._info = info = self._updater.get_targetinfo(self._target)
        if info is None:
            remedy = f"check [update] model, or publish it with `fireseg-export publish add --name {self._name}`"
            raise UserError(f"{redact(self._url)} has no model {self._name}", remedy)
        try:
            custom = info.custom or {}
            return Published(
                self._name, info.hashes["sha256"], info.length, float(custom["roll_out_percent"]),
                str(custom["minimum_version"]), json.loads(custom["card"]),
            )  # fmt: skip
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            problem = f"the entry of {self._target} is invalid ({one_line(repr(error))})"
            raise UserError(problem, "publish it again") from error

    def check(self, published: Published) -> None:
        """Raise `UserError` if this version could not run the model, as its metadata says."""
        check_version(published.minimum_version, __version__)
        check_card(published.card, Path(self._target))
        if published.size_bytes > MAX_MODEL_BYTES:
            raise UserError(f"{self._target} has {published.size_bytes / 1e6:.0f} MB", "publish a smaller model")

    def fetch(self, published: Published) -> Path:
        """Return the verified file of a model, named by its SHA-256; downloaded unless it is there."""
        path, partial = self._store.model(published.sha256), self._store.folder / PARTIAL
        self._fetcher.begin(MODEL_S + published.size_bytes / MIN_BYTES_PER_S)
        with self._explained():
            if not self._updater.find_cached_target(self._info, str(path)):
                try:
                    self._updater.download_target(self._info, str(partial))
                    with partial.open("rb+") as file:
                        os.fsync(file.fileno())
                    partial.replace(path)
                    sync_folder(path.parent)
                finally:
                    partial.unlink(missing_ok=True)
        _, card = split_model(path)
        if (card or {}).get(FLATBUFFER_SHA256) != published.card.get(FLATBUFFER_SHA256):
            raise UserError(f"the card of {self._target} differs from the signed metadata", "publish it again")
        return path

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what TUF, the network and the disk report into one line."""
        from tuf.api import exceptions as tuf

        url = redact(self._url)
        try:
            yield
        except tuf.DownloadHTTPError as error:
            problem = f"{url} answered {error.status_code}"
            raise UserError(problem, "check [update] url: expected a folder with metadata/ and targets/") from error
        except tuf.DownloadLengthMismatchError as error:
            remedy = "try again later, or ask its owner"
            raise UserError(f"{url} sent more than the signed length ({error})", remedy) from error
        except tuf.DownloadError as error:
            is_slow = isinstance(error, tuf.SlowRetrievalError)
            text = str(error) if is_slow else one_line(redact(reason_of(error.__cause__ or error)), 120)
            remedy = "check the network and [update] url; the next call tries again"
            raise UserError(f"{url} could not be read ({text})", remedy) from error
        except tuf.ExpiredMetadataError as error:
            remedy = "its owner must run `fireseg-export publish refresh`; check the clock of this machine, too"
            raise UserError(f"the metadata of {url} have expired ({error})", remedy) from error
        except tuf.UnsignedMetadataError as error:
            remedy = "check [update] root; if the keys were replaced, copy the new root.json from their owner"
            raise UserError(f"{url} is not signed by the keys in [update] root ({error})", remedy) from error
        except tuf.BadVersionNumberError as error:
            remedy = "ask its owner: an old copy of the repository may be served"
            raise UserError(f"{url} is older than what this machine has already seen ({error})", remedy) from error
        except tuf.LengthOrHashMismatchError as error:
            remedy = "try again; if it fails again, ask its owner"
            raise UserError(f"a file of {url} is damaged or was replaced ({error})", remedy) from error
        except tuf.RepositoryError as error:
            raise UserError(f"{url} or [update] root is invalid ({error})", "ask its owner") from error
        except OSError as error:
            raise unwritable(self._store.folder, error) from error


def is_rolled_out(sha256: str, percent: float, machine: str) -> bool:
    """Return whether a roll-out to a share of all machines includes one.

    The machine is hashed with the model, so that each model begins with other machines, and a larger share always
    includes those of a smaller one.
    """
    stage = int.from_bytes(hashlib.sha256(f"{machine} {sha256}".encode()).digest()[:8]) % STAGES
    return stage < percent * STAGES / 100


def machine_identity() -> str:
    """Return an id of this machine; it is only hashed, and never sent."""
    try:
        return MACHINE_ID.read_text().strip() or socket.gethostname()
    except OSError:
        return socket.gethostname()


def check_version(minimum: str, version: str) -> None:
    """Raise `UserError` if a version is below the minimum. An unknown version passes."""
    if version != "unknown" and _numbers(version) < _numbers(minimum):
        raise UserError(f"the model needs fireseg-edge {one_line(minimum)}, this is {version}", "update fireseg-edge")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d{1,9}", version)[:3])
