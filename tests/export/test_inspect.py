"""What `inspect` says of a model file: ours with its card, anybody's without, and a damaged one in one line."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from edge.errors import UserError
from edge.model.card import CARD_FORMAT, INPUT_LAYOUT, INPUT_RANGE, Card, attach
from export.inspect import inspect
from export.int8.graph import Graph

CARD: Card = {
    "format": CARD_FORMAT,
    "kind": "int8",
    "input": {"height": 64, "width": 64, "layout": INPUT_LAYOUT, "range": INPUT_RANGE},
    "threshold": 0.5,
}
# A damaged flatbuffer is read by code that trusts its offsets: in a process of its own, a crash is seen.
INSPECT_ELSEWHERE = """
import sys
from pathlib import Path
from edge.errors import UserError
from export.inspect import inspect
for name in sys.argv[1:]:
    try:
        inspect(Path(name))
    except UserError as error:
        print("refused", "\\n" in str(error), Path(name).name in str(error))
    else:
        print("taken")
"""


def test_a_model_of_ours_is_described_with_its_card(tmp_path: Path, toy_int8: bytes) -> None:
    path = tmp_path / "toy.tflite"
    path.write_bytes(attach(toy_int8, CARD))
    found = inspect(path)
    graph = Graph(toy_int8)
    assert found["path"] == str(path)
    assert found["size_bytes"] == path.stat().st_size
    assert found["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found["operators"] == dict(graph.op_census())
    assert found["tensor_dtypes"] == dict(graph.dtype_census())
    assert found["multiply_adds"] == graph.multiply_adds()
    assert found["parameters"] == graph.parameters()
    assert (found["partitions"], found["stranded"], len(found["boundary"])) == (1, [], 2)
    assert found["card"] == CARD
    (input_,), (output,) = found["inputs"], found["outputs"]
    assert {**input_, "name": ""} == {
        "name": "",
        "shape": [1, 64, 64, 3],
        "dtype": "uint8",
        "scale": 1.0,
        "zero_point": 0,
    }
    assert {**output, "name": ""} == {
        "name": "",
        "shape": [1, 64, 64, 1],
        "dtype": "uint8",
        "scale": 1 / 256,
        "zero_point": 0,
    }
    assert json.loads(json.dumps(found)) == found


def test_a_foreign_model_without_a_card_is_described_too(tmp_path: Path, toy_float32: bytes) -> None:
    path = tmp_path / "theirs.tflite"
    path.write_bytes(toy_float32)
    found = inspect(path)
    assert found["card"] is None
    assert found["inputs"] == [{"name": found["inputs"][0]["name"], "shape": [1, 64, 64, 3], "dtype": "float32"}]
    assert found["boundary"] == []


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.tflite"
    path.write_text("these are notes")
    with pytest.raises(UserError, match=r"notes\.tflite is not a TFLite model"):
        inspect(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.tflite could not be read"):
        inspect(tmp_path / "nothing.tflite")


def test_a_file_cut_short_is_refused_and_crashes_nothing(tmp_path: Path, toy_int8: bytes) -> None:
    size = len(toy_int8)
    paths = []
    for cut in (8, 12, 40, 500, size // 4, size // 2, size - 100, size - 1):
        paths.append(tmp_path / f"cut-{cut}.tflite")
        paths[-1].write_bytes(toy_int8[:cut])
    whole = tmp_path / "whole.tflite"
    whole.write_bytes(toy_int8)
    assert inspect_elsewhere([*paths, whole]) == ["refused False True"] * len(paths) + ["taken"]


def test_a_file_with_rotten_bytes_crashes_nothing(tmp_path: Path, toy_int8: bytes) -> None:
    rng = random.Random(0)
    paths = []
    for number in range(8):
        rotten = bytearray(toy_int8)
        for _ in range(20):
            rotten[rng.randrange(8, len(rotten))] = rng.randrange(256)
        paths.append(tmp_path / f"rotten-{number}.tflite")
        paths[-1].write_bytes(rotten)
    assert set(inspect_elsewhere(paths)) <= {"refused False True", "taken"}


def inspect_elsewhere(paths: list[Path]) -> list[str]:
    ran = subprocess.run([sys.executable, "-c", INSPECT_ELSEWHERE, *map(str, paths)], capture_output=True, text=True)
    assert ran.returncode == 0, f"exit {ran.returncode}: {ran.stderr}"
    return ran.stdout.splitlines()
