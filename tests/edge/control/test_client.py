"""Actions from the command line, through a real page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge.config import Config
from edge.config_tables import ArmingSection
from edge.control.actions import Actions
from edge.control.arming import Arming
from edge.control.client import act
from edge.control.saved_state import SavedState
from edge.errors import UserError
from edge.secrets import WEB_PASSWORD
from edge.sinks.web.sink import WebPage
from tests.support.run_cli import fireseg_edge, refused
from tests.support.web_client import config, serving

PASSWORD = "a long password: ü"


class SlowActions(Actions):
    """Carries out every action in its thread: no loop runs here."""

    def register(self, name: str, handler: Any, *, is_slow: bool = False) -> None:
        super().register(name, handler, is_slow=True)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WebPage]:
    monkeypatch.setenv(WEB_PASSWORD, PASSWORD)
    monkeypatch.chdir(tmp_path)
    with closing(SlowActions()) as actions, closing(SavedState(tmp_path / "state.json")) as saved:
        Arming(ArmingSection(), saved).register(actions, lambda zone: [zone or "frame"])
        with serving(actions=actions) as page:
            (tmp_path / "fireseg.toml").write_text(f'[web]\nlisten = "127.0.0.1:{page.port}"\n')
            yield page


def of(page: WebPage) -> Config:
    return config(f"127.0.0.1:{page.port}")


def test_an_action_is_carried_out_and_answered(page: WebPage) -> None:
    assert act(of(page), "snooze", {"minutes": 5})["snoozed_left_s"] == pytest.approx(300, abs=1)
    assert act(of(page), "arm")["snoozed_until"] is None


def test_the_run_says_what_is_wrong_with_an_action(page: WebPage) -> None:
    with pytest.raises(UserError, match=r"^hours is 1000.0: expected a number from 0.01 to 168$"):
        act(of(page), "disarm", {"hours": 1000.0})
    with pytest.raises(UserError, match="there is no action 'explode': expected one of acknowledge, arm"):
        act(of(page), "explode")


def test_a_wrong_password_is_one_line(page: WebPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEB_PASSWORD, "not the password")
    with pytest.raises(UserError, match="Password required"):
        act(of(page), "arm")


def test_without_a_run_a_page_or_a_password_the_way_out_is_named(
    page: WebPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = of(page)
    page.close()
    with pytest.raises(UserError, match=r"could not be reached .*: start it, and check \[web\] listen"):
        act(settings, "arm")
    with pytest.raises(UserError, match=r"the run has no live page .*: set \[web\] listen"):
        act(config(""), "arm")
    monkeypatch.delenv(WEB_PASSWORD)
    with pytest.raises(UserError, match="actions need the page's password: set FIRESEG_WEB_PASSWORD"):
        act(settings, "arm")


def test_a_run_without_a_password_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(SlowActions()) as actions, serving(actions=actions) as page:
        monkeypatch.setenv(WEB_PASSWORD, PASSWORD)  # set after the run began
        with pytest.raises(UserError, match=r"the run has no password, which actions need: set .* and restart it"):
            act(of(page), "snooze", {"minutes": 1})


def test_the_commands_say_until_when_the_alarm_is_silent(page: WebPage, tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        done = fireseg_edge(*arguments, "--config", "fireseg.toml", cwd=tmp_path)
        assert done.code == 0, done
        return done.out.strip()

    assert run("snooze", "--minutes", 30).startswith("snoozed until ")
    assert run("disarm", "--hours", 2).startswith("disarmed until ")
    assert run("disarm").count(" until ") == 2
    assert run("arm") == "armed"
    done = fireseg_edge("snooze", "--minutes", 0, "--web", f"127.0.0.1:{page.port}", cwd=tmp_path)
    assert (done.code, done.out.strip()) == (0, "armed"), done
    assert refused(fireseg_edge("arm", cwd=tmp_path)) == [
        "no run is named: pass --config with its configuration, or --web with the address of its page"
    ]
    assert run("acknowledge") == "acknowledged: frame"
    assert run("acknowledge", "--zone", "stove") == "acknowledged: stove"
    assert refused(fireseg_edge("snooze", "--minutes", -1, "--config", "fireseg.toml", cwd=tmp_path)) == [
        "minutes is -1.0: expected a number from 0 to 1440"
    ]
