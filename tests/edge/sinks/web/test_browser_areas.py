"""Zones and ignored areas drawn on the page in Chromium, beside a run on the test pattern that applies them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge.config import load_config
from edge.detection.zones import Zone
from tests.support.browser import NEEDS_BROWSER, SCREENSHOT, each, text
from tests.support.edge_process import EdgeProcess, edge_process
from tests.support.waiting import wait_for
from tests.support.web_client import basic_auth

PASSWORD = "a long password"
CONFIG = """
# My kitchen.
[source]
address = "test-pattern" # no camera yet
[web]
listen = "127.0.0.1:0"
password_file = "password"

# The stove.
[[zones]]
name = "stove" # gas
polygon = [[0.38, 0.06], [0.86, 0.06], [0.86, 0.9], [0.38, 0.9]]
"""
STOVE = Zone("stove", ((0.38, 0.06), (0.86, 0.06), (0.86, 0.9), (0.38, 0.9)))

pytestmark = NEEDS_BROWSER


@contextmanager
def running(folder: Path, model: Path) -> Iterator[EdgeProcess]:
    (folder / "password").write_text(PASSWORD)
    (folder / "fireseg.toml").write_text(CONFIG)
    with edge_process("--model", model, "--config", folder / "fireseg.toml") as run:
        yield run


@pytest.fixture
def path(browser: Any, shipped_model: Path, tmp_path: Path) -> Iterator[Path]:
    """The configuration of a run whose page is open in the browser."""
    with running(tmp_path, shipped_model) as run:
        browser.execute_cdp_cmd("Network.enable", {})
        browser.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": basic_auth(PASSWORD)})
        browser.get(run.wait_for_log("the live page is at").split()[-1])
        wait_for(lambda: text(browser, "cover") == "" and each(browser, "#areas polygon", "id"))
        yield tmp_path / "fireseg.toml"
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def press(browser: Any, element: str) -> None:
    browser.find_element("id", element).click()


def begin(browser: Any) -> None:
    press(browser, "edit-areas")
    wait_for(lambda: browser.find_element("id", "editor").is_displayed())


def tap(browser: Any, x: float, y: float, kind: str = "touch") -> None:
    """Touch the picture, or click on it, at fractions of the frame."""
    drag(browser, (x, y), (x, y), kind)


def drag(browser: Any, start: tuple[float, float], end: tuple[float, float], kind: str) -> None:
    browser.execute_script("document.getElementById('draft').scrollIntoView({block: 'center'})")
    box = browser.execute_script("return document.getElementById('draft').getBoundingClientRect().toJSON()")

    def move(x: float, y: float) -> dict[str, Any]:
        x_px, y_px = round(box["left"] + x * box["width"]), round(box["top"] + y * box["height"])
        return {"type": "pointerMove", "duration": 20, "x": x_px, "y": y_px}

    steps = [move(*start), {"type": "pointerDown", "button": 0}, move(*end), {"type": "pointerUp", "button": 0}]
    pointer = {"type": "pointer", "id": kind, "parameters": {"pointerType": kind}, "actions": steps}
    browser.execute("actions", {"actions": [pointer]})


def save(browser: Any) -> None:
    press(browser, "save-areas")
    wait_for(lambda: each(browser, "#save-areas", "disabled") == [False])  # disabled until there is an answer


def near(zone: Zone, *corners: tuple[float, float]) -> bool:
    pairs = zip(zone.polygon, corners, strict=True)
    return all(abs(x - u) < 0.01 and abs(y - v) < 0.01 for (x, y), (u, v) in pairs)


def test_a_zone_drawn_by_touch_is_saved_with_the_comments_kept_and_applied(browser: Any, path: Path) -> None:
    corners = ((0.05, 0.1), (0.3, 0.1), (0.3, 0.6), (0.05, 0.6))
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    begin(browser)
    press(browser, "new-zone")
    for corner in corners:
        tap(browser, *corner)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    browser.save_screenshot(str(SCREENSHOT.with_name("page-editor.png")))
    tap(browser, *corners[0])
    name = browser.find_element("css selector", "#editor-list li:last-child input")
    wait_for(lambda: name == browser.switch_to.active_element)
    name.clear()
    name.send_keys("window")
    save(browser)
    assert text(browser, "areas-saved") == "Saved. The run applies the areas now."
    stove, window = load_config(path).zones
    assert stove == STOVE
    assert window.name == "window"
    assert near(window, *corners)
    assert path.read_text().startswith(f"{CONFIG}\n[[zones]]  # added on the page, 20")
    wait_for(lambda: "window" in text(browser, "zones"))
    wait_for(lambda: len(each(browser, "#areas polygon", "id")) == 2)
    assert browser.get_log("browser") == []


def test_corners_are_dragged_by_mouse_and_an_area_is_deleted(browser: Any, path: Path) -> None:
    begin(browser)
    press(browser, "new-ignored")
    for corner in ((0.1, 0.1), (0.2, 0.1), (0.2, 0.3)):
        tap(browser, *corner, "mouse")
    press(browser, "finish-area")
    drag(browser, (0.2, 0.3), (0.1, 0.5), "mouse")
    sizes = each(browser, "#corners button, #editor button, #editor input", "getBoundingClientRect().height")
    assert min(size for size in sizes if size) >= 24
    browser.find_element("css selector", "#editor-list [aria-label='Delete: stove']").click()
    save(browser)
    config = load_config(path)
    assert config.zones == ()
    assert near(Zone("", config.ignored[0]), (0.1, 0.1), (0.2, 0.1), (0.1, 0.5))
    assert "# The stove.\n" in path.read_text()
    assert path.with_name("fireseg.toml.bak").read_text() == CONFIG


def test_a_zone_is_drawn_by_keyboard_alone(browser: Any, path: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def type_(*keys: str) -> None:
        ActionChains(browser).send_keys(*keys).perform()

    def focused() -> str:
        return browser.execute_script("return document.activeElement.ariaLabel ?? document.activeElement.id")

    browser.find_element("id", "edit-areas").send_keys(Keys.ENTER)
    wait_for(lambda: focused() == "new-zone")
    type_(Keys.ENTER)
    assert focused() == "corner 1 of zone 1, 50 % across, 50 % down"
    ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.ARROW_LEFT * 4).key_up(Keys.SHIFT).perform()
    type_(Keys.ARROW_UP)
    assert focused() == "corner 1 of zone 1, 30 % across, 49 % down"
    type_(Keys.ENTER, Keys.ENTER, Keys.ARROW_DOWN * 9)
    assert focused() == "corner 3 of zone 1, 50 % across, 58 % down"
    type_(Keys.ENTER, Keys.DELETE)
    assert focused() == "corner 3 of zone 1, 50 % across, 58 % down"
    browser.find_element("id", "finish-area").send_keys(Keys.ENTER)
    assert focused() == "name of the zone"
    browser.find_element("css selector", "#editor-list [aria-label='Corners: stove']").send_keys(Keys.ENTER)
    type_(Keys.ARROW_DOWN, Keys.DELETE, Keys.ESCAPE)
    browser.find_element("id", "save-areas").send_keys(Keys.ENTER)
    wait_for(lambda: "Saved" in text(browser, "areas-saved"))
    assert load_config(path).zones == (STOVE, Zone("zone 1", ((0.3, 0.49), (0.4, 0.49), (0.5, 0.58))))


def test_of_two_tabs_the_second_is_refused_and_keeps_its_drawing(browser: Any, path: Path) -> None:
    first, url = browser.current_window_handle, browser.current_url
    begin(browser)
    draw_triangle(browser, 0.1)
    browser.switch_to.new_window("tab")
    try:
        browser.execute_cdp_cmd("Network.enable", {})
        browser.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": basic_auth(PASSWORD)})
        browser.get(url)
        wait_for(lambda: text(browser, "cover") == "")
        begin(browser)
        draw_triangle(browser, 0.5)
        save(browser)
        assert (text(browser, "editor-error"), len(load_config(path).ignored)) == ("", 1)
    finally:
        browser.close()
        browser.switch_to.window(first)
    save(browser)
    message = "The areas have been changed elsewhere. Yours are still here: Save replaces theirs, Cancel drops yours."
    assert text(browser, "editor-error") == message
    assert each(browser, "#editor-list [aria-label^='Delete']", "ariaLabel")[1:] == ["Delete: ignored area 1"]
    assert near(Zone("", load_config(path).ignored[0]), (0.5, 0.1), (0.6, 0.1), (0.6, 0.3))
    save(browser)
    assert "Saved" in text(browser, "areas-saved")
    (polygon,) = load_config(path).ignored
    assert near(Zone("", polygon), (0.1, 0.1), (0.2, 0.1), (0.2, 0.3))


def draw_triangle(browser: Any, left: float) -> None:
    press(browser, "new-ignored")
    for corner in ((left, 0.1), (left + 0.1, 0.1), (left + 0.1, 0.3), (left, 0.1)):
        tap(browser, *corner)


def test_a_mistake_is_one_clear_line_and_nothing_is_written(browser: Any, path: Path) -> None:
    begin(browser)
    press(browser, "new-zone")
    tap(browser, 0.1, 0.1)
    press(browser, "save-areas")
    assert "An area needs at least 3 corners" in text(browser, "editor-error")
    for corner in ((0.2, 0.1), (0.2, 0.3)):
        tap(browser, *corner)
    press(browser, "finish-area")
    browser.switch_to.active_element.send_keys("stove")
    save(browser)
    assert text(browser, "editor-error").endswith("two zones are named 'stove': choose unique names")
    assert path.read_text() == CONFIG
    press(browser, "cancel-areas")
    assert not browser.find_element("id", "editor").is_displayed()
