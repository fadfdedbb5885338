"""Which views each frame gets: a budget of passes, candidates first, every tile in its turn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.detection.alarm import AlarmRules
from edge.detection.view_planner import MIN_COSTS, TIME_SHARE, ViewPlanner, passes_within, tile_around
from edge.detection.views import MAX_ZOOM, WHOLE, View, tiles_of
from edge.messages import Box

HD = (720, 1280, 3)
FPS = 10.0
KITCHEN: Box = (0.02, 0.02, 0.08, 0.08)
STOVE: Box = (0.9, 0.9, 0.97, 0.97)

zooms = st.sampled_from([2, 3])
fractions = st.floats(0, 1)
boxes = st.tuples(fractions, fractions, st.floats(0.01, 0.2), st.floats(0.01, 0.2)).map(
    lambda box: (
        box[0] * (1 - box[2]),
        box[1] * (1 - box[3]),
        box[0] * (1 - box[2]) + box[2],
        box[1] * (1 - box[3]) + box[3],
    )
)
passes = st.one_of(st.floats(1.1, 2), st.floats(2, 12))


def make_planner(zoom: int | str = 2, passes_per_frame: float | None = 2) -> ViewPlanner:
    return ViewPlanner(str(zoom), (224, 224), max_fps=FPS, passes_per_frame=passes_per_frame)


def run(planner: ViewPlanner, frames: int, candidates: Sequence[Box] = ()) -> list[tuple[View, ...]]:
    return [planner.plan(HD, number / FPS, candidates) for number in range(frames)]


def bound(tiles: int, passes: float, *, candidates: bool) -> int:
    """Return the frames in which every tile is seen."""
    slots = tiles * (2 if candidates else 1)
    if passes >= 2:
        return math.ceil(slots / min(int(passes) - 1, tiles))
    return slots * math.ceil(1 / (passes - 1) - 1e-9)


def period_s(planner: ViewPlanner, zoom: int) -> float:
    assert planner.fine_view
    assert planner.fine_view.zoom == zoom
    return planner.fine_view.period_s


@given(zooms, passes, st.lists(boxes, max_size=5))
def test_every_tile_is_seen_within_the_stated_period(zoom: int, passes: float, candidates: list[Box]) -> None:
    planner = make_planner(zoom, passes)
    window = bound(zoom * zoom, passes, candidates=bool(candidates))
    views = run(planner, 3 * window, candidates)
    for start in range(2 * window):
        seen = set(itertools.chain.from_iterable(views[start : start + window]))
        assert seen == {WHOLE, *tiles_of(zoom)}
    assert period_s(planner, zoom) == pytest.approx(window / FPS)


@given(zooms, passes, st.lists(boxes, max_size=5))
def test_the_passes_never_exceed_the_budget(zoom: int, passes: float, candidates: list[Box]) -> None:
    counts = np.array([len(views) for views in run(make_planner(zoom, passes), 40, candidates)])
    assert counts.max() <= max(2, int(passes))
    assert (np.cumsum(counts) <= np.arange(1, 41) * passes + 1e-6).all()


@given(zooms, st.integers(2, 6), st.lists(boxes, min_size=1, max_size=5))
@example(2, 3, [(0.0, 0.4375, 0.125, 0.5625)])  # as near to one tile as to another
def test_the_whole_frame_is_first_then_the_tiles_of_candidates(zoom: int, passes: int, candidates: list[Box]) -> None:
    wanted = {tile_around(box, tiles_of(zoom)) for box in candidates}
    planner = make_planner(zoom, passes)
    run(planner, 3)
    for views in run(planner, 20, candidates):
        assert views[0] == WHOLE
        assert len(set(views)) == len(views)
        is_near = [view in wanted for view in views[1:]]
        assert passes == 2 or is_near[0]
        assert sum(is_near) >= min(len(wanted), (passes - 1) // 2)


def test_a_new_candidate_is_searched_in_the_next_two_frames_beside_older_ones() -> None:
    planner = make_planner(3, 2)
    run(planner, 11, [STOVE])
    views = run(planner, 2, [STOVE, KITCHEN])
    assert tiles_of(3)[0] in {*views[0], *views[1]}


def test_several_candidates_take_turns() -> None:
    middle: Box = (0.45, 0.45, 0.55, 0.55)
    views = run(make_planner(3, 3), 30, [KITCHEN, middle, STOVE])
    first = [view[1] for view in views]
    assert {first.count(tiles_of(3)[index]) for index in (0, 4, 8)} <= {8, 9, 10, 11, 12}


def test_a_box_in_several_tiles_goes_to_the_one_with_the_nearest_centre() -> None:
    assert tile_around((0.5, 0.1, 0.52, 0.12), tiles_of(2)) == tiles_of(2)[1]
    assert tile_around((0.46, 0.1, 0.48, 0.12), tiles_of(2)) == tiles_of(2)[0]
    assert tile_around((0.3, 0.3, 0.9, 0.9), tiles_of(2)) == tiles_of(2)[3]


@given(st.lists(st.lists(boxes, max_size=3), max_size=20), passes)
def test_the_same_frames_and_candidates_give_the_same_views(history: list[list[Box]], passes: float) -> None:
    plans: list[list[tuple[View, ...]]] = []
    for cost_s in (0.001, 0.5):  # a busy machine
        planner = make_planner(3, passes)
        plans.append([])
        for number, candidates in enumerate(history):
            plans[-1].append(planner.plan(HD, number / FPS, candidates))
            planner.add_cost(cost_s)
    assert plans[0] == plans[1]


def test_one_zoom_or_one_pass_leaves_the_whole_frame_alone() -> None:
    for planner in (make_planner(1, 9), make_planner(3, 1)):
        assert set(run(planner, 5, [STOVE])) == {(WHOLE,)}
        assert planner.fine_view is None


@pytest.mark.parametrize(("pass_ms", "passes"), [(5, 10), (10, 5), (16, 3), (25, 2)])
def test_the_time_that_max_fps_leaves_sets_the_passes(pass_ms: float, passes: int) -> None:
    planner = make_planner(3, None)
    run(planner, 3)
    for _ in range(MIN_COSTS):
        planner.add_cost(pass_ms / 1000)
    assert {len(views) for views in run(planner, 20)} == {passes}
    assert passes * pass_ms / 1000 <= TIME_SHARE / FPS


@pytest.mark.parametrize(("pass_ms", "every"), [(30, 2), (36, 3), (60, 4), (400, 4)])
def test_a_slow_machine_searches_one_tile_every_few_frames(pass_ms: float, every: int) -> None:
    planner = make_planner(3, None)
    for _ in range(MIN_COSTS):
        planner.add_cost(pass_ms / 1000)
    counts = [len(views) for views in run(planner, 4 * every)]
    assert counts == ([1] * (every - 1) + [2]) * 4
    assert period_s(planner, 3) == pytest.approx(9 * every / FPS)


def test_a_single_slow_pass_changes_nothing() -> None:
    planner = make_planner(3, None)
    for cost_s in [0.01] * 10 + [3.0]:
        planner.add_cost(cost_s)
    assert len(planner.plan(HD, 0.0)) == 5


def test_no_tile_is_searched_before_the_cost_of_a_pass_is_known() -> None:
    planner = make_planner(3, None)
    assert run(planner, 9) == [(WHOLE,)] * 9
    assert passes_within([0.3], FPS) == 1


def test_at_the_one_result_per_second_of_a_hot_machine_a_candidate_is_searched_often_enough_for_an_alarm() -> None:
    planner, rules = make_planner("auto", None), AlarmRules()
    for _ in range(MIN_COSTS):
        planner.add_cost(0.02)
    plans = [planner.plan(HD, float(second), [STOVE]) for second in range(round(rules.memory_s))]
    around = tile_around(STOVE, tiles_of(MAX_ZOOM))
    assert sum(around in views for views in plans) >= rules.on_results


def test_without_a_frame_rate_limit_the_budget_is_that_of_ten_per_second() -> None:
    assert passes_within([0.01] * MIN_COSTS, 0) == passes_within([0.01] * MIN_COSTS, 10) == pytest.approx(5)


def test_a_frame_of_another_size_gets_the_tiles_for_its_size() -> None:
    planner = make_planner("auto", 20)
    sizes = [HD, (480, 640, 3), (120, 160, 3), HD]
    assert [len(planner.plan(size, 0.0, [STOVE])) for size in sizes] == [10, 5, 1, 10]


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (15, 23, 3)])
def test_a_frame_of_few_pixels_is_searched_as_a_whole(shape: tuple[int, int, int]) -> None:
    assert ViewPlanner("3", (224, 224), max_fps=10, passes_per_frame=5).plan(shape, 0.0) == (WHOLE,)
