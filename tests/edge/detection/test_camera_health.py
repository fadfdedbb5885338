"""A camera that cannot see is reported in time; a working camera is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from edge.camera.pattern import PERIOD_S, PatternCamera
from edge.detection.camera_health import ACCEPT_AFTER_S, PROBLEM_AFTER_S, CameraHealth
from edge.images import Frame
from edge.messages import CameraProblem
from edge.model.preprocess import to_model_input
from tests.support.camera_scenes import ROOM, SIDE, Change, Watch, noisy, scene, view

ACROSS, DOWN = np.meshgrid(np.linspace(0, 1, SIDE), np.linspace(0, 1, SIDE))
REPORTED_S, MOVED_REPORTED_S, CLEARED_S = 15.0, 60.0, 10.0


def blurred(sigma: float) -> Change:
    return lambda frame: cv2.GaussianBlur(frame, (0, 0), sigma).astype(np.uint8)


def fogged(share: float, grey: float = 180.0) -> Change:
    return lambda frame: (frame * (1 - share) + grey * share).astype(np.uint8)


def flat(level: float) -> Change:
    return lambda frame: np.full_like(frame, level)


def hand(frame: Frame) -> Frame:
    """A dark blur with a gradient."""
    light = blurred(25)(frame) * 0.15 + (20 + 50 * ACROSS)[..., None] * np.array([1, 0.6, 0.5])
    return light.astype(np.uint8)


def bag(frame: Frame) -> Frame:
    """A dark bag that lets some light through, too bright for a black picture."""
    return (np.ones_like(frame) * (20 + 22 * ACROSS)[..., None]).astype(np.uint8)


def cloth(frame: Frame) -> Frame:
    return (np.ones_like(frame) * (110 + 30 * DOWN)[..., None]).astype(np.uint8)


def shifted(share: float) -> Change:
    move = np.array([[1, 0, share * SIDE], [0, 1, 0.3 * share * SIDE]], np.float32)
    return lambda frame: cv2.warpAffine(frame, move, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT).astype(np.uint8)


def turned(degrees: float, zoom: float = 1.1) -> Change:
    move = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), degrees, zoom)
    return lambda frame: cv2.warpAffine(frame, move, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT).astype(np.uint8)


BLIND = [
    (flat(5), CameraProblem.BLACK),
    (flat(252), CameraProblem.WHITE),
    (hand, CameraProblem.COVERED),
    (bag, CameraProblem.COVERED),
    (cloth, CameraProblem.COVERED),
    (lambda frame: (blurred(20)(frame) * 0.3).astype(np.uint8), CameraProblem.COVERED),
    (blurred(1.1), CameraProblem.OUT_OF_FOCUS),  # 3 px at 640 px
    (blurred(4.2), CameraProblem.OUT_OF_FOCUS),  # 12 px at 640 px
    (fogged(0.6), CameraProblem.FOGGED),
    (fogged(0.9), CameraProblem.FOGGED),
    (shifted(0.1), CameraProblem.MOVED),
    (shifted(0.5), CameraProblem.MOVED),
    (turned(10), CameraProblem.MOVED),
    (turned(20), CameraProblem.MOVED),
    (turned(0, 1.3), CameraProblem.MOVED),
]


@pytest.mark.slow
@pytest.mark.parametrize(("change", "problem"), BLIND, ids=[f"{n}-{kind}" for n, (_, kind) in enumerate(BLIND)])
def test_a_camera_that_cannot_see_is_reported_in_time_and_cleared_when_it_can(
    change: Change, problem: CameraProblem
) -> None:
    watch = Watch(2.0).see(view(), 12)
    limit_s = MOVED_REPORTED_S if problem is CameraProblem.MOVED else REPORTED_S
    watch.see(view(change), 35 if problem is CameraProblem.MOVED else 25)
    assert watch.problems() == [problem]
    assert watch.reported[-1][0] - 12 <= limit_s
    end_s = watch.t_s
    watch.see(view(), 12)
    assert watch.reported[-1][1] is None
    assert watch.reported[-1][0] - end_s <= CLEARED_S


@pytest.mark.parametrize("outage_s", [0.0, 10.0, 600.0])
def test_what_was_seen_before_an_outage_does_not_make_a_report_come_earlier(outage_s: float) -> None:
    watch = Watch(2.0).see(view(), 10)
    watch.t_s += outage_s
    watch.see(view(flat(5)), 2).see(view(), 10)
    assert watch.problems() == []
    start_s = watch.t_s = watch.t_s + outage_s
    watch.see(view(flat(5)), 10)
    assert watch.problems() == [CameraProblem.BLACK]
    assert watch.reported[-1][0] - start_s >= PROBLEM_AFTER_S - 2.0


@pytest.mark.parametrize("interval_s", [7.0, 60.0])
def test_a_problem_is_reported_at_intervals_as_long_as_an_outage(interval_s: float) -> None:
    watch = Watch(1 / interval_s).see(view(), 3 * interval_s).see(view(flat(5)), 3 * interval_s)
    assert watch.problems() == [CameraProblem.BLACK]


@pytest.mark.slow
@pytest.mark.parametrize("fps", [5.0, 0.5])
def test_a_cover_is_reported_in_time_at_any_frame_rate(fps: float) -> None:
    watch = Watch(fps).see(view(), 24).see(view(hand), 15)
    assert watch.problems() == [CameraProblem.COVERED]
    assert watch.reported[-1][0] - 24 <= REPORTED_S


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (hand, CameraProblem.COVERED),
        (fogged(0.75), CameraProblem.FOGGED),
        (blurred(3), CameraProblem.OUT_OF_FOCUS),
    ],
)
def test_a_camera_is_watched_from_its_fifth_second_on(change: Change, problem: CameraProblem) -> None:
    assert Watch().see(view(), 5).see(view(change), 10).problems() == [problem]


def passed_and_repainted(t_s: float) -> Frame:
    """A hand is before the lens for a second of every seven, while the room turns into another within two minutes."""
    if t_s % 7 >= 6:
        return view(hand)(t_s)
    new = min(t_s / 120, 1.0)
    return noisy(view()(t_s) * (1 - new) + view(room=scene(2))(t_s) * new, t_s, 1.0)


@pytest.mark.slow
def test_a_view_that_is_hidden_again_and_again_is_still_learned() -> None:
    assert Watch(2.0).see(passed_and_repainted, 240).problems() == []


def night(t_s: float) -> Frame:
    """Day turns to night within a minute, down to a tenth of the light."""
    return noisy(view()(t_s) * max(0.1, 1 - t_s / 60), t_s, 1.0)


def lights(t_s: float) -> Frame:
    """A lamp at the ceiling goes off and on; light from a window remains."""
    is_on = (t_s // 12) % 2 == 0
    window = 0.15 + 0.5 * np.exp(-((ACROSS - 0.9) ** 2 + (DOWN - 0.2) ** 2) * 8)
    return view()(t_s) if is_on else noisy(view()(t_s) * window[..., None], t_s)


def lamp_in_a_corner(t_s: float) -> Frame:
    """The ceiling's lamp goes off after 20 s in a room of little contrast; a corner is lit from the corridor."""
    lit = 100 + 0.3 * (view()(t_s).astype(np.float32) - 100)
    light = 0.05 + 0.5 * np.exp(-(ACROSS**2 + (DOWN - 0.9) ** 2) * 8)
    return noisy(lit if t_s < 20 else lit * light[..., None], t_s)


