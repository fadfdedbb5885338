"""The page in Chromium when something is wrong: the connection, the camera, deliveries, the light."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from edge.messages import CameraProblem, CameraState
from edge.run_status import FailureCounts, ReceiverStatus, UpdateStatus
from tests.support.browser import NEEDS_BROWSER, SCREENSHOT, each, live_width, text, unfold, wait_with_status
from tests.support.factories import result
from tests.support.waiting import wait_for
from tests.support.web_client import Clock, FrameFeeder, config, serving

pytestmark = NEEDS_BROWSER


def test_a_lost_connection_covers_the_frame_until_the_run_is_back(browser: Any) -> None:
    with serving() as page:
        with FrameFeeder(page, fps=10):
            browser.get(page.url)
            # The server is up, but the loop hangs: no status arrives.
            wait_for(lambda: text(browser, "banner") == "Connection lost")
            wait_with_status(page, lambda: text(browser, "banner") == "FIRE")
            wait_with_status(page, lambda: live_width(browser) == 64)
        settings = config(f"127.0.0.1:{page.port}")
    wait_for(lambda: text(browser, "banner") == "Connection lost")
    assert text(browser, "cover") == "Connection lost. The current state is unknown."
    cover, frame = (browser.find_element("id", name).rect for name in ("cover", "frame"))
    assert cover == frame
    assert browser.find_element("id", "live").get_attribute("src") in (None, "")
    with serving(settings) as page, FrameFeeder(page, fps=10):
        wait_with_status(page, lambda: text(browser, "banner") == "FIRE")
        assert text(browser, "cover") == ""


def test_a_silent_connection_is_replaced_and_the_last_state_of_a_run_that_hangs_is_not_shown_as_current(
    browser: Any,
) -> None:
    with serving() as page:
        browser.get(page.url)
        wait_with_status(page, lambda: text(browser, "banner") == "Waiting for a frame")
        browser.execute_script(
            "window.made = 0; window.shown = []; const Kept = EventSource;"
            "window.EventSource = class extends Kept { constructor(url) { super(url); made += 1; } };"
            "setInterval(() => shown.push(document.getElementById('banner').innerText), 20)"
        )
        wait_for(lambda: text(browser, "banner") == "Connection lost")
        wait_for(lambda: browser.execute_script("return made") >= 2)
        shown = browser.execute_script("return shown")
        assert set(shown[shown.index("Connection lost") :]) == {"Connection lost"}
        wait_with_status(page, lambda: text(browser, "banner") == "Waiting for a frame")


def test_a_stalled_camera_covers_the_old_frame(browser: Any) -> None:
    with serving() as page:
        browser.get(page.url)
        wait_with_status(page, lambda: text(browser, "banner") == "Waiting for a frame")
        with FrameFeeder(page, fps=10):
            wait_with_status(page, lambda: text(browser, "banner") == "FIRE")
        stalled = CameraState.STALLED
        wait_with_status(page, lambda: text(browser, "cover").startswith("No frame for "), camera_state=stalled)
        assert text(browser, "cover").endswith("the camera is stalled.")


def test_deliveries_and_failures_are_tables_in_which_losses_are_marked(browser: Any) -> None:
    up = ReceiverStatus("webhook", "", 12, 12, 0, 0, 3, 0, 0.0)
    down = ReceiverStatus("mqtt", "<b>connection refused", 12, 5, 2, 1, 40, 4, oldest_age_s=185.2)

    def row(title: str) -> list[str]:
        rows = (text.split("\t") for text in each(browser, "#delivery tr", "innerText"))
        return next((cells for cells in rows if cells[0].strip() == title), [])

    with serving(clock=Clock()) as page:
        browser.get(page.url)
        page.on_result(result(1.0, 0.0, on=False))
        unfold(browser)
        wait_with_status(page, lambda: text(browser, "failures") != "")
        assert not browser.find_element("id", "delivery-section").is_displayed()
        assert not browser.find_element("id", "trouble").is_displayed()
        assert each(browser, ".bad:not(:empty)", "innerText") == []
        failures = FailureCounts(reloads=1, missing_threads=("clips",), lost_files=4)
        wait_with_status(page, lambda: row("Problem")[2:], receivers=(up, down), failures=failures, fallback="damaged")
        assert each(browser, "#delivery th[scope=col]", "innerText") == ["webhook", "mqtt"]
        assert row("Problem") == ["Problem", "none", "<b>connection refused"]
        assert row("Delivered") == ["Delivered", "12", "5"]
        assert row("Oldest waiting") == ["Oldest waiting", "0 s", "3 min 5 s"]
        assert each(browser, "#delivery .bad", "innerText") == ["<b>connection refused", "2", "1"]
        assert text(browser, "delivery-note") == "mqtt: <b>connection refused, 3 events lost, 4 waiting"
        assert text(browser, "undelivered") == "Not delivered to mqtt: <b>connection refused"
        assert text(browser, "degraded") == "Fallback in use: damaged. Missing threads: clips"
        assert each(browser, "#failures th", "innerText") == [
            "Fallback in use", "Rejected reloads", "Thread restarts", "Missing threads", "Lost files", "Late writes",
            "Broken frames",
        ]  # fmt: skip
        assert each(browser, "#failures td", "innerText") == ["damaged", "1", "0", "clips", "4", "0", "0"]
        assert each(browser, "#failures .bad", "innerText") == ["damaged", "1", "clips", "4"]
        browser.find_element("id", "failures").screenshot(str(SCREENSHOT.with_name("page-failures.png")))
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True,
        })  # fmt: skip
        try:
            wait_for(lambda: browser.execute_script("return innerWidth") == 360)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
            browser.find_element("id", "delivery-section").screenshot(str(SCREENSHOT.with_name("page-delivery.png")))
        finally:
            browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_failed_or_rolled_back_model_update_is_marked_until_one_succeeds(browser: Any) -> None:
    def shown() -> tuple[list[str], str, list[str]]:
        rows = dict(zip(*(each(browser, f"#failures {cell}", "innerText") for cell in ("th", "td")), strict=True))
        row = [value for title, value in rows.items() if title == "Model update"]
        return row, text(browser, "degraded"), each(browser, "#failures .bad", "innerText")

    with serving() as page:
        browser.get(page.url)
        page.on_result(result(1.0, 0.0, on=False))
        unfold(browser)
        wait_with_status(page, lambda: text(browser, "failures") != "", update=UpdateStatus(checked="2026-11-27"))
        assert shown() == ([], "", [])
        for problem in (
            "http://models could not be read (connection refused): check the network",
            "base 01e12d1af291 was rolled back: it takes <b>16.0 ms per pass",
        ):
            wait_with_status(page, lambda problem=problem: problem in shown()[0], update=UpdateStatus(problem=problem))  # type: ignore[misc]
            assert shown() == ([problem], f"Model update: {problem}", [problem])
            assert text(browser, "failures-note") == f"model update: {problem}"
        wait_with_status(page, lambda: shown() == ([], "", []), update=UpdateStatus())
        assert text(browser, "failures-note") == "none"


def test_a_camera_of_one_frame_in_ten_seconds_is_not_called_lost(browser: Any) -> None:
    clock = Clock()
    with serving(config(source={"fps": 0.1}), clock=clock) as page:
        page.on_result(result(1.0, 0.0, on=False))
        clock.now_s += 12
        browser.get(page.url)
        wait_with_status(page, lambda: text(browser, "banner") == "No alarm")
        clock.now_s += 20
        wait_with_status(page, lambda: text(browser, "banner") == "No frame for 32 s")


def test_a_camera_that_cannot_see_is_shown_beside_the_alarm_until_it_can(browser: Any) -> None:
    covered = {"camera_problem": CameraProblem.COVERED, "camera_problem_for_s": 60.0}
    with serving(clock=Clock()) as page:
        page.on_result(replace(result(1.0, 0.0, on=False), camera_problem=CameraProblem.COVERED))
        browser.get(page.url)
        wait_with_status(page, lambda: text(browser, "banner") == "The camera cannot see: covered", **covered)
        assert re.fullmatch(r"Camera covered since \d\d:\d\d( [AP]M)?", text(browser, "camera-problem"))
        assert each(browser, "#camera-problem", "getAttribute('role')") == ["alert"]
        page.on_result(replace(result(2.0, 0.5, on=True), camera_problem=CameraProblem.COVERED))
        alarm = "FIRE – picture not current, camera covered"
        wait_with_status(page, lambda: text(browser, "banner") == alarm, **covered)
        page.on_result(result(3.0, 0.5, on=True))
        wait_with_status(page, lambda: text(browser, "banner") == "FIRE" and not text(browser, "camera-problem"))


def test_a_detection_that_is_paused_is_shown_unless_there_is_a_fire(browser: Any) -> None:
    with serving(clock=Clock()) as page:
        browser.get(page.url)
        unfold(browser)
        page.on_result(result(1.0, 0.0, on=False))
        wait_with_status(page, lambda: text(browser, "light") == "colour")
        wait_with_status(page, lambda: text(browser, "light") == "infrared", infrared=True)
        assert text(browser, "banner") == "No alarm"
        paused = {"infrared": True, "paused": True}
        wait_with_status(page, lambda: text(browser, "banner") == "Detection paused: infrared", **paused)
        page.on_result(result(2.0, 0.5, on=True))
        wait_with_status(page, lambda: text(browser, "banner") == "FIRE", **paused)
