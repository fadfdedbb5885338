"""Damaged models and configurations that a running camera loop reloads on SIGHUP: results must go on."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from random import Random

from benchmarks.fuzz import inputs
from benchmarks.fuzz.sandbox import TIME_LIMIT_S, Ending, Trial, classify, limit_memory, memory_bytes
from benchmarks.models import MODELS
from benchmarks.soak.process import ProcessUnderTest, start_run

CONFIG = '[source]\naddress = "test-pattern"\n[model]\npath = "model.tflite"\nthreads = 1\n'
ANSWERS = ("configuration reloaded", "configuration rejected")
START_S = 30.0
RESULTS = 2


def try_reloads(seed: int, end_s: float) -> Iterator[tuple[str, Trial, bytes]]:
    """Yield name, outcome and data of each input. A run that died is started again."""
    makers = ((inputs.model, "model.tflite"), (inputs.card, "model.tflite"), (_configuration, "fireseg.toml"))
    with tempfile.TemporaryDirectory(prefix="fireseg-fuzz-") as name, ExitStack() as stack:
        folder, run, number = Path(name), None, 0
        while time.monotonic() < end_s:
            number += 1
            rng = Random(f"{seed}/reloads/{number}")
            make, target = rng.choice(makers)
            data = make(rng)
            (folder / "fireseg.toml").write_text(CONFIG)
            shutil.copy(MODELS / "fireseg-small-int8.tflite", folder / "model.tflite")
            if run is None or run.process.poll() is not None:
                run = stack.enter_context(start_run("--config", folder / "fireseg.toml"))
                run.wait_for_results(RESULTS, START_S)
                limit_memory(run.process.pid)
                before_bytes = memory_bytes("VmRSS", run.process.pid)
            (folder / target).write_bytes(data)
            yield f"reloads-{seed}-{number}{Path(target).suffix}", _reload(run, before_bytes), data


def _reload(run: ProcessUnderTest, before_bytes: int) -> Trial:
    """Send SIGHUP and wait for its log line and for further results."""
    since, accepted, peak_bytes = len(run.log_lines), False, 0

    def is_answered() -> bool:
        return any(answer in line for line in run.log_lines[since:] for answer in ANSWERS)

    run.process.send_signal(signal.SIGHUP)
    try:
        run.wait_for(is_answered, "an answer", TIME_LIMIT_S)
        run.wait_for_results(RESULTS, TIME_LIMIT_S)
        peak_bytes = max(0, memory_bytes("VmHWM", run.process.pid) - before_bytes)
        Path(f"/proc/{run.process.pid}/clear_refs").write_text("5")  # resets the peak
        accepted = any(ANSWERS[0] in line for line in run.log_lines[since:])
    except TimeoutError:
        time.sleep(0.5)  # for the last lines
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()
            return Trial(Ending.HANG, peak_bytes, "\n".join(run.log_lines[since:]))
    trial = classify(run.process.poll() or 0, peak_bytes, "\n".join(run.log_lines[since:]))
    is_refused = trial.ending is Ending.ACCEPTED and not accepted
    return replace(trial, ending=Ending.REFUSED) if is_refused else trial


def _configuration(rng: Random) -> bytes:
    return CONFIG.encode() + inputs.configuration(rng, without=("source", "model"))
