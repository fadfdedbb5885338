"""RTSP streams: late frames are known as such, whatever a camera's clock does; too slow a machine is an error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.camera import rtsp
from edge.camera.base import CameraError, CameraFrame, CameraSettings
from edge.camera.rtsp import MAX_LATE_S, MAX_STILL_S, RtspCamera, StreamClock

NO_STAMP_S = -(2**63) / 90_000  # FFmpeg's AV_NOPTS_VALUE on the clock of RTP video
STALL_S = 8.0
jitters = st.lists(st.floats(0, 0.2), min_size=2, max_size=50)


def late_s(clock: StreamClock, arrived_s: float, stamp_s: float) -> float:
    return arrived_s - clock.captured_s(arrived_s, stamp_s)


@given(jitters, st.floats(0, 1e6))
def test_frames_that_arrive_in_time_are_at_most_their_jitter_late(delays: list[float], stamp_s: float) -> None:
    clock = StreamClock()
    for number, delay in enumerate(delays):
        assert -1e-6 < late_s(clock, 100 + number / 5 + delay, stamp_s + number / 5) <= 0.2 + 1e-6


def test_a_stream_that_is_read_at_half_its_rate_is_late_by_half_of_the_time() -> None:
    clock = StreamClock()
    late = [late_s(clock, 2 * number / 30, number / 30) for number in range(301)]
    assert 9.9 < late[-1] <= 10.0
    assert late == sorted(late)


def test_a_key_frame_in_two_parts_hides_no_lateness() -> None:
    clock = StreamClock()
    stamps_s = [number / 15 for number in range(151) for _ in range(2 if number % 15 == 0 else 1)]
    late = [late_s(clock, number / 5, stamp_s) for number, stamp_s in enumerate(stamps_s)]
    assert 20 < late[-1] < 25


def test_frames_that_waited_before_the_first_are_no_reference() -> None:
    clock = StreamClock()
    for number in range(15):  # a server sends its last second at once
        assert late_s(clock, 50.0 + number / 1000, number / 15) < 0.001
    assert late_s(clock, 50.0 + 1.0, 15 / 15 + 0.5) > 0.4


@given(st.lists(st.one_of(st.sampled_from([0.0, NO_STAMP_S]), st.floats(-1e6, 1e6)), min_size=1))
@example([NO_STAMP_S] * 30)
def test_capture_times_never_run_backwards_nor_into_the_future(stamps: list[float]) -> None:
    clock, before_s = StreamClock(), 0.0
    for number, stamp_s in enumerate(stamps):
        arrived_s = 100 + number / 700
        captured_s = clock.captured_s(arrived_s, stamp_s)
        assert before_s <= captured_s <= arrived_s
        before_s = captured_s


def test_time_stamps_that_stand_still_or_run_backwards_count_as_just_captured() -> None:
    clock = StreamClock()
    late = [late_s(clock, 100 + number / 10, 0.0) for number in range(100)]
    assert max(late) <= MAX_STILL_S + 1e-6
    assert late[-1] == 0.0
    assert late_s(clock, 111.0, 120.0) == 0.0
    assert late_s(clock, 112.0, 5.0) == 0.0


def test_a_camera_whose_clock_is_a_little_slow_is_not_late_after_a_day() -> None:
    clock = StreamClock()
    assert max(late_s(clock, second * 1.0001, float(second)) for second in range(24 * 3600)) < 0.001


class Stream:
    """A stand-in for `cv2.VideoCapture` and the clock: frames are sent at a rate, and each takes a while to decode."""

    def __init__(
        self, *, fps: float, stamp_fps: float, decode_s: float, convert_s: float, delay_s: Callable[[float], float]
    ) -> None:
        self.fps, self.stamp_fps, self.delay_s = fps, stamp_fps, delay_s
        self.decode_s, self.convert_s = decode_s, convert_s
        self.now_s, self.number = 1000.0, -1

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def isOpened(self) -> bool:
        return True

    def grab(self) -> bool:
        self.number += 1
        sent_s = self.number / self.fps
        self.now_s = max(self.now_s, 1000 + sent_s + self.delay_s(sent_s)) + self.decode_s
        return True

    def get(self, property_id: int) -> float:
        assert property_id == cv2.CAP_PROP_POS_MSEC
        return 1000 * self.number / self.stamp_fps

    def retrieve(self) -> tuple[bool, np.ndarray]:
        self.now_s += self.convert_s
        return True, np.zeros((4, 6, 3), np.uint8)


def watch(
    monkeypatch: pytest.MonkeyPatch,
    *,
    seconds: float = 60,
    fps: float = 25,
    stamp_fps: float | None = None,
    decode_s: float = 0.001,
    convert_s: float = 0.0,
    delay_s: Callable[[float], float] = lambda sent_s: 0.0,
) -> list[tuple[CameraFrame, float]]:
    """Read a stream for a while; return its frames and their ages in seconds."""
    stream = Stream(fps=fps, stamp_fps=stamp_fps or fps, decode_s=decode_s, convert_s=convert_s, delay_s=delay_s)
    monkeypatch.setattr(rtsp, "time", SimpleNamespace(monotonic=stream.monotonic, sleep=stream.sleep))
    camera = RtspCamera("rtsp://camera/live", CameraSettings(fps=10))
    camera.start(stream, "")  # type: ignore[arg-type]
    frames = []
    while stream.now_s < 1000 + seconds:
        frame = camera.read()
        frames.append((frame, stream.now_s - (frame.captured_s or 0.0)))
    return frames


@pytest.mark.parametrize(("fps", "expected"), [(5, 5), (10, 10), (15, 10), (25, 10)])
def test_at_most_fps_frames_per_second_are_returned_and_the_others_count_as_skipped(
    fps: float, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = watch(monkeypatch, fps=fps)
    assert abs(len(frames) - 60 * expected) <= 2
    assert abs(len(frames) + sum(frame.skipped for frame, _ in frames) - 60 * fps) <= 2


def test_a_stream_that_catches_up_after_a_stall_goes_on_and_its_frames_count_as_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames = watch(monkeypatch, delay_s=lambda sent_s: max(0.0, STALL_S - (sent_s - 20)) if sent_s > 20 else 0.0)
    ages_s = [age_s for _, age_s in frames]
    assert STALL_S - 0.1 < max(ages_s) < STALL_S + 0.1
    assert ages_s[-1] < 0.1


@pytest.mark.parametrize(
    ("decode_s", "delay_s"),
    [
        (0.038, lambda sent_s: STALL_S if 20 < sent_s < 21 else 0.0),  # decoded hardly faster than it is sent
        (0.001, lambda sent_s: 6 + (sent_s - 20) / 100 if 20 < sent_s < 23 else 0.0),  # late for three seconds
    ],
)
def test_lateness_that_passes_is_no_failure(
    decode_s: float,
    delay_s: Callable[[float], float],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    frames = watch(monkeypatch, seconds=200, decode_s=decode_s, delay_s=delay_s)
    assert max(age_s for _, age_s in frames) > MAX_LATE_S
    assert frames[-1][1] < 0.1
    assert not caplog.records


@pytest.mark.parametrize(("decode_s", "convert_s"), [(0.08, 0.0), (0.045, 0.0), (0.025, 0.08)])
def test_a_machine_that_reads_too_slowly_is_a_camera_error(
    decode_s: float, convert_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        CameraError, match=r"camera/live is \d+ s late, decoded more slowly than it is sent: use its sm"
    ):
        watch(monkeypatch, seconds=100, decode_s=decode_s, convert_s=convert_s)


@pytest.mark.parametrize("fps", [8, 20])
def test_time_stamps_that_run_slowly_are_logged_once_and_not_trusted_any_more(
    fps: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        frames = watch(monkeypatch, seconds=300, fps=fps, stamp_fps=25)
    assert [record.message for record in caplog.records] == [
        "rtsp://camera/live: its time stamps run slowly; ages count from the arrival of frames"
    ]
    assert frames[-1][1] < 0.1
