"""The ledger adds new lines, names figures that changed without a cause, and stays readable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.ledger import app, append, canonical, last, read, unexplained_changes
from edge.errors import UserError
from edge.images import read_rgb

pytestmark = pytest.mark.bench

DRIFT: dict[str, Any] = {
    "kind": "drift", "machine": "a machine", "model": "fireseg-int8", "data": "FireSeg", "split": "official",
    "runtime": "ai-edge-litert 2.3.0", "model_sha256": "aa", "keras_sha256": "bb", "data_sha256": "cc",
    "versions": {"keras": "3"}, "agreement": 0.98, "drift_interval": [-0.0002, 0.0016], "fire_iou": 0.6577,
}  # fmt: skip
INSTRUCTIONS = {"kind": "instructions", "machine": "aarch64-qemu", "cpu": "cortex-a76", "model": "fireseg-int8"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def test_a_line_is_added_unless_it_equals_the_newest_of_its_series(path: Path) -> None:
    assert read(path) == []
    assert append({"date": "monday", "commit": "1", **DRIFT}, path)
    assert append({**DRIFT, "split": "official-clean"}, path)
    assert not append({"date": "tuesday", "commit": "2", **DRIFT}, path)
    for change in ({"fire_iou": 0.7}, {"model_sha256": "dd"}, {"machine": "another"}, {}):
        assert append({**DRIFT, **change}, path)
    assert len(read(path)) == 6
    with pytest.raises(ValueError, match="JSON"):
        append(DRIFT | {"fire_iou": float("nan")}, path)
    assert len(read(path)) == 6


def test_fields_are_written_in_one_order_on_lines_of_their_own(path: Path) -> None:
    shuffled = {key: DRIFT[key] for key in sorted(DRIFT, reverse=True)} | {"date": "monday", "commit": None}
    assert list(canonical(shuffled)) == ["date", "commit", *DRIFT]
    path.write_text(json.dumps(DRIFT))  # without a final newline
    append(shuffled | {"fire_iou": 0.7}, path)
    assert read(path) == [DRIFT, canonical(shuffled | {"fire_iou": 0.7})]


def test_a_damaged_line_is_named_by_its_number(path: Path) -> None:
    path.write_text(f'{json.dumps(DRIFT)}\n{{"kind": \n')
    with pytest.raises(UserError, match="line 2 is not JSON"):
        read(path)


def test_a_figure_that_changed_without_a_cause_is_named_with_both_values() -> None:
    (change,) = unexplained_changes(DRIFT | {"fire_iou": 0.65}, [DRIFT | {"date": "monday"}])
    assert "fireseg-int8 FireSeg official: fire_iou was 0.6577 on monday and is 0.65" in change
    (change,) = unexplained_changes(DRIFT | {"drift_interval": [-0.0002, 0.01]}, [DRIFT])
    assert "drift_interval[1] was 0.0016" in change
    returned = [DRIFT, DRIFT | {"model_sha256": "dd", "fire_iou": 0.7}]
    assert unexplained_changes(DRIFT, returned) == []
    assert unexplained_changes(DRIFT | {"fire_iou": 0.7}, returned)


@pytest.mark.parametrize("cause", ["model_sha256", "keras_sha256", "data_sha256", "runtime", "versions", "machine"])
def test_another_model_data_version_or_machine_explains_every_change(cause: str) -> None:
    assert unexplained_changes(DRIFT | {"fire_iou": 0.1, cause: "another"}, [DRIFT]) == []


def test_counts_must_be_equal_and_ratios_may_differ_by_rounding() -> None:
    line = INSTRUCTIONS | {"instructions_per_frame": 67_000_000, "ratio": 1.67}
    assert last([DRIFT, line], model="fireseg-int8", split=None) == line
    assert unexplained_changes(line | {"ratio": 1.67001}, [line]) == []
    (change,) = unexplained_changes(line | {"instructions_per_frame": 67_000_001}, [line])
    assert "cortex-a76: instructions_per_frame" in change


def test_table_plot_and_json_show_the_newest_line_of_each_series(path: Path, tmp_path: Path) -> None:
    arguments = ["--ledger", str(path), "--out", str(tmp_path / "ledger.png")]
    assert "make drift" in str(CliRunner().invoke(app, arguments).exception)
    drift = DRIFT | {"fire_iou_drift": 0.0007, "fire_iou_interval": [-0.0002, 0.0016]}
    counted = INSTRUCTIONS | {"instructions_per_frame": 67_000_000}
    for day, version, fire_iou in (("2026-01-01", "1.0", 0.5), ("2026-02-01", "2.0", 0.6)):
        append({"date": f"{day}T00:00:00+00:00", **drift, "fire_iou": fire_iou}, path)
        append({"date": f"{day}T00:00:00+00:00", **counted, "runtime": f"ai-edge-litert {version}"}, path)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert all(text in done.stdout for text in ("0.6", "2026-02-01", "67,000,000", "4 lines"))
    assert "2026-01-01" not in done.stdout
    assert read_rgb(tmp_path / "ledger.png").std() > 0
    assert json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout) == read(path)[2:]


def test_the_shipped_ledger_is_readable_and_in_canonical_order() -> None:
    for entry in read():
        assert {"date", "kind", "machine", "model"} <= entry.keys()
        assert list(canonical(entry)) == list(entry)
