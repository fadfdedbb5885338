"""A repository that is served, and a machine whose run is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("tuf", reason="tuf is not installed: pip install '.[update,publish]'")
pytest.importorskip("cryptography", reason="cryptography is not installed: pip install '.[publish]'")

from tests.support.model_repository import INSTALLED, Machine, Site, edited, serve


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An empty repository."""
    with serve(tmp_path) as site:
        yield site


@pytest.fixture
def machine(tmp_path: Path, site: Site) -> Machine:
    return Machine(tmp_path / "machine", site, INSTALLED)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A good model that is not the installed one."""
    return edited(INSTALLED, tmp_path, "newer")
