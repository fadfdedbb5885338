"""The folder of updated models: what is damaged there counts as missing, and what cannot be used is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.errors import UserError
from edge.update.store import ModelStore, Outcome


@pytest.mark.parametrize(
    "changes",
    [{"sha256": 5}, {"problem": None}, {"problem": 5}, {"attempts": "x"}, {"attempts": None}, {"boot_id": []}],
)
def test_a_trial_with_a_value_of_another_type_counts_as_none(tmp_path: Path, changes: dict[str, object]) -> None:
    values = {"sha256": "ab", "outcome": "rolled back", "problem": "", "attempts": 1, "boot_id": ""}
    store, path = ModelStore(tmp_path), tmp_path / "trial.json"
    path.write_text(json.dumps(values))
    trial = store.read_trial()
    assert trial
    assert trial.outcome is Outcome.ROLLED_BACK
    path.write_text(json.dumps(values | changes))
    assert store.read_trial() is None


def test_a_lock_that_cannot_be_opened_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "update.lock").mkdir()
    lock = ModelStore(tmp_path).lock("update", owner="x")
    with pytest.raises(UserError, match=r"update\.lock could not be opened"), lock:
        pass
