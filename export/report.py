"""The report of an export: one list of rows, shown as a table, as JSON and as Markdown, and the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from edge.model.latency import Latency
from export.calibration import CalibrationSet
from export.delegation import Delegation
from export.drift import Drift
from export.fine_tuning import FineTuning
from export.int8.refine import LayerEffect
from export.tables import markdown_table, terminal_table
from train.evaluation.evaluate import rounded
from train.evaluation.metrics import MAIN_METRICS

POINTS = 100  # IoU 0.01 is one point


@dataclass(frozen=True)
class ModelRow:
    """One model of the comparison. The Keras model is the first row, without drift."""

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
    """The loss that an export accepts, in IoU (0.005 is half a point): of int8, and of a fine-tuned model."""

    max_drop: float = 0.005
    min_agreement: float = 0.97
    max_start_drop: float = 0.005

    def failures(self, name: str, fire_iou_drift: float, agreement: float) -> list[str]:
        """Return the reasons why the model of this name fails the gate; empty if it passes."""
        reasons = []
        if -fire_iou_drift > self.max_drop:
            points = (
                f"{-fire_iou_drift * POINTS:.2f} points below the Keras model, more than {self.max_drop * POINTS:g}"
            )
            reasons.append(f"{name}: fire_iou is {points}")
        if agreement < self.min_agreement:
            reasons.append(f"{name}: agreement with the Keras model is {agreement:.4f}, less than {self.min_agreement}")
        return reasons

    def start_failures(self, fine_tuning: FineTuning) -> list[str]:
        """Return the reason why a fine-tuned model fails the gate; empty if it passes or could not be compared."""
        if fine_tuning.drop is None or fine_tuning.drop <= self.max_start_drop:
            return []
        lost = f"{fine_tuning.drop * POINTS:.2f} points below {fine_tuning.start}, from which it was fine-tuned"
        return [f"keras: fire_iou on the official test is {lost}, more than {self.max_start_drop * POINTS:g}"]


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
    fine_tuning: FineTuning | None = None

    @property
    def failures(self) -> list[str]:
        """The reasons why int8 or a fine-tuned model fails the gate; empty if both pass."""
        drift = next((row.drift for row in self.models if row.name == "int8"), None)
        reasons = self.gate.start_failures(self.fine_tuning) if self.fine_tuning else []
        return reasons + (self.gate.failures("int8", drift.metrics["fire_iou"], drift.agreement) if drift else [])

    def as_json(self) -> dict[str, Any]:
        """Return report.json, by the schema in docs/architecture.md."""
        calibration, reasons = self.calibration.manifest(), self.failures
        del calibration["files"]  # they are in the manifest beside the models
        return {
            "data": self.data,
            "calibration": calibration,
            "models": [_model_json(row, self.threads) for row in self.models],
            "drift": {row.name: row.drift.rounded(6) for row in self.models if row.drift},
            "gate": {"metric": "fire_iou", **asdict(self.gate), "passed": not reasons, "reasons": reasons},
            "fine_tuning": self.fine_tuning and asdict(self.fine_tuning),
            "machine": {"cpu": self.cpu, "threads": self.threads},
            "versions": self.versions,
        }

    def table(self) -> Table:
        """Return the comparison as a table for the terminal."""
        return terminal_table(HEADINGS, map(_cells, self.models), title=f"{self.title}\n{self._measured_on()}")

    def as_markdown(self) -> str:
        """Return report.md: the same table, the gate, data, calibration and layers."""
        passed = "passed" if not self.failures else "FAILED: " + "; ".join(self.failures)
        paragraphs = [
            f"# {self.title}",
            self._measured_on(),
            markdown_table(HEADINGS, map(_cells, self.models)),
            f"Gate: int8 at most {self.gate.max_drop * POINTS:g} points of fire_iou below the Keras model, "
            f"agreement at least {self.gate.min_agreement}: **{passed}**.",
            "Drift is the difference from the Keras model in points, with the 95 % bootstrap interval over images. "
            "Agreement is the pooled IoU of a model's fire mask with the Keras model's.",
            f"Evaluated on {self.data['images']} images of {self.data['root']}, split {self.data['split']}, content "
            f"`{self.data['sha256'][:16]}`.",
            f"Calibrated on {len(self.calibration.images)} images, seed {self.calibration.seed}, content "
            f"`{self.calibration.sha256[:16]}`: {_coverage(self.calibration)}.",
        ]
        if self.fine_tuning:
            paragraphs.append(self._fine_tuned())
        for row in self.models:
            if row.delegation:
                stranded = ", ".join(row.delegation.stranded) or "none"
                partitions = row.delegation.partitions
                paragraphs.append(f"{row.name}: {partitions} XNNPACK partition, stranded operators: {stranded}.")
            if row.refined:
                cells = ((e.layer, e.operator, f"{e.before_steps:.3f}", f"{e.after_steps:.3f}") for e in row.refined)
                paragraphs += [
                    f"## Layers of {row.name}",
                    "RMS difference of channel means from the float model, in quantization steps of the layer's "
                    "output: as converted, and refined.",
                    markdown_table(("layer", "operator", "before", "after"), cells, words=2),
                ]
        paragraphs.append(f"Versions: {', '.join(f'{name} {number}' for name, number in self.versions.items())}.\n")
        return "\n\n".join(paragraphs)

    def _fine_tuned(self) -> str:
        assert self.fine_tuning is not None
        start, drop = self.fine_tuning.start, self.fine_tuning.drop
        if drop is None:
            return f"Fine-tuned from {start}; not compared with it: its card has no metrics on the same test."
        change = f"{-drop * POINTS:+.2f} points of fire_iou on the official test"
        return f"Fine-tuned from {start}: {change}; the gate accepts a loss of {self.gate.max_start_drop * POINTS:g}."

    def _measured_on(self) -> str:
        return f"{self.cpu}, threads: {self.threads}; latency in ms per model-sized frame"


HEADINGS = (
    "model", *MAIN_METRICS, "size MB", "ms median", "ms p90", "partitions", "drift, points (95 %)", "agreement",
)  # fmt: skip


def _cells(row: ModelRow) -> list[str]:
    drift = "–"
    if row.drift:
        low, high = (bound * POINTS for bound in row.drift.fire_iou_interval)
        drift = f"{row.drift.metrics['fire_iou'] * POINTS:+.2f} ({low:+.2f} to {high:+.2f})"
    return [
        row.name,
        *(f"{row.metrics[name]:.4f}" for name in MAIN_METRICS),
        f"{row.size_bytes / 1e6:.2f}",
        f"{row.latency.median_ms:.1f}",
        f"{row.latency.p90_ms:.1f}",
        str(row.delegation.partitions) if row.delegation else "–",
        drift,
        f"{row.drift.agreement:.4f}" if row.drift else "–",
    ]


def _model_json(row: ModelRow, threads: int) -> dict[str, Any]:
    latency = {"median_ms": row.latency.median_ms, "p90_ms": row.latency.p90_ms, "runs": row.latency.runs}
    row_json: dict[str, Any] = {
        "name": row.name,
        "path": str(row.path),
        "size_bytes": row.size_bytes,
        "sha256": row.sha256,
        **rounded(row.metrics, 6),
        "agreement": round(row.drift.agreement, 6) if row.drift else 1.0,
        "latency": {**rounded(latency, 3), "threads": threads},
    }
    if row.delegation:
        row_json |= asdict(row.delegation)
    if row.refined:
        row_json["layers"] = [rounded(asdict(effect)) for effect in row.refined]
    return row_json


def _coverage(calibration: CalibrationSet) -> str:
    coverage = calibration.coverage
    parts = [f"{count} {name}" for name, count in coverage["brightness"].items()]
    parts += [f"{count} with fire {name}" for name, count in coverage["fire_share"].items()]
    return f"{len(coverage['videos'])} videos, " + ", ".join(parts)
