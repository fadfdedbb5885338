"""The configuration file: what it contains is what runs, and each mistake is one line with the way out."""

from __future__ import annotations

import dataclasses
import json
import socket
import tomllib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.commands.config import documented_config
from edge.config import SECTIONS, Config, load_config
from edge.config_schema import read_section, validation_error
from edge.config_tables import parse_listen
from edge.detection.alarm import AlarmRules
from edge.errors import UserError

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
        assert read_section(kind, tables[name], name, []) == kind()
    config = load_config(written(tmp_path, text))
    assert [zone.name for zone in config.zones] == ["stove"]
    assert len(config.ignored) == 1


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_has_a_sentence_and_a_default_within_its_bounds(section: str) -> None:
    for key in dataclasses.fields(SECTIONS[section]):
        assert key.metadata["doc"].strip().endswith((".", "…"))
        assert validation_error(key.default, type(key.default), key) is None


@pytest.mark.parametrize("written_as", ['"2"', "2"])
def test_the_number_of_tiles_may_be_written_as_a_number(tmp_path: Path, written_as: str) -> None:
    assert load_config(None).detection.tiles == "auto"
    assert load_config(written(tmp_path, f"[detection]\ntiles = {written_as}")).detection.tiles == "2"


def test_the_file_overrides_defaults_and_options_override_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[alarm]\non_s = 0.5\non_results = 4\n" + STOVE)
    config = load_config(path, {"alarm": {"on_s": 0.75}, "source": {"address": "test-pattern"}})
    assert config.alarm == replace(AlarmRules(), on_s=0.75, on_results=4)
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
    "a misspelt key": ("[alarm]\non_reslts = 3", "[alarm] has no key on_reslts: did you mean on_results?"),
    "a key unlike all others": ("[alarm]\non_share = 0.01", "[alarm] has no key on_share: expected on_results, "),
    "a misspelt table": ("[alarms]\non_results = 3", "has no key alarms: did you mean alarm?"),
    "an unknown key": ("[model]\nxyzzy = 1", "[model] has no key xyzzy: expected path, threads"),
    "a score in percent": ("[alarm]\nmin_score = 80", "min_score = 80: expected a number from -10 to 3"),
    "a key of an earlier version": ("[alarm]\non_share = 0.01", "[alarm] has no key on_share: "),
    "a text for a number": ('[source]\nfps = "10"', '[source] fps = "10": expected a number from 0.01 to 240'),
    "a number for a text": ("[model]\npath = 1", "path = 1: expected a text in quotes"),
    "half a frame": ("[alarm]\non_results = 2.5", "on_results = 2.5: expected a whole number from 1 to 64"),
    "a number for a boolean": ("[alarm]\nrequire_flicker = 1", "require_flicker = 1: expected true or false"),
    "an unknown replay": ('[source]\nreplay = "fast"', 'expected one of "realtime", "every-frame"'),
    "an unknown number of tiles": ("[detection]\ntiles = 4", 'tiles = 4: expected one of "auto", "1", "2", "3"'),
    "half a tile": ("[detection]\ntiles = 2.5", 'tiles = 2.5: expected one of "auto"'),
    "a boolean for tiles": ("[detection]\ntiles = true", 'tiles = true: expected one of "auto"'),
    "not a number": ("[alarm]\noff_after_s = nan", "off_after_s = NaN: expected a number from 0 to 86400"),
    "a list for a table": ("alarm = [1]", "[alarm] is [1]: expected a table"),
    "results too rare for an alarm": (
        "[loop]\nmax_fps = 0.02",
        "[alarm] memory_s 30 is too short at [loop] max_fps 0.02: expected at least 50",
    ),
    "more results than the last": ("[alarm]\non_results = 9\nof_results = 8", "on_results 9 is above of_results 8"),
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
    "a login of model updates": ('[update]\nurl = "http://me:hunter2@models"', '"http://***@models": expected an'),
    "a broken login of model updates": ('[update]\nurl = "http://me:hunter2#x@models"', "without user and password"),
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
