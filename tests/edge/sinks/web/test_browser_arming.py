"""Arm, snooze and acknowledge in Chromium, beside a real run on the test pattern."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge.config import load_config
from edge.control.client import act
from edge.secrets import WEB_PASSWORD
from tests.support.browser import NEEDS_BROWSER, SCREENSHOT, text
from tests.support.edge_process import EdgeProcess, edge_process
from tests.support.factories import result
from tests.support.waiting import wait_for
from tests.support.web_client import basic_auth, serving

PASSWORD = "a long password"
CLICK_AND_TIME = """
const done = arguments[arguments.length - 1], banner = document.getElementById("banner"), began = performance.now();
new MutationObserver((_, observer) => {
  if (!banner.textContent.includes(arguments[1])) return;
  observer.disconnect();
  done(performance.now() - began);
}).observe(banner, { childList: true, characterData: true, subtree: true });
document.getElementById(arguments[0]).click();
"""

pytestmark = NEEDS_BROWSER


@pytest.fixture
def signed_in(browser: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(WEB_PASSWORD, PASSWORD)
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": basic_auth(PASSWORD)})
    yield
    browser.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {}})


@contextmanager
def running(folder: Path, model: Path) -> Iterator[tuple[EdgeProcess, str]]:
    """A run that keeps its state in `folder`, and its address."""
    arguments = ("--source", "test-pattern", "--model", model, "--web", "127.0.0.1:0")
    with edge_process(*arguments, environment={"XDG_STATE_HOME": str(folder), WEB_PASSWORD: PASSWORD}) as run:
        yield run, run.wait_for_log("the live page is at").split()[-1]


def test_a_click_silences_a_fire_that_is_shown_and_a_restart_keeps_it_so(
    browser: Any, signed_in: None, shipped_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def visible(element: str) -> bool:
        shown: bool = browser.find_element("id", element).is_displayed()
        return shown

    with running(tmp_path, shipped_model) as (run, url):
        browser.get(url)
        wait_for(lambda: text(browser, "banner") == "FIRE" and visible("acknowledge"), limit_s=90)
        assert (text(browser, "snooze"), text(browser, "arm")) == ("Snooze 1 h", "Disarm 12 h")
        took_ms = browser.execute_async_script(CLICK_AND_TIME, "snooze", "FIRE – snoozed until ")
        assert browser.title.startswith("FIRE – snoozed until ")
        browser.save_screenshot(str(SCREENSHOT.with_name("page-snoozed.png")))
        run.wait_for(lambda: run.results[-1]["zones"]["frame"]["silence"] == "snoozed")
        wait_for(lambda: text(browser, "snooze") == "End snooze")
        with capsys.disabled():
            print(f" [tap to silence: {took_ms:.0f} ms]", end="")
        config = load_config(None, {"web": {"listen": url.split("/")[2]}})
        assert act(config, "disarm", {"hours": 1})["armed"] is False
        run.stop()
    with running(tmp_path, shipped_model) as (run, url):
        browser.get(url)
        wait_for(lambda: text(browser, "banner").startswith("Disarmed until "))
        browser.find_element("id", "arm").send_keys(" ")  # by keyboard
        wait_for(lambda: text(browser, "banner") == "No alarm")
        wait_for(lambda: text(browser, "banner") == "FIRE" and visible("acknowledge"), limit_s=90)
        browser.find_element("id", "acknowledge").send_keys(" ")
        wait_for(lambda: text(browser, "banner") == "FIRE – acknowledged" and not visible("acknowledge"))
        assert "FIRE (acknowledged)" in text(browser, "zones")


def test_without_a_password_the_buttons_are_off_and_a_sentence_says_why(browser: Any) -> None:
    with serving() as page:
        page.on_result(result(1.0, 0.5, on=True))
        browser.get(page.url)
        wait_for(lambda: text(browser, "arming-note") == "These buttons need a password: set [web] password_file.")
        states = "return [...document.querySelectorAll('.buttons button')].map((each) => each.disabled)"
        assert browser.execute_script(states) == [True] * 3


def test_a_refused_action_is_shown(browser: Any, signed_in: None) -> None:
    with serving() as page:  # its run offers no actions
        page.on_result(result(1.0, 0.5, on=True))
        browser.get(page.url)
        wait_for(lambda: browser.find_element("id", "snooze").is_enabled())
        browser.find_element("id", "snooze").send_keys(" ")
        wait_for(lambda: text(browser, "arming-note") == "there is no action 'snooze': expected one of none")
