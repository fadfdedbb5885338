"""Chromium for the tests of the page: start it, and read what it shows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.sinks.web.sink import WebPage
from tests.support.factories import run_status
from tests.support.waiting import wait_for

SCREENSHOT = Path(__file__).parents[2] / "build" / "page.png"
CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
NEEDS_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="install chromium and chromedriver to run this test"),
]


def wait_with_status(page: WebPage, is_true: Callable[[], Any], **changes: Any) -> None:
    """Send a status before each check."""

    def check() -> Any:
        page.on_status(run_status(**changes))
        return is_true()

    wait_for(check)


def text(browser: Any, element: str) -> str:
    return browser.execute_script("return document.getElementById(arguments[0]).innerText", element)


def unfold(browser: Any) -> None:
    """Open all sections: what a closed one holds is not rendered and has no text."""
    browser.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")


def each(browser: Any, selector: str, expression: str) -> list[Any]:
    """Read in one script: the page may replace elements between two calls."""
    script = f"return [...document.querySelectorAll(arguments[0])].map((each) => each.{expression})"
    return browser.execute_script(script, selector)


def live_width(browser: Any) -> int:
    return browser.execute_script("return document.getElementById('live').naturalWidth")