def infrared(t_s: float) -> Frame:
    """From 20 s on, the picture is grey, and lit by the camera's own light."""
    frame = view()(t_s)
    if t_s < 20:
        return frame
    spot = np.exp(-3 * ((ACROSS - 0.5) ** 2 + (DOWN - 0.5) ** 2))
    return noisy((cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) * spot * 0.9)[..., None] * np.ones(3), t_s, 2.0)


def lorry(t_s: float) -> Frame:
    """From 20 s on, a plain lorry fills half of the picture."""
    frame = view()(t_s)
    if t_s >= 20:
        frame[20:, : SIDE // 2] = (200, 205, 210)
    return noisy(frame, t_s)


def exposure(t_s: float) -> Frame:
    """Exposure and white balance change in steps."""
    gains = (np.ones(3), np.full(3, 1.6), np.array([0.75, 1.0, 1.3]), np.full(3, 0.5), np.full(3, 2.5))
    return np.clip(view()(t_s) * gains[int(t_s / 12) % len(gains)], 0, 255).astype(np.uint8)


def smoke(t_s: float) -> Frame:
    """A fire whose smoke fills ever more of the upper part, and moves."""
    frame = view()(t_s)
    rng = np.random.default_rng(3)
    puffs = np.roll(rng.random((12, 8)), int(2 * t_s), axis=0)[:8].astype(np.float32)
    density = cv2.resize(puffs, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) * np.clip(1.4 - 1.4 * DOWN, 0, 1)
    density = np.clip(density * min(1.0, t_s / 30), 0, 0.95)[..., None]
    flame = np.random.default_rng(int(10 * t_s)).integers(180, 255, (40, 30))
    frame[180:220, 100:130, 0], frame[180:220, 100:130, 1:] = flame, (flame // 2)[..., None]
    return noisy(frame * (1 - density) + 190 * density, t_s)


def flame_in_the_dark(t_s: float) -> Frame:
    frame = np.full((SIDE, SIDE, 3), 4, np.uint8)
    rng = np.random.default_rng(int(10 * t_s))
    cv2.circle(frame, (100, 150), int(rng.integers(4, 9)), (250, 160, 40), -1)
    return noisy(frame, t_s)


def cut_stream(t_s: float) -> Frame:
    """H.264 without motion: parts between two key frames, two seconds apart, are exactly equal."""
    return noisy(ROOM, t_s // 2, 0.8)


WORKING = [view(), night, lights, lamp_in_a_corner, infrared, lorry, exposure, smoke, flame_in_the_dark, cut_stream]


@pytest.mark.slow
@pytest.mark.parametrize("at", WORKING, ids=[getattr(at, "__name__", "") for at in WORKING])
def test_what_a_working_camera_shows_is_no_problem(at: Callable[[float], Frame]) -> None:
    assert Watch(2.0).see(at, 80).problems() == []


@pytest.mark.parametrize("fps", [5.0, 0.5])
def test_a_frozen_picture_is_reported_in_mid_fire_and_cleared_when_it_moves(fps: float) -> None:
    last = smoke(40.0)
    watch = Watch(fps).see(smoke, 20).see(lambda _: last, 16)
    assert watch.problems() == [CameraProblem.FROZEN]
    assert watch.reported[-1][0] - 20 <= REPORTED_S
    end_s = watch.t_s
    watch.see(smoke, 12)
    assert watch.reported[-1][1] is None
    assert watch.reported[-1][0] - end_s <= CLEARED_S


def test_a_frozen_picture_is_reported_through_an_encoder_with_key_frames() -> None:
    def encoded(t_s: float) -> Frame:
        quality = 80 if t_s % 2 < 0.5 else 79
        return cv2.imdecode(cv2.imencode(".jpg", ROOM, (cv2.IMWRITE_JPEG_QUALITY, quality))[1], 1).astype(np.uint8)

    watch = Watch(5.0).see(view(), 10).see(lambda t_s: encoded(0.0 if t_s < 24 else t_s), 15)
    assert watch.problems() == [CameraProblem.FROZEN]


@pytest.mark.parametrize(
    ("change", "problem"),
    [(flat(5), CameraProblem.BLACK), (flat(252), CameraProblem.WHITE), (cloth, CameraProblem.COVERED),
     (blurred(4.2), CameraProblem.OUT_OF_FOCUS)],
)  # fmt: skip
def test_a_camera_that_never_saw_is_reported_from_the_start(change: Change, problem: CameraProblem) -> None:
    watch = Watch(2.0).see(view(change), 15)
    assert watch.problems() == [problem]
    watch.see(view(), 15)
    assert watch.reported[-1][1] is None


@pytest.mark.slow
def test_the_new_view_of_a_moved_camera_is_accepted_and_watched() -> None:
    watch = Watch(2.0).see(view(), 15).see(view(room=scene(2)), 40 + ACCEPT_AFTER_S)
    assert watch.problems() == [CameraProblem.MOVED]
    assert watch.reported[-1][1] is None
    watch.see(view(hand, scene(2)), 15)
    assert watch.problems()[1:] == [CameraProblem.COVERED]


def test_the_verdict_depends_on_frame_times_alone_and_survives_a_restarted_recording() -> None:
    def run() -> Iterator[CameraProblem | None]:
        health = CameraHealth()
        for t_s in (*np.arange(0, 8, 0.5), *np.arange(0, 8, 0.5)):
            yield health.update(float(t_s), view()(t_s))

    assert set(run()) == {None}
    assert list(run()) == list(run())


def test_more_frames_than_two_a_second_cost_nothing() -> None:
    health, frame = CameraHealth(), ROOM
    assert health.update(0.0, frame) is None
    unreadable = np.zeros((0, 0, 3), np.uint8)  # would raise
    assert health.update(0.1, unreadable) is None
    assert health.update(0.4, unreadable) is None


@pytest.mark.slow
def test_the_test_pattern_is_a_working_camera() -> None:
    pattern = PatternCamera(fps=2.0)
    health = CameraHealth()
    times_s = np.arange(0, 1.5 * PERIOD_S, 0.5)
    reported = [health.update(float(t_s), to_model_input(pattern.frame(float(t_s)), SIDE, SIDE)) for t_s in times_s]
    assert set(reported) == {None}
