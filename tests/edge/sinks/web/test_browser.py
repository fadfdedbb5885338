"""The page in Chromium, beside a run on the test pattern."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.detection.zones import Zone
from edge.messages import START
from tests.support.browser import NEEDS_BROWSER, SCREENSHOT, each, live_width, text, unfold, wait_with_status
from tests.support.edge_process import edge_process
from tests.support.factories import event, result
from tests.support.waiting import wait_for
from tests.support.web_client import config, serving

# The flames of the test pattern rise right of the middle, ten seconds of every thirty; near the floor they spread wide.
CONFIG = """
[[zones]]
name = "stove"
polygon = [[0.38, 0.06], [0.86, 0.06], [0.86, 0.9], [0.38, 0.9]]
[[zones]]
name = "window"
polygon = [[0.03, 0.1], [0.31, 0.1], [0.31, 0.5], [0.03, 0.5]]
[[ignored]]
polygon = [[0.88, 0.0], [1.0, 0.0], [1.0, 0.3], [0.88, 0.3]]
"""
LIVE_PIXELS = """
const canvas = document.createElement("canvas");
canvas.getContext("2d").drawImage(document.getElementById("live"), 0, 0);
return canvas.toDataURL();
"""
PLOTTED_PIXELS = """
const plot = document.getElementById("plot"), draw = plot.getContext("2d");
const fire = getComputedStyle(document.documentElement).getPropertyValue("--zone-0").match(/\\w\\w/g);
const data = draw.getImageData(0, 0, plot.width, plot.height).data, [r, g, b] = fire.map((x) => parseInt(x, 16));
let count = 0;
for (let i = 0; i < data.length; i += 4) count += data[i] === r && data[i + 1] === g && data[i + 2] === b;
return count;
"""

pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def run_url(browser: Any, shipped_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real run's page, open in the browser before the fire begins."""
    path = tmp_path_factory.mktemp("run") / "fireseg.toml"
    path.write_text(CONFIG)
    arguments = ("--source", "test-pattern", "--model", shipped_model, "--web", "127.0.0.1:0", "--config", path)
    with edge_process(*arguments) as run:
        url = run.wait_for_log("the live page is at").split()[-1]
        browser.get(url)
        yield url


def has_alarm(browser: Any) -> bool:
    return text(browser, "banner") == "FIRE: stove"


def test_a_fire_is_shown_and_the_frame_moves(browser: Any, run_url: str) -> None:
    wait_for(lambda: text(browser, "banner") == "No alarm")
    assert browser.title == "FireSeg Edge"
    wait_for(lambda: has_alarm(browser))
    assert browser.title.startswith("FIRE: stove")
    assert live_width(browser) == 320
    assert text(browser, "cover") == ""
    stove, window = each(browser, "#zones tbody tr", "innerText")
    assert re.fullmatch(r"stove\s+\d+(\.\d)? %\s+FIRE", stove)
    assert re.fullmatch(r"window\s+0\.\d %\s+no alarm", window)
    frames = set()

    def has_moved() -> bool:
        frames.add(browser.execute_script(LIVE_PIXELS))
        return len(frames) >= 3

    wait_for(has_moved)


