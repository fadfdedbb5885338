"""Frame -> map: the bytes of the bare interpreter, whatever the model's tensors are, and no model served by mistake."""

from __future__ import annotations

import copy
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge.errors import UserError
from edge.images import Frame
from edge.model.card import Card, attach, split_model
from edge.model.preprocess import to_model_input
from edge.model.runtime import find_runtime
from edge.model.segmenter import Segmenter

HEIGHT, WIDTH = 32, 48
SIZES = [(32, 48), (720, 1280), (97, 61), (16, 20), (20, 200), (1, 1)]


def random_frame(height: int = 90, width: int = 160, seed: int = 0) -> Frame:
    """Coarse noise: the fine kind is averaged to grey by the resizing."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 16, 3), np.uint8)
    return cv2.resize(noise, (width, height)).astype(np.uint8, copy=False)


def invoke_bare(path: Path, frame: Frame) -> tuple[npt.NDArray[Any], tuple[float, int]]:
    """The output of an interpreter fed by hand, H x W, and its scale and zero point."""
    interpreter = find_runtime().interpreter(split_model(path)[0], 1)
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    small = to_model_input(frame, HEIGHT, WIDTH)
    if taken["dtype"] == np.int8:
        small = (small.astype(np.int16) - 128).astype(np.int8)
    interpreter.set_tensor(taken["index"], small[None].astype(taken["dtype"]))
    interpreter.invoke()
    return interpreter.get_tensor(given["index"])[0, :, :, 0], given["quantization"]


def with_card(path: Path, model: Path, card: Card) -> Path:
    """The model under another path, with another card."""
    path.write_bytes(attach(split_model(model)[0], card))
    return path


def plain(path: Path) -> Segmenter:
    with pytest.warns(UserWarning, match="carries no card"):
        return Segmenter(path, threads=1)


@pytest.fixture(scope="module")
def segmenter(models: dict[str, Path]) -> Segmenter:
    return Segmenter(models["int8"], threads=1)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_int8_map_is_the_bare_interpreters_output(
    models: dict[str, Path], segmenter: Segmenter, height: int, width: int
) -> None:
    frame = random_frame(height, width)
    expected, quantisation = invoke_bare(models["int8"], frame)
    assert quantisation == (1 / 256, 0)
    assert segmenter(frame).dtype == np.uint8
    assert np.array_equal(segmenter(frame), expected)


def test_the_tiny_network_answers_with_most_values(segmenter: Segmenter) -> None:
    # Else every comparison in this file would pass on a map of one value.
    assert len(np.unique(segmenter(random_frame()))) > 50


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_the_map_is_the_same_buffer_at_each_call(models: dict[str, Path], kind: str) -> None:
    segmenter = Segmenter(models[kind], threads=1)
    first = segmenter(random_frame(seed=1))
    kept = first.copy()
    for number, (height, width) in enumerate(SIZES, start=2):
        assert segmenter(random_frame(height, width, seed=number)) is first
    assert not np.array_equal(first, kept)
    assert np.array_equal(segmenter(random_frame(seed=1)), kept)


@pytest.mark.parametrize("height", [720, HEIGHT])
def test_a_frame_costs_the_int8_model_no_allocation_of_its_size(segmenter: Segmenter, height: int) -> None:
    frame = random_frame(height, height * 3 // 2)
    segmenter(frame)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(20):
            segmenter(frame)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < HEIGHT * WIDTH * 3
    assert after - before < HEIGHT * WIDTH


@pytest.mark.parametrize(
    "view",
    [
        np.s_[::2, ::3],
        np.s_[5:77, 11:99],
        np.s_[:, ::-1],
        np.s_[::-1],
        np.s_[..., ::-1],
    ],
    ids=["every other pixel", "cut out", "mirrored", "upside down", "BGR to RGB"],
)
@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_a_view_of_a_frame_gives_what_its_copy_gives(models: dict[str, Path], kind: str, view: Any) -> None:
    segmenter, frame = Segmenter(models[kind], threads=1), random_frame()[view]
    assert not frame.flags.c_contiguous
    assert np.array_equal(segmenter(frame).copy(), segmenter(np.ascontiguousarray(frame)))


def test_a_read_only_frame_is_taken_and_left_as_it_was(segmenter: Segmenter) -> None:
    frame = random_frame(HEIGHT, WIDTH)
    frame.setflags(write=False)
    before = frame.copy()
    segmenter(frame)
    assert np.array_equal(frame, before)


@pytest.mark.parametrize(("kind", "steps"), [("float16", 2), ("int8", 8)])
def test_float_and_integer_models_agree_within_some_steps(models: dict[str, Path], kind: str, steps: int) -> None:
    maps = [Segmenter(models[name], threads=1)(random_frame()).astype(int) for name in ("float32", kind)]
    assert np.abs(maps[0] - maps[1]).max() <= steps


def test_a_float_map_counts_whole_steps_of_1_in_256(models: dict[str, Path]) -> None:
    frame = random_frame()
    probability, _ = invoke_bare(models["float32"], frame)
    assert np.array_equal(Segmenter(models["float32"], threads=1)(frame), np.floor(probability * 256))


def test_bytes_that_are_signed_both_ways_mean_what_unsigned_ones_mean(
    models: dict[str, Path], plain_models: dict[str, Path]
) -> None:
    frame = random_frame()
    stored, (scale, zero_point) = invoke_bare(plain_models["int8-in-and-out"], frame)
    assert stored.dtype == np.int8
    assert (scale, zero_point) == (1 / 256, -128)
    served = plain(plain_models["int8-in-and-out"])(frame)
    assert np.array_equal(served, stored.astype(int) + 128)
    assert np.array_equal(served, Segmenter(models["int8"], threads=1)(frame)), "one network, whatever its ends are"


def test_an_output_of_another_scale_is_turned_into_steps_of_1_in_256(plain_models: dict[str, Path]) -> None:
    frame = random_frame()
    stored, (scale, zero_point) = invoke_bare(plain_models["another-output-scale"], frame)
    assert stored.dtype == np.uint8
    assert scale != 1 / 256
    probability = (stored.astype(np.float64) - zero_point) * scale
    assert probability.max() > 1, "what lies above 1 must be clipped, not wrapped"
    expected = np.clip(np.floor(probability * 256), 0, 255)
    assert np.array_equal(plain(plain_models["another-output-scale"])(frame), expected)


def test_the_mask_is_a_new_array_of_booleans_at_the_models_size(segmenter: Segmenter) -> None:
    mask, another = segmenter.mask(random_frame()), segmenter.mask(random_frame(seed=1))
    assert mask.shape == (HEIGHT, WIDTH)
    assert mask.dtype == np.bool_
    assert not np.shares_memory(mask, another)
    assert np.array_equal(mask, segmenter(random_frame()) >= 128)


@pytest.mark.parametrize(("threshold", "least"), [(0.001, 1), (0.5, 128), (0.501, 129), (0.75, 192), (0.999, 255)])
def test_the_threshold_of_the_card_moves_the_mask_and_can_always_be_reached(
    models: dict[str, Path], card: Card, tmp_path: Path, threshold: float, least: int
) -> None:
    path = with_card(tmp_path / "model.tflite", models["int8"], card | {"threshold": threshold})
    segmenter, frame = Segmenter(path, threads=1), random_frame()
    assert segmenter.threshold_u8 == least
    assert np.array_equal(segmenter.mask(frame), segmenter(frame) >= least)


def test_a_model_without_a_card_is_served_with_a_warning(models: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "plain.tflite"
    path.write_bytes(split_model(models["int8"])[0])
    served = plain(path)
    assert served.card is None
    assert served.threshold_u8 == 128
    assert np.array_equal(served(random_frame()), Segmenter(models["int8"], threads=1)(random_frame()))


def test_a_model_with_a_card_is_served_without_a_word(models: dict[str, Path], card: Card) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Segmenter(models["int8"], threads=1).card == card


@pytest.mark.parametrize("size", [{"height": 48, "width": 32}, {"height": 32}, {}])
def test_a_card_of_another_size_is_refused(
    models: dict[str, Path], card: Card, tmp_path: Path, size: dict[str, int]
) -> None:
    spoken = copy.deepcopy(card)
    del spoken["input"]["height"], spoken["input"]["width"]
    spoken["input"] |= size
    with pytest.raises(UserError, match=r"model\.tflite speaks of .* its input is 48x32 px: export the model again"):
        Segmenter(with_card(tmp_path / "model.tflite", models["int8"], spoken))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("two-inputs", r"has 2 inputs: expected one"),
        ("two-outputs", r"has 2 outputs: expected one"),
        ("grey-frames", r"maps \(1, 32, 48, 1\) to \(1, 32, 48, 1\): expected an RGB frame"),
        ("smaller-map", r"maps \(1, 32, 48, 3\) to \(1, 16, 24, 1\): expected"),
        ("no-scale", r"has the output uint8 \(1, 32, 48, 1\) without a scale"),
        ("one-number", r"has the output float32 \(1, 1\): expected"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*carries no card")
def test_a_model_of_another_kind_is_refused_naming_what_differs(
    plain_models: dict[str, Path], name: str, told: str
) -> None:
    with pytest.raises(UserError, match=rf"{name}\.tflite {told}"):
        Segmenter(plain_models[name])


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_a_flatbuffer_that_is_cut_short_is_refused_though_its_card_is_whole(
    models: dict[str, Path], card: Card, tmp_path: Path, kind: str, share: float
) -> None:
    flatbuffer = split_model(models[kind])[0]
    path = tmp_path / "short.tflite"
    path.write_bytes(attach(flatbuffer[: round(len(flatbuffer) * share)], card))
    with pytest.raises(UserError, match=r"short\.tflite (is cut short or damaged|could not be loaded by)"):
        Segmenter(path)


def test_threads_are_at_least_one(models: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="0 threads: expected at least 1"):
        Segmenter(models["int8"], threads=0)


def test_the_number_of_threads_changes_no_byte(models: dict[str, Path], segmenter: Segmenter) -> None:
    assert np.array_equal(Segmenter(models["int8"], threads=2)(random_frame()), segmenter(random_frame()))


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((32, 48), np.uint8),
        np.zeros((32, 48, 1), np.uint8),
        np.zeros((32, 48, 4), np.uint8),
        np.zeros((1, 32, 48, 3), np.uint8),
        np.zeros((32, 48, 3), np.float32),
        np.zeros((32, 48, 3), np.int8),
    ],
    ids=["grey", "one channel", "RGBA", "a batch", "float", "signed"],
)
def test_a_frame_of_another_kind_raises_and_the_next_one_is_served(models: dict[str, Path], frame: Any) -> None:
    segmenter = Segmenter(models["int8"], threads=1)
    expected = segmenter(random_frame()).copy()
    with pytest.raises(ValueError, match=r"expected an RGB uint8 frame of shape \(H, W, 3\), got"):
        segmenter(frame)
    assert np.array_equal(segmenter(random_frame()), expected)


def test_an_empty_frame_raises(segmenter: Segmenter) -> None:
    # As some cameras give after they were unplugged.
    with pytest.raises((ValueError, cv2.error)):
        segmenter(np.zeros((0, 0, 3), np.uint8))


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_tensorflows_own_interpreter_gives_the_same_within_a_step(models: dict[str, Path], kind: str) -> None:
    served = Segmenter(models[kind], threads=1, runtime="tensorflow")
    assert served.runtime.name == "tensorflow"
    ours = Segmenter(models[kind], threads=1, runtime="litert")
    assert np.abs(served(random_frame()).astype(int) - ours(random_frame())).max() <= 1


def test_an_unknown_runtime_is_an_error_that_names_the_known_ones(models: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"'onnx': expected one of litert, tflite-runtime, tensorflow"):
        Segmenter(models["int8"], runtime="onnx")
