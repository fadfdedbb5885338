"""The page in Chromium: events of earlier runs, their clips, verdicts and downloads, and the plot of a day."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.control.actions import Actions, Answer, Arguments
from edge.messages import START
from edge.sinks.web.sink import WebPage
from tests.edge.sinks.web.test_archive import CAMERA, FIRE, write_events
from tests.support.browser import NEEDS_BROWSER, each, text, wait_with_status
from tests.support.factories import event, result, run_status
from tests.support.waiting import wait_for
from tests.support.web_client import config, serving

PASSWORD = "a long password"
VERDICTS = "#events button[aria-pressed]"
PLOT = "return document.getElementById('plot').toDataURL()"

pytestmark = NEEDS_BROWSER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_events(tmp_path / "events")
    (tmp_path / "events" / f"{FIRE}-verdict.json").unlink()
    return tmp_path / "events"


@pytest.fixture
def page(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebPage]:
    """The page of a later run. Verdicts are written as the action does."""
    actions = Actions()

    def handle(arguments: Arguments) -> Answer:
        path = folder / f"{arguments['id']}-verdict.json"
        path.write_text(json.dumps(arguments)) if arguments["verdict"] else path.unlink()
        return {**arguments, "problem": "its place is not quiet" if arguments["verdict"] else ""}

    actions.register("verdict", handle)
    monkeypatch.setenv("FIRESEG_WEB_PASSWORD", PASSWORD)
    with serving(
        config(clips={"folder": str(folder)}), actions=actions, trend_path=tmp_path / "state" / "trend.bin"
    ) as page:
        page.on_result(result(1.0, 0.1, on=False))
        yield page


def open_page(browser: Any, page: WebPage) -> None:
    browser.get(page.url.replace("//", f"//anyone:{PASSWORD.replace(' ', '%20')}@"))
    browser.get(page.url)  # Chromium keeps the login, and refuses to fetch from an address that holds one
    wait_with_status(page, lambda: len(each(browser, "#events li", "id")) == 2)


def press(browser: Any, label: str) -> None:
    browser.find_element("xpath", f"//*[@id='events']//button[text()='{label}']").send_keys(" ")


def wait_with_actions(page: WebPage, is_true: Any) -> None:
    def check() -> Any:
        page._actions.poll()
        page.on_status(run_status())
        return is_true()

    wait_for(check)


def test_events_of_an_earlier_run_are_listed_by_day_with_small_pictures(browser: Any, page: WebPage) -> None:
    open_page(browser, page)
    fire, camera = sorted(each(browser, "#events li", "innerText"), reverse=True)
    assert fire.startswith("Fire, ") and "lasted 8 s, peak fire area 25 %" in fire
    assert camera.startswith("Camera: covered, ") and "lasted 4 s" in camera
    assert each(browser, "#day option", "text") == ["2026-11-22: 1 fire, 1 camera problem"]
    assert each(browser, "#events img", "loading") == ["lazy", "lazy"]
    browser.execute_script("document.getElementById('events').scrollIntoView()")
    wait_for(lambda: sorted(each(browser, "#events img", "naturalWidth")) == [64, 320])
    page.on_event(event(START, id_="20261122T130000Z-frame-abcd"))
    wait_with_status(page, lambda: "ongoing" in text(browser, "events").lower())


def test_a_clip_that_the_browser_cannot_decode_is_played_as_frames(browser: Any, page: WebPage) -> None:
    open_page(browser, page)
    press(browser, "Play clip")
    wait_with_status(page, lambda: each(browser, "#events img.clip", "naturalWidth") == [64])
    for _ in range(3):
        page.on_status(run_status())
        time.sleep(0.1)
    assert len(each(browser, "#events img.clip", "src")) == 1, "it stays while the page is updated"


def test_a_clip_that_the_browser_can_decode_is_played_by_its_player(browser: Any, page: WebPage, folder: Path) -> None:
    (folder / f"{FIRE}.mp4").unlink()
    video = cv2.VideoWriter(str(folder / f"{FIRE}.webm"), cv2.VideoWriter.fourcc(*"VP80"), 10, (64, 48))
    if not video.isOpened():
        pytest.skip("this OpenCV encodes no VP8")
    for level in range(20):
        video.write(np.full((48, 64, 3), 10 * level, np.uint8))
    video.release()
    open_page(browser, page)
    press(browser, "Play clip")
    played = "const video = document.querySelector('#events video'); return video && video.currentTime > 0.5"
    wait_with_status(page, lambda: browser.execute_script(played))


def test_a_verdict_is_pressed_kept_and_taken_back(browser: Any, page: WebPage, folder: Path) -> None:
    def pressed() -> list[str]:
        return each(browser, VERDICTS, "getAttribute('aria-pressed')")

    open_page(browser, page)
    assert each(browser, VERDICTS, "innerText") == ["Fire", "Not a fire"]
    assert pressed() == ["false", "false"]
    press(browser, "Not a fire")
    wait_with_actions(page, lambda: pressed() == ["false", "true"])
    browser.execute_script("window.before = document.querySelector('#events [role=alert]')")
    page.on_event(event(START))  # the list is loaded again
    wait_with_actions(page, lambda: browser.execute_script("return !before.isConnected"))
    assert "its place is not quiet" in each(browser, "#events [role=alert]", "innerText")
    assert json.loads((folder / f"{FIRE}-verdict.json").read_text()) == {"id": FIRE, "verdict": "not a fire"}
    open_page(browser, page)
    wait_for(lambda: pressed() == ["false", "true"])
    press(browser, "Not a fire")
    wait_with_actions(page, lambda: pressed() == ["false", "false"])
    assert not (folder / f"{FIRE}-verdict.json").exists()


def test_a_refused_verdict_says_why(browser: Any, page: WebPage) -> None:
    page._actions._handlers.clear()
    open_page(browser, page)
    press(browser, "Fire")
    wait_with_actions(page, lambda: "there is no action 'verdict'" in text(browser, "events"))
    assert each(browser, VERDICTS, "getAttribute('aria-pressed')") == ["false", "false"]


def test_a_download_opens(browser: Any, page: WebPage, tmp_path: Path) -> None:
    browser.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    open_page(browser, page)
    browser.find_element("css selector", f"#events a[href='archive/{FIRE}.zip']").click()
    wait_for((tmp_path / f"{FIRE}.zip").exists)
    with zipfile.ZipFile(tmp_path / f"{FIRE}.zip") as archive:
        assert archive.testzip() is None
        assert {f"{FIRE}.mp4", f"{FIRE}.json", f"{FIRE}-peak.jpg", "model.json"} <= set(archive.namelist())
    assert not any(CAMERA in name for name in archive.namelist())


def test_the_plot_of_a_day_is_chosen_by_keyboard(browser: Any, page: WebPage) -> None:
    open_page(browser, page)
    before = browser.execute_script(PLOT)
    browser.find_element("id", "span").send_keys("d")
    wait_with_status(page, lambda: browser.execute_script(PLOT) != before)
    assert browser.find_element("id", "tracks-note").is_displayed()
    assert [line for line in browser.get_log("browser") if line["source"] not in ("rendering", "network")] == []
