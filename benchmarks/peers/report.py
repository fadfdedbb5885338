"""The comparison for people and for programs: peers.json, and one table in a terminal and in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.peers.catalogue import REFERENCE, Peer
from benchmarks.peers.measure import BURST_RUNS, WARM_UP, Measured
from export.report import markdown_table
from train.evaluation.evaluate import Predictions, rounded
from train.evaluation.metrics import agreement

NONE = "–"
LOW, HIGH = 10, 90  # percentiles of the rounds


@dataclass(frozen=True)
class Timing:
    """How fast a peer was at one thread count: its time, and that divided by the reference's of the same round."""

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
    """One peer: how well, how fast, or why not."""

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
        for count in threads:
            timing = by_threads.get(count)
            cells.append(f"{timing.median_ms:.2f}" if timing else NONE)
            cells.append(
                NONE
                if timing is None or timing.ratio is None
                else f"{timing.ratio:.2f} ({timing.low:.2f} to {timing.high:.2f})"
            )
        return cells


METRICS = ("fire_iou", "mean_iou", "agreement")


@dataclass(frozen=True)
class Report:
    """Everything the comparison found."""

    facts: dict[str, Any]
    """The model, the data, the calibration, the rounds, the machine."""
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
        """The comparison, for a terminal."""
        table = Table(title=f"{self.title}\n{self._where()}", title_justify="left")
        for number, heading in enumerate(self.headings):
            table.add_column(heading, justify="left" if number == 0 else "right")
        for row in self.rows:
            table.add_row(*row.cells(self.threads))
        return table

    def as_markdown(self) -> str:
        """peers.md: the table, what failed, and how to read it."""
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
        """What a reader of the figures must know."""
        facts = self.facts
        same = "the very images" if facts["calibration"]["same_as_int8"] else "NOT the images"
        return [
            f"A row's ratio is the median over {facts['rounds']} rounds of its burst's median divided by that of "
            f"{REFERENCE.title} in the same round, with the {LOW}th and {HIGH}th percentiles.",
            "Timed is the run alone, the frame already in the peer's own input: bytes for int8 files of ours, float32 "
            "for all others. Agreement is the IoU of the fire mask with that of the Keras float.",
            f'"int8" is the project\'s int8 model, or its weights and scales in the peer\'s format; "int8, own" is by '
            f"the peer's own quantiser, on {facts['calibration']['images']} training images, {same} that calibrated "
            "the project's.",
        ]

    def _where(self) -> str:
        machine = self.facts["machine"]
        return (
            f"{machine['board'] or machine['cpu']}, load {machine['load']} before and {machine['load_after']} after, "
            f"{self.facts['rounds']} rounds"
        )


def make_rows(found: Sequence[Measured], reference: Predictions) -> list[Row]:
    """Judge and rate what was measured. `reference` is the Keras float on the same images."""
    baseline = next((measured.rounds_ms for measured in found if measured.peer == REFERENCE), {})
    rows = []
    for measured in found:
        metrics = None
        if measured.masks is not None:
            judged = Predictions(reference.names, measured.masks, reference.truth)
            metrics = {**judged.metrics, "agreement": agreement(reference.masks, measured.masks)}
        timings = tuple(
            rate(count, times_ms, baseline.get(count, [])) for count, times_ms in measured.rounds_ms.items() if times_ms
        )
        rows.append(Row(measured.peer, measured.version, metrics, timings, measured.failure))
    return rows


def rate(threads: int, times_ms: Sequence[float], reference_ms: Sequence[float]) -> Timing:
    """Times beside the reference's of the same rounds; without a ratio where the reference has other rounds or none."""
    if not reference_ms or len(reference_ms) != len(times_ms):
        return Timing(threads, tuple(times_ms))
    ratios = np.divide(times_ms, reference_ms)
    low, middle, high = (float(value) for value in np.percentile(ratios, [LOW, 50, HIGH]))
    return Timing(threads, tuple(times_ms), middle, low, high)


def _threads(count: int) -> str:
    return f"{count} thread" + ("s" if count != 1 else "")
