"""The soak measures what it says: slopes, rates, a camera that can be killed, a run that is watched from outside."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from benchmarks.soak.camera import camera, pictures
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.soak.cost import Cost, rate
from benchmarks.soak.faults import Faults, Scene, Trial, fill, missing
from benchmarks.soak.process import Sample, Subject, subject
from benchmarks.soak.report import cost_figures, fault_figures, quiet_figures
from benchmarks.soak.steady import DAY_S, HOUR_S, Quiet, Slope, per_day, slope, weigh
from edge.camera import CameraSettings, build_camera
from edge.loop import Summary
from edge.sections import DEFAULT_MODEL

ROOT = Path(__file__).parents[2]
MB = 1_000_000
QUIET = Quiet(240.0, 14_000, 5.0, 8.0, 20.0, Slope(0.1, 1.0), 120 * MB, Slope(0.2 * MB, 0.5 * MB), 0.0, 0)


@given(st.floats(-1000, 1000), st.floats(0, 1000), st.integers(20, 200))
def test_the_slope_of_a_line_is_its_slope_without_error(per_hour: float, level: float, count: int) -> None:
    at_s = [10.0 * number for number in range(count)]
    found = slope(at_s, [level + per_hour * at / HOUR_S for at in at_s])
    assert found.per_hour == pytest.approx(per_hour, abs=1e-6)
    assert found.error == pytest.approx(0, abs=1e-5)


def test_noise_has_a_slope_within_a_few_of_its_errors_and_outliers_do_not_tilt_it() -> None:
    draw = random.Random(3)
    at_s = [0.1 * number for number in range(3000)]
    values = [draw.gauss(10, 1) + (500 if number % 100 == 0 else 0) for number in range(3000)]
    found = slope(at_s, values)
    assert abs(found.per_hour) < 4 * found.error


def test_writes_are_scaled_to_a_day() -> None:
    assert per_day([Sample(0, 0, 1000), Sample(10, 0, 1500), Sample(20, 0, 3000)]) == pytest.approx(100 * DAY_S)


def test_a_rate_is_read_off_the_line_that_a_run_ends_with() -> None:
    line = Summary(results=1200, dropped=0, fires=1, seconds=8.0).line("hd.mp4")
    assert rate(line) == pytest.approx(150)
    with pytest.raises(RuntimeError, match="no rate"):
        rate("error: no such file")


def test_the_first_seconds_do_not_count_but_the_most_memory_does() -> None:
    watched = Subject(cast(object, None), 0.0)  # type: ignore[arg-type]
    for second in range(100):
        watched.at_s.append(float(second))
        watched.ages_ms.append(1000.0 if second < 30 else 10.0)
        watched.inferences_ms.append(5.0)
        watched.samples.append(Sample(second, 200 * MB if second == 3 else 100 * MB, 0))
    found = weigh(watched, warm_up_s=40)
    assert (found.results, found.age_p99_ms, found.rss_bytes) == (60, 10.0, 200 * MB)
    assert found.rss.per_hour == pytest.approx(0, abs=0.001)


def test_a_promise_that_is_kept_and_one_that_is_not_are_told_apart() -> None:
    assert all(figure.kept for figure in quiet_figures(QUIET))
    worse = {
        "age_p99_ms": 27.0, "age_ms": Slope(9.0, 1.0), "rss_bytes": 151 * MB,
        "rss": Slope(1.2 * MB, 0.1 * MB), "written_bytes_per_day": 2.0 * MB,
    }  # fmt: skip
    for name, value in worse.items():
        broken = quiet_figures(Quiet(**{**vars(QUIET), name: value}))
        assert [figure.kept for figure in broken].count(False) == 1, name
    assert [figure.kept for figure in cost_figures(Cost(1, 6.0, 0.95, 0.7, 3))] == [True, False]


def test_a_lost_or_doubled_event_and_a_fault_not_recovered_from_break_the_promise() -> None:
    well = Faults([Trial("camera killed", 20, 20, 3.0)], emitted=30)
    assert all(figure.kept for figure in fault_figures(well))
    for broken in (
        Faults([Trial("camera killed", 20, 19, 60.0)], emitted=30),
        Faults(well.trials, 30, lost=[("a", 1)]),
        Faults(well.trials, 30, doubled=[("a", 1)]),
        Faults(well.trials, 30, in_order=False),
    ):
        assert [figure.kept for figure in fault_figures(broken)].count(False) == 1


def test_what_was_told_and_never_arrived_is_missing() -> None:
    scene = SimpleNamespace(emitted=[("a", 1), ("a", 2)], listener=SimpleNamespace(events=[("a", 1)]))
    assert missing(cast(Scene, scene)) == [("a", 2)]


def test_filling_a_disk_leaves_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        fill(tmp_path / "ballast")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "ballast").stat().st_size == 100_000


def test_the_camera_shows_its_schedule_and_comes_back_at_the_same_address() -> None:
    assert len(pictures(burning=True)) > len(pictures(burning=False)) > 0
    with camera(fps=30, burning=False) as (address, process):
        port = int(address.split(":")[2].split("/")[0])
        source = build_camera(address, CameraSettings(timeout_s=5))
        source.open()
        shot = source.read()
        assert shot is not None
        assert shot.rgb.shape == (480, 640, 3)
        source.close()
        process.kill()
        process.wait()
    with camera(fps=30, burning=False, port=port) as (again, _):
        assert again == address


def test_a_run_is_watched_from_outside_until_it_is_told_to_end() -> None:
    with subject("--model", ROOT / DEFAULT_MODEL, "--source", "test-pattern") as watched:
        watched.wait_for_results(15, 60)  # it is looked at once a second
        assert watched.terminate() < 5
        assert watched.process.returncode == 0
    assert len(watched.ages_ms) == len(watched.inferences_ms) == watched.results >= 5
    assert watched.samples[-1].rss_bytes > 10 * MB


def test_a_run_that_ends_while_it_is_waited_for_is_told_with_its_last_words() -> None:
    with (
        subject("--model", "gone.tflite", "--source", "test-pattern") as watched,
        pytest.raises(TimeoutError, match=r"ended while waiting for 1 results.*|gone\.tflite"),
    ):
        watched.wait_for_results(1, 60)
