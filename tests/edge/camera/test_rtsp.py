"""The capture times of an RTSP stream: late frames are known as such, whatever a camera's clock does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.camera.rtsp import MAX_STEP_S, MAX_STILL_S, StreamClock

NO_STAMP_S = -(2**63) / 90_000  # FFmpeg's AV_NOPTS_VALUE on the clock of RTP video
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
def test_capture_times_never_run_backwards_nor_into_the_future(stamps: list[float]) -> None:
    clock, before_s = StreamClock(), 0.0
    for arrived_s, stamp_s in enumerate(stamps, start=1):
        captured_s = clock.captured_s(arrived_s, stamp_s)
        assert before_s <= captured_s <= arrived_s
        before_s = captured_s


def test_time_stamps_that_stand_still_or_jump_count_as_just_captured() -> None:
    clock = StreamClock()
    late = [late_s(clock, 100 + number / 10, 0.0) for number in range(100)]
    assert max(late) <= MAX_STILL_S + 1e-6
    assert late[-1] == 0.0
    assert late_s(clock, 111.0, 2 * MAX_STEP_S) == 0.0
    assert late_s(clock, 112.0, 5.0) == 0.0


def test_a_camera_whose_clock_is_a_little_slow_is_not_late_after_a_day() -> None:
    clock = StreamClock()
    assert max(late_s(clock, second * 1.0001, float(second)) for second in range(24 * 3600)) < 0.001
