"""Frame in, map out: the bytes of the bare interpreter for any tensor type, and refusal of unsupported models."""

from __future__ import annotations

import threading
import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge.errors import UserError
from edge.images import Frame
from edge.model.card import Card, attach, split_model
from edge.model.preprocess import to_model_input, to_model_mask
from edge.model.probe import make_probe
from edge.model.runtime import find_runtime
from edge.model.segmenter import Segmenter
from tests.support.tiny_models import HEIGHT, WIDTH, convert_all, without_weights

SIZES = [(32, 48), (720, 1280), (97, 61), (16, 20), (20, 200), (1, 1)]


def random_frame(height: int = 90, width: int = 160, seed: int = 0) -> Frame:
    """Coarse noise: resizing averages fine noise to grey."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 16, 3), np.uint8)
    return cv2.resize(noise, (width, height)).astype(np.uint8, copy=False)


def invoke_bare(flatbuffer: bytes, frame: Frame) -> tuple[npt.NDArray[Any], tuple[float, int]]:
    """The output (H, W) of an interpreter without `Segmenter`, and its scale and zero point."""
    interpreter = find_runtime().interpreter(flatbuffer, 1)
    input_, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    model_frame = to_model_input(frame, HEIGHT, WIDTH)
    if input_["dtype"] == np.int8:
        model_frame = (model_frame.astype(np.int16) - 128).astype(np.int8)
    interpreter.set_tensor(input_["index"], model_frame[None].astype(input_["dtype"]))
    interpreter.invoke()
    return interpreter.get_tensor(output["index"])[0, :, :, 0], output["quantization"]


def with_card(path: Path, model: Path, card: Card) -> Path:
    """The model under another path, with another card."""
    path.write_bytes(attach(split_model(model)[0], card))
    return path


def load_plain(path: Path) -> Segmenter:
    with pytest.warns(UserWarning, match="carries no card"):
        return Segmenter(path, threads=1)


@pytest.fixture(scope="module")
def segmenter(models: dict[str, Path]) -> Segmenter:
    return Segmenter(models["int8"], threads=1)


@pytest.mark.slow
def test_the_converter_still_makes_the_tiny_models(models: dict[str, Path], plain_models: dict[str, Path]) -> None:
    converted = convert_all()
    assert converted.keys() == models.keys() | plain_models.keys()
    for name in ("float32", "float16", "int8", "int8-in-and-out", "another-output-scale"):
        stored = split_model((models | plain_models)[name])[0]
        (new, new_scale), (old, old_scale) = (invoke_bare(model, random_frame()) for model in (converted[name], stored))
        np.testing.assert_allclose(new.astype(float), old.astype(float), atol=1e-5 if new.dtype.kind == "f" else 1)
        assert new_scale == pytest.approx(old_scale)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_int8_map_is_the_output_of_the_bare_interpreter(
    models: dict[str, Path], segmenter: Segmenter, height: int, width: int
) -> None:
    frame = random_frame(height, width)
    expected, quantization = invoke_bare(split_model(models["int8"])[0], frame)
    assert quantization == (1 / 256, 0)
    assert segmenter(frame).dtype == np.uint8
    assert np.array_equal(segmenter(frame), expected)


def test_inference_waits_while_a_profiler_keeps_an_array_of_the_interpreter(segmenter: Segmenter) -> None:
    frame = make_probe().flames
    expected, held = segmenter(frame).copy(), [segmenter._output()]
    threading.Timer(0.1, held.clear).start()
    assert np.array_equal(segmenter(frame), expected)


def test_the_tiny_network_returns_most_byte_values(segmenter: Segmenter) -> None:
    # Every comparison in this file would hold for a constant map.
    assert len(np.unique(segmenter(random_frame()))) > 50


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_every_call_returns_the_same_buffer(models: dict[str, Path], kind: str) -> None:
    segmenter = Segmenter(models[kind], threads=1)
    first = segmenter(random_frame(seed=1))
    copy = first.copy()
    for seed, (height, width) in enumerate(SIZES, start=2):
        assert segmenter(random_frame(height, width, seed=seed)) is first
    assert not np.array_equal(first, copy)
    assert np.array_equal(segmenter(random_frame(seed=1)), copy)


@pytest.mark.parametrize("height", [720, HEIGHT])
def test_the_int8_model_allocates_nothing_of_a_frames_size(segmenter: Segmenter, height: int) -> None:
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


@pytest.mark.parametrize("view", [np.s_[::2, ::3], np.s_[5:77, 11:99], np.s_[::-1, ::-1], np.s_[..., ::-1]], ids=str)
@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_a_read_only_view_gives_the_map_of_its_copy(models: dict[str, Path], kind: str, view: Any) -> None:
    segmenter, frame = Segmenter(models[kind], threads=1), random_frame()[view]
    frame.setflags(write=False)
    assert not frame.flags.c_contiguous
    assert np.array_equal(segmenter(frame).copy(), segmenter(np.ascontiguousarray(frame)))


def test_a_float_map_is_in_whole_steps_of_1_in_256(models: dict[str, Path]) -> None:
    frame = random_frame()
    probability, _ = invoke_bare(split_model(models["float32"])[0], frame)
    assert np.array_equal(Segmenter(models["float32"], threads=1)(frame), np.floor(probability * 256))


def test_signed_tensors_give_the_map_of_unsigned_ones(models: dict[str, Path], plain_models: dict[str, Path]) -> None:
    frame, path = random_frame(), plain_models["int8-in-and-out"]
    stored, quantization = invoke_bare(path.read_bytes(), frame)
    assert stored.dtype == np.int8
    assert quantization == (1 / 256, -128)
    plain = load_plain(path)
    assert (plain.card, plain.threshold_u8) == (None, 128)
    assert np.array_equal(plain(frame), stored.astype(int) + 128)
    assert np.array_equal(plain(frame), Segmenter(models["int8"], threads=1)(frame)), "the same network"


def test_another_output_scale_is_converted_to_steps_of_1_in_256(plain_models: dict[str, Path]) -> None:
    frame, path = random_frame(), plain_models["another-output-scale"]
    stored, (scale, zero_point) = invoke_bare(path.read_bytes(), frame)
    assert stored.dtype == np.uint8
    assert scale != 1 / 256
    probability = (stored.astype(np.float64) - zero_point) * scale
    assert probability.max() > 1, "values above 1 must be clipped, not wrapped"
    assert np.array_equal(load_plain(path)(frame), np.clip(np.floor(probability * 256), 0, 255))


def test_the_mask_is_a_new_boolean_array_at_model_size(segmenter: Segmenter) -> None:
    mask, another = segmenter.mask(random_frame()), segmenter.mask(random_frame(seed=1))
    assert mask.shape == (HEIGHT, WIDTH)
    assert mask.dtype == np.bool_
    assert not np.shares_memory(mask, another)
    assert np.array_equal(mask, segmenter(random_frame()) >= 128)


@pytest.mark.parametrize(("threshold", "minimum"), [(0.001, 1), (0.5, 128), (0.501, 129), (0.75, 192), (0.999, 255)])
def test_the_threshold_of_the_card_applies_and_is_always_reachable(
    models: dict[str, Path], card: Card, tmp_path: Path, threshold: float, minimum: int
) -> None:
    path = with_card(tmp_path / "model.tflite", models["int8"], card | {"threshold": threshold})
    segmenter, frame = Segmenter(path, threads=1), random_frame()
    assert segmenter.threshold_u8 == minimum
    assert np.array_equal(segmenter.mask(frame), segmenter(frame) >= minimum)


@pytest.mark.filterwarnings("error")
def test_a_model_with_a_card_runs_without_a_warning(models: dict[str, Path], card: Card) -> None:
    assert Segmenter(models["int8"], threads=1).card == card


@pytest.mark.parametrize("size", [{"height": 48, "width": 32}, {"height": 32}, {}])
def test_a_card_with_another_size_is_refused(
    models: dict[str, Path], card: Card, tmp_path: Path, size: dict[str, int]
) -> None:
    other = card | {"input": {key: card["input"][key] for key in ("layout", "range")} | size}
    with pytest.raises(UserError, match=r"model\.tflite states .* its input is 48x32 px: export the model again"):
        Segmenter(with_card(tmp_path / "model.tflite", models["int8"], other))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two-inputs", r"has 2 inputs: expected one"),
        ("two-outputs", r"has 2 outputs: expected one"),
        ("grey-frames", r"maps \(1, 32, 48, 1\) to \(1, 32, 48, 1\): expected an RGB frame"),
        ("smaller-map", r"maps \(1, 32, 48, 3\) to \(1, 16, 24, 1\): expected"),
        ("free-size", r"has an input of free size \(1, -1, -1, 3\): convert it again with a fixed size"),
        ("channels-first", r"takes frames with channels first \(1, 3, 32, 48\): convert it to \(1, H, W, 3\)"),
        ("logits", r"has outputs from -.* to .*: expected probabilities from 0 to 1: end the network with a sigmoid"),
        ("int8-logits", r"has outputs from -1.* to .*: expected probabilities from 0 to 1"),
        ("no-scale", r"has the output uint8 \(1, 32, 48, 1\) without a scale"),
        ("one-number", r"has the output float32 \(1, 1\): expected"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*carries no card")
def test_an_unsupported_model_is_refused_naming_the_difference(
    plain_models: dict[str, Path], name: str, message: str
) -> None:
    with pytest.raises(UserError, match=rf"{name}\.tflite {message}"):
        Segmenter(plain_models[name])


@pytest.mark.parametrize("largest", ["1", "255"])
def test_the_input_range_of_a_float_model_without_a_card_is_recognized_by_its_answer_to_flames(
    plain_models: dict[str, Path], largest: str
) -> None:
    with pytest.warns(UserWarning, match=rf"carries no card: assuming RGB frames in 0\.\.{largest}, "):
        segmenter = Segmenter(plain_models[f"frames-in-0-{largest}"], threads=1)
    probe = make_probe()
    flames = to_model_mask(probe.flame_mask, HEIGHT, WIDTH)
    assert not segmenter.mask(probe.room).any()
    assert segmenter.mask(probe.flames)[flames].mean() > 0.5
    assert segmenter.mask(probe.flames)[~flames].mean() < 0.01


def test_a_failing_inference_is_an_error_that_names_the_model(models: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "zeroed.tflite"
    path.write_bytes(without_weights(models["float32"].read_bytes()))
    with pytest.raises(UserError, match=r"zeroed\.tflite could not be run by ai-edge-litert"):
        Segmenter(path, threads=1).mask(random_frame())


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_a_truncated_flatbuffer_with_a_whole_card_is_refused(
    models: dict[str, Path], card: Card, tmp_path: Path, kind: str, share: float
) -> None:
    flatbuffer = split_model(models[kind])[0]
    path = tmp_path / "short.tflite"
    path.write_bytes(attach(flatbuffer[: round(len(flatbuffer) * share)], card))
    with pytest.raises(UserError, match=r"short\.tflite (is cut short or damaged|could not be loaded by)"):
        Segmenter(path)


def test_fewer_than_one_thread_is_refused(models: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="0 threads: expected at least 1"):
        Segmenter(models["int8"], threads=0)


def test_the_number_of_threads_changes_no_byte(models: dict[str, Path], segmenter: Segmenter) -> None:
    assert np.array_equal(Segmenter(models["int8"], threads=2)(random_frame()), segmenter(random_frame()))


@pytest.mark.parametrize("shape", [(32, 48), (32, 48, 1), (32, 48, 4), (1, 32, 48, 3), (0, 0, 3)])
def test_another_kind_of_frame_raises_and_the_next_frame_runs(segmenter: Segmenter, shape: tuple[int, ...]) -> None:
    frame = np.zeros(shape, np.uint8)
    expected = segmenter(random_frame()).copy()
    with pytest.raises((ValueError, cv2.error), match=r"expected an RGB uint8 frame of shape \(H, W, 3\), got|empty"):
        segmenter(frame)
    assert np.array_equal(segmenter(random_frame()), expected)
