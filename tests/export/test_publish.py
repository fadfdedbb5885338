"""`fireseg-export publish` signs a repository: keys stay private, thresholds hold, and what expires can be renewed."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge.errors import UserError
from edge.model.card import FLATBUFFER_SHA256, attach, split_model

pytest.importorskip("tuf", reason="tuf is not installed: pip install '.[publish]'")
pytest.importorskip("cryptography", reason="cryptography is not installed: pip install '.[publish]'")

from export.publish import PASSWORD, ModelRepository
from tests.support.run_export import Run, run_here

__all__ = ["run_here"]
MODEL = Path(__file__).parents[2] / "models/fireseg-small-int8.tflite"


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    repository = ModelRepository(tmp_path / "site", tmp_path / "keys")
    repository.init()
    return repository


def metadata(tmp_path: Path, name: str) -> dict[str, Any]:
    signed: dict[str, Any] = json.loads((tmp_path / "site/metadata" / name).read_text())["signed"]
    return signed


def test_the_keys_are_readable_by_their_owner_alone_and_the_site_by_all(
    repository: ModelRepository, tmp_path: Path
) -> None:
    repository.add(MODEL, "small")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()}
    assert modes == {0o600}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in (tmp_path / "site").rglob("*.*"))


def test_a_password_encrypts_the_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, "a long password")
    repository = ModelRepository(tmp_path / "site", tmp_path / "keys")
    repository.init()
    assert all(b"ENCRYPTED" in path.read_bytes() for path in (tmp_path / "keys").iterdir())
    repository.refresh()
    monkeypatch.setenv(PASSWORD, "another")
    with pytest.raises(UserError, match=f"could not be read .*: check {PASSWORD}"):
        repository.refresh()


def test_a_model_is_published_with_the_facts_of_its_card_and_its_roll_out(
    repository: ModelRepository, tmp_path: Path
) -> None:
    sha256 = repository.add(MODEL, "small", roll_out_percent=10, minimum_version="0.1.0")
    target = metadata(tmp_path, "2.targets.json")["targets"]["small.tflite"]
    custom = target["custom"]
    _, card = split_model(MODEL)
    assert card
    assert json.loads(custom["card"])[FLATBUFFER_SHA256] == card[FLATBUFFER_SHA256]
    assert (custom["roll_out_percent"], custom["minimum_version"]) == (10, "0.1.0")
    assert (tmp_path / f"site/targets/{sha256}.small.tflite").read_bytes() == MODEL.read_bytes()


@pytest.mark.parametrize("name", ["", "Base", "../base", "a/b", "base.tflite"])
def test_a_name_that_no_configuration_takes_is_not_published(repository: ModelRepository, name: str) -> None:
    with pytest.raises(UserError, match="is not possible: expected small letters"):
        repository.add(MODEL, name)


def test_a_model_without_a_self_test_is_not_published(repository: ModelRepository, tmp_path: Path) -> None:
    flatbuffer, card = split_model(MODEL)
    path = tmp_path / "old.tflite"
    path.write_bytes(attach(flatbuffer, {key: value for key, value in (card or {}).items() if key != "self_test"}))
    with pytest.raises(UserError, match="has no card with a self-test: run `fireseg-export self-test`"):
        repository.add(path, "small")


def test_refresh_needs_the_online_key_alone_and_says_what_expires_soon(
    repository: ModelRepository, tmp_path: Path
) -> None:
    for name in ("root-1", "targets-1"):
        (tmp_path / f"keys/{name}.pem").unlink()
    later = datetime.now(UTC) + timedelta(days=320)
    (warning,) = ModelRepository(tmp_path / "site", tmp_path / "keys", later).refresh()
    assert warning.startswith("targets expires on ")
    assert metadata(tmp_path, "timestamp.json")["version"] == 2
    with pytest.raises(UserError, match=r"too few keys of targets are in .*: copy enough files targets-\*\.pem"):
        repository.add(MODEL, "small")


def test_a_rotation_needs_as_many_root_keys_as_the_threshold(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    repository = ModelRepository(tmp_path / "site", keys)
    repository.init(root_keys=3, threshold=2)
    (keys / "root-3.pem").unlink()
    assert repository.rotate("online") == keys / "online-2.pem"
    assert (keys / "online-1.retired").exists()
    (keys / "root-2.pem").unlink()
    files = sorted(keys.iterdir())
    with pytest.raises(UserError, match="too few keys of root"):
        repository.rotate("targets")
    assert sorted(keys.iterdir()) == files, "a refused rotation leaves no key"


def test_the_command_publishes_and_refuses_in_one_line(run_here: Run) -> None:
    assert run_here("publish", "init").returncode == 0
    done = run_here("publish", "add", MODEL, "--name", "small", "--roll-out", "10")
    assert "published for 10 % of the machines" in done.stdout
    assert "fresh for two weeks" in run_here("publish", "refresh").stdout
    again = run_here("publish", "init")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "already exists" in again.stderr
    assert "there is no key 'x'" in run_here("publish", "rotate", "x").stderr
    assert "make one with" in run_here("publish", "refresh", "--repository", "nowhere").stderr


@pytest.mark.parametrize("name", ["../base", "a/b", "Base", "a\nb", "", "a" * 400])
def test_a_name_that_no_machine_can_ask_for_is_refused(repository: ModelRepository, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="--name "):
        repository.add(MODEL, name)
    assert not (tmp_path / "site/targets").exists()


def test_a_minimum_version_without_a_number_is_refused(repository: ModelRepository) -> None:
    with pytest.raises(UserError, match="--minimum-version 'soon'"):
        repository.add(MODEL, "base", minimum_version="soon")


def test_an_init_that_cannot_write_leaves_no_keys(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("")
    with pytest.raises(UserError, match="could not be written"):
        ModelRepository(tmp_path / "site", tmp_path / "keys").init()
    assert not (tmp_path / "keys").exists()


def test_a_rotation_of_targets_without_the_online_key_changes_nothing(
    repository: ModelRepository, tmp_path: Path
) -> None:
    (tmp_path / "keys/online-1.pem").rename(tmp_path / "online-1.pem")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="the online key is not in"):
        repository.rotate("targets")
    assert sorted(tmp_path.rglob("*")) == before
    assert repository.rotate("root") == tmp_path / "keys/root-2.pem", "snapshot and timestamp do not name it"


def test_a_model_that_cannot_be_published_is_not_published_by_the_next_refresh(
    repository: ModelRepository, tmp_path: Path
) -> None:
    online, away = tmp_path / "keys/online-1.pem", tmp_path / "online-1.pem"
    online.rename(away)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="the online key is not in"):
        repository.add(MODEL, "small")
    assert sorted(tmp_path.rglob("*")) == before
    away.rename(online)
    repository.refresh()
    assert metadata(tmp_path, "2.snapshot.json")["meta"]["targets.json"]["version"] == 1


def test_copies_of_keys_do_not_disturb_a_rotation(repository: ModelRepository, tmp_path: Path) -> None:
    for name in ("online-1.pem.bak", "online-backup.pem"):
        (tmp_path / "keys" / name).write_bytes((tmp_path / "keys/online-1.pem").read_bytes())
    assert repository.rotate("online") == tmp_path / "keys/online-2.pem"
