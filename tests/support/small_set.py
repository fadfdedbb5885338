"""A set of eight pairs in FireSeg's layout, with a table of digests to pass in place of the published one."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.errors import UserError
from train.download.checksums import Verification
from train.download.fetch import fetch
from train.download.http import CHUNK_BYTES, Network

FAST = Network(timeout_s=(10, 10), retries=2, backoff_s=0.01)
REPOSITORY = "fire-segmentation-efc5/fire_segmentation/Fire Dataset"  # where the archive on GitHub holds the set
Files = dict[str, bytes]  # published name -> content


def encode(suffix: str, picture: np.ndarray[Any, Any]) -> bytes:
    return cv2.imencode(suffix, picture)[1].tobytes()


def make_set(*, width: int = 48, fire: int = 255) -> Files:
    """Return six pairs of train and two of test. Another `width` or `fire` gives a sound copy with other bytes."""
    rng = np.random.default_rng(1)
    files = {}
    for part, count in (("train", 6), ("test", 2)):
        for number in range(1, count + 1):
            mask = np.zeros((32, width), np.uint8)
            mask[: 4 * number, :20] = fire
            frame = rng.integers(0, 256, (32, width, 3), np.uint8)
            files[f"images_prepped_{part}/img({number}).jpg"] = encode(".jpg", frame)
            files[f"annotations_prepped_{part}/img({number}).png"] = encode(".png", mask)
    return files


FILES = make_set()
TABLE = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
IMAGE, MASK = "images_prepped_train/img(2).jpg", "annotations_prepped_train/img(2).png"


def write_set(root: Path, files: Files) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def read_set(root: Path) -> Files:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def zipped(files: Files, prefix: str = REPOSITORY) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr(f"{prefix}/README.md", bytes(4 * CHUNK_BYTES))  # so that the archive takes several chunks
        for name, data in files.items():
            target.writestr(f"{prefix}/{name}", data)
    return buffer.getvalue()


def fetch_set(out: Path, source: Path | str, **options: Any) -> Verification:
    return fetch(out, str(source), **{"published": TABLE, "network": FAST, **options})


def fetch_error(out: Path, source: Path | str, **options: Any) -> str:
    """Return the text of the error that `fetch` raises. Asserts that it is one line and that `out` is unchanged."""
    before = read_set(out) if out.is_dir() else None
    with pytest.raises(UserError) as caught:
        fetch_set(out, source, **options)
    assert "\n" not in str(caught.value)
    assert (read_set(out) if out.is_dir() else None) == before
    return str(caught.value)
