"""The page as its viewers have it, and what they cost the watch: nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge.config import load_config
from edge.images import Frame, encode_jpeg
from edge.messages import END, PEAK, START, CameraState, FrameResult
from edge.sinks.prometheus import Prometheus
from edge.sinks.web import health, history, live
from edge.sinks.web.app import MOST_VIEWERS
from edge.sinks.web.sink import WebPage
from tests.support.factories import event, result
from tests.support.web_client import Camera, Viewer, ask, ask_json, config, noise, serving, status, until


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every encoding, by the thread that did it."""
    threads: list[str] = []

    def counted(frame: Frame, quality: int) -> bytes:
        threads.append(threading.current_thread().name)
        return encode_jpeg(frame, quality)

    monkeypatch.setattr(live, "encode_jpeg", counted)
    return threads


def decoded(jpeg: bytes) -> Frame:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture.astype(np.uint8)


# The live picture


def test_nothing_is_encoded_while_nobody_watches(encoded: list[str]) -> None:
    with serving() as page, Camera(page, fps=50) as camera:
        until(lambda: camera.number > 20)
        assert ask_json(page, "/api/state")["picture_s"] < 1
        assert encoded == []
        with Viewer(page) as viewer:
            viewer.picture()
        until(lambda: page._live.viewers == 0 and not page._live._making)  # what was begun is finished
        before, number = len(encoded), camera.number
        until(lambda: camera.number > number + 20)
        assert len(encoded) == before


def test_a_picture_is_encoded_once_however_many_watch_and_not_by_the_loops_thread(encoded: list[str]) -> None:
    with serving() as page, ExitStack() as watching, Camera(page, fps=30):
        began_s = time.monotonic()
        viewers = [watching.enter_context(Viewer(page)) for _ in range(8)]
        seen = [{viewer.picture() for _ in range(10)} for viewer in viewers]
        # One for each interval at most, not one for each viewer.
        assert len(encoded) <= (time.monotonic() - began_s) / live.INTERVAL_S + 2
        assert set(encoded) == {"web-pictures_0"}
        assert len(set.union(*seen)) <= 4  # the camera's pictures: the same bytes for all


def test_a_picture_that_was_asked_for_before_is_not_encoded_again(encoded: list[str]) -> None:
    with serving() as page:
        page.on_result(gray(1))
        assert ask(page, "/snapshot.jpg")[2] == ask(page, "/snapshot.jpg")[2]
        assert len(encoded) == 1
        page.on_result(gray(2))
        ask(page, "/snapshot.jpg")
        assert len(encoded) == 2


def test_viewers_get_ten_pictures_a_second_at_most_however_fast_results_come(encoded: list[str]) -> None:
    with serving() as page, Camera(page, fps=60):
        began_s = time.monotonic()  # before the first of eleven can have been drawn
        with Viewer(page) as viewer:
            for _ in range(11):
                viewer.picture()
        assert 10 * live.INTERVAL_S <= time.monotonic() - began_s < 2.5


def test_a_viewer_that_reads_nothing_slows_neither_the_others_nor_the_loop() -> None:
    # Noise of this size is a third of a megabyte a picture: what the kernel takes for a viewer is soon full.
    with serving() as page, Camera(page, fps=20, size=(720, 960)) as camera, Viewer(page), Viewer(page) as quick:
        first = quick.picture()
        assert len(first) > 300_000
        number = camera.number
        began_s = time.monotonic()
        for _ in range(20):
            quick.picture()
        assert time.monotonic() - began_s < 6
        assert camera.number - number > 20
    assert camera.longest_s < 0.1


def test_a_slow_viewer_gets_the_newest_picture_and_not_all_it_missed() -> None:
    room = noise(1, (720, 960))
    with serving() as page, Viewer(page) as viewer:
        for number in range(40):
            rgb = room.rgb.copy()
            rgb[:200, :200] = 5 * number
            page.on_result(replace(room, frame=number + 1, rgb=rgb, mask=np.zeros((12, 16), np.bool_)))
            time.sleep(0.05)
        # What was on its way when it stopped to read comes first, and then what is now.
        seen: list[int] = []
        while 5 * 39 not in seen and len(seen) < 4:
            seen.append(round(decoded(viewer.picture())[:150, :150].mean()))
        assert seen[0] < 30
        assert seen[-1] == 5 * 39


