"""The ledger takes what is new, says what moved without a cause, and its lines can be read by anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmarks.ledger import app, append, canonical, figures_of, last, moved, read, stamp
from edge.errors import UserError
from edge.images import read_rgb

DRIFT: dict[str, Any] = {
    "kind": "drift",
    "machine": "a machine",
    "model": "fireseg-int8",
    "model_sha256": "aa",
    "keras_sha256": "bb",
    "data": "FireSeg",
    "split": "official",
    "data_sha256": "cc",
    "runtime": "ai-edge-litert 2.3.0",
    "versions": {"keras": "3"},
    "fire_iou": 0.6577,
    "agreement": 0.98,
    "drift_interval": [-0.0002, 0.0016],
}
INSTRUCTIONS: dict[str, Any] = {
    "kind": "instructions",
    "machine": "aarch64-qemu",
    "cpu": "cortex-a76",
    "model": "fireseg-int8",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def test_a_ledger_that_is_not_there_yet_is_empty(path: Path) -> None:
    assert read(path) == []


def test_a_line_that_says_what_the_last_of_its_series_said_is_not_added(path: Path) -> None:
    assert append({"date": "monday", "commit": "1", **DRIFT}, path)
    assert append({"date": "monday", "commit": "1", **DRIFT, "split": "official-clean"}, path)
    assert not append({"date": "tuesday", "commit": "2", **DRIFT}, path)
    assert [entry["date"] for entry in read(path)] == ["monday", "monday"]


def test_another_figure_another_hash_or_another_series_is_added(path: Path) -> None:
    changes: list[dict[str, Any]] = [{}, {"fire_iou": 0.7}, {"model_sha256": "dd"}, {"machine": "another"}]
    assert all(append({**DRIFT, **change}, path) for change in changes)
    assert len(read(path)) == 4


def test_going_back_to_what_an_older_line_said_is_added(path: Path) -> None:
    assert append(DRIFT, path)
    assert append(DRIFT | {"fire_iou": 0.7}, path)
    assert append(DRIFT, path)


def test_a_line_without_its_end_is_not_glued_to_the_next(path: Path) -> None:
    path.write_text(json.dumps(DRIFT))
    append(DRIFT | {"fire_iou": 0.7}, path)
    assert [entry["fire_iou"] for entry in read(path)] == [0.6577, 0.7]


def test_a_line_that_is_no_object_is_named_by_its_number(path: Path) -> None:
    for line, told in (("[1]", "line 2 is no JSON object"), ('{"kind": ', "line 2 is not JSON")):
        path.write_text(f"{json.dumps(DRIFT)}\n{line}\n")
        with pytest.raises(UserError, match=told):
            read(path)


def test_a_figure_that_is_no_number_never_reaches_the_file(path: Path) -> None:
    with pytest.raises(ValueError):
        append(DRIFT | {"fire_iou": float("nan")}, path)
    assert not path.exists()


def test_the_order_of_fields_is_the_same_whoever_wrote_them() -> None:
    shuffled = {key: DRIFT[key] for key in sorted(DRIFT, reverse=True)} | {"date": "monday", "commit": None}
    assert json.dumps(canonical(shuffled)) == json.dumps(canonical({"commit": None, "date": "monday", **DRIFT}))
    assert list(canonical(shuffled))[:6] == ["date", "commit", "kind", "machine", "model", "data"]


def test_the_last_line_is_found_by_any_of_its_fields() -> None:
    entries = [DRIFT, DRIFT | {"split": "other"}, DRIFT | {"fire_iou": 0.7}, INSTRUCTIONS]
    assert last(entries, split="official") == entries[2]
    assert last(entries, model="fireseg-int8", split=None) == INSTRUCTIONS
    assert last(entries, split="nowhere") is None


def test_a_figure_that_moved_without_a_cause_is_named_with_its_old_and_new_value() -> None:
    (told,) = moved(DRIFT | {"fire_iou": 0.65}, [DRIFT | {"date": "monday"}])
    assert "fireseg-int8 FireSeg official: fire_iou was 0.6577 on monday and is 0.65" in told


def test_the_end_of_an_interval_is_a_figure_too() -> None:
    (told,) = moved(DRIFT | {"drift_interval": [-0.0002, 0.01]}, [DRIFT])
    assert "drift_interval[1] was 0.0016" in told


@pytest.mark.parametrize("cause", ["model_sha256", "keras_sha256", "data_sha256", "runtime", "versions", "machine"])
def test_another_model_data_version_or_machine_may_move_every_figure(cause: str) -> None:
    assert moved(DRIFT | {"fire_iou": 0.1, cause: "another"}, [DRIFT]) == []


def test_the_figures_of_an_old_model_that_came_back_are_compared_with_what_it_had() -> None:
    entries = [DRIFT, DRIFT | {"model_sha256": "dd", "fire_iou": 0.7}]
    assert moved(DRIFT, entries) == []
    assert moved(DRIFT | {"fire_iou": 0.7}, entries) != []


def test_counts_must_not_move_by_one_but_ratios_may_by_rounding() -> None:
    line = INSTRUCTIONS | {"instructions_per_frame": 67_000_000, "ratio": 1.67}
    assert moved(line | {"ratio": 1.67001}, [line]) == []
    (told,) = moved(line | {"instructions_per_frame": 67_000_001}, [line])
    assert "cortex-a76: instructions_per_frame" in told
    assert "67000001" in told


def test_a_stamp_says_when_and_from_which_commit() -> None:
    made = stamp("drift", "a machine")
    assert list(made) == ["date", "commit", "kind", "machine"]
    assert made["date"].endswith("+00:00")


@given(
    figures=st.dictionaries(
        st.text(min_size=1).filter(lambda name: name not in {"date", "commit"}),
        st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    )
)
def test_what_was_appended_is_read_back_and_is_never_appended_twice(
    tmp_path_factory: pytest.TempPathFactory, figures: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    assert append(figures, path)
    assert read(path) == [figures]
    assert not append(figures, path)
    assert moved(figures, read(path)) == []
    assert all(isinstance(value, int | float) for value in figures_of(figures).values())


def shown(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_table_and_the_picture_show_the_newest_of_each_series(path: Path, tmp_path: Path) -> None:
    drift = DRIFT | {"fire_iou_drift": 0.0007, "fire_iou_interval": [-0.0002, 0.0016]}
    counted = INSTRUCTIONS | {"instructions_per_frame": 67_000_000, "runtime": "ai-edge-litert 2.3.0"}
    for day, fire_iou in (("2026-01-01", 0.5), ("2026-02-01", 0.6)):
        append({"date": f"{day}T00:00:00+00:00", **drift, "fire_iou": fire_iou}, path)
        append({"date": f"{day}T00:00:00+00:00", **counted, "runtime": f"ai-edge-litert {day[6]}.0"}, path)
    done = shown("--ledger", path, "--out", tmp_path / "ledger.png")
    assert done.exit_code == 0, done.output
    assert all(word in done.stdout for word in ("0.6", "2026-02-01", "67,000,000", "4 lines"))
    assert "2026-01-01" not in done.stdout
    assert read_rgb(tmp_path / "ledger.png").std() > 0


def test_the_json_is_the_newest_line_of_each_series(path: Path, tmp_path: Path) -> None:
    line = INSTRUCTIONS | {"date": "2026-01-01T00:00:00+00:00", "instructions_per_frame": 1}
    append(line, path)
    done = shown("--ledger", path, "--out", tmp_path / "ledger.png", "--json")
    assert json.loads(done.stdout) == [line]


def test_an_empty_ledger_has_nothing_to_draw(path: Path, tmp_path: Path) -> None:
    assert "make drift" in str(shown("--ledger", path, "--out", tmp_path / "ledger.png").exception)


def test_the_ledger_that_ships_can_be_read() -> None:
    assert all({"date", "kind", "machine", "model"} <= entry.keys() for entry in read())
