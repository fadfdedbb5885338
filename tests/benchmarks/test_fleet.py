"""The soak of a fleet: a short real run, and which figures make it fail."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.fleet import soak
from benchmarks.fleet.report import figures
from benchmarks.fleet.site import Usage
from benchmarks.fleet.soak import FleetRun, Plan, run_fleet, scrape_gaps
from benchmarks.soak.faults import is_in_order
from benchmarks.soak.rig import MOSQUITTO_PATHS

pytestmark = pytest.mark.bench

RUN = FleetRun(
    seconds=60.0, made=30, received=30, lost=[], repeated=1, altered=0, in_order=True,
    delivery_s={"median": 0.1, "p99": 1.0, "max": 2.0}, settle_s=1.0, messages={"state": 0.2, "event": 0.1},
    message_bytes={"state": 100.0, "event": 50.0}, broker=Usage(1.0, 10**7, 10**6), prometheus=Usage(2.0, 10**8, 0),
    samples=300.0, series=1000.0, scrape_bytes=10_000, scrapes_failed=3, scrape_gap_s=30.0,
    late_writes=0.0, queries_answered=22, queries=22,
)  # fmt: skip


@pytest.mark.parametrize(
    ("run", "failures"),
    [
        (RUN, 0),
        (replace(RUN, lost=[("a", 1)]), 1),
        (replace(RUN, altered=1), 1),
        (replace(RUN, in_order=False), 1),
        (replace(RUN, made=0), 1),
    ],
)
def test_a_lost_event_fails_and_a_repeated_event_or_a_missed_scrape_does_not(run: FleetRun, failures: int) -> None:
    assert [figure.passed for figure in figures(Plan(), run)].count(False) == failures


def test_copies_and_ends_of_an_earlier_run_do_not_change_the_order() -> None:
    made = [("a", 1), ("a", 2), ("b", 1)]
    assert is_in_order(made, [("a", 1), ("a", 1), ("a", 2), ("a", 3), ("a", 1), ("b", 1)])
    assert not is_in_order(made, [("a", 2), ("a", 1), ("b", 1)])


def test_scrapes_that_failed_widen_the_gap() -> None:
    assert scrape_gaps([{"values": [[0, "1"], [15, "0"], [30, "1"]]}, {"values": [[0, "1"], [15, "1"]]}]) == (1, 30.0)


def test_a_small_fleet_loses_no_event_while_broker_and_cameras_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    if not all(any(shutil.which(name, path=path) for path in MOSQUITTO_PATHS) for name in ("mosquitto", "prometheus")):
        pytest.skip("install mosquitto and prometheus to run this test")
    late_s: list[float] = []

    def check_for_an_hour(*arguments: object) -> bool:
        late_s.append(3600.0)
        return is_in_order(*arguments)  # type: ignore[arg-type]

    clock = SimpleNamespace(**vars(time) | {"monotonic": lambda: time.monotonic() + sum(late_s)})
    monkeypatch.setattr(soak, "time", clock)
    monkeypatch.setattr(soak, "is_in_order", check_for_an_hour)
    plan = Plan(cameras=3, seconds=12.0, broker_kills=1, fire_period_s=10.0)
    with tempfile.TemporaryDirectory(prefix="fireseg-fleet-") as folder:
        run = run_fleet(Path(folder), plan, lambda _what, _total: lambda: None)
    assert run.made >= 6
    assert (run.lost, run.altered, run.in_order) == ([], 0, True)
    assert run.settle_s < sum(late_s), "checking the events is not part of it"
    assert run.messages["state"] > 0
    assert run.broker.peak_rss_bytes > 1e6
