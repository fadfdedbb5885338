"""The configuration file: what it says is what runs, and what it says wrongly is told with the way out."""

from __future__ import annotations

import dataclasses
import stat
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge.cli import app
from edge.config import SECTIONS, Config, documented_config, load_config
from edge.config_schema import what_is_wrong
from edge.errors import UserError

STOVE = '[[zones]]\nname = "stove"\npolygon = [[0.1, 0.4], [0.5, 0.4], [0.5, 0.9]]\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "fireseg.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_documented_file_changes_nothing(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, documented_config())) == Config() == load_config(None)


def test_the_documented_file_says_the_same_with_every_key_uncommented(tmp_path: Path) -> None:
    lines = documented_config().splitlines()
    text = "\n".join(line.removeprefix("#") if line[:1] == "#" and line[1:2] != " " else line for line in lines)
    tables = tomllib.loads(text)
    for name, kind in SECTIONS.items():
        assert list(tables[name]) == [field.name for field in dataclasses.fields(kind)]
        assert kind(**tables[name]) == kind()
    config = load_config(written(tmp_path, text))
    assert [zone.name for zone in config.zones] == ["stove"]
    assert len(config.ignored) == 1


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_has_a_sentence_and_a_default_that_fits_its_own_bounds(section: str) -> None:
    for field in dataclasses.fields(SECTIONS[section]):
        assert field.metadata["doc"].strip().endswith((".", "…"))
        assert what_is_wrong(field.default, type(field.default), field.metadata) is None


def test_what_the_file_says_goes_before_the_defaults_and_options_before_both(tmp_path: Path) -> None:
    path = written(tmp_path, "[alarm]\non_share = 0.02\non_results = 4\n" + STOVE)
    config = load_config(path, {"alarm": {"on_share": 0.03}, "source": {"address": "test-pattern"}})
    assert (config.alarm.on_share, config.alarm.on_results, config.alarm.of_results) == (0.03, 4, 8)
    assert config.source.address == "test-pattern"
    assert config.zones[0].polygon == ((0.1, 0.4), (0.5, 0.4), (0.5, 0.9))


def test_paths_in_the_file_are_seen_from_its_folder_and_those_of_options_are_not(tmp_path: Path) -> None:
    (tmp_path / "fire.mp4").write_bytes(b"")
    text = '[model]\npath = "my.tflite"\n[clips]\nfolder = "events"\n[source]\naddress = "fire.mp4"\n'
    config = load_config(written(tmp_path, text), {"model": {"path": "other.tflite"}})
    assert config.model.path == "other.tflite"
    assert config.clips.folder == str(tmp_path / "events")
    assert config.source.address == str(tmp_path / "fire.mp4")
    assert load_config(written(tmp_path, text)).model.path == str(tmp_path / "my.tflite")


