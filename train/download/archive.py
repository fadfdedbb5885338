"""Find FireSeg's files in a folder, a zip or a tar, and copy them out in the published layout.

FireSeg is packed in many ways: below `Fire Dataset/`, inside a whole repository, in several zips from Google Drive,
with masks as `annotations_prepped_*` or `annotations_binary_*`. Only files with published names are unpacked, and
always under those names, so an archive cannot choose where a file lands.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from io import FileIO
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from edge.errors import UserError
from edge.files import replacing
from train.data.fireseg import MASK_FOLDERS
from train.download.http import OnProgress

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
# Bounds against mistakes and bombs, checked before anything is unpacked. The published set is below 20 MiB.
MAX_UNPACKED_BYTES = 8 << 30  # of an archive and all else in it
MAX_SET_BYTES = 1 << 30
MAX_FILE_BYTES = 32 << 20
MAX_HEADER_BYTES = 64 << 20  # of all members of a tar, which tarfile holds in memory
# zipfile raises NotImplementedError for an unknown compression, lzma MemoryError for an absurd dictionary.
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError, NotImplementedError, MemoryError
)  # fmt: skip
_DECOMPRESSORS: tuple[tuple[bytes, Callable[..., Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
    (b"", partial(open, mode="rb")),
)

Open = Callable[[], IO[bytes] | None]  # None never: the declared type of tarfile's extractfile


class Member(NamedTuple):
    """A regular file of a source."""

    size_bytes: int
    open: Open


Members = dict[PurePosixPath, Member]  # in the order of the archive, which is read sequentially


def choose(paths: Iterable[PurePosixPath], names: Iterable[str]) -> dict[str, PurePosixPath]:
    """Map published names to paths. Of several copies of the set, take the fullest, then the topmost."""
    folders: dict[PurePosixPath, dict[str, PurePosixPath]] = {}
    for path in paths:
        folders.setdefault(path.parent, {}).setdefault(path.name, path)
    files_of: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = name.partition("/")
        files_of.setdefault(folder, []).append(file)

    def copy_below(root: PurePosixPath) -> dict[str, PurePosixPath]:
        copy: dict[str, PurePosixPath] = {}
        for folder, files in files_of.items():
            candidates = (folders.get(root / alias, {}) for alias in _aliases(folder))
            fullest = max(candidates, key=lambda candidate: sum(file in candidate for file in files))
            copy |= {f"{folder}/{file}": fullest[file] for file in files if file in fullest}
        return copy

    aliases = {alias for folder in files_of for alias in _aliases(folder)}
    roots = sorted({folder.parent for folder in folders if folder.name in aliases}, key=lambda root: len(root.parts))
    return max((copy_below(root) for root in roots), key=len, default={})


def unpack(
    source: Path,
    out: Path,
    names: Iterable[str],
    *,
    label: str | None = None,
    limit_bytes: int = MAX_UNPACKED_BYTES,
    on_progress: OnProgress = lambda done, total: None,
) -> None:
    """Copy the files `names` out of a folder or an archive to `out`, in the published layout, each atomically.

    `label` names the source in messages. The caller checks for missing files. Raises `UserError` for a source without
    FireSeg, a damaged or encrypted archive, one above `limit_bytes`, files too large for FireSeg, and a member path
    outside the archive.
    """
    label = label or str(source)
    with _members(source, label, limit_bytes) as members:
        names_by_path = {path: name for name, path in choose(members, names).items()}
        if not names_by_path:
            raise UserError(
                f"{label} does not contain FireSeg",
                "expected images_prepped_train/ and annotations_prepped_train/ "
                "(or annotations_binary_train/) somewhere inside, with img(1).jpg and img(1).png",
            )
        _check_sizes({path: members[path].size_bytes for path in names_by_path}, label)
        for done, path in enumerate((path for path in members if path in names_by_path), 1):
            with replacing(out / names_by_path[path]) as temporary, temporary.open("wb") as target:
                file = members[path].open()
                assert file is not None
                with file:
                    shutil.copyfileobj(file, target)
            on_progress(done, len(names_by_path))


def is_archive(name: str) -> bool:
    """Return whether a file is an archive by its name; macOS' `._NAME.zip` is not."""
    return name.lower().endswith(ARCHIVE_SUFFIXES) and not name.startswith("._")


def _check_sizes(sizes: dict[PurePosixPath, int], label: str) -> None:
    largest = max(sizes, key=sizes.__getitem__)
    for problem, size_bytes, limit_bytes in (
        (f"its member {str(largest)!r} is", sizes[largest], MAX_FILE_BYTES),
        ("its images and masks are", sum(sizes.values()), MAX_SET_BYTES),
    ):
        if size_bytes > limit_bytes:
            raise UserError(
                f"{label} is refused: {problem} {size_bytes >> 20} MiB", f"expected at most {limit_bytes >> 20} MiB"
            )


