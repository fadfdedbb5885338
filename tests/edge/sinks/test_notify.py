"""Notifications by Apprise to a real HTTP server and a real mail server: content, rate, retries."""

from __future__ import annotations

import base64
import email
import email.policy
import json
import math
import socket
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest

from edge.config import load_config
from edge.config_tables import NotifySection
from edge.images import decode_rgb
from edge.messages import END, PEAK, PROBLEM, RECOVERED, START
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.factory import build_notifiers
from edge.sinks.notify import Notify, describe, read_services
from tests.support.factories import camera_event, event, run_status, update_event
from tests.support.http_receiver import Receiver, urls
from tests.support.waiting import wait_for

apprise = pytest.importorskip("apprise", reason="apprise is not installed: pip install apprise to test notifications")


def notifying(folder: Path, url: str, settings: NotifySection | None = None, **options: Any) -> closing[Notify]:
    (service,) = read_services(urls(folder, url))
    queue = DiskQueue(folder / "outbox", max_bytes=1e6)
    return closing(Notify(service, queue, settings or NotifySection(), **{"wait_s": lambda _: 0.01} | options))


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
    assert last["title"].startswith("Alarm cleared: ") and "It lasted" in last["message"]


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
    assert titles == ["Fire", "Alarm cleared", "Fire", "Alarm cleared"]
    assert "Since the last notification: 1 short event." in messages[2]


def test_a_fire_that_outlasts_the_interval_is_notified_then(receiver: Receiver, tmp_path: Path) -> None:
    now_s = [0.0]
    with notifying(tmp_path, f"json://127.0.0.1:{receiver.port}/", clock=lambda: now_s[0]) as notify:
        notify.on_event(event(START, id_="short"))
        notify.on_event(event(END, id_="short", number=2))
        now_s[0] = 30.0
        notify.on_event(event(START, id_="real"))
        for now_s[0] in (59.0, 60.0, 61.0):
            notify.on_status(run_status())
        assert [post["title"].partition(":")[0] for post in posted(receiver, 3)] == ["Fire", "Alarm cleared", "Fire"]
        notify.on_event(event(END, id_="real", number=3))
        assert len(posted(receiver, 4)) == 4


def test_after_a_restart_a_fire_that_was_open_may_still_burn(receiver: Receiver, tmp_path: Path) -> None:
    url = f"json://127.0.0.1:{receiver.port}/"
    with notifying(tmp_path, url) as notify:
        notify.on_event(event(START))
        posted(receiver, 1)
        wait_for(lambda: not notify.receivers()[0].waiting)
    with notifying(tmp_path, url):
        last = posted(receiver, 2)[-1]
    assert last["title"].startswith("Restarted during a fire: ")
    assert last["message"].startswith("It may still burn: look.")
    assert not last["attachments"]


def test_without_ends_nothing_of_a_fire_that_ended_is_left(receiver: Receiver, tmp_path: Path) -> None:
    with notifying(tmp_path, f"json://127.0.0.1:{receiver.port}/", NotifySection(ends=False)) as notify:
        notify.on_event(event(START))
        notify.on_event(event(END, number=2))
        wait_for(lambda: notify.receivers()[0].delivered == 2 and not any((tmp_path / "outbox").iterdir()))
    assert list((tmp_path / "outbox").iterdir()) == []
    assert len(posted(receiver, 1)) == 1


def test_a_fire_that_ends_while_the_camera_is_covered_is_no_all_clear() -> None:
    end = event(END, number=2).as_json() | {"camera_problem": "covered"}
    title, text = describe(end, datetime.now(UTC))
    assert title.startswith("Fire out of sight: ") and text.startswith("It may still burn: covered.")


def test_a_service_that_refuses_pictures_gets_the_text(receiver: Receiver, tmp_path: Path) -> None:
    receiver.codes = [413]
    with notifying(tmp_path, f"json://127.0.0.1:{receiver.port}/") as notify:
        notify.on_event(event(START))
        first, second = posted(receiver, 2)
        wait_for(lambda: notify.receivers()[0].delivered == 1)
    assert len(first["attachments"]) == 1 and not second["attachments"]


