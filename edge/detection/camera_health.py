"""Detect a camera that cannot see although frames arrive: frozen, black, white, covered, blurred, moved or fogged.

Works on the frame at model size, twice a second at most, and by frame times alone. A problem is reported after some
seconds, and cleared after some seconds without it. It never changes an alarm.
"""

from __future__ import annotations

from collections import Counter, deque
from statistics import median

import cv2
import numpy as np

from edge.detection.camera_view import (
    CLIPPED_LEVEL,
    CLIPPED_SHARE,
    Baseline,
    Field,
    FrameMeasures,
    RecentPattern,
    correlation,
    measure,
)
from edge.images import Frame, Map
from edge.messages import CameraProblem

# Tuned on 14 of 33 recordings, with problems and harmless changes simulated in them at 1.7 or 2 samples a second.
# Levels are of 255; energies are relative to the baseline and grow with contrast squared.
INTERVAL_S = 0.5
ROUNDING_S = 0.01  # frame times are not exact in floating point
LEARNING = 8  # samples before a view is compared with the baseline

PROBLEM_AFTER_S = 6.0
CLEAR_AFTER_S = 5.0
MOVED_AFTER_S = 30.0
"""A lorry or a person that fills the view is often gone by then; a hand-held camera has tilted and returned."""
ACCEPT_AFTER_S = 60.0
"""A moved camera has its new view as the baseline after this time, and the problem is cleared."""
MIN_SAMPLES = 3  # for any verdict, at low frame rates
USUAL_INTERVALS, OUTAGE_INTERVALS = 9, 4.0
"""An outage takes longer than `PROBLEM_AFTER_S` and this many usual intervals, the median of the last ones. Samples
from before it do not count."""
AGREEMENT, MOVED_AGREEMENT = 0.75, 0.85  # least share of samples that show the problem, or its end

FROZEN_AFTER_S = 10.0
STILL_LEVELS = 0.1
"""Largest mean difference from the first frame of a frozen picture, in grey levels: that of another key frame."""
IDENTICAL_LEVELS = 0.005
"""Largest mean difference of two samples of the same frame."""
MIN_IDENTICAL = 0.5  # share of samples identical to the one before, in a frozen picture

BLACK_LEVEL, BLACK_RANGE = 25.0, 8.0
"""Brightest cell, and its distance to the darkest: noise of 6 levels around 14 has 15 and 2. A dim scene at 12 % of its
light has a range of 17, and a flame of a third of a cell is brighter."""
WHITE_LEVEL, WHITE_SHARE = 240.0, 0.97  # sunsets and snow at 1.6 times the light have dark cells left
MIN_TEXTURED_TILES = 6
SAME_LAYOUT = 0.7
"""Least correlation of the layout with the baseline, relative to the usual one: fog and blur keep 0.97, covers have 0.7
at most, and mostly below 0.5."""
FOG_CONTRAST, FOG_RELATIVE_CONTRAST = 0.5, 0.55
"""Largest contrast, as it is and divided by brightness. Fog of 60 % has 0.40, and 0.5 before a bright scene;
dimming keeps 0.9 or more of the second."""
FLAT_ENERGY = 1.0  # a tile below it has no detail: covers have 0.3; of the recordings' tiles at least 28 % have over 4
COVERED_DETAIL = 0.3
"""Largest medium energy of a covered view, relative to its light squared: covers have 0.2 at most, dimming about 1."""
COVERED_IN_PLACE = 0.2
"""Largest share of the background's detail in its place: 0.1 at most through a cover, 0.6 at least with the light at
12 % or a lamp in a corner, where the camera stands still."""
BLUR_DETAIL = 0.45
"""Largest ratio of fine to medium energy: 0.4 at most with a blur of 3 px at 640 px, 0.9 without."""
BLUR_TILES = 75.0  # percentile of the tiles that is compared: a soft lorry may fill half of the view
BLUR_SHARPNESS = 0.008
"""Largest ratio of fine to medium energy without a baseline: 0.03 for the softest recording, 0.004 at 6 px in most."""
MOVED_LIKENESS = 0.35
"""Largest mean correlation of a moved camera's tiles with their background. Of 31 recordings, 26 are reported in time
when turned by 10 degrees and 27 when zoomed by 1.3; the views of two more move by themselves. Still views keep 0.5 in
any light that does not clip, and less with half of them hidden."""
MOVED_DISPLACEMENT = 1.3
"""Least ratio of the best displaced fit to the fit in place. Shifts by a tenth reach 1.4 in 33 recordings, shifts along
a conveyor 0.9 to 1.1. Still views keep 0.8; hand-held cameras may exceed it."""
SURELY_IN_PLACE = 0.9  # a correlation from which on no displacement is searched; still views reach 0.93 in the median
LEARN_AFTER_S = 8.0
"""After the first seconds a view is learned this much later, and not at all if a move shows by then: most moves are
clear after 7 s."""