def test_the_fire_is_plotted_and_listed_with_its_snapshot(browser: Any, run_url: str) -> None:
    wait_for(lambda: has_alarm(browser))
    wait_for(lambda: each(browser, "#events li img", "naturalWidth")[:1] == [320])
    assert text(browser, "events").startswith("Fire: stove, ")
    assert re.search(r"(ongoing|lasted \d+ s), peak fire area \d+ %", text(browser, "events"))
    assert not browser.find_element("id", "no-events").is_displayed()
    desktop = {"width": 840, "height": 1090, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", desktop)
    wait_for(lambda: has_alarm(browser) and browser.execute_script(PLOTTED_PIXELS) > 30)
    SCREENSHOT.parent.mkdir(exist_ok=True)
    assert browser.save_screenshot(str(SCREENSHOT))
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_status_is_that_of_the_run(browser: Any, run_url: str) -> None:
    unfold(browser)
    wait_for(lambda: text(browser, "camera") == "streaming")
    assert text(browser, "source") == "test-pattern"
    for element, pattern in {
        "frame-age": r"\d\.\d s ago",
        "latency": r"\d+ ms",
        "inference": r"\d+\.\d ms",
        "fine-view": r"whole frame (only|at \dx every \d+\.\d s)",
        "results": r"\d+\.\d per second, \d+ in total, \d+ frames dropped",
        "uptime": r"(\d+ min )?\d+ s",
        "model": r"fireseg-base-int8\.tflite, [0-9a-f]{12}",
        "version": r"\d+\.\d+\.\d+(rc\d+)?",
        "disclaimer": r"Not a life-safety device: never rely on it in place of a smoke alarm\.",
    }.items():
        assert re.fullmatch(pattern, text(browser, element)), element


def test_overlay_and_zones_are_switched_off_by_keyboard(browser: Any, run_url: str) -> None:
    def visible() -> list[bool]:
        return each(browser, "#areas polygon", "getClientRects().length > 0")

    def press(element: str) -> None:
        browser.find_element("id", element).send_keys(" ")

    wait_for(lambda: len(each(browser, "#areas polygon", "id")) == 3)
    assert each(browser, "#areas polygon", "getAttribute('points')")[1].startswith("0.38,0.06 0.86,0.06")
    assert visible() == [True] * 3
    press("show-areas")
    assert visible() == [False] * 3
    press("show-areas")
    assert "overlay=1" in browser.find_element("id", "live").get_attribute("src")
    press("overlay")
    assert "overlay=0" in browser.find_element("id", "live").get_attribute("src")
    wait_for(lambda: live_width(browser) == 320)
    press("overlay")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_without_scrolling_sideways(browser: Any, run_url: str, scheme: str) -> None:
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    try:
        wait_for(lambda: browser.execute_script("return innerWidth") == 360)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
        wide = "return [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > 360.5)"
        assert browser.execute_script(f"{wide}.map((e) => e.id || e.tagName)") == []
        back = "return getComputedStyle(document.body).backgroundColor"
        wait_for(
            lambda: (sum(map(int, re.findall(r"\d+", browser.execute_script(back))[:3])) > 380) == (scheme == "light")
        )
        browser.save_screenshot(str(SCREENSHOT.with_name(f"page-phone-{scheme}.png")))
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_end_of_a_fire_is_shown(browser: Any, run_url: str) -> None:
    wait_for(lambda: text(browser, "banner") == "No alarm")
    wait_for(lambda: "lasted" in text(browser, "events"))


def test_nothing_is_loaded_from_elsewhere_and_the_console_is_empty(browser: Any, run_url: str) -> None:
    # The last of those that share the run: no script failed and no policy was broken until here.
    # Chromium warns that the tests' own reading of pixels is slow.
    assert [line for line in browser.get_log("browser") if line["source"] != "rendering"] == []
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map((each) => each.name)")
    assert {f"{run_url}page.js", f"{run_url}plot.js", f"{run_url}page.css"} <= set(loaded)
    assert all(name.startswith(run_url) for name in loaded)


def test_markup_in_a_zones_name_is_shown_as_text(browser: Any) -> None:
    name = "<img src=x onerror=document.title=1><script>document.title=2</script>"
    with serving() as page:
        page.on_result(result(1.0, 0.5, on=True, zone=name))
        page.on_event(replace(event(START), zone=name))
        browser.get(page.url)
        wait_with_status(page, lambda: text(browser, "banner") == f"FIRE: {name}")
        wait_for(lambda: name in text(browser, "events"))
        assert name in text(browser, "zones")
        assert browser.title == f"FIRE: {name} – FireSeg Edge"
        assert browser.execute_script("return document.querySelectorAll('img[onerror], body script').length") == 0


def test_zones_of_a_reloaded_configuration_are_redrawn(browser: Any) -> None:
    left, right = (Zone(name, ((x, 0.0), (x + 0.5, 0.0), (x, 1.0))) for name, x in (("left", 0.0), ("right", 0.5)))

    def drawn() -> list[str]:
        return [corners[:3] for corners in each(browser, "#areas *", "getAttribute('points')")]

    with serving(replace(config(), zones=(left,))) as page:
        page.on_result(result(1.0, 0.0, on=False, zone="left"))
        browser.get(page.url)
        wait_with_status(page, lambda: drawn() == ["0,0"])
        page.on_config(replace(config(), zones=(left, right)))
        wait_with_status(page, lambda: drawn() == ["0,0", "0.5"])