MISTAKES = {
    "a broker with its port": ('[mqtt]\nhost = "broker:1884"', "the port has a key of its own"),
    "a broker as a URL": ('[mqtt]\nhost = "mqtt://me:pw@broker"', 'host = "mqtt://***@broker": expected a name'),
    "a topic for many": ('[mqtt]\ntopic = "a/#"', 'topic = "a/#": expected a topic without # and +'),
    "no topic": ('[mqtt]\ntopic = ""', "expected a topic without"),
    "a prefix for many": ('[mqtt]\ndiscovery = "ha/+"', 'discovery = "ha/+": expected'),
    "no such secret": ('[webhook]\nsecret_file = "gone"', "expected a file, but there is none"),
    "no such certificate": ('[mqtt]\nca_file = "gone.pem"', "expected a file, but there is none"),
    "a zero byte": ('[spool]\nfolder = "a\\u0000x"', "without control characters"),
    "for ever": ("[source]\nstall_s = inf", "expected a number from 0.5 to 3600"),
    "a slip of the pen": ("[alarm]\non_shre = 0.1", "[alarm] has no key on_shre: did you mean on_share?"),
    "a word for a table": ("[alarms]\non_share = 0.1", "has no key alarms: did you mean alarm?"),
    "a key that resembles none": ("[model]\nxyzzy = 1", "[model] has no key xyzzy: expected path, threads"),
    "a share in percent": ("[alarm]\non_share = 5", "[alarm] on_share = 5: expected a number from 1e-05 to 1"),
    "a text for a number": ('[source]\nfps = "10"', '[source] fps = "10": expected a number from 0.01 to 240'),
    "half a frame": ("[alarm]\non_results = 2.5", "on_results = 2.5: expected a whole number from 1 to 1000"),
    "a number for yes": ("[alarm]\nrequire_flicker = 1", "require_flicker = 1: expected true or false"),
    "an unknown replay": ('[source]\nreplay = "fast"', 'expected one of "realtime", "every-frame"'),
    "no number at all": ("[alarm]\noff_after_s = nan", "off_after_s = NaN: expected a number from 0 to 86400"),
    "a list for a table": ("alarm = [1]", "[alarm] is [1]: expected a table"),
    "levels the wrong way round": ("[alarm]\non_share = 0.001", "off_share 0.002 is above on_share 0.001"),
    "more than the last": ("[alarm]\non_results = 9", "on_results 9 is more than of_results 8"),
    "a zone without a name": ("[[zones]]\npolygon = [[0,0],[1,0],[1,1]]", 'expected a name, such as name = "stove"'),
    "a zone without corners": ('[[zones]]\nname = "a"', "[[zones]] a: polygon = null: expected corners"),
    "a zone in pixels": ('[[zones]]\nname = "a"\npolygon = [[0,0],[64,0],[64,48]]', "fractions of the frame"),
    "a slip in a zone": (STOVE + "plygon = 1", "[[zones]] stove: has no key plygon: did you mean polygon?"),
    "zones as a table": ('[zones]\nname = "a"', "expected [[zones]] tables"),
    "a corner too long": ("[[ignored]]\npolygon = [[0,0,0],[1,0],[1,1]]", "[[ignored]] polygon = [[0, 0, 0]"),
    "no TOML": ("[alarm\n", "is not TOML"),
    "a password in a wrong place": ('[source]\nfps = "rtsp://me:hunter2@cam"', 'fps = "rtsp://***@cam'),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_names_the_file_and_what_was_expected(tmp_path: Path, mistake: str) -> None:
    text, told = MISTAKES[mistake]
    with pytest.raises(UserError) as error:
        load_config(written(tmp_path, text))
    (line,) = error.value.lines
    assert told in line
    assert "hunter2" not in line


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load_config(written(tmp_path, '[alarm]\non_shre = 1\n[model]\nthreads = -1\n[source]\nreplay = "x"\n'))
    assert len(error.value.lines) == 3


@given(text=st.text(max_size=60))
def test_no_text_makes_anything_but_a_configuration_or_a_user_error(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("config") / "fireseg.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with suppress(UserError):
        assert isinstance(load_config(path), Config)


def run(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["config", *map(str, arguments)])
    if isinstance(done.exception, UserError):
        return 2, str(done.exception)
    return done.exit_code, done.output


def test_init_writes_a_file_that_only_its_owner_reads_and_that_check_calls_good(tmp_path: Path) -> None:
    path = tmp_path / "fireseg.toml"
    assert run("init", path)[0] == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    code, said = run("check", path)
    assert code == 0
    assert "is good; it watches the whole frame" in said
    path.write_text(path.read_text() + STOVE)
    assert "watches stove" in run("check", path)[1]


def test_init_writes_over_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, "mine")
    code, said = run("init", path)
    assert (code, path.read_text()) == (2, "mine")
    assert "is there already" in said


def test_check_of_a_file_that_is_not_there_tells_how_to_begin_one(tmp_path: Path) -> None:
    code, said = run("check", tmp_path / "gone.toml")
    assert code == 2
    assert "write one with `fireseg-edge config init`" in said
