"""Alarms of the shipped models on the recordings of EVENTS_DIR, written to the ledger: `make events`.

Fails if a fire that raised an alarm is missed, or if the smallest flame that raises one has grown. To write such a
change to the ledger, pass `--accept`.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

from benchmarks import events
from benchmarks.ledger import append, read
from benchmarks.models import MODELS
from edge.config import Config
from edge.evaluation.evaluate import ALL_RULES, Plan, evaluate
from edge.evaluation.recordings import Recording, read_recordings
from edge.evaluation.sensitivity import measure_sensitivity
from edge.model.runtime import cores_for

SCENES = 4  # without fire, spread over the list, over which painted flames are laid: all of them take hours


@cache
def recordings() -> list[Recording]:
    folder = os.environ.get("EVENTS_DIR")
    if not folder:
        pytest.skip("EVENTS_DIR is not set: set it to a folder with recordings and events.csv")
    return read_recordings(Path(folder) / events.DATA)


@pytest.mark.parametrize("model", sorted(MODELS.glob("*-int8.tflite")), ids=lambda model: model.stem)
def test_events(model: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> None:
    data_sha256, jobs = events.hash_of(recordings()), cores_for(None)
    plan = Plan({ALL_RULES: Config()})
    evaluation = evaluate(recordings(), model, plan, jobs=jobs)
    flames = measure_sensitivity(recordings(), model, Config(), fps=plan.rates[0], max_scenes=SCENES, jobs=jobs)
    failures = [*evaluation.errors, *flames.errors]
    lines = [
        *events.score_entries(evaluation, model, data_sha256),
        events.sensitivity_entry(flames, model, data_sha256),
    ]
    with capsys.disabled():
        print()
        for entry in [] if failures else lines:
            losses = events.lost(entry, read())
            if losses and not request.config.getoption("--accept"):
                failures += losses
                outcome = "alarms lost"
            else:
                outcome = "new line" if append(entry) else "unchanged"
            figures = f"FDS {entry['fds']}" if "fds" in entry else f"smallest flame {entry['smallest']}"
            print(f"{entry['model']}, {entry['split']}: {figures} ({outcome})")
    if failures:
        pytest.fail("\n".join(failures), pytrace=False)
