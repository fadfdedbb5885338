"""A reload is prepared in the background and applied between frames; whatever goes wrong, the old setup stays."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from edge.config import Config, load_config
from edge.detection.zones import ZoneMap
from edge.errors import MAX_LETTERS, UserError, UserErrors
from edge.model.card import Card, attach, split_model
from edge.model.probe import make_probe
from edge.model.segmenter import Segmenter
from edge.model.self_test import record
from edge.reload import RELOAD_TIMEOUT_S, Reloader, Setup, applied_config, describe, prepare
from edge.signals import RunControl
from tests.support.factories import red_is_fire
from tests.support.waiting import wait_for

SETUP = Setup(Config(), red_is_fire(), ZoneMap([], [], 112, 112), "ab" * 32, flame_pixels=100, self_test="")


def config(model: Path, **sections: dict[str, Any]) -> Config:
    return load_config(None, {"model": {"path": str(model), "threads": 1}, **sections})


@pytest.fixture
def proofs(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The models that were proven; in no child process."""
    proofs: list[bytes] = []

    def prove(_: Path, data: bytes) -> int:
        proofs.append(data)
        return 100

    monkeypatch.setattr("edge.reload.prove", prove)
    return proofs


def test_the_bytes_that_were_proven_run_even_if_the_file_changes_meanwhile(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, good = tmp_path / "model.tflite", models["int8"].read_bytes()
    path.write_bytes(good)

    def prove_slowly(_: Path, data: bytes) -> int:
        path.write_bytes(b"rubbish" * 1000)
        assert data == good
        return 100

    monkeypatch.setattr("edge.reload.prove", prove_slowly)
    setup, data = prepare(config(path))
    assert data == good
    assert setup.model_sha256 == hashlib.sha256(good).hexdigest()
    assert setup.segmenter.mask(make_probe().flames).any()


def test_an_unchanged_model_is_neither_proven_nor_loaded_again(models: dict[str, Path], proofs: list[bytes]) -> None:
    first, _ = prepare(config(models["int8"]))
    second, _ = prepare(config(models["int8"], loop={"max_fps": 3.0}), current=first)
    assert second.segmenter is first.segmenter
    assert second.config.loop.max_fps == 3
    third, _ = prepare(config(models["float32"]), current=first)
    assert third.segmenter is not first.segmenter
    assert len(proofs) == 2


def test_a_model_that_is_blind_to_flames_is_refused_while_the_current_one_sees_them(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.reload.prove", lambda *_: 0)
    with pytest.raises(UserError, match=r"int8\.tflite detects no fire in the test pattern's flames"):
        prepare(config(models["int8"]), current=SETUP)
    assert prepare(config(models["int8"]), current=replace(SETUP, flame_pixels=0))[0].flame_pixels == 0
    assert prepare(config(models["int8"]))[0].flame_pixels == 0, "a start warns"


def test_without_a_proof_the_flames_are_segmented_in_this_process(models: dict[str, Path], proofs: list[bytes]) -> None:
    setup, _ = prepare(config(models["int8"]), is_proven=lambda _: True)
    assert setup.flame_pixels > 0
    assert proofs == []


def test_a_model_that_fails_its_self_test_is_refused_even_if_it_worked_before(
    models: dict[str, Path], card: Card, proofs: list[bytes], tmp_path: Path
) -> None:
    recorded = record(Segmenter(models["int8"], threads=1))
    inverted = [bytes(255 - value for value in bytes.fromhex(cells)).hex() for cells in recorded["cells"]]
    path = tmp_path / "wrong.tflite"
    wrong = card | {"self_test": recorded | {"cells": inverted, "xnnpack_sha256": None}}
    path.write_bytes(attach(split_model(models["int8"])[0], wrong))
    with pytest.raises(UserError, match=r"wrong\.tflite computes wrong maps"):
        prepare(config(path), is_proven=lambda _: True)


def test_only_tables_that_need_no_restart_are_in_use_after_a_reload() -> None:
    running = load_config(None, {"web": {"listen": "127.0.0.1:1"}})
    new = load_config(None, {"web": {"listen": "127.0.0.1:2"}, "loop": {"max_fps": 2.0}, "detection": {"tiles": "2"}})
    applied = applied_config(running, new)
    assert (applied.web, applied.loop, applied.detection) == (running.web, new.loop, new.detection)


def finished(reloader: Reloader, control: RunControl, done: Callable[[], object]) -> None:
    """Poll as the loop does until `done` is true."""

    def poll() -> bool:
        reloader.poll(control)
        return bool(done())

    wait_for(poll)


def test_the_loop_goes_on_while_a_reload_is_prepared_and_applies_it_in_its_own_thread() -> None:
    ready, applied, control = threading.Event(), [], RunControl(reload=True)

    def prepare_slowly() -> Setup:
        ready.wait()
        return SETUP

    def apply(setup: Setup) -> None:
        applied.append((setup, threading.current_thread()))

    reloader = Reloader(prepare_slowly, apply, fallback="it was bad")
    for _ in range(100):
        reloader.poll(control)
    assert (applied, control.reload, reloader.fallback) == ([], False, "it was bad")
    ready.set()
    finished(reloader, control, lambda: applied)
    assert applied == [(SETUP, threading.current_thread())]
    assert (reloader.failed, reloader.fallback) == (0, "")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UserErrors(["[model] has no key pth", "x" * 5000]), "[model] has no key pth; xxx"),
        (UserError("http://me:hunter2@host/ is wrong"), "http://***@host/ is wrong"),
        (RecursionError("maximum recursion depth exceeded"), "RecursionError: maximum recursion depth exceeded"),
        (MemoryError(), "MemoryError"),
        (OSError(36, "File name too long"), "File name too long"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("when", ["prepare", "apply"])
def test_any_failure_is_one_bounded_line_and_counted(
    error: Exception, text: str, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> NoReturn:
        raise error

    caplog.set_level(logging.INFO)
    reloader = Reloader(fail, fail) if when == "prepare" else Reloader(lambda: SETUP, fail)
    control = RunControl(reload=True)
    finished(reloader, control, lambda: reloader.failed)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"new configuration rejected, the old one stays in use: {text}")
    assert len(line) < MAX_LETTERS + 100
    assert "hunter2" not in line
    assert describe(error) in line
    control.reload = True
    finished(reloader, control, lambda: reloader.failed == 2)


def test_a_request_during_a_reload_is_carried_out_after_it() -> None:
    applied: list[Setup] = []
    turns, control = threading.Semaphore(0), RunControl(reload=True)

    def prepare_in_turn() -> Setup:
        turns.acquire()
        return SETUP

    reloader = Reloader(prepare_in_turn, applied.append)
    reloader.poll(control)
    control.reload = True
    reloader.poll(control)
    assert control.reload
    turns.release(2)
    finished(reloader, control, lambda: len(applied) == 2)


def test_a_reload_that_hangs_is_rejected_and_the_next_one_applied(caplog: pytest.LogCaptureFixture) -> None:
    applied: list[Setup] = []
    clock, hangs, control = [0.0], threading.Event(), RunControl(reload=True)
    late = replace(SETUP, model_sha256="late")

    def prepare_never() -> Setup:
        if clock[0] > 0:
            return SETUP
        hangs.wait()
        return late

    reloader = Reloader(prepare_never, applied.append, now_s=lambda: clock[0])
    reloader.poll(control)
    reloader.poll(control)
    assert reloader.failed == 0
    clock[0] = RELOAD_TIMEOUT_S
    reloader.poll(control)
    assert reloader.failed == 1
    assert "the reload took more than 300 s: check the disk or network drive" in caplog.text
    control.reload = True
    finished(reloader, control, lambda: applied)
    hung = next(thread for thread in threading.enumerate() if thread.name == "reload")
    hangs.set()
    hung.join()
    reloader.poll(control)
    assert applied == [SETUP]