def gray(number: int) -> FrameResult:
    return result(number / 10, 0.0, on=False, number=number, level=number)


def test_fire_is_marked_or_not_as_the_viewer_asks() -> None:
    with serving() as page:
        page.on_result(replace(gray(50), mask=np.ones((12, 16), np.bool_)))
        marked, default, plain = (
            decoded(ask(page, f"/snapshot.jpg{query}")[2]) for query in ("?overlay=1", "", "?overlay=0")
        )
        assert marked[..., 2].mean() > 120  # red
        assert (default == marked).all()
        assert plain[..., 2].mean() == pytest.approx(50, abs=2)
        for path in ("/live.mjpeg", "/snapshot.jpg"):
            assert ask(page, f"{path}?overlay=maybe")[0] == 400
        with Viewer(page, "/live.mjpeg?overlay=0") as viewer:
            assert decoded(viewer.picture())[..., 2].mean() == pytest.approx(50, abs=2)


def test_more_viewers_than_may_be_are_told_so_and_find_room_when_one_leaves() -> None:
    with serving() as page, Camera(page, fps=10), ExitStack() as watching:
        viewers = [watching.enter_context(Viewer(page)) for _ in range(MOST_VIEWERS)]
        for viewer in viewers:
            viewer.picture()
        code, _, text = ask(page, "/live.mjpeg")
        assert (code, text) == (503, b"32 are watching already: close a window elsewhere.\n")
        viewers[0].leave()
        until(lambda: page._live.viewers < MOST_VIEWERS)
        with Viewer(page) as late:
            assert late.status == 200


def test_wide_pictures_are_made_narrower_for_the_network() -> None:
    with serving() as page:
        page.on_result(noise(1, (1080, 1920)))
        assert decoded(ask(page, "/snapshot.jpg")[2]).shape == (540, 960, 3)


