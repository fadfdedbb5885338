"""Notifications by Apprise to a real HTTP server and a real mail server: content, rate, retries, wrong URLs."""

from __future__ import annotations

import base64
import email
import email.policy
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge.config import NotifySection, load_config
from edge.errors import UserError, UserErrors
from edge.images import decode_rgb
from edge.messages import END, PEAK, PROBLEM, RECOVERED, START
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.factory import build_notifiers
from edge.sinks.notify import Notify, describe, read_services
from tests.support.factories import camera_event, event
from tests.support.http_receiver import Receiver, serving
from tests.support.run_cli import fireseg_edge, refused
from tests.support.waiting import wait_for

pytest.importorskip("apprise", reason="apprise is not installed: pip install apprise to test notifications")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with serving(Receiver()) as receiver:
        yield receiver


def urls(folder: Path, *lines: str) -> Path:
    file = folder / "urls"
    file.write_text("\n".join(("# people", "", *lines)))
    return file


def notifying(folder: Path, url: str, settings: NotifySection | None = None, **options: Any) -> closing[Notify]:
    (service,) = read_services(urls(folder, url))
    queue = DiskQueue(folder / "outbox", max_bytes=1e6)
    return closing(Notify(service, queue, settings or NotifySection(), wait_s=lambda _: 0.01, **options))


def posted(receiver: Receiver, count: int) -> list[dict[str, Any]]:
    return [json.loads(body) for body in receiver.bodies_after(count)]


def test_the_start_of_a_fire_comes_with_its_zone_its_area_and_the_picture(receiver: Receiver, tmp_path: Path) -> None:
    fire = event(START)
    with notifying(tmp_path, f"json://127.0.0.1:{receiver.port}/") as notify:
        notify.on_event(fire)
        (post,) = posted(receiver, 1)
    assert post["title"] == f"Fire: {fire.zone}"
    assert f"Fire area {100 * fire.share:.1f} %" in post["message"]
    (picture,) = post["attachments"]
    assert picture["mimetype"] == "image/jpeg"
    assert decode_rgb(base64.b64decode(picture["base64"]), "picture").shape == fire.rgb.shape


def test_it_ends_with_its_duration_and_its_peaks_are_not_notified(receiver: Receiver, tmp_path: Path) -> None:
    with notifying(tmp_path, f"json://127.0.0.1:{receiver.port}/", NotifySection(picture=False)) as notify:
        for number, kind in enumerate((START, PEAK, END), 1):
            notify.on_event(event(kind, number=number))
        first, last = posted(receiver, 2)
    assert first["title"].startswith("Fire: ") and not first["attachments"]
    assert last["title"].startswith("Fire ended: ") and "It lasted" in last["message"]


def test_a_zone_that_burns_again_within_the_interval_is_counted_with_the_next_one(
    receiver: Receiver, tmp_path: Path
) -> None:
    now_s = [0.0]
    with notifying(tmp_path, f"json://127.0.0.1:{receiver.port}/", clock=lambda: now_s[0]) as notify:
        for number, at_s in enumerate((0.0, 59.0, 60.0)):
            now_s[0] = at_s
            notify.on_event(event(START, id_=f"fire-{number}"))
            notify.on_event(event(END, id_=f"fire-{number}", number=2))
        titles = [post["title"].partition(":")[0] for post in posted(receiver, 4)]
        messages = [post["message"] for post in posted(receiver, 4)]
    assert titles == ["Fire", "Fire ended", "Fire", "Fire ended"]
    assert "Not sent since the last one: 1 event." in messages[2]


def test_a_problem_of_the_camera_and_its_end_are_notified_beside_a_fire(receiver: Receiver, tmp_path: Path) -> None:
    with notifying(tmp_path, f"json://127.0.0.1:{receiver.port}/") as notify:
        notify.on_event(event(START))
        notify.on_camera_event(camera_event(PROBLEM))
        notify.on_camera_event(camera_event(RECOVERED, t_s=9.0))
        _, problem, end = posted(receiver, 3)
    assert problem["title"] == "The camera cannot see: covered"
    assert end["title"] == "The camera sees again"


