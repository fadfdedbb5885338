"""The FireSeg set, brought whole to a folder: from a mirror, Google Drive, an archive or a folder.

Files gather in a staging folder beside the target and are moved in only when the set is complete and readable, so the
target never holds half a set; an interrupted run leaves the staging folder, and the next one goes on from there.
"""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from edge.errors import UserError
from edge.files import make_folder
from edge.images import read_gray_or_colour
from train.data.fireseg import Pair, find_broken, load_dataset
from train.download.archive import MAX_UNPACKED_BYTES, unpack
from train.download.checksums import FOLDERS, Verification, digests, shortened, verify
from train.download.http import Network, RefusedError, TransferError, download, shown
from train.download.remote import OnFile, Sources, from_drive, from_mirror

DEFAULT_OUT = Path("data/fireseg")
DEFAULT_SOURCE = "mirror"


@dataclass(frozen=True)
class Fetched:
    """What `fetch` did, and how its result compares with the published set."""

    verification: Verification
    already_there: bool

    @property
    def warning(self) -> str | None:
        """What a person should know before trusting figures measured on this copy."""
        if self.verification.is_published:
            return None
        return f"{self.verification}; usable, but figures will not compare with those on the published set"

    def __str__(self) -> str:
        return f"{'already there: ' if self.already_there else ''}{self.verification}"


def fetch(
    out: Path = DEFAULT_OUT,
    source: str = DEFAULT_SOURCE,
    *,
    sources: Sources | None = None,
    network: Network | None = None,
    published: Mapping[str, bytes] | None = None,
    progress: Progress | None = None,
) -> Fetched:
    """Bring FireSeg to `out` from "mirror", "drive", a folder, an archive, or the http(s) address of an archive.

    A complete `out` is verified and left alone; one with missing or broken files is filled up if the rest is published.
    A copy with other bytes is taken and reported, a copy with missing or unreadable files is not. Raises `UserError`.
    """
    sources, network = sources or Sources(), network or Network()
    table = digests() if published is None else published
    try:
        if out.exists() and not out.is_dir():
            raise UserError(f"{out} is a file", "expected a folder, or nothing yet; choose another --out")
        before = verify(out, table)
        broken = [name for name in before.changed if not _is_readable(out / name)]
        gaps = [*before.missing, *broken]
        if not gaps:
            load_dataset(out)
            _refuse_broken(before, (out,), "move the folder away, or choose another --out")
            return Fetched(before, already_there=True)
        if len(before.changed) > len(broken):
            raise UserError(
                f"{out} holds {len(before.changed) - len(broken)} files that differ from the published ones, and lacks "
                f"{len(gaps)} ({shortened(gaps)})",
                "expected a whole copy or none; move it away or choose another --out",
            )
        stage = _staging_folder(out)
        files = make_folder(stage / "files")
        kept = _keep_identical(files, table)
        wanted = {name: table[name] for name in gaps if name not in kept}
        if wanted:
            with _by_hand_hint(out, sources), _leaving_no_empty(stage):
                _bring(source, wanted, stage, sources, network, progress)
        _refuse_incomplete(out, files, verify(files, {name: table[name] for name in gaps}), source)
        _install(files, out)
        shutil.rmtree(stage)
        load_dataset(out)
        return Fetched(verify(out, table), already_there=False)
    except OSError as error:
        raise UserError(
            f"{error.filename or out} could not be written ({error.strerror or error})",
            "free some space or choose another --out; running again resumes",
        ) from error


