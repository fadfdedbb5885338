"""The ledger over time as a plot: drift with its intervals, agreement, and instructions per frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no display
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from edge.files import replacing
from export.report import POINTS, Gate

PANEL_IN = (9.0, 3.2)

Entry = dict[str, Any]


def draw(entries: Sequence[Entry], path: Path) -> None:
    """Plot drift above agreement, one column per data set and split, and instructions below.

    Args:
        entries: lines of the ledger, with runtimes without versions.
    """
    columns = group([entry for entry in entries if "fire_iou_drift" in entry], "data", "split")
    counted = [entry for entry in entries if "instructions_per_frame" in entry]
    rows, width = max(2 * bool(columns) + bool(counted), 1), max(len(columns), 1)
    figure = plt.figure(figsize=(PANEL_IN[0] * width, PANEL_IN[1] * rows), layout="constrained")
    grid = figure.add_gridspec(rows, width)
    for column, ((data, split), of_split) in enumerate(columns.items()):
        above, below = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
        above.set_title(f"{data}, {split}", fontsize="medium")
        for label, line in curves(of_split, "model", "machine"):
            draw_drift(above, label, line)
            below.plot(dates(line), [entry["agreement"] for entry in line], marker=".", label=label)
        above.axhline(-POINTS * Gate().max_drop, color="black", linestyle=":", label="gate")
        below.axhline(Gate().min_agreement, color="black", linestyle=":", label="gate")
        above.set_ylabel("fire_iou drift, points (95 %)")
        below.set_ylabel("agreement with the float")
    if counted:
        axis = figure.add_subplot(grid[rows - 1, :])
        for label, line in curves(counted, "model", "cpu", "runtime"):
            axis.plot(dates(line), [entry["instructions_per_frame"] / 1e6 for entry in line], marker=".", label=label)
        axis.set_ylim(bottom=0)
        axis.set_ylabel("million instructions per frame")
    for axis in figure.axes:
        axis.grid(alpha=0.3)
        axis.tick_params(axis="x", rotation=20)
        axis.legend(fontsize="xx-small", ncols=2, loc="center left", bbox_to_anchor=(1, 0.5))
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


def draw_drift(axis: Axes, label: str, line: Sequence[Entry]) -> None:
    drifts = [POINTS * entry["fire_iou_drift"] for entry in line]
    ends = [[POINTS * bound for bound in entry["fire_iou_interval"]] for entry in line]
    # A bootstrap interval need not contain the drift itself.
    below = [max(drift - low, 0) for drift, (low, _) in zip(drifts, ends, strict=True)]
    above = [max(high - drift, 0) for drift, (_, high) in zip(drifts, ends, strict=True)]
    axis.errorbar(dates(line), drifts, yerr=[below, above], marker=".", capsize=3, label=label)


def curves(entries: Sequence[Entry], *fields: str) -> list[tuple[str, list[Entry]]]:
    """Group by these fields. Labels hold the model, and the other fields that differ."""
    shown = [field for field in fields if field == "model" or len({entry.get(field) for entry in entries}) > 1]
    return [(", ".join(str(line[0].get(field)) for field in shown), line) for line in group(entries, *fields).values()]


def group(entries: Iterable[Entry], *fields: str) -> dict[tuple[Any, ...], list[Entry]]:
    """Group entries by the values of these fields, in order of first appearance."""
    groups: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(tuple(entry.get(field) for field in fields), []).append(entry)
    return groups


def dates(entries: Iterable[Entry]) -> list[Any]:
    return [datetime.fromisoformat(entry["date"]) for entry in entries]  # matplotlib's type hints lack dates
