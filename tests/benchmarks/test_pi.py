"""The emulated Pi: when a count is a regression, and how masks are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.pi.agreement import difference
from benchmarks.pi.instructions import Network, Shape, entry, regression
from benchmarks.pi.system import CPUS, System

pytestmark = pytest.mark.bench


def line(folder: Path, instructions: int, *, runtime: str = "ai-edge-litert 2.3.0", cpu: str = "cortex-a76") -> Any:
    model = folder / "fireseg-base-int8.tflite"
    model.touch()
    network = Network(model.stem, model, "int8")
    return entry(System("bookworm", folder), CPUS[cpu], network, Shape(224, 224, 400_000_000), runtime, instructions)


def test_two_percent_more_instructions_in_a_series_is_a_regression(tmp_path: Path) -> None:
    before = [line(tmp_path, 50_000_000)]
    assert (before[0]["floor"], before[0]["ratio"]) == (25_000_000, 2.0)  # one SDOT for 16 multiply-adds
    assert regression(line(tmp_path, 51_000_000), before) is None
    message = regression(line(tmp_path, 51_000_001, runtime="ai-edge-litert 2.4.0"), before)
    assert message and "fireseg-base-int8 on cortex-a76" in message and "51,000,001" in message
    assert regression(line(tmp_path, 60_000_000, cpu="cortex-a72"), before) is None
    assert regression(line(tmp_path, 60_000_000, runtime="ncnn 1.0"), before) is None
    assert regression({**line(tmp_path, 60_000_000), "multiply_adds": 1}, before) is None


def test_masks_are_compared_by_image_and_by_pixel() -> None:
    a = np.zeros((3, 4, 4), np.bool_)
    b = a.copy()
    assert difference(a, b) == "all 3 masks are identical"
    b[1, :2, 0] = True
    assert difference(a, b) == "2 of 48 pixels differ, in 1 of 3 masks"
