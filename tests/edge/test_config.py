"""The configuration file: what it contains is what runs, and each mistake is one line with the way out."""

from __future__ import annotations

import dataclasses
import json
import socket
import stat
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.commands.config import documented_config
from edge.commands.doctor import checks
from edge.config import SECTIONS, Config, load_config, parse_listen
from edge.config_schema import validation_error
from edge.errors import UserError
from edge.secrets import WEB_PASSWORD
from tests.support.run_cli import fireseg_edge, refused

ROOT = Path(__file__).parents[2]
STOVE = '[[zones]]\nname = "stove"\npolygon = [[0.1, 0.4], [0.5, 0.4], [0.5, 0.9]]\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "fireseg.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_template_changes_nothing(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, documented_config())) == Config() == load_config(None)


def test_the_template_lists_every_key_with_its_default(tmp_path: Path) -> None:
    lines = documented_config().splitlines()
    text = "\n".join(line.removeprefix("#") if line[:1] == "#" and line[1:2] != " " else line for line in lines)
    tables = tomllib.loads(text)
    for name, kind in SECTIONS.items():
        assert list(tables[name]) == [key.name for key in dataclasses.fields(kind)]
        assert kind(**tables[name]) == kind()
    config = load_config(written(tmp_path, text))
    assert [zone.name for zone in config.zones] == ["stove"]
    assert len(config.ignored) == 1


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_has_a_sentence_and_a_default_within_its_bounds(section: str) -> None:
    for key in dataclasses.fields(SECTIONS[section]):
        assert key.metadata["doc"].strip().endswith((".", "…"))
        assert validation_error(key.default, type(key.default), key) is None


def test_the_file_overrides_defaults_and_options_override_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[alarm]\non_share = 0.02\non_results = 4\n" + STOVE)
    config = load_config(path, {"alarm": {"on_share": 0.03}, "source": {"address": "test-pattern"}})
    assert (config.alarm.on_share, config.alarm.on_results, config.alarm.of_results) == (0.03, 4, 8)
    assert config.source.address == "test-pattern"
    assert config.zones[0].polygon == ((0.1, 0.4), (0.5, 0.4), (0.5, 0.9))


def test_paths_in_the_file_start_at_its_folder_and_those_of_options_do_not(tmp_path: Path) -> None:
    (tmp_path / "fire.mp4").write_bytes(b"")
    (tmp_path / "secret").write_text("hunter2")
    text = '[model]\npath = "my.tflite"\n[clips]\nfolder = "events"\n[source]\naddress = "fire.mp4"\n'
    path = written(tmp_path, text + '[webhook]\nsecret_file = "secret"\n')
    config = load_config(path, {"model": {"path": "other.tflite"}})
    assert config.model.path == "other.tflite"
    assert config.clips.folder == str(tmp_path / "events")
    assert config.source.address == str(tmp_path / "fire.mp4")
    assert config.files("required") == [tmp_path / "secret"]
    assert load_config(path).model.path == str(tmp_path / "my.tflite")


@pytest.mark.parametrize("name", ["picamera2", "test-pattern", "0", "rtsp://cam/1", "http://cam/live?x=1"])
def test_a_camera_by_its_name_is_not_a_path(tmp_path: Path, name: str) -> None:
    assert load_config(written(tmp_path, f'[source]\naddress = "{name}"')).source.address == name


@pytest.mark.parametrize("name", ["videos", "gone.mp4", "./test-pattern", "00.mp4"])
def test_any_other_source_is_a_path_in_the_folder_of_the_file(tmp_path: Path, name: str) -> None:
    assert load_config(written(tmp_path, f'[source]\naddress = "{name}"')).source.address == str(tmp_path / name)


@pytest.mark.parametrize("name", ["base", "small"])
def test_a_shipped_model_is_found_by_its_name_in_any_folder(tmp_path: Path, name: str) -> None:
    shipped = f"fireseg-{name}-int8.tflite"
    for config in (
        load_config(written(tmp_path, f'[model]\npath = "{name}"')),
        load_config(None, {"model": {"path": name}}),
    ):
        assert (config.model.file.is_absolute(), config.model.file.name) == (True, shipped)
        assert config.model.file.read_bytes() == (ROOT / "models" / shipped).read_bytes()
    assert load_config(written(tmp_path, f'[model]\npath = "./{name}"')).model.file == tmp_path / name
    assert load_config(None).model == load_config(None, {"model": {"path": "base"}}).model


