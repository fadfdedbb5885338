"""The page in a browser, as a person has it open: beside a run on the test pattern, and when that fails."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.camera.pattern import FLAMES_TO_S, PERIOD_S
from edge.detection.zones import Zone
from edge.messages import START, CameraState
from tests.support.factories import event, result
from tests.support.web_client import Camera, config, serving, status

ROOT = Path(__file__).parents[4]
SCREENSHOT = ROOT / "build" / "page.png"
CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
WAIT_S = 20.0
# The flames of the test pattern rise right of the middle.
CONFIG = """
[[zones]]
name = "stove"
polygon = [[0.38, 0.06], [0.86, 0.06], [0.86, 0.9], [0.38, 0.9]]
[[zones]]
name = "window"
polygon = [[0.03, 0.1], [0.31, 0.1], [0.31, 0.7], [0.03, 0.7]]
[[ignored]]
polygon = [[0.88, 0.0], [1.0, 0.0], [1.0, 0.3], [0.88, 0.3]]
"""
PIXELS = """
const live = document.getElementById("live"), canvas = document.createElement("canvas");
[canvas.width, canvas.height] = [live.naturalWidth, live.naturalHeight];
const draw = canvas.getContext("2d");
draw.drawImage(live, 0, 0);
return canvas.width + ":" + draw.getImageData(0, 0, canvas.width, canvas.height).data.join("").length + ":" +
  Array.from(draw.getImageData(0, 0, canvas.width, canvas.height).data).reduce((sum, x) => (31 * sum + x) | 0, 7);
"""

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="install chromium and chromedriver to run this test")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def run(browser: Any, shipped_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real run's page, with the browser there before the fire begins."""
    path = tmp_path_factory.mktemp("run") / "fireseg.toml"
    path.write_text(CONFIG)
    with run_on_test_pattern(shipped_model, "--config", str(path)) as process:
        address = page_address(process)
        browser.get(address)
        yield address


