"""A served page for the tests of the web sink."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge.sinks.web.sink import WebPage
from tests.support.web_client import serving


@pytest.fixture
def page() -> Iterator[WebPage]:
    with serving() as page:
        yield page
