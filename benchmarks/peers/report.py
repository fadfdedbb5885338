"""The comparison for people and programs: peers.json, one table for terminal and Markdown, and peers.png."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.table import Table

matplotlib.use("Agg")  # no display
import matplotlib.pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.peers.measure import BURST_RUNS, WARM_UP, Measured
from benchmarks.peers.runtimes import REFERENCE, Peer
from edge.files import replacing
from export.report import markdown_table
from train.evaluation.evaluate import Predictions, rounded
from train.evaluation.metrics import agreement

NONE = "–"
LOW, HIGH = 10, 90  # percentiles of the rounds
METRICS = ("fire_iou", "mean_iou", "agreement")
MARKERS = {"int8": "o", "float32": "s", "float16": "D", "bfloat16": "D"}
PANEL_IN, LEGEND_IN, HEIGHT_IN = 6.5, 2.6, 5.2
MARKER_PT = 15


@dataclass(frozen=True)
class Timing:
    """Latency at one thread count, and its ratio to the reference's of the same round."""

    threads: int
    rounds_ms: tuple[float, ...]
    ratio: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def median_ms(self) -> float:
        return statistics.median(self.rounds_ms)

    def as_json(self) -> dict[str, Any]:
        ratios = {"ratio": self.ratio, f"ratio_p{LOW}": self.low, f"ratio_p{HIGH}": self.high}
        times = {"median_ms": round(self.median_ms, 3), "rounds_ms": [round(ms, 3) for ms in self.rounds_ms]}
        return {"threads": self.threads, **rounded(ratios), **times}


@dataclass(frozen=True)
class Row:
    """Accuracy and latency of one peer, or why they are missing."""

    peer: Peer
    version: str | None
    metrics: dict[str, float] | None
    timings: tuple[Timing, ...]
    failure: str | None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.peer.name,
            "runtime": self.peer.runtime,
            "variant": self.peer.variant,
            "version": self.version,
            **(rounded(self.metrics, 6) if self.metrics else {}),
            "timings": [timing.as_json() for timing in self.timings],
            "failure": self.failure,
        }

    def cells(self, threads: Sequence[int]) -> list[str]:
        metrics = self.metrics or {}
        cells = [self.peer.title, self.version or NONE]
        cells += [f"{metrics[name]:.4f}" if name in metrics else NONE for name in METRICS]
        by_threads = {timing.threads: timing for timing in self.timings}
        for timing in map(by_threads.get, threads):
            cells.append(f"{timing.median_ms:.2f}" if timing else NONE)
            has_ratio = timing is not None and timing.ratio is not None
            cells.append(
                f"{timing.ratio:.2f} ({timing.low:.2f} to {timing.high:.2f})" if timing and has_ratio else NONE
            )
        return cells


@dataclass(frozen=True)
class Report:
    """All results of a comparison."""

    facts: dict[str, Any]
    """Model, data, calibration, rounds, machine."""
    title: str
    threads: Sequence[int]
    rows: Sequence[Row]

    def as_json(self) -> dict[str, Any]:
        burst = {"runs": BURST_RUNS, "warm_up": WARM_UP}
        measured = {"reference": REFERENCE.name, "threads": list(self.threads), "burst": burst}
        return {**self.facts, **measured, "rows": [row.as_json() for row in self.rows]}

    @property
    def headings(self) -> list[str]:
        times = [
            heading
            for count in self.threads
            for heading in (f"ms, {_threads(count)}", f"× {REFERENCE.title} ({LOW}–{HIGH} %)")
        ]
        return ["runtime", "version", *METRICS, *times]

    def table(self) -> Table:
        table = Table(title=f"{self.title}\n{self._where()}", title_justify="left")
        for number, heading in enumerate(self.headings):
            table.add_column(heading, justify="left" if number == 0 else "right")
        for row in self.rows:
            table.add_row(*row.cells(self.threads))
        return table

    def as_markdown(self) -> str:
        """Return peers.md: the table, the failures, and how to read it."""
        lines = [f"# {self.title}", "", self._where(), ""]
        lines += markdown_table(self.headings, (row.cells(self.threads) for row in self.rows))
        if self.failures:
            lines += ["", "Not measured:", "", *(f"- {line}" for line in self.failures)]
        lines += ["", *(f"{note}\n" for note in self.notes)]
        return "\n".join(lines)

    @property
    def failures(self) -> list[str]:
        return [f"{row.peer.title}: {row.failure}" for row in self.rows if row.failure]

    @property
    def notes(self) -> list[str]:
        facts = self.facts
        same = "the same images that" if facts["calibration"]["same_as_int8"] else "NOT the images that"
        return [
            f"Ratio: median over {facts['rounds']} rounds of a peer's burst median divided by that of "
            f"{REFERENCE.title} in the same round, with the {LOW}th and {HIGH}th percentiles.",
            "Only the run is timed, with the frame already in the peer's input: bytes for the project's int8 files, "
            "float32 for all others. Agreement is the IoU of the fire mask with that of the Keras float.",
            f'"int8" is the project\'s int8 model, or its weights and scales in the peer\'s format. "int8, own" is '
            f"quantised by the peer, on {facts['calibration']['images']} training images, {same} calibrated the "
            "project's. ncnn is float only: its wheels contain no quantiser.",
        ]

    def _where(self) -> str:
        machine = self.facts["machine"]
        return (
            f"{machine['board'] or machine['cpu']}, load {machine['load']} before and {machine['load_after']} after, "
            f"{self.facts['rounds']} rounds"
        )