MISTAKES = {
    "a broker with its port": ('[mqtt]\nhost = "broker:1884"', "the port is [mqtt] port"),
    "a broker as a URL": ('[mqtt]\nhost = "mqtt://me:pw@broker"', 'host = "mqtt://***@broker": expected a name'),
    "a topic with a wildcard": ('[mqtt]\ntopic = "a/#"', 'topic = "a/#": expected a topic without # and +'),
    "an empty topic": ('[mqtt]\ntopic = ""', "expected a topic without"),
    "a prefix with a wildcard": ('[mqtt]\ndiscovery = "ha/+"', 'discovery = "ha/+": expected'),
    "a webhook without a scheme": ('[webhook]\nurl = "example.org"', 'url = "example.org": expected http:// or https'),
    "a page without a port": ('[web]\nlisten = "127.0.0.1"', "expected an address and a port"),
    "a missing secret": ('[webhook]\nsecret_file = "gone"', "expected an existing file"),
    "a missing certificate": ('[mqtt]\nca_file = "gone.pem"', "expected an existing file"),
    "a zero byte": ('[spool]\nfolder = "a\\u0000x"', "without control characters"),
    "infinity": ("[source]\nstall_s = inf", "expected a number from 0.5 to 3600"),
    "a misspelt key": ("[alarm]\non_shre = 0.1", "[alarm] has no key on_shre: did you mean on_share?"),
    "a misspelt table": ("[alarms]\non_share = 0.1", "has no key alarms: did you mean alarm?"),
    "an unknown key": ("[model]\nxyzzy = 1", "[model] has no key xyzzy: expected path, threads"),
    "a share in percent": ("[alarm]\non_share = 5", "[alarm] on_share = 5: expected a number from 1e-05 to 1"),
    "a text for a number": ('[source]\nfps = "10"', '[source] fps = "10": expected a number from 0.01 to 240'),
    "a number for a text": ("[model]\npath = 1", "path = 1: expected a text in quotes"),
    "half a frame": ("[alarm]\non_results = 2.5", "on_results = 2.5: expected a whole number from 1 to 1000"),
    "a number for a boolean": ("[alarm]\nrequire_flicker = 1", "require_flicker = 1: expected true or false"),
    "an unknown replay": ('[source]\nreplay = "fast"', 'expected one of "realtime", "every-frame"'),
    "not a number": ("[alarm]\noff_after_s = nan", "off_after_s = NaN: expected a number from 0 to 86400"),
    "a list for a table": ("alarm = [1]", "[alarm] is [1]: expected a table"),
    "swapped levels": ("[alarm]\non_share = 0.001", "fireseg.toml: [alarm] off_share 0.002 is above on_share 0.001"),
    "more results than the last": ("[alarm]\non_results = 9", "on_results 9 is above of_results 8"),
    "a zone without a name": ("[[zones]]\npolygon = [[0,0],[1,0],[1,1]]", 'expected a name, such as name = "stove"'),
    "a later zone without a name": (STOVE + "[[zones]]\npolygon = [[0,0],[1,0],[1,1]]", "toml: [[zones]] name = null"),
    "a zone without corners": ('[[zones]]\nname = "a"', "[[zones]] a: polygon = null: expected corners"),
    "a misspelt polygon": (
        '[[zones]]\nname = "a"\npolygn = [[0,0],[1,0],[1,1]]',
        "a: has no key polygn: did you mean polyg",
    ),
    "a misspelt name": ('[[zones]]\nnam = "a"\npolygon = [[0,0],[1,0],[1,1]]', "has no key nam: did you mean name?"),
    "a camera without a host": ('[source]\naddress = "rtsp:///live"', "expected a host, such as rtsp://HOST"),
    "a text without quotes": ("[source]\naddress = picamera2", 'a text needs quotes, such as "…"'),
    "a zone in pixels": ('[[zones]]\nname = "a"\npolygon = [[0,0],[64,0],[64,48]]', "fractions of the frame"),
    "a misspelt zone key": (STOVE + "plygon = 1", "[[zones]] stove: has no key plygon: did you mean polygon?"),
    "a control character in a name": (
        '[[zones]]\nname = "a\\u001b[2J"\npolygon = [[0,0],[1,0],[1,1]]',
        "no control characters",
    ),
    "a name of 5,000 letters": (f'[[zones]]\nname = "{"n" * 5000}"\npolygon = [[0,0],[1,0],[1,1]]', "at most 100"),
    "an address of 5,000 letters": (f'[source]\naddress = "{"x" * 5000}"', "expected at most 1000 characters"),
    "a host with an empty label": ('[mqtt]\nhost = "broker..local"', "expected a name or an address alone"),
    "a host with a long label": (f'[mqtt]\nhost = "{"x" * 64}.local"', "expected a name or an address alone"),
    "a corner of 400 digits": (f"[[ignored]]\npolygon = [[{10**400},0],[1,0],[1,1]]", "expected corners, such as"),
    "a password with a slash": ('[source]\naddress = "rtsp://me:hunter2/x@cam/1"', "write # / ? @ : [ ] % in a user"),
    "a password with a #": ('[webhook]\nurl = "https://me:hunter2#x@hook/1"', "use the keys user and password_file"),
    "a missing camera password": ('[source]\npassword_file = "gone"', "expected an existing file"),
    "zones as a table": ('[zones]\nname = "a"', "expected [[zones]] tables"),
    "a corner of three numbers": ("[[ignored]]\npolygon = [[0,0,0],[1,0],[1,1]]", "[[ignored]] polygon = [[0, 0, 0]"),
    "invalid TOML": ("[alarm\n", "is not TOML"),
    "a misplaced password": ('[source]\nfps = "rtsp://me:hunter2@cam"', 'fps = "rtsp://***@cam'),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_what_was_expected(tmp_path: Path, mistake: str) -> None:
    text, expected = MISTAKES[mistake]
    with pytest.raises(UserError) as error:
        load_config(written(tmp_path, text))
    (line,) = error.value.lines
    assert expected in line
    assert "hunter2" not in line


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load_config(written(tmp_path, '[alarm]\non_shre = 1\n[model]\nthreads = -1\n[source]\nreplay = "x"\n'))
    assert len(error.value.lines) == 3


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "fireseg.toml"


@given(text=st.text(max_size=60) | st.text(max_size=400).map(lambda text: f"[source]\naddress = '{text}'"))
def test_any_text_gives_a_configuration_or_a_user_error(text: str, scratch: Path) -> None:
    scratch.write_bytes(text.encode("utf-8", "surrogatepass"))
    with suppress(UserError):
        assert isinstance(load_config(scratch), Config)


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


@pytest.mark.parametrize(
    ("table", "key", "value", "flag"),
    [
        ("mqtt", "host", "127.0.0.1:9", "--mqtt"),
        ("web", "listen", "8080", "--web"),
        ("webhook", "url", "hook", "--webhook"),
        ("source", "address", "rtsp://", "--source"),
        ("loop", "max_fps", 1e9, "--max-fps"),
    ],
)
def test_a_mistake_in_an_option_names_the_option(table: str, key: str, value: object, flag: str) -> None:
    with pytest.raises(UserError) as error:
        load_config(None, {table: {key: value}})
    assert str(error.value).startswith(f"{flag} {json.dumps(value)}: expected ")


def test_a_page_for_every_address_is_shown_with_the_name_of_the_machine() -> None:
    assert parse_listen("0.0.0.0:80").url(8080) == f"http://{socket.gethostname().partition('.')[0]}.local:8080/"
    assert parse_listen("127.0.0.1:80").url(8080) == "http://127.0.0.1:8080/"
    assert parse_listen("[::1]:80").url(8080) == "http://[::1]:8080/"


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
    assert path.read_text() == "mine"
    (line,) = refused(fireseg_edge("config", "check", "gone.toml", cwd=tmp_path))
    assert "write one with `fireseg-edge config init`" in line
