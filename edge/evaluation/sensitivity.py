"""The smallest flame that raises an alarm in time: flames of several sizes, laid over recordings without fire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from edge.camera.capture import TimedFrame
from edge.config import Config
from edge.console import OnStep, no_steps
from edge.errors import UserError
from edge.evaluation.flames import Flame, bounce, read_flame, shrink_to_height
from edge.evaluation.jobs import run_tasks
from edge.evaluation.recordings import Label, Recording
from edge.evaluation.replay import PASSES_PER_FRAME, Frames, MemoSegmenter, Run, Thinning, read_frames
from edge.flames import lay, resized
from edge.images import Frame

SIZES = (0.03, 0.04, 0.06, 0.08, 0.12, 0.16)
"""Heights of the flame as fractions of the frame's height."""
CENTRES = tuple((x / 6, y / 6) for y in (1, 3, 5) for x in (1, 3, 5))
"""Centres of the flame as fractions of the frame."""
SCENE_HEIGHT_PX = 720
"""Scenes are resized to this height, as of a usual camera."""
LIMIT_S = 10.0
"""An alarm counts within this time from the first light of the flame."""
BEFORE_S = 2.0
"""The scene without the flame comes first, since no camera starts in the moment that a fire does."""
MIN_SHARE = 0.9
"""A size is detected if at least this share of the tries raise an alarm: nine of ten."""
EVERY_FRAME_FPS = 1000.0  # of a run: the scene is thinned already
PHASE_S = 0.37  # between the flames at two places, so that they differ


@dataclass(frozen=True)
class SceneResult:
    """The alarms for flames in one scene."""

    scene: str
    has_false_alarm: bool
    """The scene raises an alarm by itself, so that nothing was measured in it."""
    delays_s: Mapping[float, tuple[float | None, ...]]
    """By size of the flame: the delay of the alarm at each place, None without one."""

    def share(self, size: float) -> float:
        """Return the share of places at which a flame of this size raises an alarm in time."""
        return sum(delay_s is not None for delay_s in self.delays_s[size]) / len(self.delays_s[size])

    @property
    def smallest(self) -> float | None:
        """Return the smallest detected size; None if there is none."""
        return smallest_detected({size: self.share(size) for size in self.delays_s})


@dataclass(frozen=True)
class Sensitivity:
    """The results of all scenes."""

    scenes: Sequence[SceneResult]
    fps: float
    errors: Sequence[str] = ()

    @property
    def measured(self) -> list[SceneResult]:
        return [scene for scene in self.scenes if not scene.has_false_alarm]

    @property
    def shares(self) -> dict[float, float]:
        """Return the share of tries that raise an alarm in time, by size; empty if no scene was measured."""
        measured = self.measured
        return {size: sum(scene.share(size) for scene in measured) / len(measured) for size in SIZES if measured}

    @property
    def smallest(self) -> float | None:
        """Return the smallest size that is detected in all scenes together; None if there is none."""
        return smallest_detected(self.shares)


def smallest_detected(shares: dict[float, float]) -> float | None:
    """Return the smallest size from which on every size is detected in nine of ten tries."""
    smallest = None
    for size in sorted(shares, reverse=True):
        if shares[size] < MIN_SHARE:
            break
        smallest = size
    return smallest


def measure_sensitivity(
    recordings: Sequence[Recording],
    model: Path,
    config: Config,
    *,
    fps: float,
    flame: Path | None = None,
    max_scenes: int | None = None,
    passes_per_frame: float = PASSES_PER_FRAME,
    jobs: int = 1,
    on_step: OnStep = no_steps,
) -> Sensitivity:
    """Return the sensitivity over the recordings labelled `none`. Raises `UserError` without one, or without flames.

    Args:
        flame: a recording of flames on black; painted ones by default.
        max_scenes: use this many of the scenes, spread evenly over the list.
    """
    scenes = [recording for recording in recordings if recording.label == Label.NONE]
    if not scenes:
        remedy = f"label recordings without fire as {Label.NONE}"
        raise UserError("there is no recording without fire to lay flames over", remedy)
    read_flame(flame)  # refuses a wrong one before the work begins
    if max_scenes and max_scenes < len(scenes):
        scenes = [scenes[index * len(scenes) // max_scenes] for index in range(max_scenes)]
    work = partial(try_scene, config=config, fps=fps, flame=flame, passes_per_frame=passes_per_frame)
    results = run_tasks(work, scenes, model, jobs=jobs, on_done=on_step("laying flames over scenes", len(scenes)))
    errors = [line for result in results if isinstance(result, UserError) for line in result.lines]
    return Sensitivity([result for result in results if isinstance(result, SceneResult)], fps, errors)


def try_scene(
    segmenter: MemoSegmenter,
    recording: Recording,
    *,
    config: Config,
    fps: float,
    flame: Path | None,
    passes_per_frame: float = PASSES_PER_FRAME,
) -> SceneResult:
    """Try flames of every size at every place of one scene. Raises `UserError`."""
    scene = load_scene(read_frames(recording.path), fps)
    flames = read_flame(flame)

    def delay_s(size: float, place: int) -> float | None:
        lit = flames_over(scene, fps, flames, size, CENTRES[place], PHASE_S * place)
        run = Run(config, segmenter, EVERY_FRAME_FPS, recording.name, passes_per_frame=passes_per_frame)
        return alarm_delay_s(lit, run, segmenter)

    if delay_s(0.0, 0) is not None:
        return SceneResult(recording.name, True, {})
    delays = {size: tuple(delay_s(size, place) for place in range(len(CENTRES))) for size in SIZES}
    return SceneResult(recording.name, False, delays)


def alarm_delay_s(frames: Frames, run: Run, segmenter: MemoSegmenter) -> float | None:
    """Return the time from the flame's first light to an alarm; None if none is raised in time."""
    for number, (t_s, rgb) in enumerate(frames, start=1):
        run.process(TimedFrame(number, rgb, None, t_s, t_s))
        segmenter.forget()
        if run.alarms_s:
            return max(0.0, run.alarms_s[0] - BEFORE_S)
    return None


def load_scene(frames: Frames, fps: float) -> list[tuple[float, Frame]]:
    """Return the beginning of a scene at the frame rate, in memory, at no more than the height in use."""
    thinning, scene = Thinning(fps), []
    for t_s, rgb in frames:
        if t_s > BEFORE_S + LIMIT_S:
            break
        if thinning.selects(t_s):
            scene.append((t_s, shrink_to_height(rgb, SCENE_HEIGHT_PX)))
    return scene


def flames_over(
    scene: Sequence[tuple[float, Frame]],
    fps: float,
    flame: Flame,
    size: float,
    centre: tuple[float, float],
    phase_s: float,
) -> Iterator[tuple[float, Frame]]:
    """Yield a scene with a flame from `BEFORE_S` on, until `LIMIT_S` later; a short scene plays forwards and backwards.

    Args:
        size: height of the flame as a fraction of the frame's height; 0 for no flame.
    """
    t_s, before = 0.0, 0
    for number in count():
        index = bounce(number, len(scene))
        if number:
            t_s += abs(scene[index][0] - scene[before][0]) or 1 / fps
        if t_s > BEFORE_S + LIMIT_S:
            return
        lit = resized(scene[index][1], SCENE_HEIGHT_PX)
        if size and t_s >= BEFORE_S:
            lit = lay(lit, resized(flame.at(t_s - BEFORE_S + phase_s), round(size * SCENE_HEIGHT_PX)), centre)
        yield t_s, lit
        before = index
