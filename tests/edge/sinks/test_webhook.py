"""Events posted to a real server: content, signature, retries and rejections."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edge.addresses import check_url
from edge.errors import UserError
from edge.messages import END, PEAK, START
from edge.sinks.outbox import DiskQueue
from edge.sinks.webhook import SIGNATURE, Webhook
from tests.support.factories import event
from tests.support.waiting import wait_for


@dataclass
class Receiver:
    """A server that keeps what it receives."""

    codes: list[int] = field(default_factory=list)
    """Responses to the first posts; 204 to all others."""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/fire?token=secret"

    @property
    def kinds(self) -> list[str]:
        return [json.loads(body)["kind"] for body in self.bodies]

    def bodies_after(self, count: int) -> list[bytes]:
        """Return all bodies once there are `count`."""
        wait_for(lambda: len(self.bodies) >= count)
        return self.bodies


@contextmanager
def serving(receiver: Receiver) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            code = receiver.codes.pop(0) if receiver.codes else 204
            receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
            receiver.methods.append(self.command)
            receiver.bodies.append(body)
            self.send_response(code)
            if 300 <= code < 400:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", receiver.port), Handler) as server:
        receiver.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield receiver
        server.shutdown()


@contextmanager
def posting(url: str, outbox: Path, *kinds: str, secret: str | None = None) -> Iterator[Webhook]:
    """A webhook that was given an event of each kind."""
    queue = DiskQueue(outbox, max_bytes=1e6)
    with closing(Webhook(url, queue, secret=secret, wait_s=lambda _: 0.01)) as hook:
        for number, kind in enumerate(kinds, 1):
            hook.on_event(event(kind, number=number))
        yield hook


def test_each_event_is_posted_as_json_with_its_own_key(tmp_path: Path) -> None:
    with serving(Receiver()) as receiver, posting(receiver.url, tmp_path, START, PEAK, END):
        receiver.bodies_after(3)
    assert receiver.kinds == [START, PEAK, END]
    assert json.loads(receiver.bodies[0]) == event(START).as_json()
    assert receiver.headers[0]["content-type"] == "application/json"
    assert len({header["idempotency-key"] for header in receiver.headers}) == 3
    assert not {SIGNATURE.lower(), "authorization"} & receiver.headers[0].keys()


def test_a_secret_signs_the_body_and_a_login_in_the_url_becomes_a_header(tmp_path: Path) -> None:
    with serving(Receiver()) as receiver:
        url = f"http://me:p%40ss@127.0.0.1:{receiver.port}/"
        with posting(url, tmp_path, START, secret="geheim"):
            (body,) = receiver.bodies_after(1)
    expected = hmac.new(b"geheim", body, hashlib.sha256).hexdigest()
    assert receiver.headers[0][SIGNATURE.lower()] == f"sha256={expected}"
    assert receiver.headers[0]["authorization"] == "Basic bWU6cEBzcw=="


@pytest.mark.parametrize("code", [500, 503, 429, 408])
def test_a_temporary_failure_is_retried_before_the_next_event(tmp_path: Path, code: int) -> None:
    with serving(Receiver(codes=[code, code])) as receiver, posting(receiver.url, tmp_path, START, END):
        receiver.bodies_after(4)
    assert receiver.kinds == [START, START, START, END]
    assert len({header["idempotency-key"] for header in receiver.headers[:3]}) == 1


@pytest.mark.parametrize("code", [400, 401, 404, 302, 307])
def test_a_rejected_event_is_dropped_and_logged_without_the_urls_secrets(
    tmp_path: Path, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(Receiver(codes=[code])) as receiver, posting(receiver.url, tmp_path, START, END):
        receiver.bodies_after(2)
    assert receiver.kinds == [START, END]
    assert receiver.methods == ["POST", "POST"]
    assert "rejected an event" in caplog.text
    assert "secret" not in caplog.text
    assert "/fire" not in caplog.text


def test_a_receiver_that_was_down_gets_everything(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(Receiver()) as receiver:
        pass
    with posting(receiver.url, tmp_path, START, END):
        wait_for(lambda: "delivery failed" in caplog.text)
        with serving(receiver):
            receiver.bodies_after(2)
    assert receiver.kinds == [START, END]
    assert caplog.text.count("delivery failed") == 1


def test_a_document_that_is_not_an_event_does_not_hold_up_the_events(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "000000000001.json").write_text("{}")
    with serving(Receiver()) as receiver, posting(receiver.url, tmp_path, START):
        receiver.bodies_after(1)
    assert receiver.kinds == [START]
    assert "is not an event" in caplog.text


@pytest.mark.parametrize(
    "url", ["h/fire", "ftp://h", "http://", "http://a b", "http://h:99999", "http://h/übung", "http://h/\x01"]
)
def test_an_invalid_url_is_an_error(url: str) -> None:
    with pytest.raises(UserError, match="expected http"):
        check_url(url)
