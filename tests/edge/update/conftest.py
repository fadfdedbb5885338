"""A repository that is served, and a machine whose run is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("tuf", reason="tuf is not installed: pip install '.[update,publish]'")
pytest.importorskip("cryptography", reason="cryptography is not installed: pip install '.[publish]'")

from tests.support.model_repository import AT_FULL_PRIORITY, INSTALLED, Machine, Site, edited, serve


@pytest.fixture(autouse=True)
def _at_full_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the comparison run at the priority of the tests: beside other load it takes minutes at a low one."""
    monkeypatch.setattr("edge.update.comparison.CHILD", AT_FULL_PRIORITY)


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
