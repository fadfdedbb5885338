"""A kill or a power cut at any step: the next start loads a model that works, and the next update succeeds."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.files import sha256
from edge.reload import prepare
from edge.update.store import CURRENT, PREVIOUS, TRIAL, ModelStore, Outcome, Trial, model_files
from edge.update.watch import ModelWatch, boot_id
from tests.support.model_repository import AT_FULL_PRIORITY, INSTALLED, Machine, Site, edited
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
UPDATER = """
import os, sys
from pathlib import Path
from edge.config import load_config
from edge.update import comparison
from edge.update.update import Update
comparison.CHILD = sys.argv[3]
def step(name):
    print(name, flush=True)
    if name == sys.argv[2]:
        os.kill(os.getpid(), 9)
Update(load_config(Path(sys.argv[1])), step=step).run()
"""
ADOPTION = """
import os, sys
from pathlib import Path
from edge.update import store
left = int(sys.argv[2])
def counted(change):
    def counted_change(*arguments, **options):
        global left
        if left == 0:
            os.kill(os.getpid(), 9)
        left -= 1
        return change(*arguments, **options)
    return counted_change
for name in ("symlink_to", "replace", "unlink"):
    setattr(Path, name, counted(getattr(Path, name)))
getattr(store.ModelStore(Path(sys.argv[1])), sys.argv[3])()
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment, stdout=subprocess.PIPE, text=True
    )


def used_after_a_restart(machine: Machine) -> str:
    """Return the SHA-256 of the model that a start loads."""
    setup, _ = prepare(machine.config, proof=lambda *_: 100)
    assert not setup.fallback
    return setup.model_sha256


@pytest.mark.parametrize("step", ["check", "download", "compare", "link", "trial", "verdict"])
def test_an_updater_that_is_killed_at_a_step(step: str, site: Site, machine: Machine, newer: Path) -> None:
    published = site.repository().add(newer, "base")
    with machine.run():
        updater = start(UPDATER, machine.path, step, AT_FULL_PRIORITY)
        assert updater.wait(300) == -signal.SIGKILL
        assert used_after_a_restart(machine) in (sha256(INSTALLED), published)
        assert machine.update().result in ("adopted", "up to date")
        wait_for(lambda: machine.loaded[-1] == published)
    assert used_after_a_restart(machine) == published


def test_an_updater_that_is_killed_in_the_middle_of_a_download(site: Site, machine: Machine, newer: Path) -> None:
    site.repository().add(newer, "base")
    site.cut_models = "hang"
    with machine.run():
        updater = start(UPDATER, machine.path, "none", AT_FULL_PRIORITY)
        assert site.half_sent.wait(300)
        updater.kill()
        updater.wait()
        assert used_after_a_restart(machine) == sha256(INSTALLED)
        site.cut_models = ""
        assert machine.update().result == "adopted"
    assert not list(machine.store.folder.glob(".*")), "nothing is left of the first download"


@pytest.fixture
def tried(machine: Machine, tmp_path: Path) -> Callable[[str], tuple[ModelStore, list[str]]]:
    """Returns a store whose run tries a third model, and the SHA-256 of the three; two are adopted."""

    def prepare_store(outcome: str = "running") -> tuple[ModelStore, list[str]]:
        store, shas = machine.store, []
        store.folder.mkdir(parents=True)
        for number in range(3):
            model = edited(INSTALLED, tmp_path, f"model-{number}")
            shas.append(sha256(model))
            shutil.copy(model, store.model(shas[-1]))
        for name, sha in zip((PREVIOUS, CURRENT, TRIAL), shas, strict=True):
            store.point(name, sha)
        store.write_trial(Trial(shas[2], Outcome(outcome), boot_id=boot_id()))
        return store, shas

    return prepare_store


def recover(machine: Machine) -> Trial:
    """Start as the run does, and return what it says about the trial of the run before."""
    watch = ModelWatch(machine.store, machine.config)
    watch._recover()
    last = machine.store.read_trial()
    assert last
    return last


@pytest.mark.parametrize("changes", range(6))
def test_a_run_that_is_killed_while_it_adopts_a_model(
    changes: int, machine: Machine, tried: Callable[[], tuple[ModelStore, list[str]]]
) -> None:
    store, shas = tried()
    code = start(ADOPTION, store.folder, changes, "adopt_trial").wait(120)
    assert code == (-signal.SIGKILL if changes < 5 else 0), "a new step needs its own test"
    used = used_after_a_restart(machine)
    assert used in shas[1:]
    last = recover(machine)
    assert not store.sha256(TRIAL) or code == 0
    assert (last.outcome is Outcome.ADOPTED) == (used == shas[2])
    assert used_after_a_restart(machine) == used
    assert store.model(store.sha256(PREVIOUS)).is_file()


@pytest.mark.parametrize("changes", range(5))
def test_a_machine_that_loses_power_while_it_rolls_back(
    changes: int, machine: Machine, tried: Callable[[], tuple[ModelStore, list[str]]]
) -> None:
    store, shas = tried()
    store.remove(TRIAL)
    start(ADOPTION, store.folder, changes, "roll_back").wait(120)
    assert used_after_a_restart(machine) in shas[:2]


@pytest.mark.parametrize(
    ("boot", "reason"),
    [(boot_id(), "the run crashed or was killed"), ("another boot", "the machine restarted")],
    ids=["crash", "power cut"],
)
def test_a_run_that_ends_during_a_trial_starts_with_the_model_before_and_gives_up_after_three(
    boot: str,
    reason: str,
    machine: Machine,
    tried: Callable[[], tuple[ModelStore, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, shas = tried()
    monkeypatch.setattr("edge.update.watch.boot_id", lambda: boot)
    for attempt in (1, 2, 3):
        store.point(TRIAL, shas[2])
        store.write_trial(Trial(shas[2], Outcome.RUNNING, attempts=attempt, boot_id=boot_id()))
        assert used_after_a_restart(machine) == shas[1]
        last = recover(machine)
        assert last.has_failed == (attempt == 3)
        assert last.problem.endswith(f"{reason} during the trial")
        assert not store.sha256(TRIAL)
    assert last.outcome is Outcome.GIVEN_UP


def test_a_start_falls_back_from_the_current_to_the_previous_and_then_to_the_installed_model(
    machine: Machine, tried: Callable[[], tuple[ModelStore, list[str]]], caplog: pytest.LogCaptureFixture
) -> None:
    store, shas = tried()
    for name, expected in ((CURRENT, shas[0]), (PREVIOUS, sha256(INSTALLED))):
        data = bytearray(store.link(name).read_bytes())
        data[5000] ^= 255
        store.model(store.sha256(name)).write_bytes(data)
        setup, _ = prepare(machine.config, proof=lambda *_: 100)
        assert setup.model_sha256 == expected
        assert "is damaged" in setup.fallback
    store.model(shas[0]).unlink()
    store.model(shas[1]).unlink()
    assert model_files(machine.config) == [INSTALLED]
