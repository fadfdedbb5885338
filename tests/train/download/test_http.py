"""Fetching an archive over HTTP, and failed transfers."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from tests.support.http_server import FileServer, unused_address
from tests.support.small_set import FAST, FILES, fetch_error, fetch_set, make_set, read_set, zipped
from train.download import fetch
from train.download.fetch import DRIVE_URL, MIRROR_URL, progress_bar
from train.download.http import CHUNK_BYTES, RETRY_AFTER_MAX_S, Network, TransferError, download

CUT_BYTES, RESUMED = 2 * CHUNK_BYTES + 9, f"bytes={2 * CHUNK_BYTES}-"


@pytest.fixture
def url(server: FileServer) -> str:
    server.files["set.zip"] = zipped(FILES)
    return f"{server.address}/set.zip"


def test_an_archive_is_fetched_over_http(url: str, out: Path) -> None:
    with progress_bar() as progress:
        fetched = fetch_set(out, f"{url}?token=1", progress=progress)
    assert fetched.is_published
    assert list(out.parent.iterdir()) == [out], "no staging folder is left"


def test_the_mirror_is_the_archive_on_github(url: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MIRROR_URL.startswith("https://github.com/") and MIRROR_URL.endswith(".zip")
    monkeypatch.setattr(fetch, "MIRROR_URL", url)
    assert fetch_set(out, "mirror").is_published


def test_a_cut_transfer_resumes_within_the_run(server: FileServer, url: str, out: Path) -> None:
    server.cut_after_bytes = [CUT_BYTES, CUT_BYTES]
    assert fetch_set(out, url).is_published
    assert server.ranges == [None, RESUMED, f"bytes={4 * CHUNK_BYTES}-"]


def test_a_cut_transfer_resumes_in_the_next_run(server: FileServer, url: str, out: Path) -> None:
    server.cut_after_bytes = [CUT_BYTES, 0]
    assert f"{url}: the connection broke" in fetch_error(out, url)
    server.ranges.clear()
    assert fetch_set(out, url).is_published
    assert server.ranges == [RESUMED]


@pytest.mark.parametrize(
    ("honours_range", "range_max_bytes", "requests"), [(False, 1, 2), (True, CHUNK_BYTES, 4)], ids=["ignored", "short"]
)
def test_a_server_with_poor_range_support_gives_the_same_file(
    server: FileServer, tmp_path: Path, honours_range: bool, range_max_bytes: int, requests: int
) -> None:
    server.files["file"] = bytes(range(256)) * (5 * CHUNK_BYTES // 256)
    server.cut_after_bytes, server.honours_range, server.range_max_bytes = [CUT_BYTES], honours_range, range_max_bytes
    download(f"{server.address}/file", tmp_path / "file", network=FAST, limit_bytes=1 << 20)
    assert read_set(tmp_path) == {"file": server.files["file"]}
    assert len(server.ranges) == requests


def test_a_response_above_the_size_limit_is_cut_off(server: FileServer, tmp_path: Path) -> None:
    server.files["file"] = bytes(3 << 20)
    with pytest.raises(TransferError, match="larger than the limit of 1 MiB"):
        download(f"{server.address}/file", tmp_path / "file", network=FAST, limit_bytes=1 << 20)
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("refuses_range", [False, True])
def test_a_file_that_changed_between_requests_is_not_spliced(
    server: FileServer, url: str, out: Path, refuses_range: bool
) -> None:
    server.files["set.zip"], server.cut_after_bytes = zipped(make_set(width=24)), [CUT_BYTES, 0]
    fetch_error(out, url)
    server.files["set.zip"], server.etag = zipped(FILES), '"second"'
    server.statuses = [416] if refuses_range else []
    assert fetch_set(out, url).is_published


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_retried(server: FileServer, url: str, out: Path, status: int) -> None:
    server.statuses = [status, status]
    assert fetch_set(out, url).is_published


def test_a_server_that_stays_busy_is_given_up_on(server: FileServer, url: str, out: Path) -> None:
    server.statuses = [503] * 3
    assert f"{url}: the server answered 503" in fetch_error(out, url)
    assert len(server.ranges) == 1 + FAST.retries


def test_retry_after_is_bounded() -> None:
    adapter = Network().session().get_adapter("https://")
    assert isinstance(adapter, HTTPAdapter)
    assert adapter.max_retries.get_retry_after(HTTPResponse(headers={"Retry-After": "3600"})) == RETRY_AFTER_MAX_S


def test_a_url_that_is_not_found_fails_at_once_and_says_how_to_go_on(server: FileServer, out: Path) -> None:
    message = fetch_error(out, f"{server.address}/absent.zip?token=secret")
    assert "absent.zip: the server answered 404" in message and "secret" not in message
    assert DRIVE_URL in message and MIRROR_URL in message
    assert f"annotations_prepped_test into {out}" in message and "run again to resume" in message
    assert len(server.ranges) == 1
    assert not list(out.parent.iterdir()), "nothing arrived, so nothing is left"


def test_a_web_page_instead_of_an_archive_is_reported_and_removed(server: FileServer, url: str, out: Path) -> None:
    server.files["set.zip"] = b"<!doctype html><html>please log in</html>"
    assert f"{url} is a web page: expected a whole zip or tar" in fetch_error(out, url)
    server.files["set.zip"] = zipped(FILES)
    assert fetch_set(out, url).is_published


def test_a_refused_connection_says_how_to_go_on(out: Path) -> None:
    message = fetch_error(out, f"{unused_address()}/set.zip")
    assert "connection refused" in message and MIRROR_URL in message


def test_a_silent_server_times_out(out: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hasty = Network(timeout_s=(0.1, 0.1), retries=1, backoff_s=0.01)
        message = fetch_error(out, f"http://127.0.0.1:{silent.getsockname()[1]}/set.zip", network=hasty)
    assert "no answer in time" in message
