"""The self-test of a card: what a sound machine passes, and which fault each other answer names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from edge.errors import UserError
from edge.images import Map
from edge.model.card import Card, attach, split_model
from edge.model.runtime import Runtime, find_runtime
from edge.model.segmenter import BUILTIN, XNNPACK, Segmenter
from edge.model.self_test import FRAMES, ROUNDED, SELF_TEST, check_kernels, check_maps, make_frames, record
from tests.support.tiny_models import HEIGHT, WIDTH

SOUND = "self-test passed, all 8 maps are those of the export"


@pytest.fixture(scope="module")
def tested(models: dict[str, Path], card: Card, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny models with a self-test in their cards."""
    folder, paths = tmp_path_factory.mktemp("tested"), {}
    for kind, model in models.items():
        recorded = {SELF_TEST: record(Segmenter(model, threads=1))}
        paths[kind] = folder / f"{kind}.tflite"
        paths[kind].write_bytes(attach(split_model(model)[0], card | recorded))
    return paths


def built_in(self: Runtime, model: bytes, threads: int) -> Any:
    """Return an interpreter without XNNPACK, in place of `Runtime.interpreter`."""
    resolver = self.module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = self.module.Interpreter(
        model_content=model, num_threads=threads, experimental_op_resolver_type=resolver
    )
    interpreter.allocate_tensors()
    return interpreter


@pytest.mark.parametrize(
    ("height", "width", "digest"),
    [
        (HEIGHT, WIDTH, "c41c1bc4e96026bacdf4b5280ea6a699dd53d26dc6050859ae32bccc23aab9f2"),
        (224, 224, "81259f7c3732a1243e4229a329da5f3ecb2dae185a1409170d92f57a2b0e7c4d"),
    ],
)
def test_the_frames_never_change_since_cards_hold_the_maps_of_them(height: int, width: int, digest: str) -> None:
    frames = list(make_frames(0, height, width))
    assert {(frame.shape, frame.dtype.name) for frame in frames} == {((height, width, 3), "uint8")}
    assert hashlib.sha256(b"".join(frame.tobytes() for frame in frames)).hexdigest() == digest
    assert len({frame.tobytes() for frame in [*frames, *make_frames(1, height, width)]}) == 2 * FRAMES


@pytest.mark.parametrize(("kind", "expected"), [("int8", SOUND), ("float16", ROUNDED), ("float32", ROUNDED)])
def test_a_sound_machine_passes_with_int8_to_the_byte(tested: dict[str, Path], kind: str, expected: str) -> None:
    segmenter = Segmenter(tested[kind], threads=1)
    assert segmenter.kernels == XNNPACK
    assert check_maps(segmenter) == expected
    check_kernels(segmenter)


def test_a_model_without_a_self_test_passes_and_says_so(models: dict[str, Path]) -> None:
    assert check_maps(Segmenter(models["int8"], threads=1)) == "no self-test in its card"


@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_the_slow_kernels_of_a_wrong_build_are_named_and_their_rounding_is_no_fault(
    tested: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runtime, "interpreter", built_in)
    segmenter = Segmenter(tested[kind], threads=1)
    assert segmenter.kernels == BUILTIN
    assert check_maps(segmenter) == ROUNDED
    with pytest.raises(UserError, match=r"runs .*\.tflite without XNNPACK.*: reinstall ai-edge-litert, or export"):
        check_kernels(segmenter)
    segmenter.runtime = Runtime("tflite-runtime", "2.14.0", find_runtime().module)
    check_kernels(segmenter)  # its wheels have no other kernels for int8


def test_a_runtime_that_does_not_tell_its_kernels_is_taken_for_a_fast_one(models: dict[str, Path]) -> None:
    segmenter = Segmenter(models["int8"], threads=1)
    for interpreter in (object(), Mock(_get_ops_details=Mock(side_effect=UnicodeDecodeError("utf-8", b"", 0, 1, "")))):
        segmenter._interpreter = interpreter
        assert segmenter.kernels == XNNPACK


class Faulty(Segmenter):
    """Maps with a fault."""

    noise: Iterator[int] = iter(())
    factor, offset = 1.0, 0

    def result(self) -> Map:
        sound = super().result() * self.factor + self.offset + next(self.noise, 0)
        return np.clip(sound, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", ["int8", "float16"])
@pytest.mark.parametrize("factor", [0.0, 0.8])
def test_maps_that_are_wrong_each_time_blame_the_runtime_and_then_the_memory(
    tested: dict[str, Path], kind: str, factor: float
) -> None:
    segmenter = Faulty(tested[kind], threads=1)
    segmenter.factor = factor
    with pytest.raises(
        UserError, match=r"computes wrong maps under ai-edge-litert .*reinstall .*test the memory"
    ) as error:
        check_maps(segmenter)
    assert "\n" not in str(error.value)


def test_maps_that_change_each_time_blame_the_memory_or_the_processor(tested: dict[str, Path]) -> None:
    segmenter = Faulty(tested["int8"], threads=1)
    segmenter.noise = iter(range(FRAMES))  # a step or a few, and only in the first pass
    with pytest.raises(UserError, match=r"different maps for the same frames: faulty memory or processor: check power"):
        check_maps(segmenter)


def test_another_rounding_of_the_same_kernels_passes(tested: dict[str, Path]) -> None:
    segmenter = Faulty(tested["int8"], threads=1)
    segmenter.offset = 1
    assert check_maps(segmenter).startswith(f"{ROUNDED}, but not to the byte: normal with another ai-edge-litert")


@pytest.mark.parametrize(
    "change",
    [
        {"cells": None}, {"cells": ["00"]}, {"cells": ["zz"]}, {"cells": [1]}, {"cells": {}}, {"seed": "x"},
        {"seed": None}, {"seed": float("inf")}, {"seed": True}, {"seed": 1.5}, 0, [], "text", {},
        {"xnnpack_sha256": "garbage"}, {"xnnpack_sha256": []}, {"xnnpack_sha256": 8 * ["00"]}, {"xnnpack_sha256": 0},
    ],
    ids=str,
)  # fmt: skip
def test_an_invalid_self_test_is_one_error(tested: dict[str, Path], card: Card, tmp_path: Path, change: Any) -> None:
    flatbuffer, whole = split_model(tested["int8"])
    assert whole is not None
    recorded = whole[SELF_TEST] | change if isinstance(change, dict) and change else change
    path = tmp_path / "invalid.tflite"
    path.write_bytes(attach(flatbuffer, card | {SELF_TEST: recorded}))
    with pytest.raises(
        UserError, match=r"self-test in the card of .*invalid\.tflite is invalid: export the model again"
    ):
        check_maps(Segmenter(path, threads=1))
