"""Live frames: encoded once for all viewers, never for none, and never stale."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from edge.images import Frame, encode_jpeg
from edge.messages import TrackStatus
from edge.sinks.web import live
from edge.sinks.web.sink import WebPage
from tests.support.waiting import wait_for
from tests.support.web_client import (
    LARGE,
    Clock,
    FrameFeeder,
    Viewer,
    connections,
    decode,
    get,
    get_json,
    gray,
    noise,
    serving,
)  # fmt: skip

CANDIDATE = TrackStatus(1, (0.1, 0.1, 0.4, 0.9), 0.01, confirmed=False)
CONFIRMED = TrackStatus(2, (0.6, 0.1, 1.0, 1.0), 0.02, confirmed=True)  # up to the frame's edge


@pytest.fixture
def encoded_by(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The thread of every encoding."""
    threads: list[str] = []

    def encode(frame: Frame, quality: int) -> bytes:
        threads.append(threading.current_thread().name)
        return encode_jpeg(frame, quality)

    monkeypatch.setattr(live, "encode_jpeg", encode)
    return threads


def test_nothing_is_encoded_without_viewers(page: WebPage, encoded_by: list[str]) -> None:
    for number in range(1, 20):
        page.on_result(noise(number))
    assert get_json(page, "/api/state")["frame_age_s"] == 0
    assert encoded_by == []
    with Viewer(page) as viewer:
        viewer.jpeg()
    wait_for(lambda: page._live.viewers == 0)
    for number in range(20, 40):
        page.on_result(noise(number))
    get(page, "/healthz")
    assert len(encoded_by) == 1


def test_each_frame_is_encoded_once_for_all_viewers_outside_the_loops_thread(
    page: WebPage, encoded_by: list[str]
) -> None:
    with ExitStack() as stack:
        viewers = [stack.enter_context(Viewer(page)) for _ in range(8)]
        for number in (1, 2, 3):
            page.on_result(noise(number))
            jpegs = {viewer.jpeg() for viewer in viewers} | {get(page, "/snapshot.jpg")[2]}
            assert len(jpegs) == 1
            assert encoded_by == ["web-jpegs_0"] * number


def test_viewers_get_at_most_ten_frames_per_second(page: WebPage) -> None:
    began_s = time.monotonic()
    with FrameFeeder(page, fps=60), Viewer(page) as viewer:
        for _ in range(5):
            viewer.jpeg()
    assert time.monotonic() - began_s >= 4 * live.MIN_INTERVAL_S


def test_a_slow_viewer_gets_the_newest_frame_instead_of_all_it_missed(page: WebPage, encoded_by: list[str]) -> None:
    def publish(level: int) -> None:
        rgb = background.rgb.copy()
        rgb[:200, :200] = level
        page.on_result(replace(background, frame=level, rgb=rgb, mask=np.zeros((12, 16), np.bool_)))

    def is_stuck() -> bool:
        return any(connection.flow.write_paused for connection in connections(page))

    background = noise(1, LARGE)
    with Viewer(page) as viewer:
        for level in range(1, 7):  # until the buffers are full
            publish(level)
            wait_for(lambda level=level: len(encoded_by) == level or is_stuck())  # type: ignore[misc]
        wait_for(is_stuck)
        for level in range(20, 201, 10):
            publish(level)
        # The frames in the buffers come first, then the newest.
        levels = [round(decode(viewer.jpeg())[:150, :150].mean())]
        while levels[-1] < 200:
            levels.append(round(decode(viewer.jpeg())[:150, :150].mean()))
    assert levels[0] < 7
    assert len(levels) <= 7


def test_fire_is_tinted_in_the_frame_on_request(page: WebPage) -> None:
    page.on_result(replace(gray(50), mask=np.ones((12, 16), np.bool_)))
    tinted, default, plain = (
        decode(get(page, f"/snapshot.jpg{query}")[2]) for query in ("?overlay=1", "", "?overlay=0")
    )
    assert tinted[..., 2].mean() > 120  # red
    assert (default == tinted).all()
    assert plain[..., 2].mean() == pytest.approx(50, abs=2)
    for path in ("/live.mjpeg", "/snapshot.jpg"):
        assert get(page, f"{path}?overlay=maybe")[::2] == (400, b"overlay must be 1 (tint fire) or 0.")
    with Viewer(page, "/live.mjpeg?overlay=0") as viewer:
        assert decode(viewer.jpeg())[..., 2].mean() == pytest.approx(50, abs=2)


def test_wide_frames_are_scaled_down_for_the_network(page: WebPage) -> None:
    page.on_result(noise(1, (1080, 1920)))
    assert decode(get(page, "/snapshot.jpg")[2]).shape == (540, 960, 3)


def test_a_stale_frame_is_not_served_as_current() -> None:
    clock = Clock()
    with serving(clock=clock) as page:
        assert get(page, "/snapshot.jpg")[0] == 503
        page.on_result(gray(1))
        assert get(page, "/snapshot.jpg")[0] == 200
        clock.now_s += 11
        assert get(page, "/snapshot.jpg")[0] == 503
        with Viewer(page) as viewer:
            wait_for(lambda: page._live.viewers == 1)
            page.on_result(gray(200))
            assert decode(viewer.jpeg()).mean() == pytest.approx(200, abs=2)


def test_possible_fires_are_boxed_in_yellow_and_confirmed_ones_in_red_up_to_the_edge_of_the_frame() -> None:
    mask = np.zeros((12, 16), np.bool_)
    drawn = decode(live.render_jpeg(np.zeros((360, 640, 3), np.uint8), mask, (CONFIRMED, CANDIDATE), max_width_px=960))
    blue, green, red = (drawn[..., channel].astype(int) for channel in range(3))
    yellow = np.argwhere((red > 90) & (green > 90) & (blue < 90))
    assert yellow.min(axis=0) == pytest.approx((36, 64), abs=3)
    assert yellow.max(axis=0) == pytest.approx((323, 256), abs=3)
    reddish = np.argwhere((red > 120) & (green < 90))
    assert reddish.min(axis=0) == pytest.approx((36, 384), abs=3)
    assert reddish.max(axis=0) == pytest.approx((359, 639), abs=1)


def test_a_frame_without_the_overlay_has_no_boxes_and_the_result_is_never_drawn_on(page: WebPage) -> None:
    frame = replace(gray(60), tracks=(CONFIRMED,))
    plain = frame.rgb.copy()
    page.on_result(frame)
    shown = [decode(get(page, f"/snapshot.jpg?overlay={number}")[2]).astype(int) for number in (0, 1)]
    colour = [np.ptp(image, axis=2).max() for image in shown]
    assert colour[0] < 20 < 80 < colour[1]
    assert np.array_equal(frame.rgb, plain)
