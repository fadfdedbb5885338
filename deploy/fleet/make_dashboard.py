"""Write dashboard.json beside this file, with Grafana's Foundation SDK: `make dashboard`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueColorMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    DataTransformerConfig,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
OF_CAMERA = 'camera=~"$camera"'
PER_CAMERA = "{{camera}}"
BY_RECEIVER = "{{camera}} {{receiver}}"
NOW = [
    # title, query, what a value of 1 or more is: good, bad, or a number without a judgement
    ("Cameras", f'count(up{{job="fireseg", {OF_CAMERA}}})', "number"),
    ("Down", f'count(up{{job="fireseg", {OF_CAMERA}}} == 0) or vector(0)', "bad"),
    ("Cannot see", f"count(max by (camera) (fireseg_camera_problem{{{OF_CAMERA}}}) == 1) or vector(0)", "bad"),
    ("Alarms raised", f"sum(fireseg_alarm{{{OF_CAMERA}}})", "bad"),
    ("Fires in this range", f'sum(increase(fireseg_events_total{{kind="start", {OF_CAMERA}}}[$__range]))', "number"),
    ("Events waiting", f"sum(fireseg_events_waiting{{{OF_CAMERA}}})", "bad"),
    (
        "Events lost in this range",
        f"sum(increase(fireseg_events_dropped_total{{{OF_CAMERA}}}[$__range]))"
        f" + sum(increase(fireseg_events_dead_letters_total{{{OF_CAMERA}}}[$__range]))",
        "bad",
    ),
    ("Not armed", f"count((fireseg_armed{{{OF_CAMERA}}} == 0) or (fireseg_snoozed{{{OF_CAMERA}}} == 1)) or vector(0)",
     "bad"),
]  # fmt: skip
OVER_TIME = [
    ("Fire area by zone", f"fireseg_fire_area_ratio{{{OF_CAMERA}}}", "{{camera}} {{zone}}", "percentunit"),
    ("Since the last result", f"fireseg_last_result_age_seconds{{{OF_CAMERA}}}", PER_CAMERA, "s"),
    ("Results a second", f"rate(fireseg_results_total{{{OF_CAMERA}}}[$__rate_interval])", PER_CAMERA, "ops"),
    (
        "Frame age, 99th percentile",
        "histogram_quantile(0.99, sum by (camera, le) "
        f"(rate(fireseg_frame_age_seconds_bucket{{{OF_CAMERA}}}[$__rate_interval])))",
        PER_CAMERA, "s",
    ),
    (
        "Events delivered",
        f"increase(fireseg_events_delivered_total{{{OF_CAMERA}}}[$__rate_interval])", BY_RECEIVER, "short",
    ),
    ("Oldest waiting event", f"fireseg_events_oldest_age_seconds{{{OF_CAMERA}}}", BY_RECEIVER, "s"),
    ("Retries a second", f"rate(fireseg_events_retries_total{{{OF_CAMERA}}}[$__rate_interval])", BY_RECEIVER, "ops"),
    ("Receivers reached", f"fireseg_receiver_up{{{OF_CAMERA}}}", BY_RECEIVER, "short"),
    ("Temperature", f"fireseg_temperature_celsius{{{OF_CAMERA}}}", PER_CAMERA, "celsius"),
    ("Throttled", f"fireseg_throttled{{{OF_CAMERA}}}", "{{camera}} {{reason}}", "short"),
    ("Memory", f'process_resident_memory_bytes{{job="fireseg", {OF_CAMERA}}}', PER_CAMERA, "bytes"),
    (
        "Files not written",
        f"increase(fireseg_lost_files_total{{{OF_CAMERA}}}[$__rate_interval])"
        f" + increase(fireseg_late_writes_total{{{OF_CAMERA}}}[$__rate_interval])",
        PER_CAMERA, "short",
    ),
]  # fmt: skip
TABLES = [
    ("Models and versions", f"count by (sha256, version) (fireseg_model_info{{{OF_CAMERA}}})"),
    ("Days since the last drill was passed",
     f"sort_desc((time() - max by (camera) (fireseg_drill_last_passed_timestamp_seconds{{{OF_CAMERA}}})) / 86400)"),
]  # fmt: skip
COLOURS = {"good": ("red", "green"), "bad": ("green", "red"), "number": ("blue", "blue")}


def query(expression: str, legend: str = "") -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression).legend_format(legend).ref_id("A")


def build() -> Any:
    """Return the dashboard."""
    board = (
        dashboard.Dashboard("FireSeg fleet")
        .uid("fireseg-fleet")
        .tags(["fireseg"])
        .refresh("30s")
        .time("now-6h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("camera")
            .label("Camera")
            .datasource(SOURCE)
            .query('label_values(up{job="fireseg"}, camera)')
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(VariableSort.ALPHABETICAL_ASC)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
        .with_row(dashboard.Row("Now"))
    )
    for title, expression, meaning in NOW:
        low, high = COLOURS[meaning]
        steps = [Threshold(value=None, color=low), Threshold(value=1, color=high)]
        board = board.with_panel(
            stat.Panel()
            .title(title)
            .datasource(SOURCE)
            .height(4)
            .span(3)
            .color_mode(BigValueColorMode.BACKGROUND)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
            .decimals(0)
            .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
            .with_target(query(expression).instant())
        )
    board = board.with_row(dashboard.Row("Over time"))
    for title, expression, legend, unit in OVER_TIME:
        panel = timeseries.Panel().title(title).datasource(SOURCE).height(8).span(12).unit(unit)
        board = board.with_panel(panel.with_target(query(expression, legend)))
    board = board.with_row(dashboard.Row("Versions and drills"))
    for title, expression in TABLES:
        panel = table.Panel().title(title).datasource(SOURCE).height(8).span(12)
        panel = panel.with_transformation(
            DataTransformerConfig(id_val="organize", options={"excludeByName": {"Time": True}})
        )
        target = query(expression).instant().format(PromQueryFormat.TABLE)
        board = board.with_panel(panel.with_target(target))
    return board.build()


if __name__ == "__main__":
    text = JSONEncoder(sort_keys=True, indent=2).encode(build())
    Path(__file__).with_name("dashboard.json").write_text(text + "\n")
