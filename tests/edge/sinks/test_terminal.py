"""Output on stdout: its forms, and readers that are slow, hang or go away."""

from __future__ import annotations

import fcntl
import io
import json
import os
import select
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TextIO

import pytest

from edge import threads
from edge.messages import END, PROBLEM, RECOVERED, START, CameraProblem, FineView
from edge.quiet import silence
from edge.sinks.stream_writer import MAX_QUEUED
from edge.sinks.terminal import CLEAR_LINE, JsonLines, PlainLines, StatusLine, Terminal, status_text
from tests.support.factories import camera_event, event, result, run_status, update_event
from tests.support.waiting import TIMEOUT_S, wait_for


@dataclass
class Run:
    stop: bool = False


def calm(t_s: float) -> dict[str, object]:
    return result(t_s, 0.0, on=False).as_json()


def publish(sink: Terminal, count: int) -> None:
    """Publish calm results, ten per second."""
    for number in range(count):
        sink.on_result(result(number / 10, 0.0, on=False))


def test_json_is_one_object_per_line_in_order() -> None:
    out = io.StringIO()
    sink = JsonLines(out, grace_s=TIMEOUT_S)
    sink.on_result(result(1.0, 0.1, on=True))
    sink.on_event(event(START))
    sink.close()
    assert [json.loads(line)["type"] for line in out.getvalue().splitlines()] == ["result", "event"]


def test_a_terminal_has_one_overwritten_line_with_events_above_it() -> None:
    out = io.StringIO()
    sink = StatusLine(out, grace_s=TIMEOUT_S)
    publish(sink, 5)
    sink.on_event(event(START))
    wait_for(lambda: "\n" in out.getvalue())
    sink.on_result(result(1.0, 0.1, on=True))
    sink.close()
    assert out.getvalue().count("\n") == 1
    above, below = out.getvalue().split("\n")
    assert "frame: FIRE, fire area 10.0%" in above.split("\r")[-1]
    assert "FIRE in frame" in below
    assert below.endswith(CLEAR_LINE)


def test_without_a_terminal_there_is_a_line_per_event_and_per_calm_minute() -> None:
    out = io.StringIO()
    sink = PlainLines(out, grace_s=TIMEOUT_S)
    for t_s in range(150):
        sink.on_result(result(float(t_s), 0.0, on=False))
    sink.on_event(event(END, t_s=3661.5))
    sink.close()
    lines = out.getvalue().splitlines()
    assert len(lines) == 3 + 1
    assert lines[-1].startswith("1:01:01.5  frame: cleared")
    assert "\r" not in out.getvalue()


def test_calm_lines_say_how_the_frame_is_covered_in_tiles() -> None:
    out = io.StringIO()
    sink = PlainLines(out, grace_s=TIMEOUT_S)
    for fine_view in (None, FineView(2, 0.84)):
        sink.on_status(run_status(fine_view=fine_view))
        sink.on_result(result(100.0 * bool(fine_view), 0.0, on=False))
    sink.close()
    whole, fine = out.getvalue().splitlines()
    assert whole.endswith("ms inference")
    assert fine.endswith("ms inference  whole frame at 2x every 0.8 s")


