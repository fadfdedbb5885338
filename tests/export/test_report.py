"""The report: a gate that passes at its bounds and fails beyond, report.json's schema, and one table."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from edge.model.latency import Latency
from export.calibration import CalibrationSet, Candidate
from export.delegation import Delegation
from export.drift import Drift
from export.fine_tuning import FineTuning
from export.int8.refine import LayerEffect
from export.report import Gate, ModelRow, Report

METRICS = {
    "fire_iou": 0.72, "mean_iou": 0.84, "fire_iou_per_image": 0.7, "accuracy": 0.98, "precision": 0.8, "recall": 0.9,
}  # fmt: skip


def make_drift(fire_iou: float, agreement: float) -> Drift:
    metrics = {**dict.fromkeys(METRICS, 0.0), "fire_iou": fire_iou}
    return Drift(metrics, (fire_iou - 0.002, fire_iou + 0.002), agreement, {}, {})


def make_row(name: str, drift: Drift | None = None) -> ModelRow:
    shift = drift.metrics["fire_iou"] if drift else 0.0
    metrics = {**METRICS, "fire_iou": METRICS["fire_iou"] + shift}
    row = ModelRow(name, Path(f"fireseg-{name}"), 2_400_000, "ab" * 32, metrics, Latency(50, 12.5, 13.5, 15.0), drift)
    return replace(row, delegation=Delegation(1, (), ("QUANTIZE in",))) if drift else row


@pytest.fixture
def report() -> Report:
    images = tuple(
        Candidate(f"train/img({n})", Path("/somewhere"), f"{n:064}", f"v{n % 3}", "none", "dark") for n in range(5)
    )
    int8 = replace(
        make_row("int8", make_drift(-0.0012, 0.985)), refined=[LayerEffect("decoder_2_skip", "CONV_2D", 0.5, 0.0625)]
    )
    floats = make_row("float32", make_drift(0.0, 1.0)), make_row("float16", make_drift(0.0001, 0.999))
    rows = [make_row("keras"), *floats, int8]
    data = {"root": "fireseg", "split": "official", "images": 100, "sha256": "cd" * 32}
    title = "best.keras evaluated on SYNTHETIC data, not FireSeg, split official, 100 images"
    return Report(data, title, CalibrationSet(images, 3), rows, Gate(), 4, "Some CPU", {"keras": "3.15"})


@pytest.mark.parametrize(
    ("drop", "agreement", "passes"),
    [
        (0.0, 1.0, True),
        (-0.5, 0.97, True),  # better than the float
        (0.005, 0.97, True),  # both at the bound
        (0.0051, 1.0, False),
        (0.0, 0.9699, False),
    ],
)
def test_the_gate_passes_at_its_bounds_and_fails_beyond(drop: float, agreement: float, passes: bool) -> None:
    assert (Gate(0.005, 0.97).failures("int8", -drop, agreement) == []) is passes


def test_a_failed_gate_names_every_reason_with_its_value_and_bound() -> None:
    assert Gate(0.005, 0.97).failures("int8", -0.02, 0.9) == [
        "int8: fire_iou is 2.00 points below the Keras model, more than 0.5",
        "int8: agreement with the Keras model is 0.9000, less than 0.97",
    ]


def test_the_gate_applies_to_int8_alone(report: Report) -> None:
    lost = make_drift(-0.3, 0.2)
    rows = [make_row("keras"), make_row("float16", lost), make_row("int8", make_drift(0.0, 1.0))]
    assert replace(report, models=rows).failures == []
    assert len(replace(report, models=[make_row("keras"), make_row("int8", lost)]).failures) == 2


def test_a_report_on_a_fine_tuned_model_says_what_it_lost_and_fails_for_too_much(report: Report) -> None:
    kept, lost, unknown = (
        replace(report, fine_tuning=FineTuning("fireseg-base.keras", drop)) for drop in (-0.001, 0.02, None)
    )
    assert (kept.failures, unknown.failures) == ([], [])
    assert "Fine-tuned from fireseg-base.keras: +0.10 points of fire_iou on the official test" in kept.as_markdown()
    assert "not compared with it" in unknown.as_markdown()
    assert lost.as_json()["fine_tuning"] == {"start": "fireseg-base.keras", "drop": 0.02}
    (reason,) = lost.as_json()["gate"]["reasons"]
    assert reason in lost.as_markdown()
    assert "2.00 points below fireseg-base.keras" in reason


def test_the_json_has_the_documented_sections_and_fields(report: Report) -> None:
    written = json.loads(json.dumps(report.as_json()))
    assert set(written) >= {"data", "calibration", "models", "drift", "gate"}
    assert written["data"] == {"root": "fireseg", "split": "official", "images": 100, "sha256": "cd" * 32}
    assert written["calibration"]["images"] == 5
    assert written["calibration"]["seed"] == 3
    assert written["calibration"]["sha256"] == report.calibration.sha256
    assert [model["name"] for model in written["models"]] == ["keras", "float32", "float16", "int8"]
    for model in written["models"]:
        assert set(model) >= {"path", "size_bytes", "sha256", *METRICS, "agreement", "latency"}
    assert written["models"][0]["agreement"] == 1.0
    assert written["models"][3]["partitions"] == 1
    assert set(written["drift"]) == {"float32", "float16", "int8"}
    assert written["drift"]["int8"]["fire_iou"] == -0.0012
    assert written["drift"]["int8"]["agreement"] == 0.985
    assert written["drift"]["int8"]["fire_iou_interval"] == [-0.0032, 0.0008]
    gate = {"metric": "fire_iou", "max_drop": 0.005, "min_agreement": 0.97, "max_start_drop": 0.005}
    assert written["gate"] == {**gate, "passed": True, "reasons": []}
    failed = replace(report, gate=Gate(0.0, 1.0)).as_json()["gate"]
    assert (failed["passed"], len(failed["reasons"])) == (False, 2)


def test_the_markdown_has_one_table_with_a_row_per_model(report: Report) -> None:
    lines = report.as_markdown().splitlines()
    assert lines[0] == f"# {report.title}"
    start = next(number for number, line in enumerate(lines) if line.startswith("| model "))
    table = lines[start : start + 2 + len(report.models)]
    assert len({line.count("|") for line in table}) == 1
    assert [line.split("|")[1].strip() for line in table[2:]] == ["keras", "float32", "float16", "int8"]
    assert "-0.12 (-0.32 to +0.08)" in table[-1]
    assert "0.9850" in table[-1]
    assert "2.40" in table[-1]


def test_the_markdown_names_data_calibration_layers_and_verdict(report: Report) -> None:
    text = report.as_markdown()
    assert "SYNTHETIC" in text.splitlines()[0]
    assert f"`{'cd' * 8}`" in text
    assert f"`{report.calibration.sha256[:16]}`" in text
    assert "| decoder_2_skip | CONV_2D | 0.500 | 0.062 |" in text
    assert "**passed**" in text
    assert "**FAILED: int8: agreement" in replace(report, gate=Gate(0.5, 1.0)).as_markdown()


def test_the_table_for_a_terminal_has_the_same_cells(report: Report) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(report.table())
    text = console.export_text()
    for cell in ("keras", "float16", "int8", "-0.12 (-0.32 to +0.08)", "0.9850", "SYNTHETIC"):
        assert cell in text
