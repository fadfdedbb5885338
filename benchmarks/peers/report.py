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

from benchmarks.peers.measure import BURST_RUNS, WARM_UP, Measured
from benchmarks.peers.runtimes import REFERENCE, Peer
from edge.files import replacing
from export.tables import markdown_table, terminal_table
from train.evaluation.evaluate import Predictions, rounded
from train.evaluation.metrics import agreement

NONE = "–"
LOW, HIGH = 10, 90  # percentiles of the rounds
METRICS = ("fire_iou", "mean_iou", "agreement")
MARKERS = {"int8": "o", "int8, own": "*", "float32": "s", "float16": "D", "bfloat16": "D"}
PANEL_IN, LEGEND_IN, HEIGHT_IN = 6.5, 2.6, 5.2


@dataclass(frozen=True)
class Row:
    """Accuracy and latency of one peer, or why they are missing."""

    peer: Peer
    version: str | None
    metrics: dict[str, float]
    rounds_ms: dict[int, list[float]]
    """By thread count."""
    ratios: dict[int, tuple[float, float, float]]
    """By thread count: low percentile, median and high percentile of the times divided by the reference's."""
    failure: str | None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.peer.name,
            "version": self.version,
            **rounded(self.metrics, 6),
            "rounds_ms": self.rounds_ms,
            "ratios": self.ratios,
            "failure": self.failure,
        }

    def cells(self, threads: Sequence[int]) -> list[str]:
        cells = [self.peer.title, self.version or NONE]
        cells += [f"{self.metrics[name]:.4f}" if self.metrics else NONE for name in METRICS]
        for count in threads:
            times_ms, ratio = self.rounds_ms.get(count), self.ratios.get(count)
            cells.append(f"{statistics.median(times_ms):.2f}" if times_ms else NONE)
            cells.append(f"{ratio[1]:.2f} ({ratio[0]:.2f} to {ratio[2]:.2f})" if ratio else NONE)
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
        ratio = f"× {REFERENCE.title} ({LOW}–{HIGH} %)"
        times = [heading for count in self.threads for heading in (f"ms, {_threads(count)}", ratio)]
        return ["runtime", "version", *METRICS, *times]

    def table(self) -> Table:
        rows = (row.cells(self.threads) for row in self.rows)
        return terminal_table(self.headings, rows, title=f"{self.title}\n{self._where()}")

    def as_markdown(self) -> str:
        """Return peers.md: the table, the failures, and how to read it."""
        table = markdown_table(self.headings, (row.cells(self.threads) for row in self.rows))
        failures = "\n".join(f"- {line}" for line in self.failures)
        paragraphs = [f"# {self.title}", self._where(), table]
        paragraphs += ["Not measured:", failures] if failures else []
        return "\n\n".join([*paragraphs, *self.notes]) + "\n"

    @property
    def failures(self) -> list[str]:
        return [f"{row.peer.title}: {row.failure}" for row in self.rows if row.failure]

    @property
    def notes(self) -> list[str]:
        calibration = self.facts["calibration"]
        same = "the same images that" if calibration["same_as_int8"] else "NOT the images that"
        return [
            f"Ratio: median over {self.facts['rounds']} rounds of a peer's burst median divided by that of "
            f"{REFERENCE.title} in the same round, with the {LOW}th and {HIGH}th percentiles.",
            "Only the run is timed, with the frame already in the peer's input: bytes for the project's int8 files, "
            "float32 for all others. Agreement is the IoU of the fire mask with that of the Keras float.",
            f'"int8" is the project\'s int8 model, or its weights and scales in the peer\'s format. "int8, own" is '
            f"quantized by the peer, on {calibration['images']} training images, {same} calibrated the project's. "
            "ncnn is float only: its wheels contain no quantizer.",
        ]

    def _where(self) -> str:
        machine = self.facts["machine"]
        return (
            f"{machine['board'] or machine['cpu']}, load {machine['load']} before and {machine['load_after']} after, "
            f"{self.facts['rounds']} rounds"
        )


def make_rows(results: Sequence[Measured], reference: Predictions) -> list[Row]:
    """Evaluate masks and compute ratios, round by round. `reference` is the Keras float on the same images."""
    baseline = next((measured.rounds_ms for measured in results if measured.peer == REFERENCE), {})
    rows = []
    for measured in results:
        metrics: dict[str, float] = {}
        if measured.masks is not None:
            predictions = Predictions(reference.names, measured.masks, reference.truth)
            metrics = {**predictions.metrics, "agreement": agreement(reference.masks, measured.masks)}
        ratios = {}
        for count in measured.rounds_ms.keys() & baseline.keys():
            quotients = np.divide(measured.rounds_ms[count], baseline[count])
            low, middle, high = map(float, np.percentile(quotients, [LOW, 50, HIGH]))
            ratios[count] = (low, middle, high)
        rows.append(Row(measured.peer, measured.version, metrics, measured.rounds_ms, ratios, measured.failure))
    return rows


def draw(report: Report, path: Path) -> None:
    """Scatter accuracy over latency, one panel per thread count."""
    panels = len(report.threads)
    size = (PANEL_IN * panels + LEGEND_IN, HEIGHT_IN)
    figure, axes = plt.subplots(1, panels, figsize=size, sharey=True, squeeze=False, layout="constrained")
    runtimes = list(dict.fromkeys(row.peer.runtime for row in report.rows))
    for axis, count in zip(axes[0], report.threads, strict=True):
        for row in report.rows:
            if row.metrics and (times_ms := row.rounds_ms.get(count)):
                style = {"marker": MARKERS[row.peer.variant], "color": f"C{runtimes.index(row.peer.runtime)}"}
                at = (statistics.median(times_ms), row.metrics["fire_iou"])
                axis.semilogx(*at, linestyle="", markersize=10, label=row.peer.title, **style)
        axis.set(xlabel="ms per frame", title=_threads(count))
        axis.grid(alpha=0.3, which="both")
    axes[0, 0].set_ylabel("fire_iou")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", fontsize=9)
    figure.suptitle(report.title)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count != 1)}"
