"""A moved camera is reported; one that vibrates, is overexposed or is partly hidden is not."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from edge.images import Frame
from edge.messages import CameraProblem
from tests.support.camera_scenes import SIDE, Watch, noisy, scene, view


def restless(t_s: float) -> Frame:
    """Flames or waves that fill the view and are never the same, with more contrast than what is behind them."""
    waves = np.random.default_rng(int(10 * t_s)).normal(0, 1, (20, 20)).astype(np.float32)
    return noisy(view()(t_s) + 45 * cv2.resize(waves, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)[..., None], t_s)


def stripes(t_s: float) -> Frame:
    """A horizon, fences and a road that run across the view; a camera that turns along them sees much the same."""
    bands = np.repeat(np.random.default_rng(4).integers(40, 200, (SIDE // 8, 1)), 8, axis=0)
    return noisy(0.3 * bands[..., None] + 0.7 * view()(t_s), t_s)


@pytest.mark.slow
@pytest.mark.parametrize("seen", [restless, stripes])
def test_a_move_is_reported_behind_waves_and_along_a_horizon(seen: Callable[[float], Frame]) -> None:
    watch = Watch(2.0).see(seen, 30)
    assert watch.problems() == []
    watch.see(lambda t_s: np.roll(seen(t_s), SIDE // 4, axis=1), 45)
    assert watch.problems() == [CameraProblem.MOVED]


def test_a_shift_by_a_tenth_of_the_view_is_reported_within_a_minute() -> None:
    watch = Watch(2.0).see(view(), 12).see(lambda t_s: np.roll(view()(t_s), SIDE // 10, axis=1), 45)
    assert watch.problems() == [CameraProblem.MOVED]


def vibration(t_s: float) -> Frame:
    """The mast shakes the camera by up to a hundredth of the picture."""
    x, y = np.random.default_rng(int(10 * t_s)).uniform(-0.01, 0.01, 2) * SIDE
    move = np.array([[1, 0, x], [0, 1, y]], np.float32)
    return cv2.warpAffine(view()(t_s), move, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT).astype(np.uint8)


def mist(t_s: float) -> Frame:
    """A bright, faint view; from 20 s on twice as bright, so that most of it is clipped."""
    levels = 110 + 0.3 * (view()(t_s).astype(np.float32) - 110)
    return noisy(levels * (1 if t_s < 20 else 2.2), t_s)


def parked_lorry(t_s: float) -> Frame:
    """A lorry with a picture on its side parks in more than half of the view."""
    frame = view()(t_s)
    if t_s >= 20:
        frame[10:, : SIDE * 5 // 8] = scene(5)[10:, : SIDE * 5 // 8]
    return noisy(frame, t_s)


@pytest.mark.slow
@pytest.mark.parametrize("at", [vibration, mist, parked_lorry])
def test_a_camera_that_stands_still_is_not_reported_as_moved(at: Callable[[float], Frame]) -> None:
    assert Watch(2.0).see(at, 80).problems() == []
