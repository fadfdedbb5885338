"""Which room may look into which, and that the Pi's room is light: no TensorFlow, half a second to load."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "edge": {"edge"},
    "train": {"edge", "train"},
    "export": {"edge", "train", "export"},
    "benchmarks": {"edge", "train", "export", "benchmarks"},
}
HEAVY = {"tensorflow", "keras", "matplotlib", "jax", "flatbuffers"}
LOAD_LIMIT_S = 0.5

IMPORT_EVERY_MODULE = """
import importlib, json, pkgutil, sys
import edge
names = ["edge", *(module.name for module in pkgutil.walk_packages(edge.__path__, "edge."))]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(json.dumps([names, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
LOAD_WHAT_A_CAMERA_NEEDS = "import edge.model.segmenter, ai_edge_litert.interpreter, time; print(time.process_time())"


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and top-level name of every import in a file, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, (node.module or "").partition(".")[0] if not node.level else path.parts[-2]


def train_extra() -> set[str]:
    """What `pip install .[train]` adds, by import name, which for all of them is the package's."""
    required = importlib.metadata.requires("fireseg-edge") or []
    return {re.split(r"[^A-Za-z0-9_-]", line)[0] for line in required if re.search(r"extra == ['\"]train['\"]", line)}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_it_may_look_into(room: str) -> None:
    forbidden = set(MAY_IMPORT) - MAY_IMPORT[room] | {"tests"}
    if room == "edge":
        forbidden |= HEAVY
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for line, name in imports(path)
        if name in forbidden
    ]
    assert found == []


def test_the_pis_room_imports_nothing_that_only_training_installs() -> None:
    extra = train_extra()
    assert "tensorflow" in extra
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sorted((ROOT / "edge").rglob("*.py"))
        for line, name in imports(path)
        if name in extra
    ]
    assert found == []


def test_imports_inside_functions_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import numpy.typing as npt\ndef f():\n    from train.model.unet import UNet\n    import keras, cv2\n"
    )
    assert list(imports(path)) == [(1, "numpy"), (3, "train"), (4, "keras"), (4, "cv2")]


def test_importing_every_module_of_the_pis_room_brings_none_of_the_others() -> None:
    names, loaded = json.loads(run_python(IMPORT_EVERY_MODULE))
    assert {"edge", "edge.model.segmenter", "edge.cli"} <= set(names)
    assert "cv2" in loaded
    assert not set(loaded) & (HEAVY | {"train", "export", "benchmarks"})


def test_loading_the_segmenter_and_its_interpreter_takes_under_half_a_second() -> None:
    # Processor time, so that a busy machine is not called slow; the best of three, so that cold files are not either.
    taken_s = min(float(run_python(LOAD_WHAT_A_CAMERA_NEEDS)) for _ in range(3))
    assert taken_s < LOAD_LIMIT_S