def test_a_picture_that_cannot_be_made_or_is_too_large_is_left_out(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [b"x" * 600_000]

    def encode(_: Any) -> bytes:
        if not pictures:
            raise MemoryError
        return pictures.pop()

    monkeypatch.setattr("edge.sinks.notify.encode_jpeg", encode)
    with notifying(tmp_path, f"json://127.0.0.1:{receiver.port}/", NotifySection(min_interval_s=0)) as notify:
        notify.on_event(event(START, id_="first"))
        notify.on_event(event(START, id_="second"))
        assert [post["attachments"] for post in posted(receiver, 2)] == [[], []]


def test_an_event_that_is_not_valid_is_set_aside(receiver: Receiver, tmp_path: Path) -> None:
    queue = DiskQueue(tmp_path / "outbox", max_bytes=1e6)
    invalid: list[dict[str, Any]] = [{"share": None}, {"kind": "end", "duration_s": math.inf}]
    for number, broken in enumerate(invalid, 1):
        queue.add(json.dumps({"id": f"a{number}", "number": 1, "kind": "start", **broken}).encode())
    queue.write_pending()
    queue.close()
    with notifying(tmp_path, f"json://127.0.0.1:{receiver.port}/") as notify:
        wait_for(lambda: notify.receivers()[0].dead_letters == 2)


def test_a_zone_with_markup_in_its_name_reaches_a_service_that_takes_html() -> None:
    from edge.notify_child import send

    service = Mock(wraps=apprise.Apprise())
    with patch("apprise.Apprise", lambda: service):
        send({"url": "json://127.0.0.1:9/", "title": "Fire: a<b", "text": "x", "urgent": True, "picture": ""})
    assert service.notify.call_args.kwargs["body_format"] == apprise.NotifyFormat.TEXT


def test_a_problem_of_the_camera_and_its_end_are_notified_beside_a_fire(receiver: Receiver, tmp_path: Path) -> None:
    with notifying(tmp_path, f"json://127.0.0.1:{receiver.port}/") as notify:
        notify.on_event(event(START))
        notify.on_camera_event(camera_event(PROBLEM))
        notify.on_camera_event(camera_event(RECOVERED, t_s=9.0))
        _, problem, end = posted(receiver, 3)
    assert problem["title"] == "The camera cannot see: covered"
    assert end["title"] == "The camera sees again"


def test_a_failed_update_is_notified_at_once_and_its_end_also_after_a_restart(
    receiver: Receiver, tmp_path: Path
) -> None:
    url = f"json://127.0.0.1:{receiver.port}/"
    with notifying(tmp_path, url) as notify:
        notify.on_update_event(update_event(PROBLEM))
        notify.on_update_event(update_event(PROBLEM, "base 02 was given up: its trial was interrupted"))
        first, second = posted(receiver, 2)
        wait_for(lambda: not notify.receivers()[0].waiting)
    with notifying(tmp_path, url) as notify:
        notify.on_update_event(update_event(RECOVERED))
        *_, end = posted(receiver, 3)
        wait_for(lambda: not notify.receivers()[0].waiting)
    assert first["title"] == second["title"] == "Model update failed" and not first["attachments"]
    assert first["message"].startswith("base 01e12d1af291 was rolled back: it is slow. Camera test.")
    assert second["message"].startswith("base 02 was given up")
    assert end["title"] == "Model update problem resolved", "not an end that the restart made"
    assert len(posted(receiver, 3)) == 3


def test_ends_can_be_left_out(receiver: Receiver, tmp_path: Path) -> None:
    with notifying(tmp_path, f"json://127.0.0.1:{receiver.port}/", NotifySection(ends=False)) as notify:
        notify.on_event(event(START))
        notify.on_event(event(END, number=2))
        notify.on_camera_event(camera_event(PROBLEM))
        assert [post["title"].partition(":")[0] for post in posted(receiver, 2)] == ["Fire", "The camera cannot see"]


def test_a_service_that_fails_is_tried_again_and_its_reason_shown(receiver: Receiver, tmp_path: Path) -> None:
    receiver.codes = [500, 500]
    problems = []
    settings = NotifySection(picture=False)

    def wait_s(_: int) -> float:
        problems.append(notify.receivers()[0].problem)
        return 0.01

    url = f"json://127.0.0.1:{receiver.port}/token?key=secret"
    with notifying(tmp_path, url, settings, wait_s=wait_s) as notify:
        notify.on_event(event(START))
        wait_for(lambda: notify.receivers()[0].delivered == 1 and not notify.receivers()[0].problem)
        (status,) = notify.receivers()
    assert (status.retries, status.waiting, status.problem) == (2, 0, "")
    assert all("500" in problem and "secret" not in problem for problem in problems) and len(problems) == 2
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


def test_a_late_notification_says_how_late_it_is() -> None:
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    fire = {"kind": "start", "zone": "stove", "share": 0.032, "source": "0", "time": noon.isoformat()}
    assert describe(fire, noon + timedelta(seconds=59)) == ("Fire: stove", "Fire area 3.2 %. Camera 0.")
    assert describe(fire, noon + timedelta(minutes=12))[1].endswith("Delayed by 12 min.")