class CameraHealth:
    """Follows one camera.

    Example:
        >>> health = CameraHealth()
        >>> for frame in frames:
        ...     problem = health.update(frame.t_s, frame.model_rgb)  # such as CameraProblem.COVERED, or None
    """

    def __init__(self) -> None:
        self._baseline = Baseline()
        self._new_baseline = Baseline()
        """Of a camera that has moved."""
        self._restart()

    def _restart(self) -> None:
        self._problem: CameraProblem | None = None
        self._problem_since_s = 0.0
        self._sampled_s: float | None = None
        self._intervals_s: deque[float] = deque(maxlen=USUAL_INTERVALS)
        self._view: FrameMeasures | None = None
        self._history: deque[tuple[float, CameraProblem | None]] = deque()
        self._stillness = Stillness()
        self._recent = RecentPattern()
        self._unlearned: deque[tuple[float, FrameMeasures, Field]] = deque()

    def update(self, t_s: float, rgb: Frame) -> CameraProblem | None:
        """Return what is wrong with the camera, None if it can see. Frames come in time order, at model size."""
        if self._sampled_s is not None:
            if t_s < self._sampled_s:
                self._restart()  # the recording restarted
            elif (interval_s := t_s - self._sampled_s) < INTERVAL_S - ROUNDING_S:
                return self._problem
            else:
                self._forget_before_outage(interval_s)
        self._sampled_s = t_s
        before, self._view = self._view, measure(rgb, self._view)
        recent = self._recent.update(t_s, self._view.pattern)
        if before is None:
            self._stillness.update(t_s, self._view.grey)
            return self._problem
        sign = sign_of(self._view, recent, self._baseline)
        if self._stillness.update(t_s, self._view.grey) and sign not in (CameraProblem.BLACK, CameraProblem.WHITE):
            sign = CameraProblem.FROZEN
        self._history.append((t_s, sign))
        while len(self._history) > MIN_SAMPLES and t_s - self._history[1][0] > MOVED_AFTER_S:
            self._history.popleft()
        self._decide(t_s)
        self._learn(t_s, sign, recent)
        return self._problem

    def _forget_before_outage(self, interval_s: float) -> None:
        """Clear the history if the time since the last sample is an outage."""
        usual_s = median(self._intervals_s or [interval_s])
        if interval_s > max(PROBLEM_AFTER_S, OUTAGE_INTERVALS * usual_s):
            self._history.clear()
        self._intervals_s.append(interval_s)

    def _decide(self, t_s: float) -> None:
        """Set the problem from the signs so far."""
        problem = self._verdict(t_s)
        if problem is self._problem:
            return
        if problem is None and self._problem is not None and not self._agree(t_s, CLEAR_AFTER_S, {None}):
            return
        self._problem, self._problem_since_s = problem, t_s
        self._new_baseline = Baseline()

    def _verdict(self, t_s: float) -> CameraProblem | None:
        newest = self._history[-1][1]
        if newest is CameraProblem.FROZEN:
            return newest
        blind = {*CameraProblem} - {CameraProblem.MOVED}
        if self._agree(t_s, PROBLEM_AFTER_S, blind):
            signs = Counter(sign for then_s, sign in self._history if sign in blind and t_s - then_s <= PROBLEM_AFTER_S)
            return signs.most_common(1)[0][0]
        is_moved = self._agree(t_s, MOVED_AFTER_S, {CameraProblem.MOVED}, MOVED_AGREEMENT)
        return CameraProblem.MOVED if is_moved else None

    def _agree(self, t_s: float, span_s: float, signs: set[CameraProblem | None], share: float = AGREEMENT) -> bool:
        """Return whether most samples of the last `span_s` show one of the signs."""
        start_s = t_s - span_s - ROUNDING_S
        recent = [sample for sample in self._history if sample[0] >= start_s]
        if len(recent) < MIN_SAMPLES:
            recent = list(self._history)[-MIN_SAMPLES:]
        is_long = self._history[0][0] <= start_s + INTERVAL_S + 2 * ROUNDING_S
        agreeing = sum(sign in signs for _, sign in recent)
        return len(recent) >= MIN_SAMPLES and is_long and agreeing >= share * len(recent)

    def _learn(self, t_s: float, sign: CameraProblem | None, recent: Field) -> None:
        assert self._view is not None
        if self._problem is None and sign is None:
            delay_s = LEARN_AFTER_S if self._baseline.samples >= LEARNING else 0.0
            self._unlearned.append((t_s, self._view.to_learn(), recent))
            while self._unlearned and t_s - self._unlearned[0][0] >= delay_s - ROUNDING_S:
                self._baseline.learn(*self._unlearned.popleft()[1:])
            return
        if self._problem or sign is CameraProblem.MOVED:
            self._unlearned.clear()  # but not for a hand before the lens
        if self._problem is CameraProblem.MOVED and sign is CameraProblem.MOVED:
            self._new_baseline.learn(self._view, recent)
            if t_s - self._problem_since_s >= ACCEPT_AFTER_S and self._new_baseline.samples >= LEARNING:
                self._baseline = self._new_baseline
                self._history.clear()
                self._problem = None


