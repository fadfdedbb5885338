"""The published FireSeg set: its 1,200 file names and the SHA-256 of each.

They show whether a download is complete, tell the original from a copy, and tie a result to its data. The digests lie
beside this file as raw bytes: 32 for each name of `names()`, in that order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edge.errors import UserError
from edge.files import sha256
from edge.images import list_images

PAIRS = {"train": 500, "test": 100}
KINDS = (("images_prepped", ".jpg"), ("annotations_prepped", ".png"))
FOLDERS = tuple(f"{kind}_{part}" for part in PAIRS for kind, _ in KINDS)


@dataclass(frozen=True)
class Verification:
    """The comparison of a folder with the published set, by published name: `images_prepped_train/img(1).jpg`."""

    root: Path
    identical: tuple[str, ...]
    changed: tuple[str, ...]  # present with other bytes: resized, masks of 0 and 1, or broken
    missing: tuple[str, ...]
    extra: tuple[str, ...]  # images in FireSeg's folders that were not published
    already_there: bool = False  # before `fetch`

    @property
    def is_published(self) -> bool:
        return not (self.changed or self.missing or self.extra)

    def __str__(self) -> str:
        where = f"{'already there: ' if self.already_there else ''}{self.root}"
        count = len(self.identical) + len(self.changed) + len(self.missing)
        if self.is_published:
            return f"{where}: verified, all {count} files are the published bytes"
        parts = [f"{len(self.identical)} of {count} files are the published bytes"]
        kinds = ((self.changed, "differ"), (self.missing, "are missing"), (self.extra, "are not FireSeg's"))
        parts += [f"{len(files)} {state} ({shortened(files)})" for files, state in kinds if files]
        return f"{where} differs from the published bytes: {', '.join(parts)}"


def names() -> list[str]:
    """Return the published file names: images then masks of train, images then masks of test, each by number."""
    return [
        f"{kind}_{part}/img({number}){suffix}"
        for part, count in PAIRS.items()
        for kind, suffix in KINDS
        for number in range(1, count + 1)
    ]


@cache
def digests() -> Mapping[str, str]:
    """Return name -> SHA-256 in hexadecimal of each published file, in the order of `names()`."""
    hexadecimal = Path(__file__).with_name("published.sha256.bin").read_bytes().hex()
    return {name: hexadecimal[64 * i : 64 * (i + 1)] for i, name in enumerate(names())}


def verify(root: Path, published: Mapping[str, str] | None = None) -> Verification:
    """Compare the folder `root` with the published digests, or with the table `published`.

    Compares bytes and decodes nothing, so a changed file may be sound or broken. If `root` does not exist, every file
    is missing. Raises `UserError` for an unreadable file.
    """
    table = digests() if published is None else published
    with ThreadPoolExecutor() as pool:
        states = dict(zip(table, pool.map(lambda name: _compare(root / name, table[name]), table), strict=True))
    identical, changed, missing = (
        tuple(name for name in table if states[name] == state) for state in ("identical", "changed", "missing")
    )
    folders = [root / folder for folder in FOLDERS if (root / folder).is_dir()]
    present = [f"{folder.name}/{path.name}" for folder in folders for path in list_images(folder)]
    return Verification(root, identical, changed, missing, tuple(name for name in present if name not in table))


def shortened(items: Sequence[str], separator: str = ", ") -> str:
    """Join the first ten items and count the rest."""
    text = separator.join(items[:10])
    return text if len(items) <= 10 else f"{text} and {len(items) - 10} more"


def _compare(path: Path, expected: str) -> str:
    try:
        if not path.is_file():
            return "missing"
        return "identical" if sha256(path) == expected else "changed"
    except OSError as error:
        raise UserError(f"{path} could not be read ({error.strerror})", "check its permissions") from error