def test_ends_can_be_left_out(receiver: Receiver, tmp_path: Path) -> None:
    with notifying(tmp_path, f"json://127.0.0.1:{receiver.port}/", NotifySection(ends=False)) as notify:
        notify.on_event(event(START))
        notify.on_event(event(END, number=2))
        notify.on_camera_event(camera_event(PROBLEM))
        assert [post["title"].partition(":")[0] for post in posted(receiver, 2)] == ["Fire", "The camera cannot see"]


def test_a_service_that_fails_is_tried_again_and_its_reason_shown(receiver: Receiver, tmp_path: Path) -> None:
    receiver.codes = [500, 500]
    problems = set()
    with notifying(tmp_path, f"json://127.0.0.1:{receiver.port}/token?key=secret") as notify:
        notify.on_event(event(START))

        def is_delivered() -> bool:
            problems.add(notify.receivers()[0].problem)
            return notify.receivers()[0].delivered == 1 and not notify.receivers()[0].problem

        wait_for(is_delivered)
        (status,) = notify.receivers()
    assert (status.retries, status.waiting, status.problem) == (2, 0, "")
    assert any("500" in problem for problem in problems) and not any("secret" in problem for problem in problems)
    assert len(posted(receiver, 3)) == 3


def test_an_unreachable_service_delays_no_other_and_shows_no_secret(receiver: Receiver, tmp_path: Path) -> None:
    file = urls(tmp_path, "ntfy://127.0.0.1:9/secret", f"json://127.0.0.1:{receiver.port}/")
    config = load_config(None, {"notify": {"urls_file": str(file)}, "spool": {"folder": str(tmp_path / "spool")}})
    sinks = list(build_notifiers(config))
    try:
        for sink in sinks:
            sink.store_event(fire := event(START))
            sink.on_event(fire)
        posted(receiver, 1)
        wait_for(lambda: bool(sinks[0].receivers()[0].problem))
        problem = sinks[0].receivers()[0].problem
    finally:
        for sink in sinks:
            sink.close()
    assert "onnection error" in problem and "secret" not in problem
    assert len({sink.receivers()[0].name for sink in sinks}) == 2
    assert len(list((tmp_path / "spool").iterdir())) == 2


def test_a_mail_has_the_picture_attached(tmp_path: Path) -> None:
    controller = pytest.importorskip("aiosmtpd.controller", reason="aiosmtpd is not installed")
    mails: list[bytes] = []

    class Keep:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            mails.append(envelope.content)
            return "250 OK"

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = controller.Controller(Keep(), hostname="127.0.0.1", port=port)
    server.start()
    try:
        url = f"mailto://127.0.0.1:{port}?from=pi@example.org&to=me@example.org&mode=insecure"
        with notifying(tmp_path, url) as notify:
            notify.on_event(event(START))
            wait_for(lambda: bool(mails))
    finally:
        server.stop()
    message = email.message_from_bytes(mails[0], policy=email.policy.default)
    assert str(message["subject"]).startswith("Fire: ")
    assert [part.get_filename() for part in message.iter_attachments()] == ["fire.jpg"]


def test_each_wrong_line_of_the_url_file_is_one_error_without_the_url(tmp_path: Path) -> None:
    file = urls(tmp_path, "ntfy://localhost/fire", "my-secret-topic", "nosuch://secret")
    with pytest.raises(UserErrors) as raised:
        read_services(file)
    assert [line.partition(": ")[0] for line in raised.value.lines] == [
        f"{file} line {number} is not a URL that Apprise knows" for number in (4, 5)
    ]
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"), [(b"# none\n", "has 0 URLs: expected 1 to 20"), (b"\xff\xfe", "it is not UTF-8 text")]
)
def test_a_url_file_without_urls_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "urls").write_bytes(text)
    with pytest.raises(UserError, match=message):
        read_services(tmp_path / "urls")


def test_a_late_notification_says_how_late_it_is() -> None:
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    fire = {"kind": "start", "zone": "stove", "share": 0.032, "source": "0", "time": noon.isoformat()}
    assert describe(fire, noon + timedelta(seconds=59)) == ("Fire: stove", "Fire area 3.2 %. Camera 0.")
    assert describe(fire, noon + timedelta(minutes=12))[1].endswith("Delayed by 12 min.")


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