def test_a_picture_of_long_ago_is_not_shown_as_if_it_were_now(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as page:
        assert ask(page, "/snapshot.jpg")[0] == 503
        page.on_result(gray(1))
        assert ask(page, "/snapshot.jpg")[0] == 200
        monkeypatch.setattr(live, "FRESH_S", 0.0)
        assert ask(page, "/snapshot.jpg")[0] == 503
        with Viewer(page) as viewer:
            until(lambda: page._live.viewers == 1)
            page.on_result(gray(200))
            assert decoded(viewer.picture()).mean() == pytest.approx(200, abs=2)


# Figures and events


def test_the_state_holds_what_the_run_tells() -> None:
    with serving() as page:
        page.on_result(result(1.0, 0.25, on=True, zone="stove"))
        page.on_status(status(camera_state=CameraState.STALLED))
        told = ask_json(page, "/api/state")
    assert told.pop("picture_s") < 1
    assert told == {
        "alarm": True,
        "zones": {"stove": {"share": 0.25, "alarm": True}},
        "age_ms": 12.3,
        "inference_ms": 5.7,
        "news": 0,
        "configs": 0,
        "point": [12.3, {"stove": 0.25}],
        "source": "test",
        "source_state": "stalled",
        "openings": 1,
        "running_s": 12.3,
        "results": 100,
        "dropped": 7,
        "fps": 9.9,
        "temperature_c": 61.5,
        "throttled": ["under-voltage", "throttled"],
        "load": 1.5,
        "model_sha256": "ab" * 32,
    }


def test_the_state_is_told_with_each_status_and_at_once_with_an_event() -> None:
    with serving() as page, Viewer(page, "/state") as viewer:
        assert viewer.answer.headers["Content-Type"].startswith("text/event-stream")
        assert viewer.message()["alarm"] is False
        drawn = threading.Event()
        page._executor.submit(drawn.wait, 5)  # its picture may take a while
        page.on_result(result(1.0, 0.25, on=True))
        page.on_event(event(START))
        began_s = time.monotonic()
        told = viewer.message()
        assert (told["alarm"], told["news"]) == (True, 1)
        drawn.set()
        while told["news"] < 2:  # the event, and then its picture
            told = viewer.message()
        assert time.monotonic() - began_s < 0.5
        page.on_status(status(results=101))
        assert viewer.message()["results"] == 101


def test_the_history_has_the_largest_share_of_each_second_and_a_gap_where_nothing_was_seen() -> None:
    with serving() as page:
        for share in (0.1, 0.4, 0.2):
            page.on_result(result(1.0, share, on=True))
        page.on_status(status(running_s=3.0))
        page.on_status(status(running_s=4.0))
        page.on_result(result(1.0, 0.1, on=True, zone="stove"))
        page.on_status(status(running_s=5.0))
        assert ask_json(page, "/api/history")[2:] == [[3.0, {"frame": 0.4}], [4.0, {}], [5.0, {"stove": 0.1}]]


def test_an_event_is_listed_with_its_picture_in_which_fire_is_marked() -> None:
    with serving() as page:
        burning = replace(event(START), rgb=np.full((48, 64, 3), 60, np.uint8), mask=np.ones((12, 16), np.bool_))
        page.on_event(burning)
        page.on_event(replace(event(PEAK, t_s=3.0), peak_share=0.2))
        until(lambda: len(ask_json(page, "/api/events")[0]["pictures"]) == 2)
        (fire,) = ask_json(page, "/api/events")
        assert fire["id"] == burning.id
        assert (fire["zone"], fire["burns"], fire["peak_share"], fire["duration_s"]) == ("frame", True, 0.2, 2.0)
        assert fire["pictures"] == ["start", "peak"]
        code, headers, jpeg = ask(page, f"/events/{burning.id}/start.jpg")
        assert (code, headers["Content-Type"]) == (200, "image/jpeg")
        assert decoded(jpeg)[..., 2].mean() > 120
        page.on_event(event(END, t_s=9.0))
        assert ask_json(page, "/api/events")[0]["burns"] is False


@pytest.mark.parametrize(
    "path",
    [
        "/events/nobody/start.jpg",
        "/events/20261122T120000Z-frame-abcd/rgb.jpg",
        "/events/../../etc/passwd/start.jpg",
        "/events/%2e%2e%2f%2e%2e%2fetc%2fpasswd/start.jpg",
        "/events/20261122T120000Z-frame-abcd/..%2f..%2fpage.jpg",
        "/page.html",
        "/../page.py",
        "/%2e%2e/page.py",
        "/app.py",
    ],
)
def test_only_pictures_that_are_kept_are_found(path: str) -> None:
    with serving() as page:
        page.on_event(event(START))
        until(lambda: ask(page, "/events/20261122T120000Z-frame-abcd/start.jpg")[0] == 200)
        assert ask(page, path)[0] == 404


def test_only_the_last_fires_are_kept_and_no_full_frame_of_them() -> None:
    with serving() as page:
        for number in range(history.FIRES + 5):
            page.on_event(event(START, id_=f"fire-{number}"))
        until(lambda: ask(page, f"/events/fire-{history.FIRES + 4}/start.jpg")[0] == 200)
        assert [fire["id"] for fire in ask_json(page, "/api/events")] == [
            f"fire-{number}" for number in reversed(range(5, history.FIRES + 5))
        ]
        assert ask(page, "/events/fire-4/start.jpg")[0] == 404
        assert all(told.rgb.size == 0 for fire in page._history._fires.values() for told in fire.told.values())


def test_zones_and_ignored_areas_are_told_as_they_were_drawn(tmp_path: Path) -> None:
    path = tmp_path / "fireseg.toml"
    path.write_text(
        '[web]\nlisten = "127.0.0.1:0"\n[alarm]\non_share = 0.03\n'
        '[[zones]]\nname = "<b>stove"\npolygon = [[0.1, 0.4], [0.5, 0.4], [0.5, 0.9]]\n'
        "[[ignored]]\npolygon = [[0, 0], [0.1, 0], [0.1, 0.1]]\n"
    )
    with serving(load_config(path)) as page:
        assert ask_json(page, "/api/areas") == {
            "zones": [{"name": "<b>stove", "polygon": [[0.1, 0.4], [0.5, 0.4], [0.5, 0.9]]}],
            "ignored": [[[0, 0], [0.1, 0], [0.1, 0.1]]],
            "whole_frame": "frame",
            "on_share": 0.03,
        }


# Health


def test_a_run_is_ready_while_frames_come_and_alive_while_its_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def verdicts() -> list[tuple[int, str | None]]:
        answers = [ask(page, path) for path in ("/healthz", "/readyz")]
        assert all(len(text.splitlines()) == 1 for _, _, text in answers)
        return [(code, json.loads(text)["reason"]) for code, _, text in answers]

    with serving() as page:
        assert verdicts() == [(200, None), (503, "no frame has come yet")]
        page.on_result(gray(1))
        assert verdicts() == [(200, None), (200, None)]
        page.on_status(status(camera_state=CameraState.RECONNECTING))
        assert verdicts() == [(200, None), (503, "the source is reconnecting")]
        page.on_status(status())
        assert verdicts() == [(200, None), (200, None)]
        monkeypatch.setattr(health, "READY_S", 0.0)
        page.on_result(gray(2))
        assert verdicts() == [(200, None), (200, None)]
        later_s = time.monotonic() + 3.1 / config().loop.max_fps  # so long may pass between results where all is well
        monkeypatch.setattr(history, "time", SimpleNamespace(monotonic=lambda: later_s))
        assert verdicts() == [(200, None), (503, "no frame has come for 0 s")]
        monkeypatch.setattr(health, "ALIVE_S", 0.0)
        assert verdicts()[0] == (503, "the loop has told nothing for 0 s")


def test_a_run_that_is_told_to_look_less_often_is_ready_for_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "READY_S", 0.0)
    with serving(config(loop={"max_fps": 100})) as page:
        page.on_result(gray(1))
        time.sleep(0.1)
        assert ask(page, "/readyz")[0] == 503
        page.on_config(config(loop={"max_fps": 0.1}))
        assert ask(page, "/readyz")[0] == 200
        page.on_config(config(loop={"max_fps": 100}))
        assert ask(page, "/readyz")[0] == 503


