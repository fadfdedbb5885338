"""Sensitivity: flames of known heights laid over scenes, and the smallest that alarms in nine of ten tries."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.config import Config
from edge.detection.views import DetectionSettings
from edge.errors import UserError
from edge.evaluation import sensitivity
from edge.evaluation.flames import read_flame
from edge.evaluation.recordings import Label, Recording
from edge.evaluation.replay import Run, read_frames
from edge.evaluation.sensitivity import (
    BEFORE_S,
    CENTRES,
    LIMIT_S,
    SCENE_HEIGHT_PX,
    SIZES,
    SceneResult,
    Sensitivity,
    alarm_delay_s,
    flames_over,
    load_scene,
    measure_sensitivity,
    smallest_detected,
    try_scene,
)  # fmt: skip
from edge.images import Frame
from tests.support.recordings import CountingRed, pattern_recording, write_video

FPS = 2.0


@pytest.fixture(scope="module")
def scene() -> list[tuple[float, Frame]]:
    """Three seconds of the room of the test pattern. Shared."""
    return load_scene(pattern_recording(3, flames=False), FPS)


def test_the_flame_appears_after_2_s_at_its_height_and_place(scene: list[tuple[float, Frame]]) -> None:
    plain = list(flames_over(scene, FPS, read_flame(None), 0.0, (0.5, 0.5), 0.0))
    lit = list(flames_over(scene, FPS, read_flame(None), 0.16, CENTRES[0], 0.0))
    assert [t_s for t_s, _ in lit] == [number / FPS for number in range(round((BEFORE_S + LIMIT_S) * FPS) + 1)]
    assert len(scene) == 6  # played forwards and backwards
    for (t_s, rgb), (_, before) in zip(lit, plain, strict=True):
        assert rgb.shape == (SCENE_HEIGHT_PX, 960, 3)
        rows, columns = np.nonzero((rgb != before).any(axis=2))
        if t_s < BEFORE_S:
            assert rows.size == 0
        else:
            assert rows.min() >= 0 and rows.max() - rows.min() < math.ceil(0.16 * SCENE_HEIGHT_PX)
            assert abs(columns.mean() - 960 / 6) < 40
            assert rows.max() < SCENE_HEIGHT_PX / 3


def test_a_large_flame_alarms_in_time_and_nothing_does_not(scene: list[tuple[float, Frame]]) -> None:
    config, segmenter = Config(), CountingRed()

    def delay_s(size: float) -> float | None:
        frames = flames_over(scene, FPS, read_flame(None), size, (0.5, 0.5), 0.0)
        return alarm_delay_s(frames, Run(config, segmenter, FPS), segmenter)

    assert delay_s(0.0) is None
    assert 0 < (delay_s(0.5) or 0) < LIMIT_S


def test_the_smallest_size_is_the_one_from_which_on_nine_of_ten_tries_alarm() -> None:
    assert smallest_detected({0.03: 0.0, 0.06: 0.9, 0.12: 1.0}) == 0.06
    assert smallest_detected({0.03: 1.0, 0.06: 0.89, 0.12: 1.0}) == 0.12
    assert smallest_detected({0.03: 1.0, 0.06: 1.0, 0.12: 0.5}) is None
    assert smallest_detected({}) is None


def test_scenes_with_a_false_alarm_are_left_out() -> None:
    hit, miss = (1.0,) * 9, (None,) * 9
    scenes = [
        SceneResult("a", False, {size: hit if size >= 0.06 else miss for size in SIZES}),
        SceneResult("b", False, {size: hit if size >= 0.12 else miss for size in SIZES}),
        SceneResult("c", True, {}),
    ]
    result = Sensitivity(scenes, 10.0)
    assert [scene.smallest for scene in scenes] == [0.06, 0.12, None]
    assert result.smallest == 0.12
    assert result.shares == {0.03: 0, 0.04: 0, 0.06: 0.5, 0.08: 0.5, 0.12: 1, 0.16: 1}
    assert (Sensitivity(scenes[2:], 10.0).shares, Sensitivity(scenes[2:], 10.0).smallest) == ({}, None)


def test_a_scene_that_alarms_by_itself_is_not_measured(tmp_path: Path) -> None:
    path = write_video(tmp_path / "fire.avi", pattern_recording(3))
    result = try_scene(CountingRed(), Recording(path, Label.NONE), config=Config(), fps=5.0, flame=None)
    assert result == SceneResult("fire.avi", True, {})


def test_every_frame_of_a_scene_that_was_thinned_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensitivity, "SIZES", ())
    path = write_video(tmp_path / "room.avi", pattern_recording(3, flames=False, fps=15.0), fps=15.0)
    config, segmenter = replace(Config(), detection=DetectionSettings(tiles="1")), CountingRed()
    try_scene(segmenter, Recording(path, Label.NONE), config=config, fps=10.0, flame=None)
    scene = load_scene(read_frames(path), 10.0)
    assert segmenter.passes == len(list(flames_over(scene, 10.0, read_flame(None), 0.0, CENTRES[0], 0.0)))


def test_without_a_recording_labelled_none_there_is_nothing_to_measure(models: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"no recording without fire to lay flames over: label recordings"):
        measure_sensitivity([Recording(Path("a.mp4"))], models["int8"], Config(), fps=10.0)