def progress_bar() -> Progress:
    """A bar on stderr that counts whatever it is given, and is silent where stderr is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _bring(
    source: str,
    wanted: Mapping[str, bytes],
    stage: Path,
    sources: Sources,
    network: Network,
    progress: Progress | None,
) -> None:
    """Put what the source has of the wanted files into `stage / "files"`."""
    files, archives = stage / "files", stage / "archives"
    if source == "mirror":
        show = _shows(progress, "downloading from the mirror")
        try:
            from_mirror(sources.mirror_files, wanted, files, stage / "parts", network, show)
        except RefusedError:  # so many files are too many for some: the archive is a single one
            _bring(sources.mirror, wanted, stage, sources, network, progress)
    elif source == "drive" or "drive.google.com/drive/" in source:
        folder = sources.drive if source == "drive" else source
        if from_drive(folder, list(wanted), files, archives, network, _shows(progress, "downloading from Drive")):
            _unpack_downloaded(archives, "the archive on Google Drive", files, wanted, progress)
    elif urlsplit(source).scheme in ("http", "https"):
        # Named by its address, so that another address never continues this file.
        target = stage / "url" / hashlib.sha256(source.encode()).hexdigest()[:16]
        if not target.is_file():
            show = _shows(progress, "downloading the archive")
            with requests.Session() as session:
                download(
                    source, target, session=session, network=network, limit_bytes=MAX_UNPACKED_BYTES, on_bytes=show
                )
        _unpack_downloaded(target, shown(source), files, wanted, progress)
    elif Path(source).exists():
        unpack(Path(source), files, wanted, on_file=_shows(progress, "copying the files"))
    else:
        raise UserError(
            f"there is no {_named(source)}",
            "expected mirror, drive, a folder, a zip or tar file, or the http(s) address of one; check the path",
        )


def _unpack_downloaded(
    archive: Path, called: str, files: Path, wanted: Mapping[str, bytes], progress: Progress | None
) -> None:
    try:
        unpack(archive, files, wanted, called=called, on_file=_shows(progress, "unpacking"))
    finally:
        # Good or bad, it is used up: a bad one must come anew.
        shutil.rmtree(archive) if archive.is_dir() else archive.unlink(missing_ok=True)


def _staging_folder(out: Path) -> Path:
    """Beside `out`, or inside where `out` is a mounted disk: files are moved in, which no move across disks is."""
    out = out.resolve()
    return (out if out.is_mount() else out.parent) / f".{out.name}-partial"


def _keep_identical(files: Path, table: Mapping[str, bytes]) -> set[str]:
    """Keep of an earlier run only what is surely FireSeg's: the rest may come from another source than this one."""
    kept = set(verify(files, table).identical)
    for path in [path for path in files.rglob("*") if path.is_file()]:
        if path.relative_to(files).as_posix() not in kept:
            path.unlink()
    return kept


def _is_readable(path: Path) -> bool:
    try:
        read_gray_or_colour(path)
    except UserError:
        return False
    return True


def _refuse_incomplete(out: Path, files: Path, arrived: Verification, source: str) -> None:
    """Refuse a set with missing or unreadable files before anything is moved into `out`."""
    if arrived.missing:
        count = len(arrived.identical) + len(arrived.changed) + len(arrived.missing)
        raise UserError(
            f"{_named(source)} lacks {len(arrived.missing)} of {count} files ({shortened(arrived.missing)})",
            "expected "
            f"all of {', '.join(FOLDERS)}; {out} is untouched, and running again with another --from fetches only what "
            "is not there yet",
        )
    _refuse_broken(arrived, (files, out), f"{out} is untouched; try another --from")


def _refuse_broken(found: Verification, roots: tuple[Path, ...], advice: str) -> None:
    """Open each pair with a changed file, from the first of the roots that has it; published bytes need no look."""
    suspects = []
    for names in sorted({_pair_of(name) for name in found.changed}):
        image, mask = (next(root / name for root in roots if (root / name).is_file()) for name in names)
        suspects.append(Pair(names[0], image, mask, "all", ""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd mask values: the loader tells of them wherever the set is used
        broken = find_broken(suspects)
    if broken:
        raise UserError(f"{len(broken)} of FireSeg's pairs cannot be used", f"{shortened(broken, '; ')}; {advice}")


def _pair_of(name: str) -> tuple[str, str]:
    folder, _, file = name.partition("/")
    part, stem = folder.rpartition("_")[2], Path(file).stem
    return f"images_prepped_{part}/{stem}.jpg", f"annotations_prepped_{part}/{stem}.png"


def _install(files: Path, out: Path) -> None:
    """Move the set into place: at one stroke where there is nothing yet, else the files that were missing."""
    if not out.exists() or not any(out.iterdir()):
        make_folder(out)
        files.replace(out)
        return
    for path in sorted(path for path in files.rglob("*") if path.is_file()):
        target = out / path.relative_to(files)
        make_folder(target.parent)
        path.replace(target)


def _named(source: str) -> str:
    return shown(source) if "://" in source else source


@contextmanager
def _leaving_no_empty(stage: Path) -> Iterator[None]:
    """Where nothing was won to go on from, leave no trace."""
    try:
        yield
    finally:
        if not any(path.is_file() for path in stage.rglob("*")):
            shutil.rmtree(stage)


@contextmanager
def _by_hand_hint(out: Path, sources: Sources) -> Iterator[None]:
    """Turn a failed transfer into the one line that says how to go on without it."""
    try:
        yield
    except TransferError as error:
        raise UserError(
            f"FireSeg could not be downloaded ({error})",
            f"run again to resume, or download by hand from {sources.drive} "
            f"or {sources.mirror} and pass the folder or archive with --from, or put {', '.join(FOLDERS)} into {out}/",
        ) from error


def _shows(progress: Progress | None, description: str) -> OnFile:
    """Count in the bar what is done, in files or in bytes."""
    if progress is None:
        return lambda done, total: None
    task = progress.add_task(description, total=None)
    return lambda done, total: progress.update(task, completed=done, total=total)
