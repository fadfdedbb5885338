"""FireSeg from the two places that hold it: the authors' Google Drive folder, and a complete copy on GitHub.

The copy is the default. It is fetched file by file: each is checked against the published digest as it arrives and
kept, so an interrupted run goes on where it stopped. Google Drive hands out files one by one too, but refuses after
too many, and its listings have been cut at 50 files; here a short list is an error before anything is downloaded.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import requests

from edge.errors import UserError
from edge.files import make_folder
from edge.images import read_gray_or_colour
from train.download.archive import MAX_PICTURE_BYTES, choose, is_archive
from train.download.checksums import digest
from train.download.http import Network, TransferError, download, reason, shown

MIRROR_COMMIT = "efc5ff4c7ee29680010c600d8b8135c860dc2f45"
CONNECTIONS = 8

OnFile = Callable[[int, int | None], None]  # files done, files in all


@dataclass(frozen=True)
class Sources:
    """Where FireSeg lies. `mirror_files` holds its folders, file by file; the other two serve people as well."""

    drive: str = "https://drive.google.com/drive/folders/1Xfq7zLwIwJ4vPx50G-k7j2-ofh1bj3fx"
    mirror: str = f"https://github.com/adriangambito/fire-segmentation/archive/{MIRROR_COMMIT}.zip"
    mirror_files: str = (
        f"https://raw.githubusercontent.com/adriangambito/fire-segmentation/{MIRROR_COMMIT}"
        "/fire_segmentation/Fire%20Dataset"
    )


def from_mirror(
    address: str,
    wanted: Mapping[str, bytes],
    into: Path,
    parts: Path,
    network: Network,
    on_file: OnFile = lambda done, total: None,
) -> None:
    """Download each wanted file to `into`, several at once; what is under way lies in `parts`.

    Raises `TransferError` at the first that fails.
    """
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS))

        stop = threading.Event()

        def bring(name: str) -> None:
            if stop.is_set():
                return
            url, part = f"{address}/{quote(name, safe='/()')}", parts / name
            for _ in range(2):
                download(url, part, session=session, network=network, limit_bytes=MAX_PICTURE_BYTES, stop=stop)
                if digest(part) == wanted[name]:
                    break
            else:  # other bytes twice are no accident of the transfer: a changed file is kept, and reported later
                _refuse_page(part, url)
            make_folder((into / name).parent)
            part.replace(into / name)

        pool = ThreadPoolExecutor(CONNECTIONS)
        try:
            for done, future in enumerate(as_completed([pool.submit(bring, name) for name in wanted]), 1):
                future.result()
                on_file(done, len(wanted))
        finally:
            # On an error or Ctrl-C, the answers under way are awaited, and nothing else is begun.
            stop.set()
            pool.shutdown(cancel_futures=True)


def from_drive(
    folder: str,
    wanted: Sequence[str],
    into: Path,
    archives: Path,
    network: Network,
    on_file: OnFile = lambda done, total: None,
) -> bool:
    """Download the wanted files of a Google Drive folder to `into`; where it lacks some, its archives to `archives`.

    Returns whether there are archives to unpack. Raises `TransferError`, also where the listing is too short.
    """
    try:
        gdown: Any = importlib.import_module("gdown")
    except ImportError as error:
        raise UserError(
            "gdown is not installed, and Google Drive needs it", "`pip install .[train]`, or use `--from mirror`"
        ) from error
    try:
        # No cookies: public files need none, and gdown would keep them in the home folder.
        listing = gdown.download_folder(
            url=folder, skip_download=True, quiet=True, use_cookies=False, timeout=network.timeout_s
        )
        ids = {PurePosixPath(file.path.replace("\\", "/")): file.id for file in listing}
        jobs = [(ids[path], into / name) for name, path in choose(ids, wanted).items()]
        if len(jobs) < len(wanted):
            # The id names the file: a name that a stranger gave should not. Its format shows when it is opened.
            packed = [(ids[path], archives / f"{ids[path]}.zip") for path in ids if is_archive(path.name)]
            if not packed:
                raise TransferError(f"Google Drive lists {len(jobs)} of the {len(wanted)} files wanted")
            jobs += packed
        for done, (file_id, target) in enumerate(jobs, 1):
            make_folder(target.parent)
            gdown.download(
                id=file_id,
                output=str(target),
                quiet=True,
                use_cookies=False,
                resume=True,
                timeout=network.timeout_s,
                retries=network.attempts - 1,
            )
            on_file(done, len(jobs))
    except requests.RequestException as error:
        raise TransferError(f"Google Drive: {reason(error)}") from error
    except gdown.exceptions.DownloadError as error:
        raise TransferError(f"Google Drive: {' '.join(str(error).split())}") from error
    except (KeyError, AttributeError, AssertionError) as error:  # gdown reads web pages, and those change
        raise TransferError("Google Drive answered in a way that gdown does not know") from error
    return archives.is_dir()


def _refuse_page(part: Path, url: str) -> None:
    """A proxy's or a login's page comes with status 200, and would be stored for every file."""
    try:
        read_gray_or_colour(part)
    except UserError as error:
        part.unlink()
        raise TransferError(f"{shown(url)} is no whole picture, but perhaps a login's page") from error
