"""A site, a mirror of the set on it, and where the set shall arrive."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_server import Site
from tests.support.small_set import FILES
from train.download.remote import Sources


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