# Beginning and end


def test_the_page_ends_in_under_a_second_whoever_is_connected(capfd: pytest.CaptureFixture[str]) -> None:
    with serving() as page, ExitStack() as watching, Camera(page, fps=20, size=(720, 960)):
        quick, _, reader = (
            watching.enter_context(Viewer(page, path)) for path in ("/live.mjpeg", "/live.mjpeg", "/state")
        )
        quick.picture()
        reader.message()
        time.sleep(0.5)  # the one that reads nothing is stuck by now
        began_s = time.monotonic()
        page.close()
        assert time.monotonic() - began_s < 1
        assert reader.answer.read() == b""  # to its proper end
        until(lambda: not any(thread.name == "web" for thread in threading.enumerate()))
        with pytest.raises(OSError):
            ask(page, "/")
    assert capfd.readouterr().err == ""


def test_a_page_that_was_never_served_ends_too() -> None:
    page = WebPage(config(), Prometheus())
    page.close()
    page.on_result(gray(1))
    assert not any(thread.name == "web" for thread in threading.enumerate())


def test_the_server_begins_with_the_first_frame_or_the_second_status_and_holds_up_nobody() -> None:
    for begin in ("frame", "statuses"):
        page = WebPage(config(), Prometheus())
        try:
            page.on_status(status())
            assert page._server._thread.ident is None
            page.on_result(gray(1)) if begin == "frame" else page.on_status(status())
            assert ask(page, "/healthz")[0] == 200
        finally:
            page.close()


def test_a_run_without_a_page_loads_no_server() -> None:
    code = (
        "import sys, edge.commands.run as run; from edge.config import load_config; "
        "from edge.sinks.factory import make_sinks; make_sinks(load_config(None), as_json=True, record=None); "
        "print(sorted({'uvicorn', 'starlette', 'anyio', 'prometheus_client'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
