"""An export's figures for people and for programs: one list of rows, shown as a table, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from edge.model.latency import Latency
from export.calibration import CalibrationSet
from export.delegation import Delegation
from export.drift import Drift
from export.int8.refine import LayerEffect
from train.evaluation.evaluate import rounded

METRICS = ("fire_iou", "mean_iou", "fire_iou_per_image", "accuracy")
POINTS = 100  # IoU 0.01 is one point
MARKDOWN_RIGHT = "---:"


@dataclass(frozen=True)
class ModelRow:
    """One model of the comparison. The Keras float is the first row, and has no drift."""

    name: str
    path: Path
    size_bytes: int
    sha256: str
    metrics: dict[str, float]
    latency: Latency
    drift: Drift | None = None
    delegation: Delegation | None = None
    refined: Sequence[LayerEffect] = ()


@dataclass(frozen=True)
class Gate:
    """How far int8 may fall behind the float before the export fails."""

    max_drop: float = 0.005
    min_agreement: float = 0.97

    def failures(self, drift: Drift) -> list[str]:
        """Why the gate is shut; empty where it is open."""
        reasons = []
        drop = -drift.metrics["fire_iou"]
        if drop > self.max_drop:
            reasons.append(
                f"int8 fire_iou lies {drop * POINTS:.2f} points under the float, more than {self.max_drop * POINTS:g}"
            )
        if drift.agreement < self.min_agreement:
            reasons.append(
                f"int8 agrees with the float on {drift.agreement:.4f} of the fire, less than {self.min_agreement}"
            )
        return reasons


@dataclass(frozen=True)
class Report:
    """Everything an export measured."""

    data: dict[str, Any]
    title: str
    calibration: CalibrationSet
    models: Sequence[ModelRow]
    gate: Gate
    threads: int
    cpu: str
    versions: dict[str, str]
    halves: dict[str, Any] | None = None

    @property
    def failures(self) -> list[str]:
        return [
            reason
            for row in self.models
            if row.name == "int8" and row.drift
            for reason in self.gate.failures(row.drift)
        ]

    def as_json(self) -> dict[str, Any]:
        """report.json: the schema of docs/architecture.md."""
        calibration = self.calibration.manifest()
        del calibration["files"]  # they stand in the manifest beside the models
        return {
            "data": self.data,
            "calibration": calibration,
            "models": [_model_json(row, self.threads) for row in self.models],
            "drift": {row.name: _drift_json(row.drift) for row in self.models if row.drift},
            "gate": {
                "metric": "fire_iou",
                "max_drop": self.gate.max_drop,
                "min_agreement": self.gate.min_agreement,
                "passed": not self.failures,
                "reasons": self.failures,
            },
            "two_halves": self.halves,
            "machine": {"cpu": self.cpu, "threads": self.threads},
            "versions": self.versions,
        }

    def table(self) -> Table:
        """The comparison, for a terminal."""
        table = Table(title=f"{self.title}\n{self._where()}", title_justify="left")
        for number, heading in enumerate(HEADINGS):
            table.add_column(heading, justify="left" if number == 0 else "right")
        for row in self.models:
            table.add_row(*_cells(row))
        return table

    def as_markdown(self) -> str:
        """report.md: the same table, and what went into it."""
        lines = [f"# {self.title}", "", self._where(), ""]
        lines += markdown_table(HEADINGS, map(_cells, self.models))
        passed = "passed" if not self.failures else "FAILED: " + "; ".join(self.failures)
        lines += [
            "",
            f"Gate: int8 at most {self.gate.max_drop * POINTS:g} points of fire_iou under the Keras float, "
            f"agreement at least {self.gate.min_agreement}: **{passed}**.",
            "",
            "Drift is the difference to the Keras float in points; the interval is the 95 % bootstrap over images. "
            "Agreement is the IoU of a model's fire mask against the float's, pooled.",
            "",
            f"Judged on {self.data['images']} images of {self.data['root']}, split {self.data['split']}, content "
            f"`{self.data['sha256'][:16]}`.",
            "",
            f"Calibrated on {len(self.calibration.images)} images, seed {self.calibration.seed}, content "
            f"`{self.calibration.sha256[:16]}`: {_coverage(self.calibration)}.",
        ]
        if self.halves:
            lines += [
                "",
                f"Two halves of the calibration set give models that agree on {self.halves['agreement']:.4f}.",
            ]
        for row in self.models:
            if row.delegation:
                outside = ", ".join(row.delegation.stranded) or "none"
                lines += [
                    "",
                    f"{row.name}: {row.delegation.partitions} XNNPACK partition, stranded operators: {outside}.",
                ]
            if row.refined:
                lines += ["", f"## Layers of {row.name}", ""]
                lines += [
                    "RMS difference of channel means to the float model, in steps of the layer's int8 output: "
                    "as the converter rounded it, and refined.",
                    "",
                ]
                lines += markdown_table(
                    ("layer", "operator", "before", "after"),
                    ((e.layer, e.kind, f"{e.before_steps:.3f}", f"{e.after_steps:.3f}") for e in row.refined),
                )
        lines += ["", "Versions: " + ", ".join(f"{name} {number}" for name, number in self.versions.items()) + ".", ""]
        return "\n".join(lines)

    def _where(self) -> str:
        threads = f"{self.threads} thread" + ("s" if self.threads != 1 else "")
        return f"{self.cpu}, {threads}; ms from a frame of the model's size to its mask"


HEADINGS = (
    "model", *METRICS, "size MB", "ms median", "ms p90", "partitions", "drift, points (95 %)", "agreement",
)  # fmt: skip


def _cells(row: ModelRow) -> list[str]:
    drift = "–"
    if row.drift:
        low, high = (bound * POINTS for bound in row.drift.fire_iou_interval)
        drift = f"{row.drift.metrics['fire_iou'] * POINTS:+.2f} ({low:+.2f} to {high:+.2f})"
    return [
        row.name,
        *(f"{row.metrics[name]:.4f}" for name in METRICS),
        f"{row.size_bytes / 1e6:.2f}",
        f"{row.latency.median_ms:.1f}",
        f"{row.latency.p90_ms:.1f}",
        str(row.delegation.partitions) if row.delegation else "–",
        drift,
        f"{row.drift.agreement:.4f}" if row.drift else "–",
    ]


def _model_json(row: ModelRow, threads: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": row.name,
        "path": str(row.path),
        "size_bytes": row.size_bytes,
        "sha256": row.sha256,
        **rounded(row.metrics, 6),
        "agreement": round(row.drift.agreement, 6) if row.drift else 1.0,
        "latency": {
            "median_ms": round(row.latency.median_ms, 3),
            "p90_ms": round(row.latency.p90_ms, 3),
            "runs": row.latency.runs,
            "threads": threads,
        },
    }
    if row.delegation:
        found |= {
            "partitions": row.delegation.partitions,
            "stranded": list(row.delegation.stranded),
            "boundary": list(row.delegation.boundary),
        }
    if row.refined:
        found["layers"] = [
            {
                "layer": effect.layer,
                "operator": effect.kind,
                "before_steps": round(effect.before_steps, 4),
                "after_steps": round(effect.after_steps, 4),
            }
            for effect in row.refined
        ]
    return found


def _drift_json(drift: Drift | None) -> dict[str, Any]:
    assert drift is not None
    return {
        **rounded(drift.metrics, 6),
        "agreement": round(drift.agreement, 6),
        "fire_iou_interval": [round(bound, 6) for bound in drift.fire_iou_interval],
    }


def _coverage(calibration: CalibrationSet) -> str:
    coverage = calibration.coverage
    parts = [f"{count} {name}" for name, count in coverage["brightness"].items()]
    parts += [f"{count} with fire {name}" for name, count in coverage["fire_share"].items()]
    return f"{len(coverage['videos'])} videos, " + ", ".join(parts)


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    rule = ["---", *[MARKDOWN_RIGHT] * (len(headings) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows)]
