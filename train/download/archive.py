"""What lies in a folder, a zip or a tar, and which of it is FireSeg.

FireSeg comes wrapped in many ways: below `Fire Dataset/`, in a whole repository, in several zips as Google Drive packs
a folder, with the masks as `annotations_prepped_*` or `annotations_binary_*`. Only pictures of the published names are
ever unpacked, under those names, so nothing in an archive can choose where it lands.
"""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from edge.errors import UserError
from edge.files import replacing
from train.data.fireseg import MASK_FOLDERS

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
MAX_UNPACKED_BYTES = 8 << 30  # the published set is well below 1 GiB: more is a mistake, or a bomb
MAX_PICTURE_BYTES = 64 << 20
COPY_BYTES = 1 << 20
# zipfile raises the last for a compression it does not know.
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError, NotImplementedError)


@dataclass(frozen=True)
class Member:
    """A regular file in a folder or an archive. Archives are read in order, so open members in the order given."""

    path: PurePosixPath
    open: Callable[[], IO[bytes]]


@contextmanager
def members(source: Path, called: str) -> Iterator[list[Member]]:
    """All files of a folder or an archive, open while the block lasts; archives lying in a folder count as unpacked.

    Raises `UserError` for what is no archive or damaged, for a path that leads out of it, and for one too large.
    """
    with ExitStack() as stack:
        try:
            yield _folder(source, stack) if source.is_dir() else _archive(source, called, stack)
        except _DAMAGED as error:
            raise UserError(
                f"{called} is damaged ({error})", "expected a whole zip or tar archive; download it again"
            ) from error
        except OSError as error:
            raise UserError(f"{called} could not be read ({error.strerror or error})", "check the path") from error


def choose(paths: Iterable[PurePosixPath], names: Iterable[str]) -> dict[str, PurePosixPath]:
    """Which path gives which published name. Of several copies of the set the fullest is taken, then the topmost."""
    folders: dict[PurePosixPath, dict[str, PurePosixPath]] = {}
    for path in paths:
        folders.setdefault(path.parent, {}).setdefault(path.name, path)
    wanted: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = name.partition("/")
        wanted.setdefault(folder, []).append(file)

    def take(root: PurePosixPath) -> dict[str, PurePosixPath]:
        taken: dict[str, PurePosixPath] = {}
        for folder, files in wanted.items():
            offers = (folders.get(root / alias, {}) for alias in _aliases(folder))
            best = max(offers, key=lambda offer: sum(file in offer for file in files))
            taken |= {f"{folder}/{file}": best[file] for file in files if file in best}
        return taken

    known = {alias for folder in wanted for alias in _aliases(folder)}
    roots = sorted({folder.parent for folder in folders if folder.name in known}, key=lambda root: len(root.parts))
    return max((take(root) for root in roots), key=len, default={})


def unpack(
    source: Path,
    into: Path,
    names: Iterable[str],
    *,
    called: str | None = None,
    on_file: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Copy FireSeg's files out of a folder or an archive to `into`, in the published layout.

    `called` is the source's name in messages, where its path tells a person nothing. Each file appears whole. Raises
    `UserError` where the source holds nothing of FireSeg; files that it lacks are for the caller to find.
    """
    called = called or str(source)
    with members(source, called) as found:
        chosen = {path: name for name, path in choose((member.path for member in found), names).items()}
        if not chosen:
            raise UserError(
                f"{called} holds no FireSeg",
                "expected images_prepped_train/ and annotations_prepped_train/ "
                "(or annotations_binary_train/) somewhere inside, with img(1).jpg and img(1).png",
            )
        total = len(chosen)
        for member in found:
            name = chosen.pop(member.path, None)
            if name is None:
                continue
            with member.open() as file, replacing(into / name) as temporary:
                _copy(file, temporary, f"{called}: {member.path}")
            on_file(total - len(chosen), total)


def is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def _aliases(folder: str) -> list[str]:
    """The names a published folder goes by, the published one first."""
    prefix, _, part = folder.rpartition("_")
    return [f"{alias}_{part}" for alias in MASK_FOLDERS] if prefix == MASK_FOLDERS[0] else [folder]


def _folder(source: Path, stack: ExitStack) -> list[Member]:
    found: list[Member] = []
    for parent, _, files in os.walk(source):
        for name in sorted(files):
            path = Path(parent, name)
            if Path(parent) == source and is_archive(name):
                found += _archive(path, str(path), stack)
            elif path.is_file():
                relative = PurePosixPath(path.relative_to(source).as_posix())
                found.append(Member(relative, partial(_open, path)))
    return found


def _archive(source: Path, called: str, stack: ExitStack) -> list[Member]:
    if zipfile.is_zipfile(source):
        return list(_zip_members(called, stack.enter_context(zipfile.ZipFile(source))))
    try:
        tar = stack.enter_context(tarfile.open(source))  # noqa: SIM115  the stack closes it
    except tarfile.ReadError as error:
        with source.open("rb") as file:
            page = b"<html" in file.read(512).lower()
        raise UserError(
            f"{called} is no archive{': it is a web page' if page else ''}; expected a whole zip or tar, "
            "so check the address or path and download it again"
        ) from error
    return list(_tar_members(called, tar))


def _zip_members(called: str, archive: zipfile.ZipFile) -> Iterator[Member]:
    total_bytes = 0
    for info in archive.infolist():
        path = _inside(called, info.filename)
        total_bytes = _within_limit(called, total_bytes + info.file_size)
        if info.flag_bits & 1:
            raise UserError(
                f"{called} is encrypted", "expected a zip without a password; unpack it and pass the folder"
            )
        # Zips made on Windows carry no Unix mode: 0 is a plain file.
        if not info.is_dir() and stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG):
            yield Member(path, partial(archive.open, info))


def _tar_members(called: str, archive: tarfile.TarFile) -> Iterator[Member]:
    total_bytes = 0
    for info in archive:
        path = _inside(called, info.name)
        total_bytes = _within_limit(called, total_bytes + info.size)
        if info.isreg():
            yield Member(path, partial(_open_tar_member, archive, info))


def _open_tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    assert file is not None  # it is regular
    return file


def _inside(called: str, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
        raise UserError(
            f"{called} is refused", f"its member {name!r} leads out of the archive; get it from a trusted place"
        )
    return path


def _within_limit(called: str, total_bytes: int) -> int:
    if total_bytes > MAX_UNPACKED_BYTES:
        raise UserError(
            f"{called} is refused",
            f"it unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB, and FireSeg is below 1 GiB; "
            "get it from a trusted place",
        )
    return total_bytes


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _copy(file: IO[bytes], target: Path, what: str) -> None:
    """Copy with a limit of its own: the size that an archive declares need not be true."""
    left_bytes = MAX_PICTURE_BYTES
    with target.open("wb") as out:
        while data := file.read(COPY_BYTES):
            left_bytes -= len(data)
            if left_bytes < 0:
                raise UserError(f"{what} is larger than {MAX_PICTURE_BYTES >> 20} MiB", "expected a picture")
            out.write(data)
