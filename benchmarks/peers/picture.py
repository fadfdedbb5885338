"""peers.png: how well against how fast, a panel a thread count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen
import matplotlib.pyplot as plt

from benchmarks.peers.report import Report, Row
from edge.files import replacing

MARKERS = {"int8": "o", "float32": "s", "float16": "D", "bfloat16": "D"}
SIZE_IN = (7.5, 5.2)


def draw(report: Report, path: Path) -> None:
    """Scatter every peer that was both judged and timed. Left is faster, up is better."""
    panels = len(report.threads)
    figure, axes = plt.subplots(1, panels, figsize=(SIZE_IN[0] * panels, SIZE_IN[1]), sharey=True, squeeze=False)
    runtimes = list(dict.fromkeys(row.peer.runtime for row in report.rows))
    for axis, count in zip(axes[0], report.threads, strict=True):
        points = sorted(_points(report.rows, count), key=lambda point: point[0])
        for number, (time_ms, iou, row) in enumerate(points):
            colour = f"C{runtimes.index(row.peer.runtime) % 10}"
            axis.plot(time_ms, iou, MARKERS[row.peer.precision], color=colour, markersize=8, alpha=0.85)
            # Floats all lie on one line: labels fan out upwards and downwards in turn.
            rise, turn = (9, 40) if number % 2 == 0 else (-9, -40)
            style = {"ha": "left", "va": "bottom" if rise > 0 else "top", "rotation": turn, "fontsize": 8}
            axis.annotate(
                row.peer.title, (time_ms, iou), (3, rise), textcoords="offset points", rotation_mode="anchor", **style
            )
        axis.set_xscale("log")
        axis.set_xlabel("milliseconds a frame")
        axis.set_title(f"{count} thread" + ("s" if count != 1 else ""))
        axis.grid(alpha=0.3, which="both")
        axis.margins(x=0.15, y=0.25)
    axes[0, 0].set_ylabel("fire_iou")
    figure.suptitle(report.title, fontsize=10)
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    plt.close(figure)


def _points(rows: Sequence[Row], threads: int) -> list[tuple[float, float, Row]]:
    return [
        (timing.median_ms, row.metrics["fire_iou"], row)
        for row in rows
        for timing in row.timings
        if row.metrics and timing.threads == threads
    ]