@pytest.fixture
def pipe() -> Iterator[tuple[TextIO, TextIO]]:
    """Reading and writing end of a pipe that holds about twenty JSON lines."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(read, encoding="utf-8") as reader, os.fdopen(write, "w", encoding="utf-8") as writer:
        yield reader, writer


def test_a_reader_that_hangs_misses_results_but_no_events_and_the_log_counts_them(
    pipe: tuple[TextIO, TextIO], caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = pipe
    sink = JsonLines(writer, grace_s=TIMEOUT_S)
    count = MAX_QUEUED + 500
    publish(sink, count)
    sink.on_event(event(START))
    assert [record.getMessage() for record in caplog.records] == ["stdout is read too slowly: dropping lines"]

    lines = [json.loads(reader.readline()) for _ in range(MAX_QUEUED)]
    while lines[-1]["type"] != "event":
        lines.append(json.loads(reader.readline()))
    times = [line["t_s"] for line in lines[:-1]]
    assert times[:MAX_QUEUED] == [number / 10 for number in range(MAX_QUEUED)]
    assert times == sorted(times)
    sink.on_result(result(999.0, 0.0, on=False))
    assert json.loads(reader.readline())["t_s"] == 999.0
    assert caplog.records[-1].getMessage() == f"stdout is read again: {count - len(times)} lines were dropped"
    sink.close()
    assert len(caplog.records) == 2


def test_close_does_not_wait_for_a_reader_that_hangs(
    pipe: tuple[TextIO, TextIO], caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = pipe
    sink = JsonLines(writer, grace_s=0.1)
    publish(sink, 100)
    assert select.select([reader], [], [], TIMEOUT_S)[0]
    sink.close()
    assert "stdout hangs: " in caplog.text
    print("printed later", file=writer, flush=True)  # neither blocks nor fails
    assert json.loads(reader.readline()) == calm(0.0)


def test_close_waits_for_a_slow_reader(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    sink = JsonLines(writer, grace_s=TIMEOUT_S)
    publish(sink, 100)
    closing = threading.Thread(target=sink.close)
    closing.start()
    lines = [json.loads(reader.readline()) for _ in range(100)]
    closing.join(TIMEOUT_S)
    assert lines == [calm(number / 10) for number in range(100)]


def test_a_lossless_run_waits_for_its_reader_until_it_stops(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    run = Run()
    sink = JsonLines(writer, grace_s=0.1)
    sink.connect(run, lossless=True, is_only_sink=True)

    loop = threading.Thread(target=publish, args=(sink, 2 * MAX_QUEUED), daemon=True)
    loop.start()
    lines = [json.loads(reader.readline()) for _ in range(MAX_QUEUED + 100)]
    assert lines == [calm(number / 10) for number in range(MAX_QUEUED + 100)]
    assert loop.is_alive()
    run.stop = True
    loop.join(TIMEOUT_S)
    assert not loop.is_alive()
    sink.close()


@pytest.mark.parametrize("is_only_sink", [True, False])
def test_a_run_stops_without_its_reader_unless_it_has_other_sinks(
    pipe: tuple[TextIO, TextIO], caplog: pytest.LogCaptureFixture, is_only_sink: bool
) -> None:
    caplog.set_level("INFO")
    reader, writer = pipe
    run = Run()
    sink = JsonLines(writer, grace_s=TIMEOUT_S)
    sink.connect(run, lossless=False, is_only_sink=is_only_sink)
    reader.close()

    def is_logged() -> bool:
        sink.on_result(result(0.0, 0.0, on=False))
        return "stdout was closed" in caplog.text

    wait_for(is_logged)
    sink.close()
    assert run.stop == is_only_sink


def test_a_terminal_that_hangs_shows_no_outdated_lines(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    sink = StatusLine(writer, grace_s=TIMEOUT_S)
    publish(sink, 1000)
    sink.on_event(event(START))
    shown = ""
    while "FIRE" not in shown:
        shown += reader.readline()
    sink.close()
    assert shown.count(CLEAR_LINE) < 100


@pytest.mark.parametrize("descriptor", [1, 2])
def test_lines_are_written_while_the_interpreter_is_silenced(
    descriptor: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with open(descriptor, "w", closefd=False) as out:
        sink = JsonLines(out, grace_s=TIMEOUT_S)
        with silence():
            os.write(descriptor, b"XNNPACK\n")
            sink.on_result(result(1.0, 0.0, on=False))
            sink.close()
    assert json.loads(capfd.readouterr()[descriptor - 1]) == calm(1.0)


def test_a_writer_thread_that_the_system_refuses_is_missing_and_starts_later(
    pipe: tuple[TextIO, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = pipe

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        sink = JsonLines(writer, grace_s=TIMEOUT_S)
        sink.on_result(result(1.0, 0.0, on=False))
        assert "stdout writer" in threads.missing()
    threads.restart_missing()
    assert json.loads(reader.readline()) == calm(1.0)
    assert "stdout writer" not in threads.missing()
    sink.close()


def test_a_writer_leaves_no_descriptor_open(pipe: tuple[TextIO, TextIO]) -> None:
    _, writer = pipe
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    for _ in range(3):
        JsonLines(writer, grace_s=TIMEOUT_S).close()
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


@pytest.mark.parametrize("kind", [JsonLines, StatusLine, PlainLines])
def test_a_camera_that_cannot_see_is_written_once_with_its_end(kind: type[Terminal]) -> None:
    out = io.StringIO()
    sink = kind(out, grace_s=TIMEOUT_S)
    sink.on_camera_event(camera_event(PROBLEM))
    sink.on_camera_event(camera_event(RECOVERED, t_s=9.0))
    sink.close()
    lines = [line for line in out.getvalue().replace(CLEAR_LINE, "").splitlines() if line]
    assert len(lines) == 2
    if kind is JsonLines:
        assert [json.loads(line) for line in lines] == [
            camera_event(PROBLEM).as_json(),
            camera_event(RECOVERED, t_s=9.0).as_json(),
        ]
    else:
        assert "camera PROBLEM: covered" in lines[0]
        assert "camera can see again, no longer covered" in lines[1]


@pytest.mark.parametrize("kind", [JsonLines, PlainLines])
def test_a_failed_update_is_written_with_its_reason_and_its_end(kind: type[Terminal]) -> None:
    out = io.StringIO()
    sink = kind(out, grace_s=TIMEOUT_S)
    sink.on_update_event(update_event(PROBLEM))
    sink.on_update_event(update_event(RECOVERED))
    sink.close()
    first, second = out.getvalue().splitlines()
    if kind is JsonLines:
        assert json.loads(first) == update_event(PROBLEM).as_json()
    else:
        assert first.startswith("model update PROBLEM: base 01e12d1af291 was rolled back: it is slow")
        assert second.startswith("model update no longer a problem: ")


def test_a_result_says_that_an_alarm_has_no_current_picture() -> None:
    out = io.StringIO()
    sink = JsonLines(out, grace_s=TIMEOUT_S)
    frozen = replace(result(1.0, 0.1, on=True), camera_problem=CameraProblem.FROZEN)
    sink.on_result(frozen)
    sink.close()
    line = json.loads(out.getvalue())
    assert (line["alarm"], line["picture_current"], line["camera_problem"]) == (True, False, "frozen")
    assert "FIRE in frame  CAMERA PROBLEM: frozen" in status_text(frozen)
