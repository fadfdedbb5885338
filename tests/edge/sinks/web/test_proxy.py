"""The page behind a proxy that signs users in, such as Home Assistant's ingress: access, and in Chromium."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge.errors import UserError
from edge.secrets import WEB_PASSWORD
from edge.sinks.prometheus import Prometheus
from edge.sinks.web.auth import HEADERS, OPEN_PATHS
from edge.sinks.web.sink import WebPage
from tests.support.browser import NEEDS_BROWSER, text
from tests.support.edge_process import edge_process
from tests.support.ingress import PROXY, ingress
from tests.support.waiting import TIMEOUT_S, wait_for
from tests.support.web_client import Clock, basic_auth, config, get, serving

PASSWORD = "a long password"


@pytest.fixture(autouse=True)
def no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WEB_PASSWORD, raising=False)


def behind_proxy(listen: str = "0.0.0.0:0", proxy: str = PROXY) -> Any:
    return config(listen, web={"listen": listen, "trusted_proxy": proxy})


def through_proxy(
    page: WebPage, path: str, method: str = "GET", **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Return status, headers and body of a request from the proxy's address."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=TIMEOUT_S, source_address=(PROXY, 0))
    with closing(connection):
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "127.0.0.1:0"])
def test_without_a_password_only_the_proxy_can_open_the_page(listen: str) -> None:
    with serving(behind_proxy(listen), clock=Clock()) as page:
        routes: Any = page._make_app()
        for path in {"/nothing-here", *(route.path for route in routes._app.app.routes)} - {*OPEN_PATHS}:
            code, _, body = get(page, path, headers={"X-Ingress-Path": "/x", "X-Forwarded-For": PROXY})
            assert (path, code) == (path, 403)
            assert body == b"Open it through its proxy, or set [web] password_file.\n"
        assert get(page, "/healthz")[0] == 200
        assert get(page, "/api/snooze", method="POST")[0] == 403
        assert through_proxy(page, "/api/state", Host="home.example")[0] == 200


def test_with_a_password_all_others_still_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEB_PASSWORD, PASSWORD)
    with serving(behind_proxy()) as page:
        assert get(page, "/api/state", headers={"X-Remote-User-Name": "admin"})[0] == 401
        assert get(page, "/api/state", headers=basic_auth(PASSWORD))[0] == 200
        code, headers, _ = through_proxy(page, "/api/state")
        assert (code, headers["Set-Cookie"]) == (200, None)


def test_only_the_proxy_may_show_the_page_in_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEB_PASSWORD, PASSWORD)
    with serving(behind_proxy()) as page:
        direct, framed = get(page, "/", headers=basic_auth(PASSWORD))[1], through_proxy(page, "/")[1]
        assert {name: direct[name] for name in HEADERS} == HEADERS
        assert (framed["X-Frame-Options"], direct["X-Frame-Options"]) == ("SAMEORIGIN", "DENY")
        changed = {name for name in HEADERS if framed[name] != HEADERS[name]}
        assert changed == {"x-frame-options", "content-security-policy"}
        assert framed["Content-Security-Policy"].endswith("frame-ancestors 'self'")


def test_changes_through_the_proxy_need_the_token_and_are_logged_with_the_user() -> None:
    with serving(behind_proxy()) as page:
        origins: list[str] = []

        def submit(_action: str, _arguments: Any, *, origin: str) -> None:
            origins.append(origin)
            raise UserError("noted", "nothing to do")

        page._actions.submit = submit  # type: ignore[assignment]
        assert through_proxy(page, "/api/snooze", "POST")[::2] == (403, b"Wrong token: reload the page.\n")
        token = json.loads(through_proxy(page, "/api/token")[2])["token"]
        sent = {"X-FireSeg-Token": token, "X-Remote-User-Name": "Jürgen".encode().decode("latin-1")}
        assert through_proxy(page, "/api/snooze", "POST", **sent)[0] == 400
        assert origins == ["page Jürgen"]
        assert get(page, "/api/snooze", method="POST", headers={"X-FireSeg-Token": token})[0] == 403


@pytest.mark.parametrize("proxy", ["0.0.0.0", "172.30.32.0/23", "supervisor", "::1"])
def test_a_proxy_is_one_address(proxy: str) -> None:
    with pytest.raises(UserError, match="expected one IPv4 address"):
        behind_proxy(proxy=proxy)


def test_without_proxy_and_password_the_page_is_still_refused() -> None:
    with pytest.raises(UserError, match="would be open to other machines"):
        WebPage(config("0.0.0.0:0"), Prometheus())


@pytest.mark.slow
@NEEDS_BROWSER[1]
def test_the_page_works_in_a_frame_of_home_assistant(browser: Any, shipped_model: Path, tmp_path: Path) -> None:
    settings = tmp_path / "fireseg.toml"
    settings.write_text(
        f'[web]\nlisten = "0.0.0.0:0"\ntrusted_proxy = "{PROXY}"\n[clips]\nfolder = "events"\nafter_s = 1\n'
        "[alarm]\noff_after_s = 1\n"
    )
    arguments = ("--config", settings, "--source", "test-pattern", "--model", shipped_model)
    with edge_process(*arguments, environment={"XDG_STATE_HOME": str(tmp_path)}) as run:
        port = int(run.wait_for_log("the live page is at").rstrip("/").rpartition(":")[2])
        with ingress(port) as url:
            browser.get_log("browser")
            browser.get(url)
            browser.switch_to.frame(0)
            wait_for(lambda: text(browser, "banner") in ("No alarm", "FIRE"), limit_s=90)
            shown = "const live = document.getElementById('live'); return [live.naturalWidth, live.src]"
            first = browser.execute_script(shown)[1]
            wait_for(lambda: browser.execute_script(shown)[0] > 0)
            wait_for(lambda: browser.execute_script(shown)[1] != first)  # the next frame
            assert "/api/hassio_ingress/a-token/snapshot.jpg?" in first
            wait_for(lambda: browser.find_element("id", "snooze").is_enabled())
            browser.find_element("id", "snooze").send_keys(" ")
            wait_for(lambda: "snoozed until" in text(browser, "banner").lower())
            run.wait_for_log("page Jürgen")
            # The archive: a picture of a fire on disk.
            picture = "return [...document.querySelectorAll('#events img')].some((each) => each.naturalWidth > 0)"
            wait_for(lambda: browser.execute_script(picture), limit_s=90)
            play = (
                "return [...document.querySelectorAll('#events button')].find((each) => each.innerText === 'Play clip')"
            )
            wait_for(lambda: browser.execute_script(play), limit_s=90)
            browser.execute_script(f"({play[7:]}).click()")
            wait_for(lambda: "cannot play the clip here" in text(browser, "events"))
            browser.switch_to.default_content()
            problems = [line["message"] for line in browser.get_log("browser") if "favicon.ico" not in line["message"]]
            assert not [line for line in problems if "Refused" in line or "404" in line], problems
