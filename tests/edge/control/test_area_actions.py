"""Actions on areas: the configuration file is changed whole or not at all, and the run is asked to reload it."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from edge.config import Config, load_config
from edge.config_schema import MAX_BYTES
from edge.control import area_actions
from edge.control.actions import Actions, Answer
from edge.control.area_actions import AreaActions
from edge.errors import UserError
from edge.signals import RunControl
from tests.support.run_cli import leftovers

TEXT = """# My kitchen.
[model]
path = "mine.tflite" # beside this file
[[zones]]
name = "stove" # gas
polygon = [[0.1, 0.4], [0.5, 0.4], [0.5, 0.9]]
"""
STOVE = {"name": "stove", "polygon": [[0.1, 0.4], [0.5, 0.4], [0.5, 0.9]]}
WINDOW = {"name": "window", "polygon": [[0.6, 0.1], [0.9, 0.1], [0.9, 0.5]]}
TELEVISION = [[0.8, 0.0], [1.0, 0.0], [1.0, 0.3]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "camera" / "fireseg.toml"
    path.parent.mkdir()
    path.write_text(TEXT)
    path.chmod(0o640)
    return path


class Run:
    """The actions of a run, carried out as one after the other."""

    def __init__(self, path: Path | None, check: Callable[[Config], object] = lambda _: None) -> None:
        self.control, self.actions, self.checked = RunControl(), Actions(), list[Config]()

        def record(config: Config) -> None:
            self.checked.append(config)
            check(config)

        areas = AreaActions(path, {}, self.control, record, now=lambda: datetime(2026, 11, 26, 18))
        areas.register(self.actions)

    def do(self, action: str, **arguments: Any) -> Answer:
        return self.actions.submit(action, arguments, origin="test").result(10.0)

    def save(self, *zones: Any, ignored: Any = ()) -> Answer:
        revision = self.do("edit-areas")["revision"]
        return self.do("save-areas", revision=revision, zones=[*zones], ignored=[*ignored])


def test_saved_areas_are_in_the_file_with_its_comments_and_the_run_reloads(path: Path) -> None:
    run = Run(path)
    answer = run.save(STOVE, WINDOW, ignored=[TELEVISION])
    window = "\n[[zones]]  # added on the page, 2026-11-26\n" + (
        'name = "window"\npolygon = [[0.6, 0.1], [0.9, 0.1], [0.9, 0.5]]\n'
    )
    ignored = "\n[[ignored]]  # added on the page, 2026-11-26\npolygon = [[0.8, 0.0], [1.0, 0.0], [1.0, 0.3]]\n"
    assert path.read_text() == TEXT + window + ignored
    assert run.control.reload
    assert answer == {"revision": load_config(path).areas_revision}
    assert run.checked == [load_config(path)]


def test_the_file_keeps_its_mode_and_the_one_before_is_kept_beside_it(path: Path) -> None:
    Run(path).save(WINDOW)
    backup = path.with_name("fireseg.toml.bak")
    assert backup.read_text() == TEXT
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, backup)] == [0o640] * 2
    assert leftovers(path.parent) == []


def test_an_ignored_area_is_added_to_those_in_the_file(path: Path) -> None:
    run = Run(path)
    run.do("ignore", polygon=TELEVISION)
    answer = run.do("ignore", polygon=[[0, 0], [0.12345, 0], [0, 0.1]])
    config = load_config(path)
    assert config.ignored == (((0.8, 0.0), (1.0, 0.0), (1.0, 0.3)), ((0.0, 0.0), (0.123, 0.0), (0.0, 0.1)))
    assert answer["revision"] == config.areas_revision
    assert path.read_text().startswith(TEXT)


def test_whoever_saves_late_is_refused_and_changes_nothing(path: Path) -> None:
    run = Run(path)
    late = run.do("edit-areas")["revision"]
    run.save(STOVE, WINDOW)
    text, run.control.reload = path.read_text(), False
    with pytest.raises(UserError) as refused:
        run.do("save-areas", revision=late, zones=[], ignored=[])
    assert str(refused.value) == "the areas have been changed elsewhere since you opened them: load them again"
    assert (path.read_text(), run.control.reload) == (text, False)


def test_a_change_of_other_tables_is_no_conflict_and_is_kept(path: Path) -> None:
    run = Run(path)
    revision = run.do("edit-areas")["revision"]
    path.write_text(TEXT.replace("My kitchen", "Our kitchen"))
    run.do("save-areas", revision=revision, zones=[STOVE, WINDOW], ignored=[])
    assert path.read_text().startswith("# Our kitchen.")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"zones": [STOVE, STOVE]}, "two zones are named 'stove'"),
        ({"zones": [STOVE | {"polygon": [[0, 0], [1, 1]]}]}, "zone 'stove' has 2 corners: expected 3 to"),
        ({"zones": [STOVE | {"polygon": [[0, 0], [1, 1], [float("nan"), 2]]}]}, "has a corner at"),
        ({"zones": [STOVE | {"polygon": "here"}]}, 'polygon = "here": expected corners'),
        ({"zones": [{"polygon": TELEVISION}]}, "name = null: expected a name"),
        ({"zones": [STOVE | {"colour": "red"}]}, "has no key colour"),
        ({"zones": None}, "zones is null"),
        ({"ignored": "all"}, 'ignored is "all"'),
        ({"ignored": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}, "the ignored areas cover the whole frame"),
        ({"ignored": [TELEVISION] * 101}, "expected at most 100"),
        ({"revision": 5}, "revision is 5: expected a text"),
    ],
)
def test_what_is_invalid_is_one_clear_line_and_not_written(path: Path, arguments: Any, problem: str) -> None:
    run = Run(path)
    values = {"revision": run.do("edit-areas")["revision"], "zones": [], "ignored": []} | arguments
    with pytest.raises(UserError) as refused:
        run.do("save-areas", **values)
    assert problem in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert (path.read_text(), run.control.reload) == (TEXT, False)
    assert [each.name for each in path.parent.iterdir()] == ["fireseg.toml"]


def test_nothing_is_written_that_the_check_refuses(path: Path) -> None:
    def refuse(config: Config) -> None:
        assert config.model.path == str(path.parent / "mine.tflite")
        raise UserError(f"{config.model.path} could not be read", "check the path")

    run = Run(path, refuse)
    with pytest.raises(UserError, match=r"camera/mine\.tflite could not be read: check the path"):
        run.save(WINDOW)
    assert (path.read_text(), run.control.reload) == (TEXT, False)


def test_areas_that_do_not_change_write_nothing(path: Path) -> None:
    run, before = Run(path), path.stat().st_ino
    run.save(STOVE)
    assert (path.stat().st_ino, run.control.reload) == (before, False)


def test_a_run_without_a_file_says_how_to_get_one() -> None:
    for action in ("edit-areas", "save-areas", "ignore"):
        with pytest.raises(UserError, match=r"the run has no configuration file .* config init"):
            Run(None).do(action)


def test_a_symbolic_link_stays_and_its_paths_start_where_it_lies(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    run = Run(link)
    run.save(WINDOW)
    assert link.is_symlink()
    assert 'name = "window"' in path.read_text()
    assert run.checked[0].model.path == str(tmp_path / "mine.tflite")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["camera", "link.toml"]


def test_a_file_with_windows_line_ends_and_a_byte_order_mark_keeps_them(path: Path) -> None:
    data = b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode()
    path.write_bytes(data)
    Run(path).save(STOVE, WINDOW)
    assert path.read_bytes().startswith(data)
    assert path.read_bytes().count(b"\n") == path.read_bytes().count(b"\r\n")
    assert len(load_config(path).zones) == 2


def test_a_file_that_is_broken_or_gone_is_reported_and_one_that_grew_too_large_is_not_written(path: Path) -> None:
    run = Run(path)
    full = TEXT + "#" * (MAX_BYTES - len(TEXT) - 20) + "\n"
    path.write_text(full)
    with pytest.raises(UserError, match=r"expected at most 0\.3 MB"):
        run.save(STOVE, WINDOW)
    assert path.read_text() == full
    path.write_text("zones = 3")
    with pytest.raises(UserError, match=r"zones is 3: expected \[\[zones\]\] tables"):
        run.save(STOVE)
    path.unlink()
    with pytest.raises(UserError, match=r"fireseg\.toml could not be read \(No such file"):
        run.save(STOVE)


def test_a_full_disk_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(UserError, match=r"No space left on device.*free some space"):
        Run(path).save(WINDOW)
    assert [each.name for each in path.parent.iterdir()] == ["fireseg.toml"]
    assert path.read_text() == TEXT


def test_nothing_is_written_if_another_table_would_change(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(area_actions, "with_areas", lambda *_, **__: "[loop]\nmax_fps = 3\n")
    with pytest.raises(UserError, match="could not be changed alone: edit the file"):
        Run(path).save()
    assert path.read_text() == TEXT
