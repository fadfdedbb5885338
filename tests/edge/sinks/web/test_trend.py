"""The plot of a day and a week: what its rings keep, on disk and after damage."""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.messages import TrackStatus
from edge.sinks.web.trend import MAX_ZONES, RECORD, RINGS, SIZE_BYTES, Trend, parse
from tests.support.factories import result, run_status
from tests.support.waiting import TIMEOUT_S, wait_for
from tests.support.web_client import Clock, config, get, get_json, serving

START_S = 1_800_000_000.0  # at the beginning of a minute and of ten
CANDIDATE = TrackStatus(1, (0.0, 0.0, 0.1, 0.1), 0.01, confirmed=False)


@pytest.fixture(autouse=True, scope="module")
def _slow_disk() -> Iterator[None]:
    """Let the last write take as long as a busy disk needs: a run that ends gives it up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge.sinks.web.trend.CLOSE_S", TIMEOUT_S)
        yield


class WallClock(Clock):
    now_s = START_S


def note(trend: Trend, clock: WallClock, t_s: float, shares: dict[str, float], tracks: int = 0) -> None:
    """Add one result at `t_s` seconds after the start."""
    clock.now_s = START_S + t_s
    trend.on_result(replace(result(t_s, 0.0, on=False), shares=shares, tracks=(CANDIDATE,) * tracks))
    trend.poll()


def differs(path: Path, old: bytes) -> bool:
    return path.read_bytes() != old


def test_the_largest_area_and_most_possible_fires_of_a_period_are_kept(tmp_path: Path) -> None:
    clock = WallClock()
    with closing(Trend(tmp_path / "trend.bin", now=clock)) as trend:
        for t_s, share, tracks in ((0, 0.1, 0), (30, 0.3, 2), (59, 0.2, 1), (60, 0.0, 0), (700, 0.05, 1)):
            note(trend, clock, t_s, {"stove": share}, tracks)
        assert trend.points("day") == {
            "step_s": 60,
            "points": [
                [START_S, {"stove": 0.3}, 2],
                [START_S + 60, {"stove": 0.0}, 0],
                [START_S + 660, {"stove": 0.05}, 1],
            ],
        }
        assert trend.points("week")["points"] == [
            [START_S, {"stove": 0.3}, 2],
            [START_S + 600, {"stove": 0.05}, 1],
        ]


def test_it_survives_a_restart_in_a_private_file_of_fixed_size(tmp_path: Path) -> None:
    path, clock = tmp_path / "state" / "trend.bin", WallClock()
    with closing(Trend(path, now=clock)) as trend:
        note(trend, clock, 0, {"stove": 0.1})
        wait_for(path.exists)
        for minute in range(1, 4):
            note(trend, clock, 60 * minute, {"stove": 0.1, "window": minute / 10})
        before = trend.points("day")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_size == SIZE_BYTES < 200_000
    with closing(Trend(path, now=clock)) as trend:
        wait_for(lambda: trend.points("day") == before)
        note(trend, clock, 185, {"stove": 0.9})
        assert trend.points("day")["points"][-1][1] == {"stove": 0.9, "window": 0.3}


def test_a_minute_costs_one_write_of_the_records_that_changed(tmp_path: Path) -> None:
    path, clock = tmp_path / "trend.bin", WallClock()
    with closing(Trend(path, now=clock)) as trend:
        note(trend, clock, 0, {"stove": 0.1})
        wait_for(path.exists)
        file = path.stat().st_ino
        changed = []
        for minute in range(1, 4):
            old = path.read_bytes()
            note(trend, clock, 60 * minute, {"stove": minute / 10})
            wait_for(partial(differs, path, old))
            changed.append(sum(a != b for a, b in zip(old, path.read_bytes(), strict=True)))
        assert path.stat().st_ino == file, "written in place"
        assert max(changed) <= 4 * RECORD.itemsize


@given(
    st.lists(
        st.tuples(
            st.integers(0, 9 * 86_400),
            st.dictionaries(st.sampled_from(["stove", "Fenster", "<b>"]), st.floats(0, 1), max_size=3),
        ),
        max_size=40,
    )
)
def test_points_are_the_maxima_of_the_last_periods_and_in_order(results: list[tuple[int, dict[str, float]]]) -> None:
    results.sort(key=lambda each: each[0])
    clock = WallClock()
    with tempfile.TemporaryDirectory() as folder, closing(Trend(Path(folder) / "trend.bin", now=clock)) as trend:
        for t_s, shares in results:
            note(trend, clock, t_s, shares)
        for span, (step_s, count) in RINGS.items():
            newest = clock.now_s // step_s
            expected: dict[float, dict[str, float]] = {}
            for t_s, shares in results:
                period = (START_S + t_s) // step_s
                if shares and period > newest - count:
                    largest = expected.setdefault(period * step_s, {})
                    for zone, share in shares.items():
                        largest[zone] = max(share, largest.get(zone, 0.0))
            points = trend.points(span)["points"]
            assert [point[0] for point in points] == sorted(expected)
            for t_s, shares, _ in points:
                assert shares == pytest.approx(expected[t_s], abs=1e-4)


@given(st.data())
def test_damage_costs_at_most_what_it_hits_and_never_the_run(data: st.DataObject) -> None:
    clock = WallClock()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trend.bin"
        with closing(Trend(path, now=clock)) as trend:
            for minute in range(30):
                note(trend, clock, 60 * minute, {"stove": 0.5})
        whole = bytearray(path.read_bytes())
        for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=5)):
            whole[place] ^= data.draw(st.integers(1, 255))
        kept = bytes(whole[: data.draw(st.sampled_from([len(whole), 0, 100]))])
        path.write_bytes(kept)
        with suppress(ValueError):  # as if there were no file
            assert parse(kept)[2] <= 5
        with closing(Trend(path, now=clock)) as trend:
            wait_for(lambda: trend._is_loaded)
            note(trend, clock, 1800, {"stove": 0.25})
            assert trend.points("day")["points"][-1] == [START_S + 1800, {"stove": 0.25}, 0]
        assert len(path.read_bytes()) == SIZE_BYTES


def test_a_damaged_file_is_logged_and_begun_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "trend.bin"
    path.write_text("not a trend")
    with closing(Trend(path, now=WallClock())) as trend:
        wait_for(lambda: caplog.records)
        assert trend.points("week")["points"] == []
    assert f"{path} is ignored (damaged)" in caplog.text


def test_a_file_that_cannot_be_written_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    clock = WallClock()
    with closing(Trend(tmp_path / "file" / "trend.bin", now=clock)) as trend:
        for minute in range(3):
            note(trend, clock, 60 * minute, {"stove": 0.5})
        wait_for(lambda: caplog.records)
        assert len(trend.points("day")["points"]) == 3
    assert trend.failures == 1
    assert [record.getMessage()[:51] for record in caplog.records] == [
        "the plot of the day and the week will be lost with "
    ]


def test_zones_of_a_reloaded_configuration_take_the_place_of_removed_ones(tmp_path: Path) -> None:
    clock = WallClock()
    with closing(Trend(tmp_path / "trend.bin", now=clock)) as trend:
        for number in range(2 * MAX_ZONES):
            note(trend, clock, 60 * number, {f"zone {number}": 0.5})
        points = trend.points("day")["points"]
    assert points[-1][1] == {f"zone {2 * MAX_ZONES - 1}": 0.5}
    assert points[0][1] == {}, "its column belongs to another zone now"


def test_the_page_serves_it_for_a_day_and_a_week(tmp_path: Path) -> None:
    with serving(config(), trend_path=tmp_path / "trend.bin") as page:
        page.on_result(result(1.0, 0.25, on=True))
        page.on_status(run_status())
        for span, (step_s, _) in RINGS.items():
            trend = get_json(page, f"/api/trend?span={span}")
            assert (trend["step_s"], [point[1] for point in trend["points"]]) == (step_s, [{"frame": 0.25}])
        assert get(page, "/api/trend?span=year")[0] == 404


def test_a_plot_that_cannot_be_written_counts_as_a_lost_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with serving(trend_path=tmp_path / "file" / "trend.bin") as page:
        page.on_result(result(0.0, 0.5, on=True))
        page.on_status(run_status())
    assert page.lost_files == 1
