"""`fireseg-edge config`: it writes a file with every key, and its check refuses what a run would refuse."""

from __future__ import annotations

import stat
from pathlib import Path
from unittest import mock

import pytest

from edge.commands.doctor import checks
from edge.commands.options import check_page
from edge.config import load_config
from edge.errors import UserError
from edge.secrets import WEB_PASSWORD
from tests.support.run_cli import fireseg_edge, refused

STOVE = '[[zones]]\nname = "stove"\npolygon = [[0.1, 0.4], [0.5, 0.4], [0.5, 0.9]]\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "fireseg.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_init_writes_a_private_file_that_check_calls_valid(tmp_path: Path) -> None:
    path = tmp_path / "fireseg.toml"
    assert fireseg_edge("config", "init", cwd=tmp_path).code == 0
    assert stat.S_IMODE(path.stat().st_mode) & 0o137 == 0
    done = fireseg_edge("config", "check", cwd=tmp_path)
    assert done.code == 0
    assert "fireseg.toml is valid; model: base, 224x224 px; zones: the whole frame" in done.out
    path.write_text(path.read_text() + STOVE)
    assert "zones: stove" in fireseg_edge("config", "check", path, cwd=tmp_path).out


@pytest.mark.parametrize(("user", "mode"), [(0, 0o640), (1000, 0o600)])
def test_the_service_can_read_a_file_that_root_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, mode: int
) -> None:
    groups: list[str] = []
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr("shutil.chown", lambda _, group: groups.append(group))
    assert fireseg_edge("config", "init", cwd=tmp_path).code == 0
    assert stat.S_IMODE((tmp_path / "fireseg.toml").stat().st_mode) == mode
    assert groups == (["video"] if user == 0 else [])


def test_check_opens_the_model(tmp_path: Path) -> None:
    path = written(tmp_path, '[model]\npath = "my.tflite"\n')
    assert refused(fireseg_edge("config", "check", path, cwd=tmp_path)) == [
        f"model {tmp_path}/my.tflite could not be read (No such file or directory): check the path"
    ]


REFUSED = {
    "an empty secret": ('[webhook]\nurl = "http://127.0.0.1:9/"\nsecret_file = "empty"', "empty is empty"),
    "an empty webhook password": ('[webhook]\nurl = "http://127.0.0.1:9/"\npassword_file = "empty"', "empty is empty"),
    "an empty broker password": ('[mqtt]\nhost = "127.0.0.1"\nport = 9\npassword_file = "empty"', "empty is empty"),
    "no certificate": ('[mqtt]\nhost = "127.0.0.1"\ntls = true\nca_file = "empty"', "expected certificates in PEM"),
    "no recording": ('[source]\naddress = "nope.mp4"', "neither a file nor a folder nor a camera"),
    "clips in a file": ('[clips]\nfolder = "empty"', "choose a writable folder"),
    "a spool in a file": ('[spool]\nfolder = "empty"', "choose a writable folder"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_check_doctor_and_install_refuse_what_a_run_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str, models: dict[str, Path]
) -> None:
    monkeypatch.setattr("edge.commands.service.find_program", lambda: Path("/usr/bin/fireseg-edge"))
    text, expected = REFUSED[mistake]
    (tmp_path / "empty").touch()
    source = "" if "[source]" in text else '[source]\naddress = "test-pattern"\n'
    path = written(tmp_path, f'{source}[model]\npath = "{models["int8"]}"\n{text}')
    for command in (["config", "check"], ["install-service", "--dry-run", "--config"], ["run", "--config"]):
        (line,) = refused(fireseg_edge(*command, path, cwd=tmp_path))
        assert expected in line
    failures = []
    for name, check in checks(load_config(path)):
        if name in ("folders", "broker", "webhook", "camera"):
            try:
                check()
            except UserError as error:
                failures.append(str(error))
    (failure,) = failures
    assert expected in failure


@pytest.mark.parametrize("command", [("config", "check"), ("install-service", "--dry-run", "--config")])
def test_a_page_for_other_machines_needs_a_password_that_the_service_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.delenv(WEB_PASSWORD, raising=False)
    monkeypatch.setattr("edge.secrets.SERVICE_SECRETS", tmp_path / "secrets.env")
    monkeypatch.setattr("edge.commands.service.find_program", lambda: Path("/usr/bin/fireseg-edge"))
    path = written(tmp_path, '[web]\nlisten = "0.0.0.0:8080"\n')
    (line,) = refused(fireseg_edge(*command, path, cwd=tmp_path))
    assert line.startswith("the live page at 0.0.0.0 would be open to other machines without a password")
    if "install-service" in command:  # the service does not see the variables of this shell
        monkeypatch.setenv(WEB_PASSWORD, "a long password")
        assert refused(fireseg_edge(*command, path, cwd=tmp_path)) == [line]
    (tmp_path / "secrets.env").write_text(f'# of the service\n{WEB_PASSWORD}="a long password"\n')
    assert fireseg_edge(*command, path, cwd=tmp_path).code == 0


def test_a_password_that_only_the_service_may_read_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WEB_PASSWORD, raising=False)
    monkeypatch.setattr("edge.secrets.SERVICE_SECRETS", mock.Mock(read_text=mock.Mock(side_effect=PermissionError)))
    config = load_config(written(tmp_path, '[web]\nlisten = "0.0.0.0:8080"\n'))
    assert check_page(config) == "0.0.0.0:8080; this user may not read its password"


def test_check_refuses_a_short_password_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIRESEG_WEB_PASSWORD", raising=False)
    (tmp_path / "password").write_text("x\n")
    path = written(tmp_path, '[web]\nlisten = "0.0.0.0:8080"\npassword_file = "password"')
    (line,) = refused(fireseg_edge("config", "check", path, cwd=tmp_path))
    assert line.startswith("the live page's password has 1 character: expected at least 8")
    (tmp_path / "password").write_text("long enough\n")
    assert fireseg_edge("config", "check", path, cwd=tmp_path).code == 0


def test_init_overwrites_nothing_and_check_tells_how_to_start(tmp_path: Path) -> None:
    path = written(tmp_path, "mine")
    assert "already exists" in refused(fireseg_edge("config", "init", cwd=tmp_path))[0]
    assert "could not be written" in refused(fireseg_edge("config", "init", "x" * 300, cwd=tmp_path))[0]
    assert path.read_text() == "mine"
    (line,) = refused(fireseg_edge("config", "check", "gone.toml", cwd=tmp_path))
    assert "write one with `fireseg-edge config init`" in line
