"""Fetching the set from every kind of source, over real sockets on the loopback, and what happens when it goes wrong.

A small synthetic set stands in for FireSeg: its digests are handed in where the published ones would be.
"""

from __future__ import annotations

import hashlib
import io
import os
import socket
import sys
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import cv2
import gdown
import numpy as np
import pytest
from requests import ConnectionError, Session
from rich.progress import Progress

from edge.errors import UserError
from train import archive, remote
from train.archive import choose
from train.download import CHUNK_BYTES, Network, TransferError, download
from train.fetch import Fetched, fetch, progress_bar
from train.fireseg import load_dataset
from train.remote import Sources

FAST = Network(connect_timeout_s=2, read_timeout_s=2, attempts=3, backoff_s=0.01)
CUT_BYTES, RESUMED = 2 * CHUNK_BYTES + 9, f"bytes={2 * CHUNK_BYTES}-"
REPOSITORY = "fire-segmentation-efc5/fire_segmentation/Fire Dataset"  # how the mirror's archive nests the set
Files = dict[str, bytes]  # published name -> content


def encode(suffix: str, picture: np.ndarray[Any, Any]) -> bytes:
    return cv2.imencode(suffix, picture)[1].tobytes()


def make_set(*, width: int = 48, fire: int = 255) -> Files:
    """Six pairs of train and two of test. Another `width` or `fire` makes a sound copy with other bytes."""
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
TABLE = {name: hashlib.sha256(data).digest() for name, data in FILES.items()}
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
        target.writestr(f"{prefix}/README.md", bytes(4 * CHUNK_BYTES))  # else it would come in one piece
        for name, data in files.items():
            target.writestr(f"{prefix}/{name}", data)
    return buffer.getvalue()


def bring(out: Path, source: Path | str, **options: Any) -> Fetched:
    return fetch(out, str(source), **{"published": TABLE, "network": FAST, **options})


def refused(out: Path, source: Path | str, **options: Any) -> str:
    """The error's text; it is one line, and `out` stays as it was."""
    before = read_set(out) if out.is_dir() else None
    with pytest.raises(UserError) as caught:
        bring(out, source, **options)
    assert "\n" not in str(caught.value)
    assert (read_set(out) if out.is_dir() else None) == before
    return str(caught.value)


