"""The page's history: the fire area of the last ten minutes, one point per second."""

from __future__ import annotations

from edge.sinks.web import history
from edge.sinks.web.sink import WebPage
from tests.support.factories import result, run_status
from tests.support.web_client import config, get_json


def test_the_history_has_the_peak_of_each_second_and_gaps_without_results(page: WebPage) -> None:
    for share in (0.1, 0.4, 0.2):
        page.on_result(result(1.0, share, on=True))
    page.on_status(run_status(running_s=3.0))
    page.on_status(run_status(running_s=4.0))
    page.on_result(result(1.0, 0.1, on=True, zone="stove"))
    page.on_status(run_status(running_s=5.0))
    assert get_json(page, "/api/history")[2:] == [[3.0, {"frame": 0.4}], [4.0, {}], [5.0, {"stove": 0.1}]]


def test_the_history_keeps_ten_minutes() -> None:
    past = history.History(config())
    for second in range(history.MAX_POINTS + 100):
        past.on_result(result(second, 0.2, on=False, zone="stove"))
        past.on_status(run_status(running_s=second))
    assert len(past.points()) == history.MAX_POINTS
    assert past.points()[0] == (100.0, {"stove": 0.2})
