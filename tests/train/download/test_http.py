"""Fetching an archive from an address, and what happens when the transfer goes wrong."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from requests import Session

from tests.support.http_server import Site, unused_address
from tests.support.small_set import FAST, FILES, bring, make_set, read_set, refused, zipped
from train.download.http import CHUNK_BYTES, Network, TransferError, download
from train.download.remote import Sources

CUT_BYTES, RESUMED = 2 * CHUNK_BYTES + 9, f"bytes={2 * CHUNK_BYTES}-"


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