class Site(ThreadingHTTPServer):
    """A server of a few files that can be told to misbehave."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: Files = {}
        self.requests: list[tuple[str, str | None]] = []  # path and Range
        self.cut_after_bytes: list[int] = []  # one for each answer to come that shall break off
        self.honours_range = True
        self.range_at_most_bytes = 1 << 30
        self.etag = '"first"'
        self.statuses: list[int] = []  # for the answers to come
        self.refused: dict[str, int] = {}  # path -> status, always
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up is part of the play

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def counts(self) -> Counter[str]:
        return Counter(path for path, _ in self.requests)


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        site, path = self.server, unquote(self.path.partition("?")[0]).lstrip("/")
        with site.lock:
            site.requests.append((path, self.headers.get("Range")))
            status = site.statuses.pop(0) if site.statuses else site.refused.get(path, 200)
            cut_after_bytes = site.cut_after_bytes.pop(0) if site.cut_after_bytes else None
        if path not in site.files:
            status = 404
        if status != 200:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data, start = site.files[path], 0
        if site.honours_range and "Range" in self.headers and self.headers.get("If-Range") == site.etag:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        body = data[start:][: site.range_at_most_bytes if start else None]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(data)}")
        self.send_header("ETag", site.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if cut_after_bytes is None else body[:cut_after_bytes])
        if cut_after_bytes is not None:
            self.close_connection = True


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def mirror(site: Site) -> Sources:
    site.files = {f"Fire Dataset/{name}": data for name, data in FILES.items()}
    return Sources(mirror_files=f"{site.address}/Fire%20Dataset")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "data" / "fireseg"


def unused_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


# From this machine.


def test_a_nested_folder_is_copied_whole_and_left_as_it_was(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in" / REPOSITORY, FILES)
    (source / "images_prepped_train" / "Thumbs.db").write_bytes(b"x")
    fetched = bring(out, tmp_path / "in")
    assert fetched.verification.is_published and not fetched.already_there and fetched.warning is None
    assert read_set(out) == FILES
    assert len(load_dataset(out).pairs) == 8
    assert read_set(source).keys() > FILES.keys()
    assert list(out.parent.iterdir()) == [out], "the staging folder is gone"


def test_a_zip_is_unpacked(tmp_path: Path, out: Path) -> None:
    source = tmp_path / "fireseg.zip"
    source.write_bytes(zipped(FILES))
    assert bring(out, source).verification.is_published
    assert read_set(out) == FILES


def test_a_compressed_tar_is_unpacked(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in", FILES)
    with tarfile.open(tmp_path / "fireseg.tar.gz", "w:gz") as target:
        target.add(source, "Fire Dataset")
    assert bring(out, tmp_path / "fireseg.tar.gz").verification.is_published


def test_the_several_zips_of_a_browser_download_make_one_set(tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    names = list(FILES)
    for number in (0, 1):
        part = {name: FILES[name] for name in names[number::2]}
        (folder / f"Fire Dataset-00{number}.zip").write_bytes(zipped(part, "Fire Dataset"))
    assert bring(out, folder).verification.is_published


def test_masks_named_binary_are_taken_where_there_are_no_others(tmp_path: Path, out: Path) -> None:
    renamed = {name.replace("annotations_prepped", "annotations_binary"): data for name, data in FILES.items()}
    fetched = bring(out, write_set(tmp_path / "in", renamed))
    assert fetched.verification.is_published
    assert read_set(out) == FILES


def test_prepped_masks_come_before_binary_ones_and_the_fullest_copy_before_others(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in" / "deep" / "er", FILES)
    write_set(source, {MASK.replace("prepped", "binary"): b"another"})
    write_set(tmp_path / "in", {IMAGE: b"a lone sample"})
    assert bring(out, tmp_path / "in").verification.is_published


def test_a_copy_with_other_sizes_and_masks_of_0_and_1_is_a_warning_with_counts(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in", make_set(width=24, fire=1))
    fetched = bring(out, source)
    assert len(fetched.verification.changed) == 16
    assert fetched.warning is not None and "0 of 16 files are the published bytes, 16 differ" in fetched.warning
    assert load_dataset(out).pairs[0].read()[1].any()


def test_a_missing_file_is_named_and_nothing_arrives(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in", {name: data for name, data in FILES.items() if name != MASK})
    message = refused(out, source)
    assert f"lacks 1 of 16 files ({MASK})" in message
    assert not out.exists()


def test_many_missing_files_are_counted_after_the_first_ten(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in", {name: FILES[name] for name in (IMAGE, MASK)})
    message = refused(out, source)
    assert "lacks 14 of 16 files" in message and "and 4 more" in message


def test_a_cut_picture_is_named_and_nothing_arrives(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in", FILES | {IMAGE: FILES[IMAGE][:-40]})
    message = refused(out, source)
    assert "1 of FireSeg's pairs cannot be used" in message and "img(2).jpg is cut short" in message
    assert not out.exists()


def test_a_mask_of_another_size_than_its_image_is_refused(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in", FILES | {MASK: make_set(width=24)[MASK]})
    assert "expected one size for both" in refused(out, source)


def test_a_source_without_the_layout_says_what_was_expected(tmp_path: Path, out: Path) -> None:
    source = write_set(tmp_path / "in", {"photos/img(1).jpg": FILES[IMAGE]})
    assert "holds no FireSeg: expected images_prepped_train/" in refused(out, source)


def test_a_path_that_is_not_there_lists_what_could_be_given(tmp_path: Path, out: Path) -> None:
    assert "expected mirror, drive, a folder" in refused(out, tmp_path / "absent.zip")


@pytest.mark.parametrize("keep_bytes", [-300, 200])
def test_a_broken_zip_is_refused(tmp_path: Path, out: Path, keep_bytes: int) -> None:
    source = tmp_path / "fireseg.zip"
    source.write_bytes(zipped(FILES)[:keep_bytes])
    assert "expected a whole zip or tar" in refused(out, source)


def test_a_zip_with_a_flipped_byte_is_refused(tmp_path: Path, out: Path) -> None:
    data = bytearray(zipped(FILES))
    data[-len(data) // 4] ^= 0xFF
    source = tmp_path / "fireseg.zip"
    source.write_bytes(data)
    assert "is damaged (Bad CRC-32" in refused(out, source)


@pytest.mark.parametrize("member", ["../escaped.jpg", "/etc/escaped.jpg", "a\\..\\..\\escaped.jpg", "C:/escaped.jpg"])
def test_an_archive_with_a_member_that_leads_out_of_it_is_refused(tmp_path: Path, out: Path, member: str) -> None:
    source = tmp_path / "fireseg.zip"
    source.write_bytes(zipped(FILES))
    with zipfile.ZipFile(source, "a") as target:
        target.writestr(member, b"x")
    assert "leads out of the archive" in refused(out, source)
    assert not list(tmp_path.rglob("escaped*"))


def test_a_link_in_an_archive_is_never_followed(tmp_path: Path, out: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(FILES[IMAGE])
    with tarfile.open(tmp_path / "fireseg.tar", "w") as target:
        target.add(write_set(tmp_path / "in", {n: d for n, d in FILES.items() if n != IMAGE}), "set")
        link = tarfile.TarInfo(f"set/{IMAGE}")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        target.addfile(link)
    assert f"lacks 1 of 16 files ({IMAGE})" in refused(out, tmp_path / "fireseg.tar")


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "fireseg.zip"
    source.write_bytes(zipped(FILES))
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 1000)
    assert "is refused: it unpacks to more than" in refused(out, source)
    monkeypatch.undo()
    monkeypatch.setattr(archive, "MAX_PICTURE_BYTES", 100)
    assert "expected a picture" in refused(out, source)


def test_what_is_there_already_is_verified_and_left_alone(tmp_path: Path, out: Path) -> None:
    write_set(out, FILES)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    fetched = bring(out, tmp_path / "a source that is not even there")
    assert fetched.already_there and fetched.verification.is_published
    assert str(fetched).startswith("already there: ")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_broken_picture_in_a_set_that_is_there_already_is_replaced(site: Site, mirror: Sources, out: Path) -> None:
    write_set(out, FILES | {IMAGE: FILES[IMAGE][:-40]})
    assert bring(out, "mirror", sources=mirror).verification.is_published
    assert site.counts == {f"Fire Dataset/{IMAGE}": 1}


def test_a_pair_of_two_sizes_in_a_set_that_is_there_already_is_told(tmp_path: Path, out: Path) -> None:
    write_set(out, FILES | {MASK: make_set(width=24)[MASK]})
    assert "expected one size for both" in refused(out, tmp_path)


def test_the_gaps_of_a_published_set_are_filled(tmp_path: Path, out: Path) -> None:
    write_set(out, {name: data for name, data in FILES.items() if name != IMAGE and "test" not in name})
    assert bring(out, write_set(tmp_path / "in", FILES)).verification.is_published
    assert read_set(out) == FILES


def test_a_half_set_of_changed_files_is_not_mixed_with_others(tmp_path: Path, out: Path) -> None:
    write_set(out, {IMAGE: make_set(width=24)[IMAGE]})
    assert "move it away or choose another --out" in refused(out, write_set(tmp_path / "in", FILES))


def test_a_file_in_the_place_of_the_target_is_refused(tmp_path: Path, out: Path) -> None:
    out.parent.mkdir(parents=True)
    out.write_text("mine")
    assert "is a file: expected a folder" in refused(out, write_set(tmp_path / "in", FILES))
    assert out.read_text() == "mine"


def test_what_one_source_lacks_another_completes(tmp_path: Path, out: Path, site: Site, mirror: Sources) -> None:
    write_set(tmp_path / "in", {name: data for name, data in FILES.items() if name != MASK})
    refused(out, tmp_path / "in")
    assert bring(out, "mirror", sources=mirror).verification.is_published
    assert site.counts == {f"Fire Dataset/{MASK}": 1}


# From an address.


def test_an_archive_comes_over_http(site: Site, out: Path) -> None:
    site.files["set.zip"] = zipped(FILES)
    assert bring(out, f"{site.address}/set.zip?token=1").verification.is_published
    assert list(out.parent.iterdir()) == [out]


def test_a_cut_transfer_goes_on_where_it_stopped(site: Site, out: Path) -> None:
    site.files["set.zip"] = zipped(FILES)
    site.cut_after_bytes = [CUT_BYTES]
    assert bring(out, f"{site.address}/set.zip").verification.is_published
    assert [range_ for _, range_ in site.requests] == [None, RESUMED]


def test_a_cut_transfer_goes_on_in_the_next_run(site: Site, out: Path) -> None:
    site.files["set.zip"] = zipped(FILES)
    site.cut_after_bytes = [CUT_BYTES, 0, 0]
    message = refused(out, f"{site.address}/set.zip")
    assert f"{site.address}/set.zip: the connection broke, tried 3 times" in message
    site.requests.clear()
    assert bring(out, f"{site.address}/set.zip").verification.is_published
    assert [range_ for _, range_ in site.requests] == [RESUMED]


@pytest.mark.parametrize(("honours_range", "at_most_bytes", "requests"), [(False, 1, 2), (True, CHUNK_BYTES, 4)])
def test_a_server_that_ignores_range_or_sends_less_of_it_gives_the_very_same_file(
    site: Site, tmp_path: Path, honours_range: bool, at_most_bytes: int, requests: int
) -> None:
    site.files["file"] = bytes(range(256)) * (5 * CHUNK_BYTES // 256)
    site.cut_after_bytes, site.honours_range, site.range_at_most_bytes = [CUT_BYTES], honours_range, at_most_bytes
    with Session() as session:
        download(f"{site.address}/file", tmp_path / "file", session=session, network=FAST, limit_bytes=1 << 20)
    assert read_set(tmp_path) == {"file": site.files["file"]}
    assert len(site.requests) == requests


def test_an_endless_answer_is_cut_off(site: Site, tmp_path: Path) -> None:
    site.files["file"] = bytes(3 << 20)
    with Session() as session, pytest.raises(TransferError, match="larger than the 1 MiB expected at most"):
        download(f"{site.address}/file", tmp_path / "file", session=session, network=FAST, limit_bytes=1 << 20)
    assert not (tmp_path / "file").exists()


def test_a_file_that_changed_meanwhile_is_not_spliced(site: Site, out: Path) -> None:
    site.files["set.zip"] = zipped(make_set(width=24))
    site.cut_after_bytes = [CUT_BYTES, 0, 0]
    refused(out, f"{site.address}/set.zip")
    site.files["set.zip"], site.etag, site.cut_after_bytes = zipped(FILES), '"second"', []
    assert bring(out, f"{site.address}/set.zip").verification.is_published


def test_a_busy_server_is_asked_again(site: Site, out: Path) -> None:
    site.files["set.zip"] = zipped(FILES)
    site.statuses = [503, 429]
    assert bring(out, f"{site.address}/set.zip").verification.is_published


def test_an_address_that_is_not_found_fails_at_once_and_says_how_to_go_on_by_hand(site: Site, out: Path) -> None:
    message = refused(out, f"{site.address}/absent.zip?token=secret")
    assert "absent.zip: the server answered 404" in message and "secret" not in message
    assert Sources().drive in message and Sources().mirror in message
    assert f"annotations_prepped_test into {out}" in message and "run again to resume" in message
    assert len(site.requests) == 1


def test_a_web_page_in_the_place_of_an_archive_is_told_and_not_kept(site: Site, out: Path) -> None:
    site.files["set.zip"] = b"<!doctype html><html>please log in</html>"
    message = refused(out, f"{site.address}/set.zip")
    assert f"{site.address}/set.zip is no archive: it is a web page" in message
    site.files["set.zip"] = zipped(FILES)
    assert bring(out, f"{site.address}/set.zip").verification.is_published


def test_a_refused_connection_says_how_to_go_on_by_hand(out: Path) -> None:
    message = refused(out, f"{unused_address()}/set.zip")
    assert "connection refused, tried 3 times" in message and Sources().mirror in message


def test_a_server_that_says_nothing_is_given_up_on(out: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hasty = Network(connect_timeout_s=0.1, read_timeout_s=0.1, attempts=2, backoff_s=0.01)
        message = refused(out, f"http://127.0.0.1:{silent.getsockname()[1]}/set.zip", network=hasty)
    assert "no answer in time" in message


# From the mirror.


def test_the_mirror_gives_the_set_file_by_file(site: Site, mirror: Sources, out: Path) -> None:
    with progress_bar() as progress:
        fetched = bring(out, "mirror", sources=mirror, progress=progress)
    assert fetched.verification.is_published
    assert site.counts == dict.fromkeys(site.files, 1)


def test_an_interrupted_mirror_run_keeps_what_it_finished(
    site: Site, mirror: Sources, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "CONNECTIONS", 1)  # so that it is known which files came before the broken one
    finished, broken = list(site.files)[:10], list(site.files)[10]
    site.refused = {broken: 500}
    message = refused(out, "mirror", sources=mirror)
    assert f"{broken.removeprefix('Fire Dataset/')}: the server answered 500" in message and Sources().drive in message
    assert not out.exists()
    site.requests.clear()
    site.refused = {}
    assert bring(out, "mirror", sources=mirror).verification.is_published
    assert site.counts[broken] == 1 and not site.counts.keys() & finished


def test_a_file_that_arrives_with_other_bytes_once_is_fetched_again(
    site: Site, mirror: Sources, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "CONNECTIONS", 1)
    name, seen = f"Fire Dataset/{IMAGE}", make_set(width=24)[IMAGE]
    site.files[name] = seen
    answers = iter([seen, FILES[IMAGE]])
    site.files = _Changing(site.files, name, answers)
    assert bring(out, "mirror", sources=mirror).verification.is_published
    assert site.counts[name] == 2


class _Changing(dict[str, bytes]):
    """Files of which one is another each time it is read."""

    def __init__(self, files: Files, name: str, answers: Iterator[bytes]) -> None:
        super().__init__(files)
        self._name, self._answers = name, answers

    def __getitem__(self, name: str) -> bytes:
        return next(self._answers) if name == self._name else super().__getitem__(name)


def test_a_mirror_that_changed_pairs_is_taken_with_a_warning(site: Site, mirror: Sources, out: Path) -> None:
    copy = make_set(width=24)
    site.files |= {f"Fire Dataset/{name}": copy[name] for name in (IMAGE, MASK)}
    fetched = bring(out, "mirror", sources=mirror)
    assert set(fetched.verification.changed) == {IMAGE, MASK}
    assert fetched.warning is not None


def test_a_login_page_in_the_place_of_a_picture_stops_the_mirror(site: Site, mirror: Sources, out: Path) -> None:
    site.files = dict.fromkeys(site.files, b"<html>log in</html>")
    assert "no whole picture, but perhaps a login's page" in refused(out, "mirror", sources=mirror)


def test_a_mirror_out_of_reach_says_how_to_go_on_by_hand(out: Path) -> None:
    message = refused(out, "mirror", sources=Sources(mirror_files=unused_address()))
    assert "connection refused" in message and Sources().drive in message
    assert not list(out.parent.iterdir()), "nothing was won, so nothing is left"


@pytest.mark.parametrize("status", [403, 429])
def test_a_mirror_that_gives_no_single_files_gives_its_archive(
    site: Site, mirror: Sources, out: Path, status: int
) -> None:
    site.refused = dict.fromkeys(list(site.files)[3:], status)
    site.files["archive.zip"] = zipped(FILES)
    sources = replace(mirror, mirror=f"{site.address}/archive.zip")
    assert bring(out, "mirror", sources=sources).verification.is_published
    assert site.counts["archive.zip"] == 1


def test_ctrl_c_leaves_what_the_mirror_gave(site: Site, mirror: Sources, out: Path) -> None:
    class Impatient(Progress):
        def update(self, *args: Any, **fields: Any) -> None:
            if fields["completed"] == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(out, "mirror", sources=mirror, progress=Impatient(disable=True))
    assert not out.exists()
    site.requests.clear()
    assert bring(out, "mirror", sources=mirror).verification.is_published
    assert len(site.requests) <= len(FILES) - 5


# From Google Drive, whose part is played by a folder: gdown has its addresses built in.


class Drive:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, files: Files, quota: int = 10_000) -> None:
        self.files, self.quota, self.given = files, quota, Counter[str]()
        monkeypatch.setattr(gdown, "download_folder", self.list)
        monkeypatch.setattr(gdown, "download", self.give)

    def list(self, **options: Any) -> list[Any]:
        assert options["skip_download"] and options["timeout"] == FAST.timeout_s
        return [SimpleNamespace(id=f"id-{i}", path=path) for i, path in enumerate(self.files)]

    def give(self, **options: Any) -> None:
        assert options["timeout"] == FAST.timeout_s
        if self.given.total() >= self.quota:
            raise gdown.exceptions.FileURLRetrievalError("Too many users have\n viewed this file")
        path = list(self.files)[int(options["id"].removeprefix("id-"))]
        self.given[path] += 1
        Path(options["output"]).write_bytes(self.files[path])


def in_drive(files: Files) -> Files:
    return {f"Fire Dataset/{name}": data for name, data in files.items()}


def test_drive_gives_the_set_file_by_file(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    Drive(monkeypatch, in_drive(FILES))
    assert bring(out, "drive").verification.is_published


def test_drive_may_hold_an_archive(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    Drive(monkeypatch, {"Fire Dataset.zip": zipped(FILES)})
    assert bring(out, "drive").verification.is_published
    assert list(out.parent.iterdir()) == [out]


def test_a_listing_of_drive_that_stops_short_is_an_error_before_any_download(
    monkeypatch: pytest.MonkeyPatch, out: Path
) -> None:
    drive = Drive(monkeypatch, in_drive({name: FILES[name] for name in list(FILES)[:5]}))
    message = refused(out, "drive")
    assert "Google Drive lists 5 of the 16 files wanted" in message and Sources().mirror in message
    assert drive.given.total() == 0


def test_a_drive_that_refuses_after_some_files_is_resumed(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    drive = Drive(monkeypatch, in_drive(FILES), quota=6)
    assert "Too many users have viewed this file" in refused(out, "drive")
    drive.quota = 10_000
    assert bring(out, "https://drive.google.com/drive/folders/1Xfq").verification.is_published
    assert set(drive.given.values()) == {1}


def test_drive_out_of_reach_says_why_and_how_to_go_on_by_hand(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    def fail(**options: Any) -> None:
        raise ConnectionError("HTTPSConnectionPool(...): Connection refused")

    monkeypatch.setattr(gdown, "download_folder", fail)
    message = refused(out, "drive")
    assert "(Google Drive: connection refused)" in message and Sources().mirror in message


def test_without_gdown_drive_says_what_to_install(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    assert "gdown is not installed" in refused(out, "drive")


# With the real data.


def test_a_resized_copy_of_fireseg_differs_from_the_published_bytes_as_a_warning(tmp_path: Path) -> None:
    if "FIRESEG_DIR" not in os.environ:
        pytest.skip("FIRESEG_DIR is not set: no copy of FireSeg here")
    out = tmp_path / "fireseg"
    out.symlink_to(Path(os.environ["FIRESEG_DIR"]).resolve(), target_is_directory=True)
    fetched = fetch(out, "a source that is never asked")
    assert fetched.already_there and fetched.verification.complete
    if fetched.verification.is_published:
        pytest.skip("FIRESEG_DIR holds the published bytes: nothing differs")
    assert fetched.warning is not None and "differs from the published bytes" in fetched.warning


def test_a_mac_s_shadow_files_are_no_second_copy() -> None:
    paths = [PurePosixPath("__MACOSX/set/images_prepped_train/._img(2).jpg"), PurePosixPath(f"set/{IMAGE}")]
    assert choose(paths, [IMAGE]) == {IMAGE: paths[1]}
