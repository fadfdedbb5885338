"""What may lie in a queue: files that are not documents, fires without an end, events of other receivers."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from edge.messages import END, PEAK, PROBLEM, RECOVERED, START
from edge.sinks import disk_queue as module
from edge.sinks.disk_queue import MAX_READS, DiskQueue
from edge.sinks.queue_files import outbox_folder, read_document, warn_about_orphans
from tests.edge.sinks.test_disk_queue import MAX_BYTES, drain, filled
from tests.support.factories import camera_event, event, update_event


def _blocked(folder: Path, kind: str) -> None:
    """Put an unreadable document at the head of the queue."""
    path = folder / "000000000000.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(folder / "elsewhere")
    elif kind == "nested":
        path.write_bytes(b"[" * 20_000 + b"]" * 20_000)
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(1 << 40)


def _drain_patiently(waiting: DiskQueue) -> list[int]:
    for _ in range(MAX_READS - 1):
        with suppress(OSError):
            return drain(waiting)
    return drain(waiting)


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "nested", "large"])
def test_what_cannot_be_read_is_set_aside_and_the_next_documents_follow(tmp_path: Path, kind: str) -> None:
    _blocked(tmp_path, kind)
    waiting = filled(tmp_path, 2)
    assert _drain_patiently(waiting) == [0, 1]
    assert waiting.dead_letters == 1
    assert [path.name for path in (tmp_path / "dead").iterdir()] == ["000000000000.json"]


@pytest.mark.parametrize("kind", ["file", "loop"])
def test_a_bad_document_is_set_aside_where_another_file_has_the_folders_name(tmp_path: Path, kind: str) -> None:
    dead = tmp_path / "dead"
    dead.write_text("notes") if kind == "file" else dead.symlink_to(dead)
    (tmp_path / "000000000001.json").write_text("nonsense")
    assert drain(filled(tmp_path, 1)) == [0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dead", "dead.old"]
    assert [path.name for path in dead.iterdir()] == ["000000000001.json"]


def _bad_block(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def read(path: Path) -> bytes:
        if not names or path.name in names:
            raise OSError(5, "Input/output error")
        return read_document(path)

    monkeypatch.setattr(module, "read_document", read)


def test_a_document_on_a_bad_block_is_set_aside_once_others_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = filled(tmp_path, 1)
    _bad_block(monkeypatch, "000000000001.json")
    with pytest.raises(OSError, match="Input/output"):
        waiting.head()
    for _ in range(5):  # alone it blocks nothing and may be readable again
        with suppress(OSError):
            assert waiting.head() is None
    assert waiting.dead_letters == 0
    waiting.put(b"1")
    assert drain(waiting) == [1]
    assert waiting.dead_letters == 1


def test_a_disk_that_cannot_be_read_at_all_sets_nothing_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = filled(tmp_path, 3)
    with monkeypatch.context() as broken:
        _bad_block(broken)
        for _ in range(20):
            with suppress(OSError):
                assert waiting.head() is None
    assert drain(waiting) == [0, 1, 2]


def as_document(kind: str, number: int, fire: str = "fire-1") -> bytes:
    return json.dumps(event(kind, id_=fire, number=number).as_json()).encode()


def drain_events(waiting: DiskQueue, count: int = 99) -> list[tuple[str, int, str, str]]:
    """Deliver documents and return id, number, kind and reason of each."""
    events: list[tuple[str, int, str, str]] = []
    while len(events) < count and (head := waiting.head()) is not None:
        json_ = json.loads(head[1])
        events.append((json_["id"], json_["number"], json_["kind"], json_.get("reason", "")))
        waiting.remove(*head)
    return events


@pytest.mark.parametrize("delivered", [0, 1, 2, 3])
def test_a_fire_that_was_open_when_the_process_died_gets_an_end_after_the_restart(
    tmp_path: Path, delivered: int
) -> None:
    first = DiskQueue(tmp_path, MAX_BYTES)
    for number, kind in enumerate((START, PEAK, PEAK), 1):
        first.put(as_document(kind, number))
    for number, kind in enumerate((START, END), 1):
        first.put(as_document(kind, number, "fire-2"))
    before = drain_events(first, delivered)
    first.close()
    second = DiskQueue(tmp_path, MAX_BYTES)
    second.put(as_document(START, 1, "fire-3"))
    events = before + drain_events(second)
    assert [number for fire, number, *_ in events if fire == "fire-1"] == [1, 2, 3, 4]
    assert ("fire-1", 4, END, "restart") in events
    assert [number for fire, number, *_ in events if fire == "fire-2"] == [1, 2]
    assert events[-1][:2] == ("fire-3", 1) or events[-2][:2] == ("fire-3", 1)
    second.put(as_document(END, 2, "fire-3"))
    drain_events(second)
    assert list(tmp_path.iterdir()) == []


def test_an_open_fire_with_an_impossible_number_is_skipped_and_the_others_get_their_end(tmp_path: Path) -> None:
    (tmp_path / "open-a.json").write_bytes(b'{"id":"a","kind":"start","number":%s}' % (b"9" * 4300))
    (tmp_path / "open-fire-1.json").write_bytes(as_document(START, 1))
    waiting = DiskQueue(tmp_path, MAX_BYTES)
    waiting.write_pending()
    assert drain_events(waiting) == [("fire-1", 2, END, "restart")]


def test_events_of_a_receiver_that_is_no_longer_configured_are_reported(tmp_path: Path) -> None:
    filled(tmp_path / "mqtt-old", 2).close()
    in_use = filled(tmp_path / "webhook-another-run", 2)
    filled(tmp_path / "webhook-ours", 2).close()
    (warning,) = warn_about_orphans(tmp_path, {tmp_path / "webhook-ours"})
    assert warning.startswith(f"2 events for another receiver in {tmp_path / 'mqtt-old'}: ")
    in_use.close()


def test_the_outbox_folder_is_the_configured_one_or_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/fireseg-edge:/var/lib/other")
    assert outbox_folder("here") == Path("here")
    assert outbox_folder("") == Path("/var/lib/fireseg-edge/spool")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert outbox_folder("") == tmp_path / "fireseg-edge"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert outbox_folder("") == tmp_path / ".local/state/fireseg-edge"


@pytest.mark.parametrize("delivered", [False, True])
def test_a_camera_problem_that_was_open_when_the_process_died_ends_after_the_restart(
    tmp_path: Path, delivered: bool
) -> None:
    waiting = DiskQueue(tmp_path, MAX_BYTES)
    waiting.put(json.dumps(camera_event(PROBLEM).as_json()).encode())
    if delivered and (head := waiting.head()):
        waiting.remove(*head)
    waiting.close()
    waiting = DiskQueue(tmp_path, MAX_BYTES)
    waiting.write_pending()
    events = drain_events(waiting)
    assert events[-1] == (camera_event(PROBLEM).id, 2, RECOVERED, "restart")
    assert len(events) == (1 if delivered else 2)
    assert not list(tmp_path.glob("open-*.json"))


@pytest.mark.parametrize("delivered", [False, True])
def test_a_failed_update_is_not_over_because_the_process_died(tmp_path: Path, delivered: bool) -> None:
    waiting = DiskQueue(tmp_path, MAX_BYTES)
    waiting.put(json.dumps(update_event(PROBLEM).as_json()).encode())
    if delivered and (head := waiting.head()):
        waiting.remove(*head)
    waiting.close()
    waiting = DiskQueue(tmp_path, MAX_BYTES)
    waiting.write_pending()
    assert [kind for _, _, kind, _ in drain_events(waiting)] == ([] if delivered else [PROBLEM])
    assert not list(tmp_path.glob("open-*.json"))
