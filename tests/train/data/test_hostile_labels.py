"""Hostile labels: one clear line, in bounded time and memory. Each file is read by its own process."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from train.data.coco import MAX_BYTES

ROOT = Path(__file__).parents[3]
MEMORY_BYTES = 2 << 30  # of addresses; OpenCV and NumPy reserve half a gigabyte
TIMEOUT_S = 300  # on a busy machine; each takes a second

PROGRAM = """
import sys
from pathlib import Path
from edge.errors import run_app
from train.data.labels import import_labels
run_app(lambda: print(import_labels(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))))
"""


def import_in_bounds(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "coco.json").write_text(text)
    (folder / "images").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "images" / "a.png"), np.zeros((40, 60, 3), np.uint8))
    arguments = [str(folder / name) for name in ("coco.json", "images", "out")]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES)),
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def coco(segmentation: Any, **image: Any) -> str:
    return json.dumps(
        {
            "categories": [{"id": 1, "name": "fire"}],
            "images": [{"id": 1, "file_name": "a.png", **image}],
            "annotations": [{"image_id": 1, "category_id": 1, "segmentation": segmentation}],
        }
    )


def rle(counts: Any, size: Any = (40, 60)) -> dict[str, Any]:
    return {"size": size, "counts": counts}


WRAPPED = [1 << 62, 1 << 62, 1 << 62, 1 << 62, 40 * 60]
"""Lengths whose sum is that of the image in 64 bits."""

HOSTILE = {
    "nesting": ("[" * 100_000, "could not be read"),
    "a nested name": (
        coco([[0, 0, 9, 0, 9, 9]]).replace('"a.png"', "[" * 900 + "]" * 900),
        "expected COCO|are not in|could not be read",
    ),
    "a nested size": (
        coco([], width=1, height=1).replace('"width": 1', f'"width": {"[" * 900 + "]" * 900}'),
        "could not",
    ),
    "a size that is not a number": (coco([], width=float("nan"), height=40), "could not be read"),
    "an infinite size": (coco([], width=float("inf"), height=40), "could not be read"),
    "a corner that is not a number": (coco([[0, 0, float("nan"), 0, 9, 9]]), "cannot be drawn"),
    "a corner of 400 digits": (coco([[0, 0, 10**400, 0, 9, 9]]), "cannot be drawn"),
    "ragged corners": (coco([[0, [1], 2, 3, 4, 5]]), "cannot be drawn"),
    "nested corners": (coco([]).replace("[]}]}", "[" * 900 + "]" * 900 + "}]}"), "cannot be drawn|could not be read"),
    "runs whose sum overflows": (coco(rle(WRAPPED)), "cannot be drawn"),
    "a run of 10^18": (coco(rle([10**18])), "cannot be drawn"),
    "runs in a matrix": (coco(rle([[2400]])), "cannot be drawn"),
    "a size of an RLE that is a text": (coco(rle([2400], "40")), "cannot be drawn"),
    "a compressed run without end": (coco(rle("o" * 5_000_000)), "cannot be drawn"),
    "millions of compressed runs": (coco(rle("0" * 5_000_000)), "cannot be drawn"),
    "a path out of the folder": (coco([[0, 0, 9, 0, 9, 9]]).replace("a.png", "../../etc/passwd"), "are not in"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_labels_are_one_line_in_bounded_memory_and_nothing_is_written(case: str, tmp_path: Path) -> None:
    text, problem = HOSTILE[case]
    done = import_in_bounds(tmp_path, text)
    errors = done.stderr.splitlines()
    assert (done.returncode, len(errors) in (1, 2)) == (2, True), done.stderr[-2000:]
    assert any(each in errors[0] for each in problem.split("|")), errors
    assert {path.name for path in tmp_path.iterdir()} == {"coco.json", "images"}


@pytest.mark.slow
def test_a_polygon_of_a_billion_pixels_is_cut_to_the_image(tmp_path: Path) -> None:
    done = import_in_bounds(tmp_path, coco([[-1e9, -1e9, 1e9, -1e9, 1e9, 1e9, -1e9, 1e9]]))
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert cv2.imread(str(tmp_path / "out" / "masks" / "a.png"), cv2.IMREAD_UNCHANGED).min() == 255


@pytest.mark.slow
def test_labels_that_are_too_large_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "coco.json").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    (tmp_path / "images").mkdir()
    command = [sys.executable, "-c", PROGRAM, *(str(tmp_path / name) for name in ("coco.json", "images", "out"))]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert (done.returncode, "expected at most 67.1 MB" in done.stderr) == (2, True), done.stderr
