"""Quiet places and suggested areas on the page: drawn over the picture, listed, and removed by a click."""

from __future__ import annotations

from typing import Any

from edge.control.actions import Actions
from edge.errors import UserError
from edge.run_status import QuietPlaceStatus, QuietStatus, SuggestedArea
from edge.secrets import WEB_PASSWORD
from tests.support.browser import NEEDS_BROWSER, each, text, unfold, wait_with_status
from tests.support.factories import result
from tests.support.web_client import serving

SQUARE = ((0.2, 0.2), (0.4, 0.2), (0.4, 0.5))
PLACE = QuietPlaceStatus("fire-1", "stove", (SQUARE,), 0.04, 2, "2026-11-26T18:00:00+00:00")
AREA = SuggestedArea("1-2-3-4", SQUARE, 34, 3)

pytestmark = NEEDS_BROWSER


def test_a_quiet_place_is_shown_and_removed_and_a_suggestion_is_accepted(browser: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv(WEB_PASSWORD, "password")
    actions, asked = Actions(), list[Any]()
    quiet = [QuietStatus((PLACE,), (AREA,), 12.0)]
    refused = UserError("the configuration cannot be written", "make it writable")

    def forget(arguments: Any) -> dict[str, Any]:
        asked.append(arguments)
        quiet[0] = QuietStatus((), (AREA,))
        return {}

    def ignore(arguments: Any) -> dict[str, Any]:
        asked.append(arguments)
        if len(asked) == 2:
            raise refused
        quiet[0] = QuietStatus()
        return {}

    actions.register("forget", forget)
    actions.register("ignore", ignore)
    with serving(actions=actions) as page:
        page.on_result(result(1.0, 0.0, on=False))
        browser.get(page.url.replace("://", "://any:password@"))
        browser.get(page.url)  # a page with a password in its address may not fetch

        def wait(is_true: Any) -> None:
            def check() -> Any:
                actions.poll()
                return is_true()

            wait_with_status(page, check, quiet=quiet[0])

        def click(button: str) -> None:
            browser.execute_script(
                "[...document.querySelectorAll('#quiet-section button')]"
                ".find((each) => each.innerText === arguments[0]).click()",
                button,
            )

        unfold(browser)
        wait(lambda: "stove: quiet inside the dashed blue outline until" in text(browser, "quiet-section"))
        assert "An alarm above 8.0 % of the frame" in text(browser, "quiet-section")
        assert "34 possible fires in 3 days, never confirmed as fire." in text(browser, "quiet-section")
        assert each(browser, "#quiet-areas polygon", "className.baseVal") == ["quiet", "suggested"]
        click("Remove")
        wait(lambda: asked == [{"id": "fire-1"}])
        wait(lambda: not text(browser, "quiet-places"))
        click("Ignore this area")
        wait(lambda: text(browser, "quiet-answer").startswith("the configuration cannot be written"))
        assert asked[1] == {"polygon": [list(corner) for corner in SQUARE]}
        click("Ignore this area")
        wait(lambda: text(browser, "quiet-answer") == "Ignored. The area is saved in the configuration.")
        wait(lambda: not text(browser, "suggestions"))
        assert browser.find_element("id", "quiet-answer").is_displayed(), "it stays when the last line is gone"
