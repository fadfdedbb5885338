"""JPEGs are found in a stream by their own markers, whatever lies between them."""

from __future__ import annotations

import contextlib

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.camera.mjpeg import MAX_SKIPPED_BYTES, START, JpegSplitter
from tests.support.mjpeg_server import image


def split(data: bytes, chunk_bytes: int) -> list[bytes]:
    """Return the JPEGs in `data` when it arrives in chunks."""
    splitter = JpegSplitter()
    jpegs: list[bytes] = []
    for at in range(0, len(data), chunk_bytes):
        splitter.feed(data[at : at + chunk_bytes])
        jpegs.extend(splitter.found)
        splitter.found.clear()
    return jpegs


JPEGS = {
    "baseline": cv2.imencode(".jpg", image(5))[1].tobytes(),
    "progressive": cv2.imencode(".jpg", image(5), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes(),
    "with restart markers": cv2.imencode(".jpg", image(5), [cv2.IMWRITE_JPEG_RST_INTERVAL, 1])[1].tobytes(),
}


@given(
    kinds=st.lists(st.sampled_from(sorted(JPEGS)), max_size=4),
    between=st.binary(max_size=200).map(lambda data: data.replace(b"\xff", b"-")),
    chunk_bytes=st.integers(1, 3000),
)
def test_jpegs_are_found_whole_in_chunks_of_any_size(kinds: list[str], between: bytes, chunk_bytes: int) -> None:
    jpegs = [JPEGS[kind] for kind in kinds]
    assert split(between + b"".join(jpeg + between for jpeg in jpegs), chunk_bytes) == jpegs


@pytest.mark.parametrize("limit", ["MAX_JPEG_BYTES", "MAX_SKIPPED_BYTES"])
def test_memory_is_bounded_within_and_between_jpegs(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"edge.camera.mjpeg.{limit}", 1000)
    with pytest.raises(ValueError, match=r"no (end of a )?JPEG"):
        split(START + JPEGS["baseline"][3:-2] + bytes(4000) if "JPEG" in limit else bytes(4000), 100)


def test_what_is_between_two_jpegs_counts_from_the_last() -> None:
    between = bytes(MAX_SKIPPED_BYTES - 10)
    assert len(split((JPEGS["baseline"] + between) * 3, 1000)) == 3


@given(data=st.binary(max_size=400), at=st.integers(0, 100), chunk_bytes=st.integers(1, 500))
def test_garbage_neither_hangs_nor_crashes_the_splitter(data: bytes, at: int, chunk_bytes: int) -> None:
    good = JPEGS["baseline"]
    with contextlib.suppress(ValueError):
        split(good[:at] + data + good, chunk_bytes)
