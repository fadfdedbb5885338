"""Pictures: area, tracks, alarm and the labelled fire over time; stills of what went wrong, and of nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge.config import Config
from edge.evaluation.recordings import Label, Recording
from edge.evaluation.replay import Run, Sample
from edge.evaluation.score import Outcome
from edge.evaluation.timeline import ALARM, FIRE, GREY, MAX_TRACKS, SHARE, timeline, write_pictures
from edge.images import Frame
from edge.messages import START, TrackStatus
from tests.support.factories import event, result
from tests.support.recordings import CountingRed

BOX = (0.1, 0.1, 0.2, 0.2)


def outcome(label: Label, *alarms_s: float, from_s: float = 0, to_s: float = math.inf) -> Outcome:
    return Outcome(Recording(Path("garden.mp4"), label, from_s, to_s), 10.0, alarms_s)


def samples(tracks: int = 1) -> list[Sample]:
    return [
        Sample(t_s, 0.01 * t_s, t_s >= 5, tuple(TrackStatus(n, BOX, 0.01, t_s >= 5) for n in range(1, tracks + 1)))
        for t_s in range(10)
    ]


def columns_of(image: Frame, colour: tuple[int, int, int]) -> npt.NDArray[np.intp]:
    """Return the columns with several pixels of a colour; single ones are parts of letters."""
    return np.flatnonzero((image == colour).all(axis=2).sum(axis=0) >= 6)


def test_a_timeline_shows_the_fire_the_alarm_and_the_tracks() -> None:
    image = timeline(samples(), outcome(Label.FIRE, 5.0, from_s=4.0, to_s=8.0))
    fire, alarm = columns_of(image, FIRE), columns_of(image, ALARM)
    per_s = (fire.max() - fire.min()) / 4
    assert alarm.min() - fire.min() == pytest.approx(per_s, abs=3)
    assert alarm.max() - alarm.min() == pytest.approx(5 * per_s, abs=3)
    assert columns_of(image, GREY).max() <= alarm.min() + 1  # not confirmed before the alarm
    assert columns_of(image, SHARE).size > 4 * per_s


def test_a_timeline_shows_some_of_very_many_tracks_and_takes_no_samples() -> None:
    few, many = (timeline(samples(count), outcome(Label.NONE)) for count in (1, 200))
    assert many.shape[0] - few.shape[0] == (MAX_TRACKS - 1) * 12
    assert timeline([], outcome(Label.ANY)).shape == timeline(samples(0), outcome(Label.ANY)).shape


def finished_run(*alarms_s: float) -> Run:
    run = Run(Config(), CountingRed(), 10.0, fire_s=(0.0, math.inf))
    run.samples += samples()
    run.alarms += [event(START, t_s=t_s) for t_s in alarms_s]
    run.best = result(3.0, 0.2, on=False)
    return run


@pytest.mark.parametrize(
    ("label", "alarms_s", "stills"),
    [
        (Label.FIRE, (), {"garden-missed-3.0s.jpg"}),
        (Label.FIRE, (2.0,), set()),
        (Label.NONE, (2.0, 7.5), {"garden-false-2.0s.jpg", "garden-false-7.5s.jpg"}),
        (Label.NONE, (), set()),
        (Label.ANY, (2.0,), set()),
    ],
)
def test_a_missed_fire_and_each_false_alarm_have_a_still(
    tmp_path: Path, label: Label, alarms_s: tuple[float, ...], stills: set[str]
) -> None:
    write_pictures(tmp_path, finished_run(*alarms_s), outcome(label, *alarms_s))
    assert {path.name for path in tmp_path.iterdir()} == {"garden.png", *stills}