@contextmanager
def run_on_test_pattern(model: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", "from edge.cli import run; run()", "run", "--source", "test-pattern"]
    with subprocess.Popen(
        [*command, "--model", str(model), "--web", "127.0.0.1:0", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def page_address(process: subprocess.Popen[str]) -> str:
    assert process.stderr
    for line in process.stderr:
        if found := re.search(r"the live page is at (\S+)", line):
            return found[1]
    raise AssertionError("the run ended without a page")


def wait(true: Callable[[], Any], limit_s: float = WAIT_S) -> Any:
    end_s = time.monotonic() + limit_s
    while not (value := true()):
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.05)
    return value


def text(browser: Any, element: str) -> str:
    return browser.execute_script("return document.getElementById(arguments[0]).innerText", element)


def each(browser: Any, selector: str, what: str) -> list[Any]:
    """Read in one script: between one call and the next, the page may have drawn its elements anew."""
    return browser.execute_script(
        f"return [...document.querySelectorAll(arguments[0])].map((each) => each.{what})", selector
    )


def burning(browser: Any) -> bool:
    return text(browser, "banner") == "FIRE: stove"


def wait_for_fire(browser: Any) -> None:
    wait(lambda: burning(browser), PERIOD_S + 5)


def test_a_fire_is_told_in_large_and_the_picture_moves(browser: Any, run: str) -> None:
    wait(lambda: text(browser, "banner") == "No fire")
    assert browser.title == "FireSeg Edge"
    wait_for_fire(browser)
    assert browser.title.startswith("FIRE: stove")
    pictures = set()
    for _ in range(8):
        pictures.add(browser.execute_script(PIXELS))
        time.sleep(0.15)
    assert len(pictures) >= 3
    assert all(picture.startswith("320:") for picture in pictures)
    assert text(browser, "cover") == ""
    stove, window = each(browser, "#zones tbody tr", "innerText")
    assert re.fullmatch(r"stove\s+\d+(\.\d)? %\s+FIRE", stove)
    assert re.fullmatch(r"window\s+0\.\d %\s+no fire", window)


def test_the_fire_is_listed_with_its_picture(browser: Any, run: str) -> None:
    wait_for_fire(browser)
    loaded = "const image = document.querySelector('#events li img'); return image && image.naturalWidth"
    assert wait(lambda: browser.execute_script(loaded)) == 320
    assert text(browser, "events").startswith("Fire: stove, ")
    assert not browser.find_element("id", "none").is_displayed()
    wait(lambda: burning(browser) and float(text(browser, "age").split()[0]) > 0)
    desk = {"width": 840, "height": 1090, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", desk)
    time.sleep(1)  # so that the plot has climbed
    SCREENSHOT.parent.mkdir(exist_ok=True)
    assert browser.save_screenshot(str(SCREENSHOT))
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_figures_are_those_of_the_run(browser: Any, run: str) -> None:
    wait(lambda: text(browser, "state") == "streaming")
    assert text(browser, "source") == "test-pattern"
    for element, pattern in {
        "picture": r"\d\.\d s ago",
        "age": r"\d+ ms",
        "inference": r"\d+\.\d ms",
        "rate": r"\d+\.\d a second, \d+ so far, \d+ frames dropped",
        "running": r"(\d+ min )?\d+ s",
        "model": r"[0-9a-f]{12}",
    }.items():
        assert re.fullmatch(pattern, text(browser, element)), element


def test_zones_and_marks_can_be_taken_off_the_picture(browser: Any, run: str) -> None:
    def drawn() -> list[str]:
        return each(browser, "#areas polygon", "getClientRects().length")

    assert each(browser, "#areas polygon", "getAttribute('points')")[1].startswith("0.38,0.06 0.86,0.06")
    assert len(drawn()) == 3
    assert all(drawn())
    browser.find_element("id", "outline").click()
    assert not any(drawn())
    browser.find_element("id", "outline").click()
    assert "overlay=1" in browser.find_element("id", "live").get_attribute("src")
    browser.find_element("id", "mark").click()
    assert "overlay=0" in browser.find_element("id", "live").get_attribute("src")
    wait(lambda: browser.execute_script("return document.getElementById('live').naturalWidth") == 320)
    browser.find_element("id", "mark").click()


def test_the_plot_is_drawn(browser: Any, run: str) -> None:
    inked = """
    const plot = document.getElementById("plot"), draw = plot.getContext("2d");
    const fire = getComputedStyle(document.documentElement).getPropertyValue("--zone-0").match(/\\w\\w/g);
    const data = draw.getImageData(0, 0, plot.width, plot.height).data, [r, g, b] = fire.map((x) => parseInt(x, 16));
    let count = 0;
    for (let i = 0; i < data.length; i += 4) count += data[i] === r && data[i + 1] === g && data[i + 2] === b;
    return count;
    """
    wait(lambda: browser.execute_script(inked) > 10)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_without_scrolling_sideways(browser: Any, run: str, scheme: str) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    try:
        wait(lambda: browser.execute_script("return innerWidth") == 360)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
        wide = "return [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > 360.5)"
        assert browser.execute_script(f"{wide}.map((e) => e.id || e.tagName)") == []
        back = "return getComputedStyle(document.body).backgroundColor"
        wait(lambda: (sum(map(int, re.findall(r"\d+", browser.execute_script(back))[:3])) > 380) == (scheme == "light"))
        browser.save_screenshot(str(SCREENSHOT.with_name(f"page-phone-{scheme}.png")))
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_it_says_what_it_is_not(browser: Any, run: str) -> None:
    body = browser.find_element("tag name", "body").text
    assert "Not a life-safety device: never rely on it in place of a smoke alarm." in body


def test_a_fire_that_is_over_is_told_so(browser: Any, run: str) -> None:
    wait(lambda: text(browser, "banner") == "No fire", FLAMES_TO_S + 5)
    wait(lambda: "burnt for" in text(browser, "events"))


def test_nothing_came_from_elsewhere_and_the_browser_complained_of_nothing(browser: Any, run: str) -> None:
    # Last of those that share the run: whatever they did, no script failed and no policy was broken.
    # The test's own reading of pixels is what the browser finds slow.
    assert [line for line in browser.get_log("browser") if line["source"] != "rendering"] == []
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map((each) => each.name)")
    assert {f"{run}page.js", f"{run}plot.js", f"{run}page.css"} <= set(loaded)
    assert all(name.startswith(run) for name in loaded)


def test_a_zones_name_is_text_whatever_it_holds(browser: Any) -> None:
    name = "<img src=x onerror=document.title=1><script>document.title=2</script>"
    with serving() as page:
        page.on_result(result(1.0, 0.5, on=True, zone=name))
        page.on_event(replace(event(START), zone=name))
        browser.get(page.url)
        wait(lambda: page.on_status(status()) or text(browser, "banner") == f"FIRE: {name}")  # type: ignore[func-returns-value]
        wait(lambda: name in text(browser, "events"))
        assert name in text(browser, "zones")
        assert browser.title == f"FIRE: {name} – FireSeg Edge"
        assert browser.execute_script("return document.querySelectorAll('img[onerror], body script').length") == 0


def test_zones_of_a_configuration_that_was_read_anew_are_drawn_anew(browser: Any) -> None:
    left, right = (Zone(name, ((x, 0.0), (x + 0.5, 0.0), (x, 1.0))) for name, x in (("left", 0.0), ("right", 0.5)))
    with serving(replace(config(), zones=(left,))) as page:
        page.on_result(result(1.0, 0.0, on=False, zone="left"))
        browser.get(page.url)

        def drawn() -> list[str]:
            page.on_status(status())
            return [corners[:3] for corners in each(browser, "#areas *", "getAttribute('points')")]

        wait(lambda: drawn() == ["0,0"])
        page.on_config(replace(config(), zones=(left, right)))
        wait(lambda: drawn() == ["0,0", "0.5"])


def test_a_page_whose_run_has_ended_says_so_and_shows_no_old_picture(browser: Any, shipped_model: Path) -> None:
    with run_on_test_pattern(shipped_model) as process:
        browser.get(page_address(process))
        wait(lambda: text(browser, "banner") == "No fire")
        process.terminate()
        process.wait(WAIT_S)
    wait(lambda: text(browser, "banner") == "Connection lost", 2.5)
    assert text(browser, "cover").startswith("Connection lost.")
    cover, frame = (browser.find_element("id", name).rect for name in ("cover", "frame"))
    assert cover == frame
    assert browser.find_element("id", "live").get_attribute("src") in (None, "")


def test_a_loop_that_hangs_is_told_as_a_lost_connection_and_one_that_comes_back_is_shown(browser: Any) -> None:
    with serving() as page:
        with Camera(page, fps=10):
            browser.get(page.url)
            # The server lives, but the loop tells it nothing.
            wait(lambda: text(browser, "banner") == "Connection lost", 8)
            page.on_status(status())
            wait(lambda: text(browser, "banner") == "FIRE")
            wait(lambda: browser.execute_script("return document.getElementById('live').naturalWidth") == 64)
        settings = config(f"127.0.0.1:{page.port}")
    wait(lambda: text(browser, "banner") == "Connection lost", 8)
    with serving(settings) as page, Camera(page, fps=10):
        wait(lambda: page.on_status(status()) or text(browser, "banner") == "FIRE")  # type: ignore[func-returns-value]
        assert text(browser, "cover") == ""


def test_a_camera_that_stalls_covers_the_old_picture(browser: Any) -> None:
    with serving() as page:
        browser.get(page.url)
        wait(lambda: page.on_status(status()) or text(browser, "banner") == "Waiting for a picture")  # type: ignore[func-returns-value]
        with Camera(page, fps=10):
            wait(lambda: page.on_status(status()) or text(browser, "banner") == "FIRE")  # type: ignore[func-returns-value]
        stalled = status(camera_state=CameraState.STALLED)
        still = "No picture for "
        wait(lambda: page.on_status(stalled) or text(browser, "cover").startswith(still))  # type: ignore[func-returns-value]
        assert text(browser, "cover").endswith("the source is stalled.")
