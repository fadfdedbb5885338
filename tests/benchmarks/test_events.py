"""Events in the ledger: a lost alarm is one sentence, other recordings are another series, names do not appear."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import events
from benchmarks.ledger import Entry, append, figures_of, read
from edge.config import Config
from edge.evaluation.evaluate import ALL_RULES, Evaluation, Plan, Replayed
from edge.evaluation.recordings import Label, Recording
from edge.evaluation.score import Outcome
from edge.evaluation.sensitivity import SIZES, SceneResult, Sensitivity

pytestmark = pytest.mark.bench

MODEL = Path(__file__).parents[2] / "models" / "fireseg-small-int8.tflite"


def entry(*delays_s: float | None, data: str = "ab") -> Entry:
    """Return the line of recordings with fire, alarmed after these delays, and one without fire."""
    outcomes = [
        Outcome(Recording(Path(f"secret-{number}.mp4"), Label.FIRE), 60.0, () if delay_s is None else (delay_s,))
        for number, delay_s in enumerate(delays_s)
    ]
    outcomes.append(Outcome(Recording(Path("secret.mp4"), Label.NONE), 60.0, (1.0, 2.0)))
    outcomes.append(Outcome(Recording(Path("shown.mp4"), Label.ANY), 60.0, (1.0,)))
    replayed = [Replayed(outcome.recording, {(ALL_RULES, 10.0): outcome}, 0.1) for outcome in outcomes]
    (line,) = events.score_entries(Evaluation(Plan({ALL_RULES: Config()}, (10.0,)), replayed), MODEL, data)
    return line


def flames(smallest: float | None) -> Entry:
    delays = {size: (1.0 if smallest and size >= smallest else None,) * 9 for size in SIZES}
    return events.sensitivity_entry(Sensitivity([SceneResult("secret", False, delays)], 10.0), MODEL, "ab")


def test_a_line_has_scores_and_delays_without_names(tmp_path: Path) -> None:
    line = entry(0.6, None)
    assert (line["kind"], line["model"], line["split"]) == ("events", "fireseg-small-int8", "10 fps")
    assert (line["delays_s"], line["false_alarms_of"], line["fires"], line["detected"]) == ([0.6, None], [2], 2, 1)
    assert "secret" not in json.dumps(line)
    assert append(line, tmp_path / "ledger.jsonl")
    assert not append(entry(0.6, None), tmp_path / "ledger.jsonl")
    assert figures_of(read(tmp_path / "ledger.jsonl")[0])["delays_s[0]"] == 0.6


def test_an_alarm_that_was_there_and_is_missed_is_lost() -> None:
    (sentence,) = events.lost(entry(0.6, None, None), [entry(0.6, 2.0, None)])
    assert "fireseg-small-int8, 10 fps: fire 2 had an alarm after 2 s on" in sentence
    assert events.lost(entry(5.0, 2.0, 3.0), [entry(0.6, 2.0, None)]) == []


def test_the_first_line_and_other_recordings_lose_nothing() -> None:
    assert events.lost(entry(None), []) == []
    assert events.lost(entry(None, data="cd"), [entry(0.6)]) == []


@pytest.mark.parametrize(
    ("before", "after", "losses"), [(0.06, 0.08, 1), (0.06, None, 1), (0.08, 0.06, 0), (None, 0.16, 0)]
)
def test_a_smallest_flame_that_grew_is_a_loss(before: float | None, after: float | None, losses: int) -> None:
    assert len(events.lost(flames(after), [flames(before)])) == losses


def test_the_hash_depends_on_files_and_labels_not_on_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"film")
    (tmp_path / "b").write_bytes(b"film")
    first, second = (Recording(tmp_path / name, Label.FIRE) for name in "ab")
    assert events.hash_of([first]) == events.hash_of([second])
    assert events.hash_of([first]) != events.hash_of([Recording(tmp_path / "a", Label.NONE)])
    (tmp_path / "b").write_bytes(b"other")
    assert events.hash_of([first]) != events.hash_of([second])
