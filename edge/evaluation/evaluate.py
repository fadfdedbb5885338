"""Score detectors on recordings: replay each recording through every variant at every frame rate."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from edge.config import Config, Overrides
from edge.console import OnStep, no_steps
from edge.errors import UserError
from edge.evaluation.cluster import run_on_cluster
from edge.evaluation.jobs import run_tasks
from edge.evaluation.recordings import Label, Recording
from edge.evaluation.replay import PASSES_PER_FRAME, Frames, MemoSegmenter, Run, read_frames, replay
from edge.evaluation.score import Outcome, Score, score
from edge.evaluation.timeline import write_pictures

STANDARD_FPS = (10.0, 5.0, 2.0)
ALL_RULES = "all rules"
ABLATIONS: dict[str, Overrides] = {
    "no flicker": {"alarm": {"require_flicker": False}},
    "not steady": {"alarm": {"require_steady": False}},
    "any colour": {"alarm": {"require_colour": False}},
    "one result": {"alarm": {"on_results": 1, "of_results": 1, "on_s": 0.0}},
    "no tiles": {"detection": {"tiles": "1"}},
    "no hysteresis": {"alarm": {"off_after_s": 0.0}},
}
"""Variants of the detector with one part switched off, as values by table and key."""


@dataclass(frozen=True)
class Plan:
    """What to replay each recording through. Sent to other processes."""

    variants: Mapping[str, Config]
    """Configurations by name; the first is the one asked for."""
    rates: tuple[float, ...] = STANDARD_FPS
    """Frames a second; the first is that of pictures and ablation."""
    report: Path | None = None
    """Folder for pictures."""
    passes_per_frame: float = PASSES_PER_FRAME


@dataclass(frozen=True)
class Replayed:
    """The outcome of one recording, by variant and frame rate."""

    recording: Recording
    outcomes: Mapping[tuple[str, float], Outcome]
    peak_gb: float
    """Largest memory of the process so far."""


@dataclass(frozen=True)
class Evaluation:
    """All outcomes, and the errors of recordings that could not be replayed."""

    plan: Plan
    replayed: Sequence[Replayed]
    errors: Sequence[str] = field(default=())

    def outcomes(self, variant: str = ALL_RULES, fps: float | None = None) -> list[Outcome]:
        """Return the outcomes of one variant at one frame rate, by default the first one."""
        return [each.outcomes[variant, fps or self.plan.rates[0]] for each in self.replayed]

    def score(self, variant: str = ALL_RULES, fps: float | None = None) -> Score:
        return score(self.outcomes(variant, fps))

    def groups(self, fps: float | None = None) -> dict[str, Score]:
        """Return the score of each group; empty if no recording names one."""
        outcomes = [outcome for outcome in self.outcomes(fps=fps) if outcome.recording.label != Label.ANY]
        names = sorted({outcome.recording.group for outcome in outcomes})
        if names in ([], [""]):
            return {}
        return {name: score([each for each in outcomes if each.recording.group == name]) for name in names}

    @property
    def peak_gb(self) -> float:
        return max((each.peak_gb for each in self.replayed), default=0.0)


def evaluate(
    recordings: Sequence[Recording],
    model: Path,
    plan: Plan,
    *,
    jobs: int = 1,
    dask: str | None = None,
    on_step: OnStep = no_steps,
) -> Evaluation:
    """Return the outcomes of all recordings. Those that cannot be read become errors.

    Args:
        jobs: number of processes.
        dask: address of a Dask scheduler, whose workers replay the recordings instead.
    """
    on_done = on_step("evaluating", len(recordings))
    work = partial(replay_recording, plan=plan)
    if dask:
        results = run_on_cluster(work, recordings, model, dask, on_done=on_done)
    else:
        results = run_tasks(work, recordings, model, jobs=jobs, on_done=on_done)
    errors = [line for result in results if isinstance(result, UserError) for line in result.lines]
    return Evaluation(plan, [result for result in results if isinstance(result, Replayed)], errors)


def replay_recording(segmenter: MemoSegmenter, recording: Recording, plan: Plan) -> Replayed:
    """Replay one recording through every variant at every rate, and write its pictures. Raises `UserError`."""
    return replay_frames(segmenter, recording, read_frames(recording.path), plan)


def replay_frames(segmenter: MemoSegmenter, recording: Recording, frames: Frames, plan: Plan) -> Replayed:
    """Replay frames as those of a recording. Raises `UserError` if they end before the fire."""
    shown = (ALL_RULES, plan.rates[0]) if plan.report else None
    fire_s = (recording.fire_from_s, recording.fire_to_s)
    runs = {
        (name, fps): Run(
            config, segmenter, fps, recording.name, fire_s if (name, fps) == shown else None, plan.passes_per_frame
        )
        for name, config in plan.variants.items()
        for fps in plan.rates
    }
    duration_s = replay(frames, list(runs.values()), segmenter)
    if recording.fire_from_s > duration_s:
        problem = f"{recording.name} ends at {duration_s:.1f} s, before its fire at {recording.fire_from_s:g} s"
        raise UserError(problem, "correct fire_from_s")
    outcomes = {key: Outcome(recording, duration_s, tuple(run.alarms_s)) for key, run in runs.items()}
    if plan.report and shown:
        write_pictures(plan.report, runs[shown], outcomes[shown])
    return Replayed(recording, outcomes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
