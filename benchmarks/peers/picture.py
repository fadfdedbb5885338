"""peers.png: how well against how fast, a panel a thread count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen
import matplotlib.pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.peers.report import Report, Row
from edge.files import replacing

MARKERS = {"int8": "o", "float32": "s", "float16": "D", "bfloat16": "D"}
PANEL_IN, LEGEND_IN, HEIGHT_IN = 6.5, 2.6, 5.2
MARKER_PT = 15


def draw(report: Report, path: Path) -> None:
    """Scatter every peer that was both judged and timed. Left is faster, up is better.

    Points are numbered and named beside the panels: all floats lie on one line, where names would cover each other.
    """
    panels = len(report.threads)
    size = (PANEL_IN * panels + LEGEND_IN, HEIGHT_IN)
    figure, axes = plt.subplots(1, panels, figsize=size, sharey=True, squeeze=False, layout="constrained")
    runtimes = list(dict.fromkeys(row.peer.runtime for row in report.rows))
    shown: dict[str, Line2D] = {}
    for axis, count in zip(axes[0], report.threads, strict=True):
        for number, (time_ms, iou, row) in _points(report.rows, count):
            colour = f"C{runtimes.index(row.peer.runtime) % 10}"
            style = {"marker": MARKERS[row.peer.precision], "color": colour, "markeredgecolor": "white"}
            (point,) = axis.plot(time_ms, iou, linestyle="", markersize=MARKER_PT, alpha=0.9, **style)
            axis.annotate(str(number), (time_ms, iou), ha="center", va="center", color="white", fontsize=8)
            shown.setdefault(f"{number}  {row.peer.title}", point)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel("milliseconds a frame")
        axis.set_title(f"{count} thread" + ("s" if count != 1 else ""))
        axis.grid(alpha=0.3, which="both")
        axis.margins(x=0.1, y=0.15)
    axes[0, 0].set_ylabel("fire_iou")
    figure.legend(list(shown.values()), list(shown), loc="outside right center", markerscale=0.6, fontsize=9)
    figure.suptitle(report.title)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


def _points(rows: Sequence[Row], threads: int) -> list[tuple[int, tuple[float, float, Row]]]:
    """What can be drawn, each with its row's number."""
    return [
        (number, (timing.median_ms, row.metrics["fire_iou"], row))
        for number, row in enumerate(rows, start=1)
        for timing in row.timings
        if row.metrics and timing.threads == threads
    ]
