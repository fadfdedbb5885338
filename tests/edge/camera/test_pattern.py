"""The test pattern: flames on a schedule that the shipped model takes for fire and the alarm for alive."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from edge.camera.pattern import FLAMES_FROM_S, FLAMES_TO_S, PERIOD_S, PatternCamera, burns
from edge.detection.alarm import AlarmRules
from edge.detection.flicker import patch_change
from edge.images import Map
from edge.model.segmenter import Segmenter

FPS = 10.0


def test_the_same_moment_always_gives_the_same_picture() -> None:
    one, other = PatternCamera(fps=FPS), PatternCamera(fps=FPS)
    assert np.array_equal(one.frame(7.3), other.frame(7.3))
    assert not np.array_equal(one.frame(7.3), one.frame(7.4))


def test_flames_are_there_on_schedule_and_only_then() -> None:
    pattern = PatternCamera(fps=FPS)
    dark = pattern.frame(0.0)
    for t_s in (0.0, FLAMES_FROM_S - 0.01, FLAMES_TO_S, PERIOD_S, PERIOD_S + FLAMES_TO_S):
        assert not burns(t_s)
        assert np.array_equal(pattern.frame(t_s), dark)
    for t_s in (FLAMES_FROM_S, FLAMES_TO_S - 0.01, PERIOD_S + FLAMES_FROM_S):
        assert burns(t_s)
        assert (pattern.frame(t_s)[..., 0].astype(int) - dark[..., 0]).max() > 100


def test_its_frames_follow_at_their_rate_and_may_be_written_upon() -> None:
    pattern = PatternCamera(fps=FPS)
    pattern.open()
    shots = [pattern.read() for _ in range(3)]
    assert [shot.t_s for shot in shots] == [0.0, 0.1, 0.2]
    shots[0].rgb[:] = 0
    assert pattern.read().rgb.any()


def test_the_shipped_model_sees_the_flames_and_nothing_else_and_they_look_alive(shipped_model: Path) -> None:
    pattern, segmenter = PatternCamera(fps=FPS), Segmenter(shipped_model, threads=1)
    rules = AlarmRules()
    assert segmenter.mask(pattern.frame(0.0)).mean() < rules.off_share
    frames = [pattern.frame(FLAMES_FROM_S + number * 0.2) for number in range(12)]
    masks = [segmenter.mask(frame).astype(np.uint8) for frame in frames]
    assert min(mask.mean() for mask in masks) > 2 * rules.on_share
    greys = [grey(frame, segmenter) for frame in frames]
    changes = [
        patch_change(before, after, burned, burning) or 0.0
        for (before, after), (burned, burning) in zip(pairwise(greys), pairwise(masks), strict=True)
    ]
    assert float(np.median(changes)) > 1.5 * rules.flicker_threshold


def grey(frame: Map, segmenter: Segmenter) -> Map:
    small = cv2.resize(frame, (segmenter.width, segmenter.height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.uint8)
