"""The page's routes, as clients see them: streams, state, events, health."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import AsyncGenerator
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
from starlette.types import Message

from edge import __version__
from edge.config import load_config
from edge.host.machine import Throttling
from edge.messages import END, PEAK, START, CameraProblem, CameraState, FineView
from edge.run_status import ArmingStatus, FailureCounts, HostStatus, ReceiverStatus
from edge.sinks.web import history
from edge.sinks.web.app import MAX_VIEWERS
from edge.sinks.web.sink import WebPage
from edge.sinks.web.streams import Stream
from tests.support.factories import event, result, run_status
from tests.support.waiting import TIMEOUT_S, wait_for
from tests.support.web_client import Clock, Viewer, config, decode, get, get_json, gray, serving

FIRE = event(START).id


@pytest.mark.parametrize("path", ["/live.mjpeg", "/state"])
def test_viewers_above_the_limit_are_refused_until_one_leaves(page: WebPage, path: str) -> None:
    with ExitStack() as stack:
        page.on_result(gray(1))
        viewers = [stack.enter_context(Viewer(page, path)) for _ in range(MAX_VIEWERS)]
        for viewer in viewers:
            viewer.response.readline()
        assert get(page, path)[::2] == (503, b"32 viewers are connected, the limit: close one and try again.")
        viewers[0].close()

        def is_accepted() -> bool:
            with Viewer(page, path) as late:
                return late.status == 200

        wait_for(is_accepted)


@pytest.mark.parametrize("path", ["/live.mjpeg", "/state"])
def test_a_head_request_for_a_stream_ends_at_once(page: WebPage, path: str) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=TIMEOUT_S)) as connection:
        for method, url in (("HEAD", path), ("GET", "/healthz")):
            connection.request(method, url)
            response = connection.getresponse()
            assert (response.status, response.read() == b"") == (200, method == "HEAD")


def test_the_accept_header_chooses_the_format_of_the_metrics(page: WebPage) -> None:
    openmetrics = "application/openmetrics-text; version=1.0.0"
    _, headers, body = get(page, "/metrics", headers={"Accept": openmetrics})
    assert headers["Content-Type"].startswith(openmetrics)
    assert "fireseg_events" in {family.name for family in parse(body.decode())}  # type: ignore[no-untyped-call]
    assert get(page, "/metrics")[1]["Content-Type"].startswith("text/plain; version=0.0.4")


def test_a_stream_is_closed_when_its_client_leaves() -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        try:
            yield b"never sent"
        finally:
            closed.append(True)

    async def leave() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def serve() -> None:
        generator = chunks()  # referenced here, so that no garbage collection closes it
        await Stream(generator)({"type": "http", "method": "GET"}, leave, send)
        assert closed == [True]

    closed: list[bool] = []
    asyncio.run(serve())


def test_the_state_holds_the_newest_result_and_status(page: WebPage) -> None:
    page.on_result(result(1.0, 0.25, on=True, zone="stove"))
    host = HostStatus(governor=None, temperature_c=55.0, throttling=Throttling(0b0001), load=0.1)
    page.on_status(run_status(camera_state=CameraState.STALLED, machine=host, fine_view=FineView(3, 0.5)))
    state = get_json(page, "/api/state")
    assert state.pop("frame_age_s") == 0
    assert state == {
        "alarm": True,
        "zones": {"stove": {"share": 0.25, "alarm": True, "silence": None}},
        "age_ms": 12.3,
        "inference_ms": 5.7,
        "events_revision": 0,
        "config_revision": 0,
        "quiet_revision": 0,
        "point": [12.3, {"stove": 0.25}],
        "source": "test",
        "camera_state": "stalled",
        "camera_connects": 1,
        "running_s": 12.3,
        "results": 100,
        "dropped": 7,
        "fps": 9.5,
        "temperature_c": 55.0,
        "throttled": ["under-voltage"],
        "load": 0.1,
        "model": "base",
        "model_sha256": "ab" * 32,
        "flatbuffer_sha256": None,
        "version": __version__,
        "has_archive": False,
        "stale_after_s": 10.0,
        "receivers": [],
        "failures": {
            "reloads": 0,
            "thread_restarts": 0,
            "missing_threads": [],
            "lost_files": 0,
            "broken_frames": 0,
            "late_writes": 0,
        },
        "infrared": False,
        "paused": False,
        "fine_view": {"zoom": 3, "period_s": 0.5},
        "fallback": "",
        "update": None,
        "drill": None,
        "arming": asdict(ArmingStatus()),
        "camera_problem": None,
        "camera_problem_for_s": 0.0,
        "picture_current": True,
    }


def test_the_state_is_sent_with_each_status_and_at_once_with_an_event(page: WebPage) -> None:
    with Viewer(page, "/state") as viewer:
        assert viewer.response.headers["Content-Type"].startswith("text/event-stream")
        assert viewer.message()["alarm"] is False
        release = threading.Event()
        page._executor.submit(release.wait, TIMEOUT_S)  # the snapshot has to wait
        page.on_result(result(1.0, 0.25, on=True))
        page.on_event(event(START))
        state = viewer.message()
        assert (state["alarm"], state["events_revision"]) == (True, 1)
        release.set()
        assert viewer.message()["events_revision"] == 2
        page.on_status(run_status(results=101))
        assert viewer.message()["results"] == 101


def test_an_event_is_listed_with_its_snapshot_in_which_fire_is_tinted(page: WebPage) -> None:
    start = replace(event(START), rgb=np.full((48, 64, 3), 60, np.uint8), mask=np.ones((12, 16), np.bool_))
    page.on_event(start)
    page.on_event(replace(event(PEAK, t_s=3.0), peak_share=0.2))
    wait_for(lambda: len(get_json(page, "/api/events")[0]["pictures"]) == 2)
    assert get_json(page, "/api/events") == [
        {
            "id": FIRE,
            "zone": "frame",
            "time": start.time,
            "drill": False,
            "active": True,
            "duration_s": 2.0,
            "peak_share": 0.2,
            "silence": None,
            "pictures": ["start", "peak"],
        }
    ]
    code, headers, jpeg = get(page, f"/events/{FIRE}/start.jpg")
    assert (code, headers["Content-Type"]) == (200, "image/jpeg")
    assert decode(jpeg)[..., 2].mean() > 120
    page.on_event(event(END, t_s=9.0))
    assert get_json(page, "/api/events")[0]["active"] is False


def test_no_path_reaches_anything_but_snapshots_of_events(page: WebPage) -> None:
    page.on_event(event(START))
    wait_for(lambda: get(page, f"/events/{FIRE}/start.jpg")[0] == 200)
    for path in (
        "/events/nobody/start.jpg",
        f"/events/{FIRE}/rgb.jpg",
        "/events/%2e%2e%2f%2e%2e%2fetc%2fpasswd/start.jpg",
        f"/events/{FIRE}/..%2f..%2fpage.jpg",
        "/page.html",
        "/%2e%2e/page.py",
    ):
        assert (path, get(page, path)[0]) == (path, 404)


def test_only_the_last_fires_are_kept(page: WebPage) -> None:
    last = history.MAX_FIRES + 4
    for number in range(last + 1):
        page.on_event(event(START, id_=f"fire-{number}"))
    wait_for(lambda: get(page, f"/events/fire-{last}/start.jpg")[0] == 200)
    assert [fire["id"] for fire in get_json(page, "/api/events")] == [f"fire-{n}" for n in range(last, 4, -1)]
    assert get(page, "/events/fire-4/start.jpg")[0] == 404


def test_areas_are_the_configured_polygons(tmp_path: Path) -> None:
    path = tmp_path / "fireseg.toml"
    path.write_text(
        '[web]\nlisten = "127.0.0.1:0"\n'
        '[[zones]]\nname = "<b>stove"\npolygon = [[0.1, 0.4], [0.5, 0.4], [0.5, 0.9]]\n'
        "[[ignored]]\npolygon = [[0, 0], [0.1, 0], [0.1, 0.1]]\n"
    )
    config = load_config(path)
    with serving(config) as page:
        assert get_json(page, "/api/areas") == {
            "zones": [{"name": "<b>stove", "polygon": [[0.1, 0.4], [0.5, 0.4], [0.5, 0.9]]}],
            "ignored": [[[0, 0], [0.1, 0], [0.1, 0.1]]],
            "whole_frame": "frame",
            "revision": config.areas_revision,
        }


def test_the_run_is_ready_while_frames_arrive_and_alive_while_its_loop_runs() -> None:
    def reasons() -> list[str | None]:
        responses = [get(page, path) for path in ("/healthz", "/readyz")]
        assert all(len(body.splitlines()) == 1 for _, _, body in responses)
        reasons = [json.loads(body)["reason"] for _, _, body in responses]
        assert [code for code, _, _ in responses] == [503 if reason else 200 for reason in reasons]
        return reasons

    clock = Clock()
    with serving(clock=clock) as page:
        assert reasons() == [None, "no frame yet"]
        page.on_result(gray(1))
        assert reasons() == [None, None]
        page.on_status(run_status(camera_state=CameraState.RECONNECTING))
        assert reasons() == [None, "the camera is reconnecting"]
        clock.now_s += 11
        page.on_status(run_status())
        assert reasons() == [None, "no frame for 11 s"]
        page.on_config(config(loop={"max_fps": 0.1}))  # a result every ten seconds is as configured
        assert reasons() == [None, None]
        clock.now_s += 11
        assert reasons() == ["no status from the loop for 11 s"] * 2


def test_the_run_is_not_ready_while_a_thread_is_missing_but_stays_so_while_a_receiver_is_down(page: WebPage) -> None:
    page.on_result(gray(1))
    down = ReceiverStatus("mqtt", "connection refused", 9, 2, 3, 1, 40, 3, oldest_age_s=86_400.0)
    page.on_status(run_status(receivers=(down,)))
    assert get(page, "/readyz")[0] == 200
    assert get_json(page, "/api/state")["receivers"][0]["problem"] == "connection refused"
    page.on_status(run_status(failures=FailureCounts(missing_threads=("host status", "reload", "trend"))))
    assert get(page, "/readyz")[0] == 200, "fires are detected and reported without these"
    page.on_status(run_status(failures=FailureCounts(missing_threads=("clips", "outbox"))))
    assert json.loads(get(page, "/readyz")[2])["reason"] == "threads are missing: clips, outbox"
    assert get(page, "/healthz")[0] == 200


@pytest.mark.parametrize("table", [{"source": {"fps": 0.1}}, {"loop": {"max_fps": 0.1}}])
def test_a_frame_every_ten_seconds_is_current_where_that_is_configured(table: dict[str, Any]) -> None:
    clock = Clock()
    with serving(config(**table), clock=clock) as page:
        page.on_result(gray(1))
        clock.now_s += 29
        page.on_status(run_status())
        assert get(page, "/readyz")[0] == get(page, "/snapshot.jpg")[0] == 200
        assert get_json(page, "/api/state")["stale_after_s"] == 30
        clock.now_s += 2
        page.on_status(run_status())
        assert get(page, "/readyz")[0] == get(page, "/snapshot.jpg")[0] == 503


def test_a_camera_that_cannot_see_is_not_ready_and_in_the_state(page: WebPage) -> None:
    page.on_result(replace(result(1.0, 0.1, on=True), camera_problem=CameraProblem.COVERED))
    page.on_status(run_status(camera_problem=CameraProblem.COVERED, camera_problem_for_s=12.0))
    status, _, body = get(page, "/readyz")
    assert (status, json.loads(body)["reason"]) == (503, "the camera cannot see: covered")
    assert get(page, "/healthz")[0] == 200
    state = get_json(page, "/api/state")
    assert (state["alarm"], state["picture_current"], state["camera_problem"]) == (True, False, "covered")
    assert state["camera_problem_for_s"] == 12.0
    page.on_result(result(2.0, 0.0, on=False))
    assert get(page, "/readyz")[0] == 200
