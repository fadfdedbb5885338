"""FireSeg as it was published, file by file: which 1,200 files there are, and the SHA-256 of each.

So a download can be judged whole, a copy told from the original, and a figure tied to the very data it was measured
on. The digests lie beside this file as bare bytes, 32 for each name of `names()`, in that order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

from edge.errors import UserError
from edge.images import list_images

DIGESTS_FILE = "published.sha256.bin"
DIGEST_BYTES = hashlib.sha256().digest_size
PAIRS: dict[Literal["train", "test"], int] = {"train": 500, "test": 100}
KINDS = (("images_prepped", ".jpg"), ("annotations_prepped", ".png"))
FOLDERS = tuple(f"{kind}_{part}" for part in PAIRS for kind, _ in KINDS)
LISTED_AT_MOST = 10


@dataclass(frozen=True)
class Verification:
    """A folder held against the published set. Files are named as there: `images_prepped_train/img(1).jpg`."""

    root: Path
    identical: tuple[str, ...]
    changed: tuple[str, ...]  # there, but with other bytes: resized, 0/1 masks, or broken
    missing: tuple[str, ...]
    extra: tuple[str, ...]  # pictures in FireSeg's folders that it does not have

    @property
    def complete(self) -> bool:
        """Whether every file is there, whatever its bytes."""
        return not self.missing

    @property
    def is_published(self) -> bool:
        """Whether the folder holds exactly what was published."""
        return not (self.changed or self.missing or self.extra)

    def __str__(self) -> str:
        count = len(self.identical) + len(self.changed) + len(self.missing)
        if self.is_published:
            return f"{self.root}: verified, all {count} files are the published bytes"
        parts = [f"{len(self.identical)} of {count} files are the published bytes"]
        if self.changed:
            parts.append(f"{len(self.changed)} differ ({shortened(self.changed)})")
        if self.missing:
            parts.append(f"{len(self.missing)} are missing ({shortened(self.missing)})")
        if self.extra:
            parts.append(f"{len(self.extra)} are not FireSeg's ({shortened(self.extra)})")
        return f"{self.root} differs from the published bytes: {', '.join(parts)}"


def names() -> list[str]:
    """The files of the set: images then masks of train, images then masks of test, each by number."""
    return [
        f"{kind}_{part}/img({number}){suffix}"
        for part, count in PAIRS.items()
        for kind, suffix in KINDS
        for number in range(1, count + 1)
    ]


@cache
def digests() -> Mapping[str, bytes]:
    """Name -> SHA-256 of each published file, in the order of `names()`."""
    data = resources.files(__package__).joinpath(DIGESTS_FILE).read_bytes()
    expected = names()
    if len(data) != len(expected) * DIGEST_BYTES:
        raise RuntimeError(f"{DIGESTS_FILE} holds {len(data)} bytes, expected {len(expected) * DIGEST_BYTES}")
    return {name: data[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES] for i, name in enumerate(expected)}


def verify(root: Path, published: Mapping[str, bytes] | None = None) -> Verification:
    """Compare the folder with the published set, or with another table of digests.

    Nothing is decoded: a changed file may be a sound copy or a broken one. A folder that is not there misses every
    file. Raises `UserError` where a file cannot be opened.
    """
    table = digests() if published is None else published
    found: dict[str, list[str]] = {"identical": [], "changed": [], "missing": []}
    with ThreadPoolExecutor() as pool:
        verdicts = pool.map(lambda name: _judge(root / name, table[name]), table)
        for name, verdict in zip(table, verdicts, strict=True):
            found[verdict].append(name)
    extra = [
        f"{folder}/{path.name}"
        for folder in FOLDERS
        if (root / folder).is_dir()
        for path in list_images(root / folder)
        if f"{folder}/{path.name}" not in table
    ]
    return Verification(root, tuple(found["identical"]), tuple(found["changed"]), tuple(found["missing"]), tuple(extra))


def shortened(items: tuple[str, ...] | list[str], separator: str = ", ") -> str:
    """The first ten, and how many more there are."""
    text = separator.join(items[:LISTED_AT_MOST])
    return text if len(items) <= LISTED_AT_MOST else f"{text} and {len(items) - LISTED_AT_MOST} more"


def digest(path: Path) -> bytes:
    """The file's SHA-256, as the bytes that the table holds."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _judge(path: Path, expected: bytes) -> str:
    try:
        if not path.is_file():
            return "missing"
        return "identical" if digest(path) == expected else "changed"
    except OSError as error:
        raise UserError(f"{path} could not be read ({error.strerror})", "check its permissions") from error