def sign_of(view: FrameMeasures, recent: Field, baseline: Baseline) -> CameraProblem | None:
    """Return what a frame and the seconds before it show, apart from whether the picture stands still."""
    low, high = float(view.cells.min()), float(view.cells.max())
    if high <= BLACK_LEVEL and high - low <= BLACK_RANGE:
        return CameraProblem.BLACK
    if (view.cells >= WHITE_LEVEL).mean() >= WHITE_SHARE:
        return CameraProblem.WHITE
    is_flat = bool((view.medium_energy > FLAT_ENERGY).mean() < 0.03)
    textured = baseline.textured
    if baseline.samples < LEARNING or textured.sum() < MIN_TEXTURED_TILES:
        return CameraProblem.COVERED if is_flat and baseline.samples < LEARNING else blurred_from_the_start(view)
    likeness = correlation(view.coarse, baseline.coarse)
    brightness = float(view.coarse.mean()) / max(baseline.level, 1.0)
    contrast = float(view.coarse.std()) / max(baseline.contrast, 0.1)
    detail = (view.medium_energy / np.maximum(baseline.medium_energy, 0.5))[textured]
    fine = (view.fine_energy / np.maximum(baseline.fine_energy, 0.05))[textured]
    is_same_layout = likeness >= SAME_LAYOUT * baseline.likeness
    detail_in_place = baseline.detail_in_place(view)
    is_elsewhere = not is_same_layout if detail_in_place is None else detail_in_place < COVERED_IN_PLACE
    is_empty = is_flat or np.percentile(detail, 80) < COVERED_DETAIL * min(1.0, brightness) ** 2
    if is_empty and is_elsewhere:
        return CameraProblem.COVERED
    is_clipped = (view.cells >= CLIPPED_LEVEL).mean() > CLIPPED_SHARE
    if is_same_layout and not is_clipped and contrast < min(FOG_CONTRAST, FOG_RELATIVE_CONTRAST * brightness):
        return CameraProblem.FOGGED
    if is_same_layout and np.percentile(fine / np.maximum(detail, 1e-3), BLUR_TILES) < BLUR_DETAIL:
        return CameraProblem.OUT_OF_FOCUS
    background_likeness = baseline.background_likeness(view, recent)
    if background_likeness is None or background_likeness >= SURELY_IN_PLACE:
        return None
    is_moved = background_likeness < MOVED_LIKENESS or baseline.displacement(recent) >= MOVED_DISPLACEMENT
    return CameraProblem.MOVED if is_moved else None


def blurred_from_the_start(view: FrameMeasures) -> CameraProblem | None:
    """Return whether detail ends far above one pixel, in a frame large enough to tell."""
    medium = float(view.medium_energy.sum())
    is_blurred = view.is_full_size and float(view.fine_energy.sum()) < BLUR_SHARPNESS * medium
    has_detail = (view.medium_energy > FLAT_ENERGY).mean() >= 0.3
    return CameraProblem.OUT_OF_FOCUS if is_blurred and has_detail else None


class Stillness:
    """Whether the picture stands: a live sensor has noise, and an encoder's next key frame shows it."""

    def __init__(self) -> None:
        self._first: Map | None = None
        self._before: Map | None = None
        self._since_s = 0.0
        self._samples = self._identical = 0

    def update(self, t_s: float, grey: Map) -> bool:
        """Return whether the picture has stood for `FROZEN_AFTER_S`."""
        if self._first is None or mean_difference(grey, self._first) > STILL_LEVELS:
            self._first, self._since_s, self._samples, self._identical = grey, t_s, 0, 0
        else:
            assert self._before is not None
            self._samples += 1
            self._identical += mean_difference(grey, self._before) <= IDENTICAL_LEVELS
        self._before = grey
        is_long = t_s - self._since_s >= FROZEN_AFTER_S - ROUNDING_S and self._samples >= MIN_SAMPLES
        return is_long and self._identical >= MIN_IDENTICAL * self._samples


def mean_difference(first: Map, second: Map) -> float:
    """Return the mean absolute difference of two images, in grey levels."""
    return cv2.norm(first, second, cv2.NORM_L1) / first.size
