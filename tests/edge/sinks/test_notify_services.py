"""The URL file, the child process that runs Apprise, and `fireseg-edge notify test`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge.child import run_python
from edge.config import load_config
from edge.errors import UserError, UserErrors
from edge.sinks.factory import build_notifiers
from edge.sinks.notify import ask, read_services, without_url
from tests.support.http_receiver import Receiver, urls
from tests.support.run_cli import fireseg_edge, refused
from tests.support.waiting import TIMEOUT_S

apprise = pytest.importorskip("apprise", reason="apprise is not installed: pip install apprise to test notifications")


def posted(receiver: Receiver, count: int) -> list[dict[str, Any]]:
    return [json.loads(body) for body in receiver.bodies_after(count)]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ntfy://127.0.0.1/my-secret-topic", "Failed to send ntfy notification to topic 'my-secret-topic': error=403."),
        ("json://me:passw0rd@127.0.0.1/", "Failed for PASSW0RD at http://me:passw0rd@127.0.0.1/"),
        ("signal://127.0.0.1/15551234567/15557654321", "Failed to notify +15557654321"),
    ],
)
def test_no_part_of_the_url_is_shown(url: str, reason: str) -> None:
    shown = without_url(reason, url)
    assert shown.startswith("Failed")
    assert not any(secret in shown.lower() for secret in ("my-secret-topic", "passw0rd", "15557654321"))


@pytest.mark.parametrize(
    ("statement", "reason", "timeout_s"),
    [
        ("import time; time.sleep(60)", "no answer within 0.5 s", 0.5),
        ("import os; os.abort()", "Apprise failed with exit code -6", TIMEOUT_S),
        ("print('hello')", "Apprise could not be run", TIMEOUT_S),
    ],
)
def test_a_child_that_hangs_crashes_or_chats_is_a_reason(
    statement: str, reason: str, timeout_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.sinks.notify.run_python", lambda _, **options: run_python(statement, **options))
    monkeypatch.setattr("edge.sinks.notify.SEND_TIMEOUT_S", timeout_s)
    with pytest.raises(ConnectionError, match=reason):
        ask("send", {})


def test_a_service_without_apprise_watches_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = load_config(None, {"notify": {"urls_file": str(urls(tmp_path, "wrong"))}})
    with pytest.raises(UserErrors, match="is not an Apprise URL"):
        list(build_notifiers(config))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    (sink,) = build_notifiers(config)
    assert "is not an Apprise URL" in sink.receivers()[0].problem
    assert "NO NOTIFICATIONS" in caplog.text


def test_each_wrong_line_of_the_url_file_is_one_error_without_the_url(tmp_path: Path) -> None:
    file = urls(tmp_path, "ntfy://localhost/fire", "my-secret-topic", "nosuch://secret", "ntfy://localhost/a/b")
    with pytest.raises(UserErrors) as raised:
        read_services(file)
    assert [line.partition(": ")[0] for line in raised.value.lines] == [
        f"{file} line {number} is not an Apprise URL with one recipient" for number in (4, 5, 6)
    ]
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"# none\n", "has 0 URLs: expected 1 to 20"),
        (b"\xff\xfe", "it is not UTF-8 text"),
        (b"ntfy://localhost/a\nntfy://localhost/a\n", "names a URL twice"),
    ],
)
def test_a_url_file_without_urls_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "urls").write_bytes(text)
    with pytest.raises(UserError, match=message):
        read_services(tmp_path / "urls")


def test_the_command_sends_a_test_to_every_service_and_names_those_that_fail(
    receiver: Receiver, tmp_path: Path
) -> None:
    file = urls(tmp_path, f"json://127.0.0.1:{receiver.port}/", "json://127.0.0.1:9/secret")
    done = fireseg_edge("notify", "test", "--urls-file", file, cwd=tmp_path)
    assert done.code == 1
    sound, failed = done.out.splitlines()
    assert sound.startswith("OK ") and failed.startswith("FAIL ") and "line 4" in failed
    assert "secret" not in done.out + done.err
    (post,) = posted(receiver, 1)
    assert post["title"] == "Test of FireSeg Edge" and len(post["attachments"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no services are configured: set [notify] urls_file in --config, or pass --urls-file"),
        (("--urls-file", "gone"), "gone"),
    ],
)
def test_the_command_refuses_in_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (line,) = refused(fireseg_edge("notify", "test", *arguments, cwd=tmp_path))
    assert message in line
