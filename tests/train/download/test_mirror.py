"""Fetching the set file by file from the mirror, and going on where that stopped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress

from tests.support.http_server import Site, unused_address
from tests.support.small_set import FILES, IMAGE, MASK, Files, bring, make_set, refused, zipped
from train.download import remote
from train.download.fetch import progress_bar
from train.download.remote import Sources


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
