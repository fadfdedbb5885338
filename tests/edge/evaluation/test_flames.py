"""Flames on black: trimmed to their bright region, laid as light, refused without flames or without black."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import UserError
from edge.evaluation.flames import MAX_HEIGHT_PX, bounce, bright_region, painted_flames, read_flame
from edge.flames import lay, resized
from edge.images import Frame
from tests.support.recordings import write_video

Recorded = list[tuple[float, Frame]]


def on_black(spark: bool = False) -> Recorded:
    """Return 20 frames with a bright block of rows 100 to 160 and columns 60 to 100; one frame also has a spark."""
    frames = []
    for number in range(20):
        rgb = np.zeros((240, 320, 3), np.uint8)
        rgb[100:160, 60:100] = (250, 180, 40)
        if spark and number == 3:
            rgb[5:9, 300:304] = 255
        frames.append((number / 10, rgb))
    return frames


def test_the_region_of_flames_leaves_out_the_black_and_a_single_spark() -> None:
    assert bright_region(on_black(spark=True)) == (slice(100, 160), slice(60, 100))


def test_a_recording_of_flames_is_trimmed(tmp_path: Path) -> None:
    flame = read_flame(write_video(tmp_path / "flame.avi", on_black())).at(0.5)
    assert np.abs(np.subtract(flame.shape[:2], (60, 40))).max() <= 8  # compression blurs the edge
    assert flame[20:40, 10:30].mean(axis=(0, 1)) == pytest.approx((250, 180, 40), abs=12)


@pytest.mark.parametrize(("level", "problem"), [(0, "shows no flames"), (200, "has no black background")])
def test_a_recording_without_flames_or_black_is_refused(tmp_path: Path, level: int, problem: str) -> None:
    path = write_video(tmp_path / "plain.avi", [(0.0, np.full((240, 320, 3), level, np.uint8))] * 3)
    with pytest.raises(UserError, match=f"plain.avi {problem}: expected a recording of flames on black"):
        read_flame(path)


def test_painted_flames_are_bright_on_black_and_move() -> None:
    frames = [rgb for _, rgb in painted_flames()]
    assert frames[0][:20].max() < 40
    assert frames[0].max() == 255
    assert np.abs(frames[0].astype(int) - frames[4]).mean() > 1


def test_a_flame_is_light_it_brightens_and_black_changes_nothing() -> None:
    scene = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    flame = np.zeros((10, 20, 3), np.uint8)
    assert np.array_equal(lay(scene, flame, (0.5, 0.5)), scene)
    flame[:] = (255, 100, 0)
    lit = lay(scene, flame, (0.5, 0.5))
    assert (lit[40:50, 70:90, 0] == 255).all()
    expected = 255 - (255 - scene[40:50, 70:90, 1].astype(float)) * 155 / 255
    assert np.abs(lit[40:50, 70:90, 1] - expected).max() <= 1
    assert np.array_equal(lit[:, :, 2], scene[:, :, 2])
    lit[40:50, 70:90] = scene[40:50, 70:90]
    assert np.array_equal(lit, scene)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 120), st.integers(1, 200))
def test_a_flame_stays_inside_the_scene_wherever_it_is_laid(x: float, y: float, rows: int, columns: int) -> None:
    lit = lay(np.zeros((90, 160, 3), np.uint8), np.full((rows, columns, 3), 255, np.uint8), (x, y))
    assert (lit > 0).all(axis=2).sum() == min(rows, 90) * min(columns, 160)


def test_a_height_keeps_the_shape() -> None:
    assert resized(np.zeros((360, 640, 3), np.uint8), 720).shape == (720, 1280, 3)
    assert resized(np.zeros((854, 480, 3), np.uint8), 720).shape == (720, 405, 3)
    assert MAX_HEIGHT_PX >= 0.16 * 720


def test_bouncing_goes_to_the_end_and_back_without_a_jump() -> None:
    assert [bounce(number, 4) for number in range(10)] == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]
    assert [bounce(number, 1) for number in range(3)] == [0, 0, 0]
