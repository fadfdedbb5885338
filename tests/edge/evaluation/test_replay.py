"""Replay: deterministic, thinned by the file's own time stamps, one pass of the model for detectors in lockstep."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import Config
from edge.detection.views import DetectionSettings
from edge.errors import UserError
from edge.evaluation.evaluate import ALL_RULES, Plan, replay_frames
from edge.evaluation.recordings import Label, Recording
from edge.evaluation.replay import Run, Thinning, read_frames, replay
from edge.images import Frame
from tests.support.recordings import FIRE_FROM_S, CountingRed, pattern_recording, write_video

FIRE = Recording(Path("fire.avi"), Label.FIRE, FIRE_FROM_S)


@pytest.fixture(scope="module")
def frames() -> list[tuple[float, Frame]]:
    """Four seconds of the test pattern. Shared."""
    return pattern_recording(4)


def test_a_replay_finds_the_fire_and_gives_the_same_alarms_again(
    frames: list[tuple[float, Frame]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan({ALL_RULES: Config()}, (10.0, 5.0))
    first = replay_frames(CountingRed(), FIRE, frames, plan).outcomes
    jumps = iter(range(0, 10**9, 1000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(jumps)))  # a machine that hangs between any two calls
    assert replay_frames(CountingRed(), FIRE, frames, plan).outcomes == first
    assert 0 < (first[ALL_RULES, 10.0].delay_s or 0) < 3
    assert first[ALL_RULES, 10.0].false_alarms_s == ()
    assert first[ALL_RULES, 10.0].duration_s == pytest.approx(3.9)


def test_variants_and_rates_share_the_passes_of_the_model(frames: list[tuple[float, Frame]]) -> None:
    segmenter, config = CountingRed(), replace(Config(), detection=DetectionSettings(tiles="1"))
    eager = replace(config, alarm=replace(config.alarm, require_flicker=False))
    replay_frames(segmenter, FIRE, frames, Plan({ALL_RULES: config, "eager": eager}, (10.0, 5.0, 2.0)))
    assert segmenter.passes <= len(frames)


def test_a_variant_in_lockstep_gives_what_it_gives_alone(frames: list[tuple[float, Frame]]) -> None:
    config = Config()
    eager = replace(config, alarm=replace(config.alarm, require_flicker=False))
    both = replay_frames(CountingRed(), FIRE, frames, Plan({ALL_RULES: config, "eager": eager}, (10.0, 2.0)))
    alone = replay_frames(CountingRed(), FIRE, frames, Plan({"eager": eager}, (2.0,)))
    assert both.outcomes["eager", 2.0] == alone.outcomes["eager", 2.0]


def test_the_detector_sees_the_time_of_the_recording_alone(frames: list[tuple[float, Frame]]) -> None:
    run = Run(Config(), CountingRed(), 10.0, fire_s=(0.0, 99.0))
    replay(frames, [run], CountingRed())
    assert run.best is not None
    assert (run.best.age_ms, run.best.inference_ms) == (0, 0)
    assert [sample.t_s for sample in run.samples] == [t_s for t_s, _ in frames]
    assert [alarm.t_s for alarm in run.alarms] == run.alarms_s


@given(
    gaps_s=st.lists(st.floats(0.001, 0.5), min_size=1, max_size=60),
    fps=st.sampled_from([0.5, 2.0, 5.0, 10.0, 30.0]),
)
def test_thinning_takes_at_most_the_rate_and_everything_of_a_slower_recording(gaps_s: list[float], fps: float) -> None:
    times_s = np.cumsum([0.0, *gaps_s])
    thinning = Thinning(fps)
    taken = [float(t_s) for t_s in times_s if thinning.selects(float(t_s))]
    assert taken[0] == 0
    assert len(taken) <= times_s[-1] * fps + 1.001
    if min(gaps_s) > 1 / fps + 1e-3:
        assert len(taken) == len(times_s)


def test_a_recording_at_25_fps_thins_to_exactly_10_5_and_2() -> None:
    for fps, count in ((10.0, 40), (5.0, 20), (2.0, 8), (25.0, 100), (30.0, 100)):
        thinning = Thinning(fps)
        assert sum(thinning.selects(number / 25) for number in range(100)) == count


def test_a_label_that_begins_after_the_end_is_refused(frames: list[tuple[float, Frame]]) -> None:
    late = Recording(Path("late.avi"), Label.FIRE, 90.0)
    with pytest.raises(UserError, match=r"late.avi ends at 3.9 s, before its fire at 90 s: correct fire_from_s"):
        replay_frames(CountingRed(), late, frames, Plan({ALL_RULES: Config()}))


def test_a_damaged_video_is_refused_after_its_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "cut.avi", pattern_recording(1))
    data = bytearray(path.read_bytes())
    middle = data.index(b"00dc", len(data) // 2)
    data[middle + 200 : middle + 3000] = bytes(2800)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"cut.avi: damaged frames: .*: copy or download it again"):
        list(read_frames(path))
