"""A service whose model or configuration fails at start runs with the last ones that worked, and says so."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from edge.config import Config, load_config
from edge.errors import UserError
from edge.fallback import LastGood
from edge.files import sha256
from tests.support.edge_process import lines
from tests.support.run_cli import fireseg_edge, refused

ZONES = """
[[zones]]
name = "stove"
polygon = [[0, 0], [1, 0], [1, 1]]
[[ignored]]
polygon = [[0, 0.9], [0.1, 1], [0, 1]]
"""


@pytest.fixture
def config(models: dict[str, Path], tmp_path: Path) -> Config:
    model, path = tmp_path / "model.tflite", tmp_path / "fireseg.toml"
    shutil.copy(models["int8"], model)
    path.write_text(f'[model]\npath = "model.tflite"\n[clips]\nfolder = "clips"\n{ZONES}')
    return load_config(path, {"loop": {"max_fps": 3.0}})


def saved(config: Config, tmp_path: Path) -> LastGood:
    last_good = LastGood(tmp_path / "last-good")
    model = Path(config.model.path)
    last_good.save(config, model.read_bytes(), sha256(model))
    return last_good


def test_the_configuration_comes_back_as_it_was_in_use_with_the_kept_model(config: Config, tmp_path: Path) -> None:
    last_good = saved(config, tmp_path)
    original = Path(config.model.path)
    data = original.read_bytes()
    original.unlink()
    loaded = last_good.load()
    assert Path(loaded.model.path).read_bytes() == data
    assert Path(loaded.model.path).parent == tmp_path / "last-good"
    changed = {key for key, value in asdict(loaded).items() if value != asdict(config)[key]}
    assert changed == {"model"}
    assert loaded.model.threads == config.model.threads


def test_nothing_is_written_while_nothing_changes_and_an_old_model_goes(
    config: Config, models: dict[str, Path], tmp_path: Path
) -> None:
    def inodes() -> dict[str, int]:  # a file that is written is a new one
        return {path.name: path.stat().st_ino for path in (tmp_path / "last-good").iterdir()}

    last_good = saved(config, tmp_path)
    before = inodes()
    saved(config, tmp_path)
    assert inodes() == before
    shutil.copy(models["float32"], config.model.path)
    saved(config, tmp_path)
    assert inodes().keys() == {"config.json", f"{sha256(models['float32'])}.tflite"}
    assert last_good.has_model(sha256(models["float32"]))
    assert not last_good.has_model(sha256(models["int8"]))


@pytest.mark.parametrize("text", ["", "[" * 5000, "{}", '{"model_sha256": "ab", "tables": {}}'])
def test_a_damaged_store_is_an_error(config: Config, tmp_path: Path, text: str) -> None:
    last_good = saved(config, tmp_path)
    (tmp_path / "last-good" / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json could not be used"):
        last_good.load()


def test_a_damaged_model_is_not_used(config: Config, tmp_path: Path) -> None:
    last_good = saved(config, tmp_path)
    (model,) = (tmp_path / "last-good").glob("*.tflite")
    model.write_bytes(b"rubbish")
    with pytest.raises(UserError, match="is damaged"):
        last_good.load()


@pytest.fixture
def service(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a service that has run once with a valid configuration."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setattr("edge.reload.prove", lambda *_: 100)
    shutil.copy(run_folder / "tiny.tflite", tmp_path / "model.tflite")
    write_config(tmp_path, ZONES)
    assert run_service(tmp_path, run_folder)[0] == 0
    return tmp_path


def write_config(folder: Path, text: str) -> None:
    (folder / "fireseg.toml").write_text(f'[model]\npath = "model.tflite"\n{text}')


def run_service(folder: Path, run_folder: Path) -> tuple[int, str, set[str]]:
    """Return exit code, log, and zones of a short run."""
    arguments = ("--source", run_folder / "images", "--replay", "every-frame", "--log", "json")
    done = fireseg_edge("run", "--config", "fireseg.toml", *arguments, cwd=folder)
    return done.code, done.err, {zone for line in lines(done.out, "result") for zone in line["zones"]}


BREAK: dict[str, Callable[[Path], object]] = {
    "invalid configuration": lambda folder: write_config(folder, "[model]\n"),
    "nested configuration": lambda folder: write_config(folder, "x=" + "[" * 20_000),
    "missing configuration": lambda folder: (folder / "fireseg.toml").unlink(),
    "damaged model": lambda folder: (folder / "model.tflite").write_bytes(b"rubbish"),
    "missing model": lambda folder: (folder / "model.tflite").unlink(),
    "page that needs a password": lambda folder: write_config(folder, '[web]\nlisten = "0.0.0.0:0"\n'),
}


@pytest.mark.parametrize("reason", BREAK)
def test_a_service_falls_back_to_what_worked_and_says_so(reason: str, service: Path, run_folder: Path) -> None:
    BREAK[reason](service)
    code, log, zones = run_service(service, run_folder)
    assert (code, zones) == (0, {"stove"})
    assert log.count("FALLBACK to the last configuration and model that worked: ") == 1
    assert "Traceback" not in log


def test_without_a_state_folder_a_bad_start_is_refused(
    service: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY")
    (service / "model.tflite").write_bytes(b"rubbish")
    done = fireseg_edge("run", "--config", "fireseg.toml", "--source", run_folder / "images", cwd=service)
    assert "is not a TFLite model" in refused(done)[0]


def test_a_first_start_that_fails_is_refused(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    write_config(tmp_path, "")
    done = fireseg_edge("run", "--config", "fireseg.toml", "--source", run_folder / "images", cwd=tmp_path)
    assert "model.tflite could not be read" in refused(done)[0]
    assert "there is no fallback" in done.err


def test_a_service_proves_a_model_once(service: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.assembly.prove_in_fork", lambda *_: pytest.fail("the model worked before"))
    assert run_service(service, run_folder)[0] == 0


def test_only_the_user_of_the_service_can_read_what_is_kept(service: Path) -> None:
    for path in (service / "state").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
