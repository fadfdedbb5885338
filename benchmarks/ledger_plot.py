"""The ledger as a picture over time: drift with its intervals, agreement, and instructions a frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no screen
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.ledger import Entry, runtime_name
from edge.files import replacing
from export.report import POINTS, Gate

WIDTH, HEIGHT = 5.0, 3.2  # of one panel, in inches
MILLION = 1e6


def draw(entries: Sequence[Entry], path: Path) -> None:
    """One column a data set and split, drift above agreement; below them the instructions, where there are any."""
    shrunk = [entry for entry in entries if "fire_iou_drift" in entry]
    counted = [entry for entry in entries if "instructions_per_frame" in entry]
    columns = group(shrunk, "data", "split")
    rows, width = 2 * bool(columns) + bool(counted), max(len(columns), 1)
    figure = plt.figure(figsize=(WIDTH * width, HEIGHT * max(rows, 1)), layout="constrained")
    grid = figure.add_gridspec(max(rows, 1), width)
    for column, ((data, split), of_split) in enumerate(columns.items()):
        above, below = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
        above.set_title(f"{data}, {split}", fontsize="medium")
        draw_drift(above, of_split)
        draw_agreement(below, of_split)
    if counted:
        draw_instructions(figure.add_subplot(grid[rows - 1, :]), counted)
    for axis in figure.axes:
        axis.grid(alpha=0.3)
        axis.tick_params(axis="x", rotation=20)
        axis.legend(fontsize="x-small")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


def draw_drift(axis: Axes, entries: Sequence[Entry]) -> None:
    for (model, machine), line in group(entries, "model", "machine").items():
        drifts = [POINTS * entry["fire_iou_drift"] for entry in line]
        ends = [[POINTS * bound for bound in entry["fire_iou_interval"]] for entry in line]
        # An interval of the bootstrap need not hold the drift itself.
        below = [max(drift - low, 0) for drift, (low, _) in zip(drifts, ends, strict=True)]
        above = [max(high - drift, 0) for drift, (_, high) in zip(drifts, ends, strict=True)]
        axis.errorbar(
            dates(line), drifts, yerr=[below, above], marker=".", capsize=3, label=label(model, machine, entries)
        )
    axis.axhline(-POINTS * Gate().max_drop, color="black", linestyle=":", label="gate")
    axis.set_ylabel("fire_iou drift, points (95 %)")


def draw_agreement(axis: Axes, entries: Sequence[Entry]) -> None:
    for (model, machine), line in group(entries, "model", "machine").items():
        agreements = [entry["agreement"] for entry in line]
        axis.plot(dates(line), agreements, marker=".", label=label(model, machine, entries))
    axis.axhline(Gate().min_agreement, color="black", linestyle=":", label="gate")
    axis.set_ylabel("agreement with the float")


def draw_instructions(axis: Axes, entries: Sequence[Entry]) -> None:
    named = [entry | {"runtime": runtime_name(entry)} for entry in entries]
    for (model, cpu, runtime), line in group(named, "model", "cpu", "runtime").items():
        millions = [entry["instructions_per_frame"] / MILLION for entry in line]
        axis.plot(dates(line), millions, marker=".", label=f"{model}, {cpu}, {runtime}")
    axis.set_ylim(0, 1.1 * max(entry["instructions_per_frame"] for entry in entries) / MILLION)
    axis.set_ylabel("million instructions a frame")


def group(entries: Iterable[Entry], *fields: str) -> dict[tuple[Any, ...], list[Entry]]:
    """Entries by what these fields hold, in the order in which they first came."""
    found: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        found.setdefault(tuple(entry.get(field) for field in fields), []).append(entry)
    return found


def dates(entries: Iterable[Entry]) -> list[Any]:
    """For matplotlib, whose types know of no dates although it does."""
    return [datetime.fromisoformat(entry["date"]) for entry in entries]


def label(model: str, machine: str, entries: Sequence[Entry]) -> str:
    """The model, and the machine where there are several."""
    return model if len({entry["machine"] for entry in entries}) == 1 else f"{model}, {machine}"
