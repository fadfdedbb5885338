"""A model is updated from a signed repository: every failure leaves the run with a model that works, and says so."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge.errors import UserError
from edge.files import sha256
from edge.update.client import is_rolled_out
from edge.update.store import CURRENT, PREVIOUS, TRIAL, Outcome, model_files
from edge.update.update import Update
from tests.support.model_repository import INSTALLED, Machine, Site, edited, serve
from tests.support.run_cli import fireseg_edge, refused
from tests.support.small_disk import fill, small_disk
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow


def publish(site: Site, model: Path, **options: int | str) -> str:
    return site.repository().add(model, "base", **options)  # type: ignore[arg-type]


def assert_installed_model_runs(machine: Machine) -> None:
    assert machine.loaded[-1] == sha256(INSTALLED)
    assert not machine.store.sha256(TRIAL)
    assert model_files(machine.config)[0] == INSTALLED


def test_a_new_model_is_tried_in_the_run_and_adopted(site: Site, machine: Machine, newer: Path) -> None:
    published = publish(site, newer)
    with machine.run() as watch:
        report = machine.update()
        assert (report.result, report.problem) == ("adopted", "")
        assert machine.loaded == [sha256(INSTALLED), published]
        assert machine.store.sha256(CURRENT) == published
        assert machine.update().result == "up to date"
        wait_for(lambda: watch.status.checked)
        assert not watch.status.problem
    assert sha256(model_files(machine.config)[0]) == published, "the next start uses it"


def test_a_second_update_keeps_the_first_model_to_roll_back_to(site: Site, machine: Machine, tmp_path: Path) -> None:
    shas = [publish(site, model) for model in [edited(INSTALLED, tmp_path, "a")]]
    with machine.run():
        machine.update()
        shas.append(publish(site, edited(INSTALLED, tmp_path, "b")))
        machine.update()
        assert (machine.store.sha256(PREVIOUS), machine.store.sha256(CURRENT)) == tuple(shas)
        rolled_back = fireseg_edge("update", "--rollback", "--config", machine.path, cwd=tmp_path)
        assert (rolled_back.code, shas[0][:12] in rolled_back.out) == (0, True)
        wait_for(lambda: machine.loaded[-1] == shas[0])
        with pytest.raises(UserError, match=r"was rolled back by hand: publish another model, or pass --retry"):
            machine.update()
        assert machine.update(retry=True).result == "adopted"
    assert refused(fireseg_edge("update", "--rollback", "--check", "--config", machine.path, cwd=tmp_path))


def test_a_model_that_was_damaged_on_disk_is_downloaded_again(site: Site, machine: Machine, newer: Path) -> None:
    published = publish(site, newer)
    with machine.run():
        machine.update()
        machine.store.model(published).write_bytes(b"damaged")
    with machine.run():
        assert machine.loaded[-1] == sha256(INSTALLED)
        assert machine.update().result == "adopted"
        assert machine.loaded[-1] == sha256(machine.store.link(CURRENT)) == published


def test_check_says_what_there_is_and_downloads_no_model(site: Site, machine: Machine, newer: Path) -> None:
    publish(site, newer)
    done = fireseg_edge("update", "--check", "--json", "--config", machine.path, cwd=machine.folder)
    assert json.loads(done.out)["result"] == "available"
    assert not any(path.startswith("/targets/") for path in site.paths)


def test_a_staged_roll_out_reaches_each_machine_in_its_stage(site: Site, machine: Machine, newer: Path) -> None:
    published = publish(site, newer, roll_out_percent=0)
    with machine.run():
        assert machine.update().result == "not rolled out yet"
        assert publish(site, newer, roll_out_percent=100) == published
        assert machine.update().result == "adopted"
    machines = [f"machine {number}" for number in range(2000)]
    tenth, half = ({each for each in machines if is_rolled_out("ab" * 32, share, each)} for share in (10, 50))
    assert tenth < half
    assert 150 < len(tenth) < 250
    other = {each for each in machines if is_rolled_out("cd" * 32, 10, each)}
    assert len(other & tenth) < 60, "another model begins with other machines"


def test_an_interrupted_download_is_an_error_and_the_next_update_succeeds(
    site: Site, machine: Machine, newer: Path
) -> None:
    publish(site, newer)
    with machine.run():
        site.cut_models = "cut"
        with pytest.raises(UserError, match=r"check the network and|is damaged or was replaced"):
            machine.update()
        assert_installed_model_runs(machine)
        assert not list(machine.store.folder.glob("*.tflite"))
        site.cut_models = ""
        assert machine.update().result == "adopted"


def test_a_repository_with_other_keys_is_refused(site: Site, machine: Machine, newer: Path, tmp_path: Path) -> None:
    publish(site, newer)
    (tmp_path / "other").mkdir()
    with serve(tmp_path / "other") as stranger, machine.run():
        publish(stranger, newer)
        shutil.rmtree(site.folder)
        shutil.copytree(stranger.folder, site.folder)
        with pytest.raises(UserError, match=r"is not signed by the keys in \[update\] root"):
            machine.update()
        assert_installed_model_runs(machine)


def test_a_model_that_was_replaced_on_the_server_is_refused(site: Site, machine: Machine, newer: Path) -> None:
    published = publish(site, newer)
    target = site.folder / "targets" / f"{published}.base.tflite"
    data = bytearray(target.read_bytes())
    data[1000] ^= 1
    target.write_bytes(data)
    with machine.run():
        with pytest.raises(UserError, match="is damaged or was replaced"):
            machine.update()
        assert_installed_model_runs(machine)


def test_expired_metadata_are_refused_until_they_are_renewed(site: Site, machine: Machine, newer: Path) -> None:
    site.repository(days_ago=30).add(newer, "base")
    with machine.run() as watch:
        with pytest.raises(UserError, match=r"have expired .*: its owner must run `fireseg-export publish refresh`"):
            machine.update()
        checked = fireseg_edge("update", "--check", "--config", machine.path, cwd=machine.folder)
        assert "have expired" in refused(checked)[0]
        assert_installed_model_runs(machine)
        wait_for(lambda: "have expired" in watch.status.problem)
        site.repository().refresh()
        assert machine.update().result == "adopted"
        wait_for(lambda: not watch.status.problem)


def test_an_older_copy_of_the_repository_is_refused(site: Site, machine: Machine, newer: Path, tmp_path: Path) -> None:
    publish(site, edited(INSTALLED, tmp_path, "vulnerable"))
    shutil.copytree(site.folder, tmp_path / "old")
    published = publish(site, newer)
    with machine.run():
        assert machine.update().result == "adopted"
        shutil.rmtree(site.folder)
        shutil.copytree(tmp_path / "old", site.folder)
        with pytest.raises(UserError, match="is older than what this machine has already seen"):
            machine.update()
        assert machine.loaded[-1] == published


def test_machines_follow_rotated_keys(site: Site, machine: Machine, newer: Path) -> None:
    for key in ("online", "targets", "root", "root"):
        site.repository().rotate(key)
    publish(site, newer)
    with machine.run():
        assert machine.update().result == "adopted"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system to fill needs root")
def test_a_full_disk_is_an_error_and_the_next_update_succeeds(
    site: Site, machine: Machine, newer: Path, tmp_path: Path
) -> None:
    publish(site, newer)
    with small_disk(machine.folder / "models", 4) as disk, machine.run():
        with pytest.raises(UserError, match=r"no run|could not be"):
            fill(disk)
            machine.update()
        assert_installed_model_runs(machine)
        (disk / "filling").unlink()
        fill(disk, leave_bytes=200_000)  # for metadata, not for the model
        with pytest.raises(UserError, match=r"could not be written \(No space left on device\): free some space"):
            machine.update()
        assert_installed_model_runs(machine)
        (disk / "filling").unlink()
        assert machine.update().result == "adopted"


def test_a_result_that_cannot_be_saved_is_an_error_only_after_success(
    site: Site, machine: Machine, newer: Path
) -> None:
    (machine.store.folder / "check.json").mkdir(parents=True)
    publish(site, newer)
    with pytest.raises(UserError, match="no run is active to try the model"):
        machine.update()
    publish(site, INSTALLED)
    with pytest.raises(UserError, match=r"the update succeeded, but its result could not be saved \("):
        machine.update()


def test_a_model_for_a_newer_version_is_not_downloaded(site: Site, machine: Machine, newer: Path) -> None:
    publish(site, newer, minimum_version="99.0")
    with machine.run(), pytest.raises(UserError, match=r"needs fireseg-edge 99\.0, this is .*: update fireseg-edge"):
        machine.update()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('url = "http://127.0.0.1:9"', r"could not be read \(Connection refused\): check the network"),
        ('url = "http://nowhere.invalid"', "could not be read .*: check the network"),
        ('model = "other"', r"has no model other: check \[update\] model"),
        ('root = "missing.json"', r"missing\.json\": expected an existing file"),
        ('root = "fireseg.toml"', "root is invalid"),
    ],
)
def test_a_wrong_setting_is_one_line_with_a_remedy(
    line: str, message: str, site: Site, machine: Machine, newer: Path
) -> None:
    publish(site, newer)
    key = line.partition(" ")[0]
    lines = [line if each.startswith(f"{key} =") else each for each in machine.path.read_text().splitlines()]
    machine.path.write_text("\n".join(lines))
    (error,) = refused(fireseg_edge("update", "--config", machine.path, cwd=machine.folder))
    assert re.search(message, error), error


def test_a_wrong_folder_on_the_server_is_one_line(site: Site, machine: Machine, newer: Path) -> None:
    machine.path.write_text(machine.path.read_text().replace(site.address, f"{site.address}/elsewhere"))
    with pytest.raises(UserError, match=r"answered 404: check \[update\] url"):
        machine.update()


def test_without_a_run_nothing_is_changed(site: Site, machine: Machine, newer: Path) -> None:
    publish(site, newer)
    with pytest.raises(UserError, match="no run is active to try the model: start one"):
        machine.update()
    assert machine.store.read_json("check")["problem"] == "", "the next run has nothing to tell"
    assert not machine.store.sha256(TRIAL)


def test_without_the_table_updates_are_off(tmp_path: Path) -> None:
    (tmp_path / "fireseg.toml").write_text("[model]\n")
    done = fireseg_edge("update", "--config", tmp_path / "fireseg.toml", cwd=tmp_path)
    assert refused(done) == ["model updates are off: set [update] url and root in the configuration"]


@pytest.mark.skipif(os.geteuid() != 0, reason="changing an owner needs root")
def test_another_user_than_that_of_the_run_is_refused_and_leaves_no_file(machine: Machine) -> None:
    with machine.run():
        pass
    os.chown(machine.store.folder / "run.lock", 65534, -1)
    before = sorted(machine.store.folder.iterdir())
    for option in (["--check"], ["--rollback"], []):
        done = fireseg_edge("update", *option, "--config", machine.path, cwd=machine.folder)
        (error,) = refused(done)
        assert error.endswith("belongs to a run of another user: run this as the user of the run, nobody")
    assert sorted(machine.store.folder.iterdir()) == before
    assert not machine.store.read_json("check")


@pytest.mark.skipif(os.geteuid() != 0, reason="dropping the rights of root needs root")
def test_a_folder_with_wrong_permissions_is_one_line(machine: Machine) -> None:
    folder = machine.store.folder
    folder.mkdir(parents=True)
    os.chown(folder, 65534, -1)
    for mode, message in ((0o755, "could not be written (Permission denied)"), (0o700, "run this as the user of the")):
        folder.chmod(mode)
        done = subprocess.run(
            ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", sys.executable, "-c",
             "from edge.cli import run; run()", "update", "--check", "--config", machine.path],
            check=False, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done
        assert message in done.stderr


def test_two_updates_do_not_run_at_once(machine: Machine) -> None:
    with machine.store.lock("update", owner="x"), pytest.raises(UserError, match="another `fireseg-edge update` uses"):
        Update(machine.config).run()
    assert not machine.store.read_json("check"), "the other one says how it went"


def test_a_run_that_stops_ends_its_trial_and_the_next_update_tries_again(
    site: Site, tmp_path: Path, newer: Path
) -> None:
    machine = Machine(tmp_path / "machine", site, INSTALLED, watch_s=86400)
    published = publish(site, newer)
    store = machine.store
    with machine.run():
        shutil.copy(newer, store.folder / f"{published}.tflite")
        store.point(TRIAL, published)
        wait_for(lambda: machine.loaded[-1] == published)
    last = store.read_trial()
    assert last
    assert (last.outcome, store.sha256(TRIAL), store.sha256(CURRENT)) == (Outcome.INTERRUPTED, "", "")
    machine.path.write_text(machine.path.read_text().replace("86400", "5"))
    with machine.run():
        assert machine.update().result == "adopted"


def test_a_card_of_nested_lists_in_the_metadata_is_one_line(
    site: Site, machine: Machine, newer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.publish.json", SimpleNamespace(dumps=lambda _: "[" * 100_000))
    publish(site, newer)
    with pytest.raises(UserError, match=r"the entry of base\.tflite is invalid"):
        Update(machine.config).check()
