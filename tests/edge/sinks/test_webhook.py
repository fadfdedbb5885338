"""Events as POSTs to a real server: what they hold, how they are signed, when they are tried again."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edge.config import check_url
from edge.errors import UserError
from edge.messages import END, PEAK, START
from edge.sinks.spool import Spool
from edge.sinks.webhook import SIGNATURE, Webhook
from tests.support.factories import event

LARGE = 1e6
LONG_S = 10.0


@dataclass
class Receiver:
    """A server that answers as it is told, and keeps what it was sent."""

    answers: list[int] = field(default_factory=list)
    """To the first posts; 204 to all after them."""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    port: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/fire?token=secret"

    def wait_for(self, count: int) -> list[bytes]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.bodies) >= count, LONG_S)
        return self.bodies


@contextmanager
def served(receiver: Receiver) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with receiver.changed:
                answer = receiver.answers.pop(0) if receiver.answers else 204
                receiver.bodies.append(body)
                receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
                receiver.methods.append(self.command)
                receiver.changed.notify_all()
            self.send_response(answer)
            if 300 <= answer < 400:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", receiver.port), Handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.retry.FIRST_WAIT_S", 0.01)


def kinds(receiver: Receiver) -> list[str]:
    return [json.loads(body)["kind"] for body in receiver.bodies]


def test_each_event_is_posted_as_json_with_a_key_of_its_own(tmp_path: Path) -> None:
    with served(Receiver()) as receiver:
        hook = Webhook(receiver.url, Spool(tmp_path, LARGE))
        for number, kind in enumerate((START, PEAK, END), 1):
            hook.on_event(event(kind, number=number))
        receiver.wait_for(3)
        hook.close()
    assert kinds(receiver) == [START, PEAK, END]
    assert json.loads(receiver.bodies[0]) == event(START).as_json()
    assert receiver.headers[0]["content-type"] == "application/json"
    assert len({header["idempotency-key"] for header in receiver.headers}) == 3
    assert SIGNATURE.lower() not in receiver.headers[0]


def test_a_secret_signs_the_body_so_that_the_receiver_can_tell(tmp_path: Path) -> None:
    with served(Receiver()) as receiver:
        hook = Webhook(receiver.url, Spool(tmp_path, LARGE), secret="geheim")
        hook.on_event(event(START))
        (body,) = receiver.wait_for(1)
        hook.close()
    expected = hmac.new(b"geheim", body, hashlib.sha256).hexdigest()
    assert receiver.headers[0][SIGNATURE.lower()] == f"sha256={expected}"


@pytest.mark.parametrize("answer", [500, 503, 429, 408])
def test_an_answer_of_the_moment_is_tried_again_before_the_next_event(tmp_path: Path, answer: int) -> None:
    with served(Receiver(answers=[answer, answer])) as receiver:
        hook = Webhook(receiver.url, Spool(tmp_path, LARGE))
        hook.on_event(event(START))
        hook.on_event(event(END, number=2))
        receiver.wait_for(4)
        hook.close()
    assert kinds(receiver) == [START, START, START, END]
    assert len({header["idempotency-key"] for header in receiver.headers[:3]}) == 1


@pytest.mark.parametrize("answer", [400, 401, 404, 302, 307])
def test_an_answer_that_will_stay_drops_the_event_and_says_so_without_the_urls_secrets(
    tmp_path: Path, answer: int, caplog: pytest.LogCaptureFixture
) -> None:
    with served(Receiver(answers=[answer])) as receiver:
        hook = Webhook(receiver.url, Spool(tmp_path, LARGE))
        hook.on_event(event(START))
        hook.on_event(event(END))
        receiver.wait_for(2)
        hook.close()
    assert kinds(receiver) == [START, END]
    assert receiver.methods == ["POST", "POST"]
    assert "dropped" in caplog.text
    assert "secret" not in caplog.text
    assert "/fire" not in caplog.text


def test_a_receiver_that_is_away_gets_everything_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with served(Receiver()) as receiver:
        pass
    hook = Webhook(receiver.url, Spool(tmp_path, LARGE))
    hook.on_event(event(START))
    hook.on_event(event(END))
    gives_up_s = time.monotonic() + 10
    while "does not take" not in caplog.text:
        assert time.monotonic() < gives_up_s
        time.sleep(0.01)
    with served(receiver):
        receiver.wait_for(2)
        hook.close()
    assert kinds(receiver) == [START, END]
    assert caplog.text.count("does not take") == 1


def test_what_is_no_event_does_not_hold_up_the_events_behind_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "000000000001.json").write_text("{}")
    with served(Receiver()) as receiver:
        hook = Webhook(receiver.url, Spool(tmp_path, LARGE))
        hook.on_event(event(START))
        receiver.wait_for(1)
        hook.close()
    assert kinds(receiver) == [START]
    assert "is no event" in caplog.text


def test_a_login_in_the_url_becomes_a_header(tmp_path: Path) -> None:
    with served(Receiver()) as receiver:
        hook = Webhook(f"http://me:p%40ss@127.0.0.1:{receiver.port}/", Spool(tmp_path, LARGE))
        hook.on_event(event(START))
        receiver.wait_for(1)
        hook.close()
    assert receiver.headers[0]["authorization"] == "Basic bWU6cEBzcw=="


@pytest.mark.parametrize(
    "url",
    [
        "example.org/fire",
        "ftp://example.org",
        "http://",
        "http://a b",
        "http://h:99999",
        "http://h/übung",
        "http://h/\x01",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="expected http"):
        check_url(url)
