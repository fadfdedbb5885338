"""Which interpreter is chosen, and what a person is told where there is none."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from types import ModuleType

import pytest

from edge.errors import UserError
from edge.model.card import split_model
from edge.model.runtime import RUNTIMES, find_runtime

LITERT, TFLITE_RUNTIME, TENSORFLOW = (module for module, _ in RUNTIMES.values())


def remove(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Make importing these fail, as where they are not installed."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def test_litert_is_preferred() -> None:
    found = find_runtime()
    assert found.name == "ai-edge-litert"
    assert found.module.__name__ == LITERT
    assert str(found) == f"ai-edge-litert {found.version}"


def test_tflite_runtime_comes_before_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = ModuleType(TFLITE_RUNTIME)
    remove(monkeypatch, LITERT)
    monkeypatch.setitem(sys.modules, TFLITE_RUNTIME, installed)
    found = find_runtime()
    assert found.name == "tflite-runtime"
    assert found.module is installed


def test_tensorflow_serves_where_nothing_else_is_installed(
    monkeypatch: pytest.MonkeyPatch, models: dict[str, Path]
) -> None:
    remove(monkeypatch, LITERT, TFLITE_RUNTIME)
    found = find_runtime()
    assert found.name == "tensorflow"
    assert found.interpreter(split_model(models["int8"])[0], 1).get_input_details()[0]["shape"].tolist() == [
        1,
        32,
        48,
        3,
    ]


def test_the_one_that_is_named_is_taken_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    remove(monkeypatch, LITERT)
    with pytest.raises(UserError, match=r"runtime litert is not installed: run `pip install ai-edge-litert`"):
        find_runtime("litert")


def test_an_unknown_one_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"'onnx': expected one of litert, tflite-runtime, tensorflow"):
        find_runtime("onnx")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_where_there_is_none_the_message_names_the_line_to_run(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    remove(monkeypatch, LITERT, TFLITE_RUNTIME, TENSORFLOW)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(UserError, match=rf"on {machine}: run `pip install ai-edge-litert`"):
        find_runtime()


@pytest.mark.parametrize("machine", ["armv7l", "armv6l"])
def test_on_32_bit_arm_the_message_names_what_to_change(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    remove(monkeypatch, LITERT, TFLITE_RUNTIME, TENSORFLOW)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(UserError, match=rf"on {machine} .*64-bit Raspberry Pi OS") as ended:
        find_runtime()
    assert "pip install ai-edge-litert" not in str(ended.value), "there is no such wheel"


def test_loading_a_model_says_nothing(models: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    # XNNPACK announces itself on the first model; TensorFlow's interpreter warns of its end.
    for name in ("litert", "tensorflow"):
        find_runtime(name)
        capfd.readouterr()
        find_runtime(name).interpreter(split_model(models["int8"])[0], 1)
        assert capfd.readouterr() == ("", "")
