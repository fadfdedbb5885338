"""`inspect` describes any model file, with or without a card, and refuses a damaged one in one line."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from edge.errors import UserError
from edge.model.card import split_model
from export.inspect import inspect
from export.int8.graph import Graph
from tests.export.interpreting import SHIPPED

# Damaged flatbuffers are read by code that trusts their offsets: a separate process shows a crash.
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
        print("accepted")
"""


def test_a_shipped_model_is_described_with_its_card() -> None:
    path = SHIPPED / "fireseg-small-int8.tflite"
    description = inspect(path)
    flatbuffer, card = split_model(path)
    graph = Graph(flatbuffer)
    assert description["path"] == str(path)
    assert description["size_bytes"] == path.stat().st_size
    assert description["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert description["operators"] == dict(graph.op_census())
    assert description["tensor_dtypes"] == dict(graph.dtype_census())
    assert description["multiply_adds"] == graph.multiply_adds()
    assert description["parameters"] == graph.parameters()
    assert (description["partitions"], description["stranded"], len(description["boundary"])) == (1, [], 2)
    assert description["card"] == card is not None
    for end, channels, scale in (("inputs", 3, 1.0), ("outputs", 1, 1 / 256)):
        (tensor,) = description[end]
        expected = {"shape": [1, 224, 224, channels], "dtype": "uint8", "scale": scale, "zero_point": 0}
        assert tensor == {"name": tensor["name"], **expected}
    assert json.loads(json.dumps(description)) == description


def test_a_float_model_without_a_card_is_described_too(tmp_path: Path) -> None:
    path = tmp_path / "theirs.tflite"
    path.write_bytes(split_model(SHIPPED / "fireseg-small-float16.tflite")[0])
    description = inspect(path)
    assert description["card"] is None
    (tensor,) = description["inputs"]
    assert tensor == {"name": tensor["name"], "shape": [1, 224, 224, 3], "dtype": "float32"}
    assert description["boundary"] == []


def test_a_missing_file_and_another_kind_of_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.tflite"
    path.write_text("these are notes")
    with pytest.raises(UserError, match=r"notes\.tflite is not a TFLite model"):
        inspect(path)
    with pytest.raises(UserError, match=r"nothing\.tflite could not be read"):
        inspect(tmp_path / "nothing.tflite")


def test_a_file_cut_short_is_refused_without_a_crash(tmp_path: Path, shipped_int8: bytes) -> None:
    size = len(shipped_int8)
    cuts = [shipped_int8[:cut] for cut in (8, 12, 40, 500, size // 4, size // 2, size - 100, size - 1)]
    assert inspect_elsewhere(tmp_path, [*cuts, shipped_int8]) == ["refused False True"] * len(cuts) + ["accepted"]


@pytest.mark.slow
def test_a_file_with_wrong_bytes_crashes_nothing(tmp_path: Path, toy_int8: bytes) -> None:
    rng = random.Random(0)
    contents = []
    for _ in range(8):
        damaged = bytearray(toy_int8)
        for _ in range(20):
            damaged[rng.randrange(8, len(damaged))] = rng.randrange(256)
        contents.append(bytes(damaged))
    assert set(inspect_elsewhere(tmp_path, contents)) <= {"refused False True", "accepted"}


def inspect_elsewhere(folder: Path, contents: list[bytes]) -> list[str]:
    """Inspect files of these contents in another process, and return a line for each."""
    paths = [folder / f"{number}.tflite" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    ran = subprocess.run([sys.executable, "-c", INSPECT_ELSEWHERE, *map(str, paths)], capture_output=True, text=True)
    assert ran.returncode == 0, f"exit {ran.returncode}: {ran.stderr}"
    return ran.stdout.splitlines()
