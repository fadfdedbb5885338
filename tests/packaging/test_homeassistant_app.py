"""The Home Assistant app: its files against the documented keys, and its start script.

Untried on a real Home Assistant: its own validation is in no package.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.homeassistant.fireseg_edge import start
from edge.config import load_config
from edge.images import read_rgb
from tests.support.http_server import FileServer

ROOT = Path(__file__).parents[2]
APP = ROOT / "deploy/homeassistant/fireseg_edge"
REQUIRED = {"name", "version", "slug", "description", "arch"}
KNOWN = REQUIRED | {"stage", "ingress", "panel_icon", "ports", "video", "tmpfs", "services", "map", "options", "schema"}
"""Of the keys in Home Assistant's documentation of an app's configuration, those that are used here."""
TYPE = re.compile(r"(str|bool|int|float|email|url|password|port|device)(\(.*\))?\??|(match|list)\(.+\)\??")
OPTIONS = {"source": "rtsp://cam/1", "model": "small", "clips": True}
BROKER = {"host": "core-mosquitto", "port": 1883, "ssl": False, "username": "addons", "password": "hunter2"}


def load(name: str) -> Any:
    return yaml.safe_load((APP / name).read_text())


@pytest.fixture
def supervisor() -> Iterator[FileServer]:
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_configuration_uses_documented_keys_and_types() -> None:
    app = load("config.yaml")
    assert set(app) >= REQUIRED
    assert set(app) <= KNOWN
    assert set(app["arch"]) == {"aarch64", "amd64"}
    assert re.fullmatch(r"[-_.A-Za-z0-9]+", app["slug"])
    assert all(re.fullmatch(r"\d+/(tcp|udp)", port) for port in app["ports"])
    assert all(re.fullmatch(r"(mqtt|mysql):(provide|want|need)", service) for service in app["services"])
    assert {entry["type"] for entry in app["map"]} == {"addon_config", "media"}
    assert all(TYPE.fullmatch(kind) for kind in app["schema"].values())
    # What is optional must have no default; what is not must have one, or null to be asked for.
    optional = {key for key, kind in app["schema"].items() if kind.endswith("?")}
    assert set(app["options"]) == set(app["schema"]) - optional


def test_each_option_and_port_is_explained() -> None:
    app, words = load("config.yaml"), load("translations/en.yaml")
    assert set(words["configuration"]) == set(app["schema"])
    assert set(words["network"]) == set(app["ports"])
    assert all({"name", "description"} == set(entry) for entry in words["configuration"].values())
    assert read_rgb(APP / "icon.png").shape == (128, 128, 3)


def test_the_options_are_a_valid_configuration_that_only_home_assistant_can_open() -> None:
    text = start.merge("", start.tables(OPTIONS, BROKER))
    values = tomllib.loads(text)
    assert values["source"]["address"] == "rtsp://cam/1"
    assert values["web"] == {"listen": "0.0.0.0:8099", "trusted_proxy": "172.30.32.2"}
    assert values["mqtt"] == {"host": "core-mosquitto", "port": 1883, "tls": False}
    assert "hunter2" not in text


def test_the_written_file_is_accepted_by_a_run(tmp_path: Path) -> None:
    (tmp_path / "fireseg.toml").write_text(start.merge("", start.tables(OPTIONS | {"camera_name": "hall"}, BROKER)))
    config = load_config(tmp_path / "fireseg.toml", {})
    assert (config.model.path, config.mqtt.name, config.clips.folder) == ("small", "hall", "/media/fireseg-edge")


def test_zones_comments_and_other_keys_of_the_file_are_kept() -> None:
    written = "# mine\n[source]\nfps = 5.0 # slow\naddress = 'old'\n[mqtt]\nhost = 'mine'\n[[zones]]\nname = 'stove'\n"
    merged = start.merge(written, start.tables(OPTIONS, {}))
    assert "# mine" in merged
    assert "fps = 5.0 # slow" in merged
    values = tomllib.loads(merged)
    assert values["zones"] == [{"name": "stove"}]
    assert values["source"]["address"] == "rtsp://cam/1"
    assert values["mqtt"] == {"host": "mine"}  # without a broker of Home Assistant, one's own stays
    assert start.merge(merged, start.tables(OPTIONS, {})) == merged


def test_passwords_go_into_the_environment() -> None:
    options = OPTIONS | {"source_user": "me", "source_password": "secret", "page_password": ""}
    assert start.secrets(options, BROKER) == {
        "FIRESEG_SOURCE_USER": "me",
        "FIRESEG_SOURCE_PASSWORD": "secret",
        "FIRESEG_MQTT_USER": "addons",
        "FIRESEG_MQTT_PASSWORD": "hunter2",
    }


def test_the_broker_is_asked_of_the_supervisor(supervisor: FileServer) -> None:
    supervisor.files = {"services/mqtt": json.dumps({"result": "ok", "data": BROKER}).encode()}
    assert start.find_broker(supervisor.address, "a token") == BROKER


@pytest.mark.parametrize("answer", [None, b"no JSON", b"[]", b"{}"])
def test_without_a_broker_the_watch_goes_on(
    supervisor: FileServer, answer: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor.files = {"services/mqtt": answer} if answer else {}
    supervisor.statuses = [] if answer else [400]
    assert start.find_broker(supervisor.address, "") == {}
    (line,) = capsys.readouterr().err.splitlines()
    assert "install the Mosquitto app" in line


@pytest.mark.slow
def test_the_collected_app_has_all_that_its_dockerfile_copies() -> None:
    environment = os.environ | {"PYTHON": sys.executable}
    subprocess.run([ROOT / "deploy/container/collect.sh", "homeassistant"], check=True, env=environment)
    app = ROOT / "build/homeassistant/fireseg_edge"
    dockerfile = (app / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    for pattern in " ".join(copied).split():
        assert list(app.glob(pattern)), pattern
    (wheel,) = app.glob("*.whl")
    assert yaml.safe_load((app / "config.yaml").read_text())["version"] == wheel.name.split("-")[1]
    assert (ROOT / "build/homeassistant/repository.yaml").exists()


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, "null", "\xff", None])
def test_damaged_options_count_as_none(text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "options.json"
    if text is not None:
        path.write_text(text, encoding="latin-1")
    monkeypatch.setattr(start, "OPTIONS", path)
    assert start.read_options() == {}


def test_options_cannot_leave_their_string() -> None:
    text = 'a"\n[web]\ntrusted_proxy = "10.0.0.1'
    merged = tomllib.loads(start.merge("", start.tables(OPTIONS | {"source": text}, {})))
    assert merged["source"]["address"] == text
    assert merged["web"]["trusted_proxy"] == start.INGRESS_PROXY


def test_a_password_with_a_zero_byte_can_go_into_the_environment() -> None:
    assert start.secrets({"page_password": "se\0cret"}, {})["FIRESEG_WEB_PASSWORD"] == "secret"