@contextmanager
def _members(source: Path, label: str, limit_bytes: int) -> Iterator[Members]:
    """Yield all files of a folder or an archive, open inside the block. Archives in a folder are opened too."""
    with ExitStack() as stack:
        try:
            if not source.is_dir():
                yield _archive_members(source, label, stack, limit_bytes)
                return
            members: Members = {}
            for path in (Path(parent, name) for parent, _, files in os.walk(source) for name in sorted(files)):
                if path.parent == source and is_archive(path.name):
                    members = _archive_members(path, str(path), stack, limit_bytes) | members
                elif path.is_file():
                    relative = PurePosixPath(path.relative_to(source).as_posix())
                    members[relative] = Member(path.stat().st_size, partial(FileIO, path))
            yield members
        except _DAMAGED as error:
            raise UserError(
                f"{label} is damaged ({error})", "expected a whole zip or tar archive; download it again"
            ) from error
        except OSError as error:
            raise UserError(f"{label} could not be read ({error.strerror or error})", "check the path") from error


def _archive_members(source: Path, label: str, stack: ExitStack, limit_bytes: int) -> Members:
    """Return the regular files of an archive. Both formats read at most the declared size of a member."""
    members: Members = {}
    total_bytes = 0
    for name, size_bytes, open_ in _entries(source, label, stack):
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
            raise UserError(
                f"{label} is refused", f"its member {name!r} leads out of the archive; use a trusted source"
            )
        total_bytes += size_bytes
        if total_bytes > limit_bytes:
            raise UserError(
                f"{label} is refused",
                f"it unpacks to more than {limit_bytes >> 30} GiB, but FireSeg is below 1 GiB; use a trusted source",
            )
        if open_:
            members[path] = Member(size_bytes, open_)
    return members


def _entries(source: Path, label: str, stack: ExitStack) -> Iterator[tuple[str, int, Open | None]]:
    """Yield name, size in bytes and, for a regular file, how to open it."""
    if zipfile.is_zipfile(source):
        archive = stack.enter_context(zipfile.ZipFile(source))
        for info in archive.infolist():
            if info.flag_bits & 1:
                raise UserError(
                    f"{label} is encrypted", "expected a zip without a password; unpack it and pass the folder"
                )
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # zipfile decompresses others without a bound: a few kB become gigabytes in memory.
                raise UserError(f"{label} has an unusual compression", "expected a zip with Deflate; pack it again")
            # Zips made on Windows carry no Unix mode: 0 is a plain file.
            regular = not info.is_dir() and stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
            yield info.filename, info.file_size, partial(archive.open, info) if regular else None
        return
    with source.open("rb") as file:
        beginning = file.read(512)
    decompress = next(opener for magic, opener in _DECOMPRESSORS if beginning.startswith(magic))
    stream = _HeaderReader(stack.enter_context(decompress(source)), label)
    try:
        tar = stack.enter_context(tarfile.TarFile(fileobj=stream))  # type: ignore[arg-type]
    except tarfile.ReadError as error:
        problem = "is a web page" if b"<html" in beginning.lower() else "is not an archive"
        raise UserError(
            f"{label} {problem}", "expected a whole zip or tar; check the address or path and download it again"
        ) from error
    for member in tar:
        # A sparse member is a few bytes that unpack to any size; no program packs images that way.
        regular = member.isreg() and not member.issparse()
        yield member.name, member.size, partial(tar.extractfile, member) if regular else None
    stream.left_bytes = sys.maxsize  # the rest is contents, whose sizes are known


class _HeaderReader:
    """A tar's stream that bounds what tarfile reads into memory for headers, which may declare any size."""

    def __init__(self, stream: IO[bytes], label: str) -> None:
        self.label, self.left_bytes = label, MAX_HEADER_BYTES
        self._stream, self.seek, self.tell = stream, stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        self.left_bytes -= size
        if size < 0 or self.left_bytes < 0:  # a negative size would read all
            raise UserError(
                f"{self.label} is refused: its headers are above {MAX_HEADER_BYTES >> 20} MiB",
                "expected a tar of images and masks; use a trusted source",
            )
        return self._stream.read(size)


def _aliases(folder: str) -> list[str]:
    """Return the names in use for a published folder, the published one first."""
    prefix, _, part = folder.rpartition("_")
    return [f"{alias}_{part}" for alias in MASK_FOLDERS] if prefix == MASK_FOLDERS[0] else [folder]
