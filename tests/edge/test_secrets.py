"""Credentials never show, whatever characters they contain."""

from __future__ import annotations

import logging
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import UserError
from edge.secrets import MAX_LINE, MAX_REDACTED, RedactingFormatter, read_secret, redact

# No text around a URL contains "hunter2", so finding it means that it leaked.
SIGNS = string.ascii_letters + string.digits + "@:/?#[]!$&'()*+,;=%\"\\~^{}|<>-._"
secrets = st.text(SIGNS, min_size=3, max_size=20).map(lambda text: f"hunter2{text}hunter2")
users = st.text(SIGNS.replace("/", "").replace("@", ""), max_size=8)
schemes = st.sampled_from(["rtsp", "rtsps", "http", "https", "RTSP", "mqtt+tls"])
around = st.sampled_from(["", "could not open ", "source=", "('", "x" * 30 + " "])


@given(secret=secrets, user=users, scheme=schemes, before=around, path=st.sampled_from(["", "/", "/live?ch=1", "/a@b"]))
def test_a_password_before_the_host_never_shows(secret: str, user: str, scheme: str, before: str, path: str) -> None:
    shown = redact(f"{before}{scheme}://{user}:{secret}@camera.local:554{path} refused")
    assert "hunter2" not in shown
    assert f"{scheme}://***" in shown
    assert shown.endswith(" refused")


@given(secret=secrets, key=st.sampled_from(["token", "pwd", "usr", "loginpas", "x"]), scheme=schemes)
def test_no_value_of_a_query_shows(secret: str, key: str, scheme: str) -> None:
    shown = redact(f"{scheme}://camera.local/video?channel=1&{key}={secret.replace('&', '').replace(';', '')} refused")
    assert "hunter2" not in shown
    assert "camera.local/video" in shown or "@" in secret


@given(text=st.text())
def test_redacting_twice_is_redacting_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@given(
    part=st.text(SIGNS + " ", min_size=1, max_size=4) | st.sampled_from(["a", "a:", "//", "@", "://", "=?@", " a://"])
)
def test_a_text_of_a_megabyte_is_redacted_at_once(part: str) -> None:
    """Quadratic time would be minutes, during which no other thread runs."""
    text = part * (2**20 // len(part))
    assert len(redact(text)) <= 3 * MAX_REDACTED


@given(secret=secrets, user=users, cut=st.integers(0, 80))
def test_a_password_that_the_cut_of_a_long_text_passes_through_never_shows(secret: str, user: str, cut: int) -> None:
    text = f"{'x' * (MAX_REDACTED - cut)}rtsp://{user}:{secret}@camera.local refused"
    assert "hunter2" not in redact(text)


@pytest.mark.parametrize("text", ["rtsp://camera.local:554/live", "frame 3 of 4", "user@host", "C://x", "50 % @ 3 fps"])
def test_text_without_credentials_is_unchanged(text: str) -> None:
    assert redact(text) == text


def test_every_url_in_a_line_is_redacted() -> None:
    assert redact("http://a:b@one then http://c:d@two:81/x?p=1&q=2") == (
        "http://***@one then http://***@two:81/x?p=***&q=***"
    )


def test_a_log_line_and_its_traceback_contain_no_credentials() -> None:
    try:
        raise OSError("cannot open rtsp://admin:hunter2@cam/1")
    except OSError as error:
        raised = (type(error), error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "f.py", 1, "lost %s", ("http://u:hunter2@cam",), raised)
    shown = RedactingFormatter("%(message)s").format(record)
    assert "OSError" in shown
    assert "hunter2" not in shown


def test_a_secret_that_is_not_utf_8_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESEG_TEST", "passw\udce9rd")
    with pytest.raises(UserError, match="FIRESEG_TEST is not UTF-8 text"):
        read_secret("FIRESEG_TEST", "")


def test_a_byte_order_mark_is_not_a_part_of_the_secret(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\r\n", encoding="utf-8-sig")
    assert read_secret("FIRESEG_TEST", str(tmp_path / "password")) == "secret"


def test_control_characters_in_log_lines_are_escaped() -> None:
    record = logging.LogRecord("edge", logging.INFO, "", 0, "camera says %s", ("\x1b]0;title\x07",), None)
    assert RedactingFormatter("\r%(message)s").format(record) == "\rcamera says \\x1b]0;title\\x07"


def test_a_long_log_line_is_cut_after_it_is_redacted() -> None:
    text = "x" * (MAX_LINE // 2 - 15) + " rtsp://me:hunter2@cam/1 " + "x" * MAX_LINE
    record = logging.LogRecord("edge", logging.INFO, "", 0, text, (), None)
    assert "hunter" not in RedactingFormatter("%(message)s").format(record)
