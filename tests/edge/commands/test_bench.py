"""`fireseg-edge bench` reports latency and the state of the machine; --full follows MLPerf's rule."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import edge.commands.bench
from edge.commands.bench import conditions_line, time_stages
from edge.files import sha256
from edge.host.machine import HostStatus, Throttling, conditions
from edge.model.segmenter import Segmenter
from tests.support.run_cli import Done, fireseg_edge

CALM = HostStatus("ondemand", 52.0, Throttling(0x50000), 0.4)
UNKNOWN = HostStatus(None, None, None, None)


@pytest.fixture
def statuses(monkeypatch: pytest.MonkeyPatch) -> list[HostStatus]:
    """The status of the machine before and after the measurement; change it."""
    statuses = [CALM, CALM]
    monkeypatch.setattr(edge.commands.bench, "read_state", lambda: statuses.pop(0))
    return statuses


def bench(model: Path, *arguments: str) -> Done:
    done = fireseg_edge("bench", "--model", model, "--threads", "1", "--seconds", "0", *arguments, cwd=model.parent)
    assert done.code == 0, done
    return done


def test_the_json_has_the_stages_the_model_by_its_hash_and_the_machine(
    models: dict[str, Path], statuses: list[HostStatus]
) -> None:
    done = bench(models["int8"], "--json")
    facts = json.loads(done.out)
    assert {"runtime", "cpu"} <= facts.keys()
    assert facts["model_sha256"] == sha256(models["int8"])
    assert (facts["threads"], facts["frame"], facts["full"]) == (1, "1280x720", False)
    assert list(facts["stages"]) == ["resize the frame", "run the network", "whole frame"]
    for stage in facts["stages"].values():
        assert stage["runs"] >= 50
        assert 0 < stage["median_ms"] <= stage["p90_ms"] <= stage["p99_ms"]
        assert stage["frames_per_s"] > 0
    whole = facts["stages"]["whole frame"]
    assert (facts["queries"], facts["p90_ms"]) == (whole["runs"], whole["p90_ms"])
    assert facts["seconds"] > 0
    assert facts["machine"] == conditions(CALM, CALM)
    assert facts["other_kinds"].keys() == {"tiny-float16.tflite", "tiny-float32.tflite"}
    assert all(ratio > 0 for ratio in facts["other_kinds"].values())
    assert done.err == ""


def test_a_throttled_and_hot_machine_gets_a_warning_for_each(
    models: dict[str, Path], statuses: list[HostStatus]
) -> None:
    statuses[1] = replace(CALM, temperature_c=86.0, throttling=Throttling(0x50004))
    done = bench(models["int8"])
    throttled, hot = done.err.splitlines()
    assert throttled.startswith("warning: the machine was throttled (throttled)")
    assert "86 °C" in hot
    assert all(word in done.out for word in ("resize the frame", "run the network", "whole frame", "median ms"))
    assert "52 °C before and 86 °C after" in done.out


def test_a_file_that_is_faster_than_the_model_is_named(
    models: dict[str, Path], statuses: list[HostStatus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.commands.bench, "compare_kinds", lambda *_, **__: {"a.tflite": 0.94, "b.tflite": 0.96})
    first, second, _ = bench(models["int8"]).out.splitlines()[-3:]
    assert first == "a.tflite takes 0.94 of this model's time: faster on this machine"
    assert second == "b.tflite takes 0.96 of this model's time"


def test_a_damaged_file_beside_the_model_is_a_warning(
    models: dict[str, Path], statuses: list[HostStatus], tmp_path: Path
) -> None:
    model = tmp_path / "tiny-int8.tflite"
    shutil.copy(models["int8"], model)
    data = bytearray(models["float16"].read_bytes())
    data[4:8] = b"lost"
    (tmp_path / "tiny-float16.tflite").write_bytes(data)
    done = bench(model)
    assert "tiny-float16.tflite is not a TFLite model" in done.err
    assert "of this model's time" not in done.out


def test_full_times_whole_frames_for_a_number_of_runs_and_a_time(models: dict[str, Path]) -> None:
    segmenter = Segmenter(models["int8"], threads=1)
    many = time_stages(segmenter, 0, full=True, full_runs=60, full_seconds=0)
    assert [latency.runs for latency in many.values()] == [50, 50, 60]
    assert time_stages(segmenter, 0, full=True, full_runs=3, full_seconds=0.2)["whole frame"].seconds > 0.1


def test_the_line_about_the_machine_omits_what_is_not_reported() -> None:
    line = conditions_line(conditions(UNKNOWN, UNKNOWN))
    assert line
    assert all(word not in line for word in ("None", "governor", "°C", "throttled", "load"))
    never = conditions_line(conditions(UNKNOWN, replace(CALM, throttling=Throttling(0))))
    assert "throttled since boot: never" in never
