"""Which interpreter is chosen, and what to install if none is."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from types import ModuleType

import pytest

from edge.errors import UserError
from edge.model.card import split_model
from edge.model.runtime import RUNTIMES, find_runtime

LITERT, TFLITE_RUNTIME = (module for module, _ in RUNTIMES.values())


def uninstall(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def test_litert_is_preferred() -> None:
    runtime = find_runtime()
    assert runtime.name == "ai-edge-litert"
    assert runtime.module.__name__ == LITERT
    assert str(runtime) == f"ai-edge-litert {runtime.version}"


def test_tflite_runtime_is_used_without_litert(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(TFLITE_RUNTIME)
    uninstall(monkeypatch, LITERT)
    monkeypatch.setitem(sys.modules, TFLITE_RUNTIME, module)
    runtime = find_runtime()
    assert runtime.name == "tflite-runtime"
    assert runtime.module is module


def test_ctrl_c_while_the_runtime_loads_is_not_mistaken_for_a_missing_runtime(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A compiled module that is interrupted while it loads raises an ImportError caused by the KeyboardInterrupt.
    source = "try:\n    raise KeyboardInterrupt\nexcept KeyboardInterrupt as error:\n    raise ImportError from error\n"
    (tmp_path / "interrupted.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(RUNTIMES, "litert", ("interrupted", "ai-edge-litert"))
    with pytest.raises(KeyboardInterrupt):
        find_runtime()


def test_a_named_runtime_that_is_not_installed_or_unknown_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    uninstall(monkeypatch, LITERT)
    with pytest.raises(UserError, match=r"runtime litert is not installed: run `pip install ai-edge-litert`"):
        find_runtime("litert")
    with pytest.raises(UserError, match=r"'onnx': expected one of litert, tflite-runtime$"):
        find_runtime("onnx")


@pytest.mark.parametrize(
    ("bits", "remedy"),
    [(64, "run `pip install ai-edge-litert`"), (32, "use a 64-bit Raspberry Pi OS, or .*`pip install tflite-runtime`")],
)
def test_without_an_interpreter_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, bits: int, remedy: str
) -> None:
    uninstall(monkeypatch, LITERT, TFLITE_RUNTIME)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")  # also of a 32-bit system with a 64-bit kernel
    monkeypatch.setattr(sys, "maxsize", 2 ** (bits - 1) - 1)
    with pytest.raises(UserError, match=rf"{bits}-bit Python 3\.\d+ on aarch64: {remedy}"):
        find_runtime()


def test_loading_a_model_prints_nothing(models: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    find_runtime().interpreter(split_model(models["int8"])[0], 1)  # XNNPACK would log to stderr
    assert capfd.readouterr() == ("", "")
