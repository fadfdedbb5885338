"""Events posted to a real server: content, signature, retries and rejections."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from edge.addresses import check_url
from edge.errors import UserError
from edge.http_deadline import post
from edge.messages import END, PEAK, PROBLEM, RECOVERED, START
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.webhook import SIGNATURE, Webhook, redirect_target
from tests.support.factories import camera_event, event
from tests.support.http_receiver import Receiver, serving
from tests.support.waiting import wait_for


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


def test_a_problem_of_the_camera_and_its_end_are_posted_as_a_type_of_their_own(tmp_path: Path) -> None:
    with serving(Receiver(codes=[500])) as receiver, posting(receiver.url, tmp_path) as hook:
        hook.on_camera_event(camera_event(PROBLEM))
        hook.on_camera_event(camera_event(RECOVERED, t_s=9.0))
        retry, first, last = (json.loads(body) for body in receiver.bodies_after(3))
        wait_for(lambda: not any(tmp_path.iterdir()))
    assert retry == first == camera_event(PROBLEM).as_json()
    assert (first["type"], first["kind"], first["problem"], first["number"]) == ("camera", "problem", "covered", 1)
    assert (last["kind"], last["id"], last["number"], last["duration_s"]) == ("recovered", first["id"], 2, 8.0)
    assert list(tmp_path.iterdir()) == [], "nothing waits to be ended by the next run"


def test_a_secret_signs_the_body_and_a_login_in_the_url_becomes_a_header(tmp_path: Path) -> None:
    with serving(Receiver()) as receiver:
        url = f"http://me:p%40ss@127.0.0.1:{receiver.port}/"
        with posting(url, tmp_path, START, secret="geheim"):
            (body,) = receiver.bodies_after(1)
    expected = hmac.new(b"geheim", body, hashlib.sha256).hexdigest()
    assert receiver.headers[0][SIGNATURE.lower()] == f"sha256={expected}"
    assert receiver.headers[0]["authorization"] == "Basic bWU6cEBzcw=="


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (500, "500 Internal Server Error"),
        (503, "503 Service Unavailable"),
        (429, "429 Too Many Requests"),
        (408, "408 Request Timeout"),
        (401, "check [webhook] user and password_file"),
        (404, "check [webhook] url"),
        (302, "redirected, set [webhook] url to the final address"),
        (307, "redirected, set [webhook] url to the final address"),
    ],
)
def test_what_may_pass_later_is_retried_before_the_next_event_and_logged_with_the_remedy(
    tmp_path: Path, code: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(Receiver(codes=[code, code])) as receiver, posting(receiver.url, tmp_path, START, END):
        receiver.bodies_after(4)
    assert receiver.kinds == [START, START, START, END]
    assert len({header["idempotency-key"] for header in receiver.headers[:3]}) == 1
    assert caplog.text.count(reason) == 1, "once, not once per try"
    assert "ConnectionError" not in caplog.text
    assert "secret" not in caplog.text
    assert "/fire" not in caplog.text


@pytest.mark.parametrize(
    ("code", "reason"), [(400, "rejected it: 400 Bad Request"), (422, "rejected it: 422 Unprocessable")]
)
def test_a_rejected_event_is_set_aside_and_logged_without_secrets(
    tmp_path: Path, code: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(Receiver(codes=[code])) as receiver, posting(receiver.url, tmp_path, START, END):
        receiver.bodies_after(2)
    assert receiver.kinds == [START, END]
    assert receiver.methods == ["POST", "POST"]
    assert reason in caplog.text
    assert json.loads((tmp_path / "dead" / "000000000001.json").read_bytes())["kind"] == START
    assert "secret" not in caplog.text
    assert "/fire" not in caplog.text


def test_a_receiver_that_was_down_gets_everything(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(Receiver()) as receiver:
        pass
    with posting(receiver.url, tmp_path, START, END) as hook:
        wait_for(lambda: "delivery failed" in caplog.text)
        assert hook.receivers()[0].problem == "Connection refused"
        with serving(receiver):
            wait_for(lambda: hook.receivers()[0].delivered == 2 and not hook.receivers()[0].waiting)
        status = hook.receivers()[0]
    assert (status.problem, status.made, status.waiting, status.dead_letters) == ("", 2, 0, 0)
    assert status.retries > 0
    assert receiver.kinds == [START, END]
    assert caplog.text.count("delivery failed") == 1


@pytest.mark.parametrize("id_", [None, "\u20ac", "a\nb", "\ud800"])
def test_a_document_that_is_not_an_event_does_not_hold_up_the_events(
    tmp_path: Path, id_: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "000000000001.json").write_text(json.dumps({"id": id_, "number": 1, "kind": START}))
    with serving(Receiver()) as receiver, posting(receiver.url, tmp_path, START) as hook:
        receiver.bodies_after(1)
        assert hook.receivers()[0].retries == 0
    assert receiver.kinds == [START]
    assert "not an event" in caplog.text


@pytest.mark.parametrize(
    "url", ["h/fire", "ftp://h", "http://", "http://a b", "http://h:99999", "http://h/übung", "http://h/\x01"]
)
def test_an_invalid_url_is_an_error(url: str) -> None:
    with pytest.raises(UserError, match="expected http"):
        check_url(url)


def trickle(first: bytes, again: bytes, interval_s: float) -> Callable[[socket.socket, threading.Event], None]:
    """An answer that begins with `first` and goes on with `again` for ever."""

    def answer(client: socket.socket, stop: threading.Event) -> None:
        with suppress(OSError):
            client.recv(1 << 16)
            client.sendall(first)
            while not stop.wait(interval_s):
                client.sendall(again)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        trickle(b"HTTP/1.1 ", b"0", 0.05),
        trickle(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", 0.0),
        trickle(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.05),
        trickle(b"HTTP/1.1 100 Continue\r\n", b"X: y\r\n", 0.05),
    ],
    ids=["a byte now and then", "100 Continue for ever", "endless headers", "endless headers of a 100"],
)
def test_an_answer_that_never_ends_is_given_up_and_the_event_is_sent_again(
    answer: Callable[[socket.socket, threading.Event], None],
) -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=lambda: answer(server.accept()[0], stop), daemon=True)
        answering.start()
        with pytest.raises(OSError, match=r"in time|timed out"):
            post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", {}, timeout_s=0.2)
        stop.set()
        answering.join()


def test_a_body_that_never_ends_does_not_undo_the_acceptance() -> None:
    stop = threading.Event()
    answer = trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=lambda: answer(server.accept()[0], stop), daemon=True)
        answering.start()
        assert post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", {}, timeout_s=2.0).status == 200
        stop.set()
        answering.join()


def test_a_reason_with_control_characters_is_escaped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as client:
                client.recv(1 << 16)
                client.sendall(b"HTTP/1.1 400 \x1b[2J\x07" + b"x" * 999 + b"\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with posting(f"http://127.0.0.1:{server.getsockname()[1]}/", tmp_path, START) as hook:
            wait_for(lambda: hook.receivers()[0].dead_letters)
            problem = hook.receivers()[0].problem
    assert problem.startswith("400 \\x1b[2J\\x07xxx")
    assert len(problem) < 300
    assert "\x1b" not in caplog.text


def test_the_target_of_a_redirect_is_shown_without_path_and_login() -> None:
    assert redirect_target("https://me:geheim@new.example/secret?token=1") == " to https://***@new.example/…"
    assert redirect_target("/elsewhere") == redirect_target("http://[") == ""