def make_rows(results: Sequence[Measured], reference: Predictions) -> list[Row]:
    """Evaluate masks and compute ratios. `reference` is the Keras float on the same images."""
    baseline = next((measured.rounds_ms for measured in results if measured.peer == REFERENCE), {})
    rows = []
    for measured in results:
        metrics = None
        if measured.masks is not None:
            predictions = Predictions(reference.names, measured.masks, reference.truth)
            metrics = {**predictions.metrics, "agreement": agreement(reference.masks, measured.masks)}
        timings = tuple(
            relate(count, times_ms, baseline.get(count, []))
            for count, times_ms in measured.rounds_ms.items()
            if times_ms
        )
        rows.append(Row(measured.peer, measured.version, metrics, timings, measured.failure))
    return rows


def relate(threads: int, times_ms: Sequence[float], reference_ms: Sequence[float]) -> Timing:
    """Return times with their ratios to the reference, round by round; no ratio if the rounds differ in number."""
    if not reference_ms or len(reference_ms) != len(times_ms):
        return Timing(threads, tuple(times_ms))
    low, middle, high = map(float, np.percentile(np.divide(times_ms, reference_ms), [LOW, 50, HIGH]))
    return Timing(threads, tuple(times_ms), middle, low, high)


def draw(report: Report, path: Path) -> None:
    """Scatter accuracy over latency, one panel per thread count. Points are numbered: names would overlap."""
    panels = len(report.threads)
    size = (PANEL_IN * panels + LEGEND_IN, HEIGHT_IN)
    figure, axes = plt.subplots(1, panels, figsize=size, sharey=True, squeeze=False, layout="constrained")
    runtimes = list(dict.fromkeys(row.peer.runtime for row in report.rows))
    legend: dict[str, Line2D] = {}
    for axis, count in zip(axes[0], report.threads, strict=True):
        for number, row in enumerate(report.rows, start=1):
            timing = next((timing for timing in row.timings if timing.threads == count), None)
            if timing is None or row.metrics is None:
                continue
            at = (timing.median_ms, row.metrics["fire_iou"])
            colour = f"C{runtimes.index(row.peer.runtime) % 10}"
            style = {"marker": MARKERS[row.peer.precision], "color": colour, "markeredgecolor": "white"}
            (point,) = axis.plot(*at, linestyle="", markersize=MARKER_PT, alpha=0.9, **style)
            axis.annotate(str(number), at, ha="center", va="center", color="white", fontsize=8)
            legend.setdefault(f"{number}  {row.peer.title}", point)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel("ms per frame")
        axis.set_title(_threads(count))
        axis.grid(alpha=0.3, which="both")
        axis.margins(x=0.1, y=0.15)
    axes[0, 0].set_ylabel("fire_iou")
    figure.legend(list(legend.values()), list(legend), loc="outside right center", markerscale=0.6, fontsize=9)
    figure.suptitle(report.title)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count != 1)}"
