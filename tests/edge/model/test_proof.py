"""A model is proven in a child process: what it finds, and every way in which it can fail, is an answer."""

from __future__ import annotations

import errno
import faulthandler
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.errors import UserError
from edge.model import proof
from edge.model.probe import make_probe
from edge.model.proof import flame_pixels, prove, prove_in_fork
from edge.model.segmenter import Segmenter
from tests.support.tiny_models import without_weights


def test_the_flames_of_the_probe_are_a_part_of_its_frame() -> None:
    probe = make_probe()
    assert 0.1 < probe.flame_mask.mean() < 0.3
    assert probe.room.shape == probe.flames.shape == probe.noise.shape


@pytest.mark.slow
def test_the_child_finds_in_the_bytes_what_this_process_finds(models: dict[str, Path]) -> None:
    expected = flame_pixels(Segmenter(models["int8"]))
    assert prove(Path("replaced-meanwhile.tflite"), models["int8"].read_bytes()) == expected > 0


@pytest.mark.slow
def test_inference_that_fails_is_an_error(models: dict[str, Path]) -> None:
    data = without_weights(models["float32"].read_bytes())
    with pytest.raises(UserError, match=r"broken\.tflite could not be (run|loaded) by ai-edge-litert"):
        prove(Path("broken.tflite"), data)


@pytest.mark.parametrize(
    ("child", "message"),
    [
        ("import os; os.abort()", r"bad\.tflite crashes the interpreter \(SIGABRT\)"),
        (
            "import os; os.kill(os.getpid(), 4)",
            r"bad\.tflite crashes .*: it uses an instruction that this processor lacks \(SIGILL\): reinstall",
        ),
        ("raise SystemExit(3)", r"bad\.tflite crashes the interpreter \(exit code 3\)"),
        ("print('no JSON')", r"bad\.tflite could not be proven"),
    ],
)
def test_a_child_that_crashes_is_an_error(child: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "CHILD", child)
    with pytest.raises(UserError, match=message):
        prove(Path("bad.tflite"), b"")


def test_a_child_that_hangs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "CHILD", "import time; time.sleep(600)")
    with pytest.raises(UserError, match=r"bad\.tflite was not proven within 0\.1 s"):
        prove(Path("bad.tflite"), b"", timeout_s=0.1)


@pytest.mark.slow
def test_the_memory_of_a_proof_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    greedy = (
        "from edge.model import proof\n"
        "from unittest import mock\n"
        "proof.Segmenter = mock.Mock()\n"
        "proof.flame_pixels = lambda _: len(bytearray(200 << 20))\n"
        "proof.answer_parent()"
    )
    monkeypatch.setattr(proof, "CHILD", greedy)
    assert prove(Path("large.tflite"), b"", memory_bytes=400 << 20) == 200 << 20
    with pytest.raises(UserError, match=r"large\.tflite cannot be used \(MemoryError"):
        prove(Path("large.tflite"), b"", memory_bytes=100 << 20)


def test_a_fork_finds_what_this_process_finds(models: dict[str, Path]) -> None:
    path = models["int8"]
    assert prove_in_fork(path, path.read_bytes()) == flame_pixels(Segmenter(path)) > 0


def test_a_fork_needs_no_disk(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    path = models["int8"]
    assert prove_in_fork(path, path.read_bytes()) > 0


def test_a_process_that_cannot_fork_is_an_error(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(UserError, match=r"could not be proven \(.*unavailable\): free some memory, and start again"):
        prove_in_fork(models["int8"], models["int8"].read_bytes())


@pytest.mark.parametrize(
    ("segmenter", "message"),
    [
        # Pytest enables the fault handler, which would dump tracebacks of the expected crash.
        (lambda *_, **__: faulthandler.is_enabled() or os.abort(), r"crashes the interpreter \(SIGABRT\)"),
        (lambda *_, **__: signal.raise_signal(signal.SIGALRM), "was not proven in time"),
        # More than this process may have freed and kept.
        (lambda *_, **__: bytearray(4 << 30), r"cannot be used \(MemoryError"),
        (lambda *_, **__: sys.exit(), r"crashes the interpreter \(exit code 1\)"),
    ],
)
def test_a_fork_that_crashes_hangs_or_takes_too_much_memory_is_an_error(
    segmenter: Callable[..., object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "Segmenter", segmenter)
    with pytest.raises(UserError, match=rf"bad\.tflite {message}"):
        prove_in_fork(Path("bad.tflite"), b"", memory_bytes=100 << 20)


def test_a_fork_neither_warns_nor_logs_since_another_thread_may_hold_the_lock_of_the_log(
    plain_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def segmenter(*_: object, **options: Any) -> Segmenter:
        logging.getLogger("edge").error("from the fork")
        return Segmenter(plain_models["frames-in-0-255"], **options)

    monkeypatch.setattr(proof, "Segmenter", segmenter)
    monkeypatch.setattr(warnings, "showwarning", lambda *_, **__: os.abort())
    monkeypatch.setattr(logging.Logger, "handle", lambda *_: os.abort())
    path = plain_models["frames-in-0-255"]
    assert prove_in_fork(path, path.read_bytes()) > 0
