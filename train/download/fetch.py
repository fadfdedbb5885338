"""Fetch FireSeg whole: from the archive on GitHub, Google Drive, an archive, a URL or a folder.

Files collect in a staging folder beside the target and move in once the set is complete and readable, so the target
never holds half a set. An interrupted run leaves the staging folder, and the next run resumes from it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import gdown
import requests
from rich.console import Console
from rich.progress import Progress

from edge.errors import UserError
from edge.files import make_folder
from edge.images import read_gray_or_colour
from train.data.check import check
from train.data.fireseg import Dataset, Pair, load_dataset
from train.download.archive import MAX_UNPACKED_BYTES, choose, is_archive, unpack
from train.download.checksums import FOLDERS, Verification, digests, shortened, verify
from train.download.http import Network, OnProgress, TransferError, download, reason, shown

# A complete copy on GitHub, which does not limit downloads as Google Drive does.
MIRROR_URL = "https://github.com/adriangambito/fire-segmentation/archive/efc5ff4c7ee29680010c600d8b8135c860dc2f45.zip"
DRIVE_URL = "https://drive.google.com/drive/folders/1Xfq7zLwIwJ4vPx50G-k7j2-ofh1bj3fx"  # the authors' folder


def fetch(
    out: Path,
    source: str,
    *,
    network: Network | None = None,
    published: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Bring FireSeg to `out` from "mirror", "drive", a folder, an archive, or the http(s) URL of an archive.

    A complete `out` is verified and left alone; missing or broken files are filled in if the rest is published.
    A copy with other bytes is accepted with a warning, an incomplete or unreadable one refused. Raises `UserError`.
    """
    table = digests() if published is None else published
    # Beside `out`, or inside a mounted `out`: a rename cannot cross file systems.
    target = out.resolve()
    stage = (target if target.is_mount() else target.parent) / f".{target.name}-partial"
    files = stage / "files"
    try:
        if out.exists() and not out.is_dir():
            raise UserError(f"{out} is a file", "expected a folder, or nothing yet; choose another --out")
        before = verify(out, table)
        broken = [name for name in before.changed if _is_broken(out / name)]
        gaps = [*before.missing, *broken]
        if not gaps:
            load_dataset(out)
            _refuse_broken(before, (out,), "move the folder away, or choose another --out")
            return replace(before, already_there=True)
        if len(before.changed) > len(broken):
            raise UserError(
                f"{out} holds {len(before.changed) - len(broken)} files that differ from the published ones, and lacks "
                f"{len(gaps)} ({shortened(gaps)})",
                "expected a complete copy or none; move it away or choose another --out",
            )
        staged = _keep_published(files, table)
        if lacking := [name for name in gaps if name not in staged]:
            _collect(source, lacking, stage, network or Network(), progress or Progress(disable=True))
        _refuse_incomplete(out, files, verify(files, {name: table[name] for name in gaps}), source)
        _install(files, out)
        shutil.rmtree(stage)
        load_dataset(out)
        return verify(out, table)
    except TransferError as error:
        raise UserError(
            f"FireSeg could not be downloaded ({error})",
            f"run again to resume, or download by hand from {DRIVE_URL} "
            f"or {MIRROR_URL} and pass the folder or archive with --from, or put {', '.join(FOLDERS)} into {out}/",
        ) from error
    except OSError as error:
        raise UserError(
            f"{error.filename or out} could not be written ({error.strerror or error})",
            "free some space or choose another --out; running again resumes",
        ) from error
    finally:
        if not any(path.is_file() for path in stage.rglob("*")):
            shutil.rmtree(stage, ignore_errors=True)  # nothing to resume from


def progress_bar() -> Progress:
    """Return a progress bar on stderr, silent if stderr is not a terminal."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def _collect(source: str, names: Collection[str], stage: Path, network: Network, progress: Progress) -> None:
    """Put the source's copies of the files `names` into `stage / "files"`."""
    files = stage / "files"
    if source == "drive" or "drive.google.com/drive/" in source:
        folder, archives = DRIVE_URL if source == "drive" else source, stage / "archives"
        _download_from_drive(folder, names, files, archives, network, _shows(progress, "downloading from Drive"))
        if archives.is_dir():
            _unpack_and_remove(archives, "the archive on Google Drive", files, names, progress)
    elif source == "mirror" or urlsplit(source).scheme in ("http", "https"):
        url = MIRROR_URL if source == "mirror" else source
        # Named by its URL, so that the download of another URL never resumes this file.
        archive = stage / "url" / hashlib.sha256(url.encode()).hexdigest()[:16]
        if not archive.is_file():
            show = _shows(progress, "downloading the archive")
            download(url, archive, limit_bytes=MAX_UNPACKED_BYTES, network=network, on_progress=show)
        _unpack_and_remove(archive, shown(url), files, names, progress)
    elif Path(source).exists():
        unpack(Path(source), files, names, on_progress=_shows(progress, "copying the files"))
    else:
        raise UserError(
            f"there is no {shown(source)}",
            "expected mirror, drive, a folder, a zip or tar file, or the http(s) URL of one; check the path",
        )


