"""The test pattern: flames on a schedule that the shipped model detects and that flicker."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from edge.camera.pattern import FLAMES_FROM_S, FLAMES_TO_S, PERIOD_S, PatternCamera
from edge.detection.alarm import MIN_FLICKER
from edge.detection.flicker import COMPARE_S, flicker_score
from edge.detection.regions import Region, find_regions
from edge.images import Frame
from edge.model.segmenter import Segmenter

FPS = 10.0


def test_frames_are_deterministic() -> None:
    first, second = PatternCamera(fps=FPS), PatternCamera(fps=FPS)
    assert np.array_equal(first.frame(7.3), second.frame(7.3))
    assert not np.array_equal(first.frame(7.3), first.frame(7.4))


def test_flames_follow_the_schedule() -> None:
    pattern = PatternCamera(fps=FPS)
    dark = pattern.frame(0.0)
    for t_s in (0.0, FLAMES_FROM_S - 0.01, FLAMES_TO_S, PERIOD_S, PERIOD_S + FLAMES_TO_S):
        assert np.abs(pattern.frame(t_s).astype(int) - dark).max() <= 3  # noise
    for t_s in (FLAMES_FROM_S, FLAMES_TO_S - 0.01, PERIOD_S + FLAMES_FROM_S):
        assert (pattern.frame(t_s)[..., 0].astype(int) - dark[..., 0]).max() > 100


def test_frames_follow_the_frame_rate_and_are_writable() -> None:
    pattern = PatternCamera(fps=FPS)
    pattern.open()
    frames = [pattern.read() for _ in range(3)]
    assert [frame.t_s for frame in frames] == [0.0, 0.1, 0.2]
    frames[0].rgb[:] = 0
    assert pattern.read().rgb.any()


def test_the_shipped_model_detects_the_flames_alone_and_they_flicker(shipped_model: Path) -> None:
    pattern, segmenter = PatternCamera(fps=FPS), Segmenter(shipped_model, threads=1)

    def regions(frame: Frame) -> list[Region]:
        probability = segmenter(frame).copy()
        return find_regions(probability, (probability >= segmenter.threshold_u8).astype(np.uint8))

    assert regions(pattern.frame(0.0)) == []
    frames = [pattern.frame(FLAMES_FROM_S + number * COMPARE_S) for number in range(12)]
    seen = [regions(frame) for frame in frames]
    assert all(seen)
    flames = [each[0] for each in seen]
    assert float(np.mean([region.probability for region in flames])) > 0.8
    scores = [
        flicker_score(before, was, after, now)
        for (before, after), (was, now) in zip(pairwise(frames), pairwise(flames), strict=True)
    ]
    assert float(np.median(scores)) > 2 * MIN_FLICKER