def _download_from_drive(
    folder: str, names: Collection[str], files: Path, archives: Path, network: Network, on_progress: OnProgress
) -> None:
    """Download the files `names` of a Google Drive folder; if it lacks some, its archives too."""
    # No cookies: public files need none, and gdown would store them in the home folder.
    options = {"quiet": True, "use_cookies": False, "timeout": network.timeout_s, "retries": network.retries}
    try:
        listing = gdown.download_folder(url=folder, skip_download=True, **options)
        ids = {PurePosixPath(file.path.replace("\\", "/")): file.id for file in listing}
        jobs = [(ids[path], files / name) for name, path in choose(ids, names).items()]
        if len(jobs) < len(names):
            # Named by the id: a name on Drive is untrusted. The format shows when the archive is opened.
            packed = [(ids[path], archives / f"{ids[path]}.zip") for path in ids if is_archive(path.name)]
            if not packed:
                raise TransferError(f"Google Drive lists {len(jobs)} of the {len(names)} missing files")
            jobs += packed
        for done, (file_id, target) in enumerate(jobs, 1):
            make_folder(target.parent)
            gdown.download(id=file_id, output=str(target), resume=True, **options)
            on_progress(done, len(jobs))
    except requests.RequestException as error:
        raise TransferError(f"Google Drive: {reason(error)}") from error
    except gdown.exceptions.DownloadError as error:
        raise TransferError(f"Google Drive: {' '.join(str(error).split())}") from error
    except (KeyError, AttributeError, AssertionError) as error:  # gdown parses web pages, and those change
        raise TransferError("Google Drive answered in a way that gdown does not know") from error


def _unpack_and_remove(archive: Path, label: str, files: Path, names: Collection[str], progress: Progress) -> None:
    try:
        unpack(archive, files, names, label=label, on_progress=_shows(progress, "unpacking"))
    finally:  # remove a bad archive too, so that the next run downloads it again
        shutil.rmtree(archive) if archive.is_dir() else archive.unlink(missing_ok=True)


def _keep_published(files: Path, table: Mapping[str, str]) -> set[str]:
    """Remove all but the published bytes of an earlier run: the rest may come from another source."""
    published = set(verify(files, table).identical)
    for path in [path for path in files.rglob("*") if path.is_file()]:
        if path.relative_to(files).as_posix() not in published:
            path.unlink()
    return published


def _is_broken(path: Path) -> bool:
    try:
        read_gray_or_colour(path)
    except UserError:
        return True
    return False


def _refuse_incomplete(out: Path, files: Path, staged: Verification, source: str) -> None:
    """Raise `UserError` for missing or unreadable files, before anything moves into `out`."""
    if staged.missing:
        count = len(staged.identical) + len(staged.changed) + len(staged.missing)
        raise UserError(
            f"{shown(source)} lacks {len(staged.missing)} of {count} files ({shortened(staged.missing)})",
            f"expected all of {', '.join(FOLDERS)}; {out} is untouched, and running again with another --from fetches "
            "only the missing files",
        )
    _refuse_broken(staged, (files, out), f"{out} is untouched; try another --from")


def _refuse_broken(verification: Verification, roots: tuple[Path, ...], advice: str) -> None:
    """Open each pair with a changed file, from the first root that has it. Published bytes need no check."""
    suspects = []
    changed = map(Path, verification.changed)
    for part, stem in sorted({(path.parent.name.rpartition("_")[2], path.stem) for path in changed}):
        image, mask = (
            next(root / name for root in roots if (root / name).is_file())
            for name in (f"images_prepped_{part}/{stem}.jpg", f"annotations_prepped_{part}/{stem}.png")
        )
        suspects.append(Pair(stem, image, mask, "all", ""))
    try:
        check(Dataset(roots[0], "fireseg", tuple(suspects)))  # records unusual mask values: every use warns of them
    except UserError as error:
        *broken, _count = error.lines
        text = f"{shortened(broken, '; ')}; {advice}"
        raise UserError(f"{len(broken)} of FireSeg's pairs cannot be used", text) from error


def _install(files: Path, out: Path) -> None:
    """Move the set into place: by one rename into an empty `out`, else file by file."""
    make_folder(out)
    if not any(out.iterdir()):
        files.replace(out)
        return
    for path in sorted(path for path in files.rglob("*") if path.is_file()):
        target = out / path.relative_to(files)
        make_folder(target.parent)
        path.replace(target)


def _shows(progress: Progress, description: str) -> OnProgress:
    """Return a callback that shows files or bytes in a new bar."""
    task = progress.add_task(description, total=None)
    return lambda done, total: progress.update(task, completed=done, total=total)
