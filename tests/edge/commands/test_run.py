"""`fireseg-edge run` from its first line to its summary, and how signals control it."""

from __future__ import annotations

import logging
import os
import random
import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import cv2
import pytest

from edge.camera.pattern import FLAMES_FROM_S
from edge.commands.run import log_to_stderr
from edge.errors import UserError
from tests.support.edge_process import ENVIRONMENT, RUN, WAIT_S, edge_process, lines
from tests.support.run_cli import fireseg_edge, refused
from tests.support.small_disk import fill, small_disk
from tests.support.tiny_models import without_weights

FIRE_FRAMES = 290
"""The fire of the test pattern has ended by then."""
RECORDING = ("--model", "tiny.tflite", "--source", "noise.avi", "--replay", "every-frame")


def test_a_recording_is_processed_whole_with_its_own_time_and_a_summary(run_folder: Path) -> None:
    done = fireseg_edge("run", *RECORDING, "--config", "eager.toml", "--log", "json", cwd=run_folder)
    assert done.code == 0
    results = lines(done.out, "result")
    assert [line["frame"] for line in results] == list(range(1, 31))
    fps = cv2.VideoCapture(str(run_folder / "noise.avi")).get(cv2.CAP_PROP_FPS)
    assert [line["t_s"] for line in results] == pytest.approx([number / fps for number in range(30)], abs=0.002)
    assert all(line["age_ms"] >= line["inference_ms"] >= 0 for line in results)
    assert lines(done.out, "event")[0]["kind"] == "start"  # most of the noise is fire for the tiny model
    summary = done.err.splitlines()[-1]
    assert summary.startswith("noise.avi: 30 frames in ")
    assert "0 dropped" in summary
    assert "1 fire" in summary


def test_a_run_ends_after_max_frames_and_records_them(run_folder: Path, tmp_path: Path) -> None:
    record, clips = tmp_path / "seen.mp4", tmp_path / "events"
    arguments = ("--source", "images", "--max-frames", "3", "--record", record, "--clips", clips)
    done = fireseg_edge("run", *RECORDING, *arguments, cwd=run_folder)
    assert done.code == 0
    assert done.out.splitlines()[-1].startswith("images: 3 frames in ")
    assert cv2.VideoCapture(str(record)).get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_a_recording_over_its_own_source_is_refused(run_folder: Path, tmp_path: Path) -> None:
    video, link = tmp_path / "mine.avi", tmp_path / "link.avi"
    shutil.copy(run_folder / "noise.avi", video)
    link.symlink_to(video)
    for record in (video, link):
        (line,) = refused(fireseg_edge("run", *RECORDING, "--source", video, "--record", record, cwd=run_folder))
        assert line == f"{record} is the source: record to another file"
    assert video.read_bytes() == (run_folder / "noise.avi").read_bytes()


def test_a_service_detects_fire_although_its_folder_cannot_be_written(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    done = fireseg_edge("run", *RECORDING, "--clips", tmp_path / "file" / "clips", cwd=run_folder)
    assert done.code == 0
    assert f"{tmp_path}/file is not a folder" in done.err.splitlines()[0]


def test_a_recording_on_a_full_disk_is_one_error_line_and_exit_code_1_after_a_whole_run(
    run_folder: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        done = fireseg_edge("run", *RECORDING, "--record", disk / "seen.mp4", cwd=run_folder)
    assert done.code == 1
    (line,) = [line for line in done.err.splitlines() if "recording" in line]
    assert "seen.mp4 is incomplete (No space left on device)" in line
    assert done.out.splitlines()[-1].startswith("noise.avi: 30 frames in ")


def test_only_the_user_can_read_what_a_run_writes(run_folder: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    os.umask(before)
    arguments = ("--config", "eager.toml", "--record", tmp_path / "seen.mp4", "--clips", tmp_path / "events")
    assert fireseg_edge("run", *RECORDING, *arguments, cwd=run_folder).code == 0
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in written} == {".mp4", ".jpg", ".png"}  # masks for training
    assert {oct(path.stat().st_mode & 0o777) for path in written} == {"0o600"}
    assert (tmp_path / "events").stat().st_mode & 0o777 == 0o700
    assert os.umask(before) == before, "other commands are not affected"


def test_a_start_with_a_model_that_sees_no_flames_warns(run_folder: Path, models: dict[str, Path]) -> None:
    with mock.patch("edge.assembly.prove_in_fork", return_value=0):
        done = fireseg_edge("run", *RECORDING, "--max-frames", "1", cwd=run_folder)
    assert done.code == 0
    assert "tiny.tflite detects no fire in the test pattern's flames: check the model" in done.err


def test_a_model_is_proven_before_the_run(run_folder: Path) -> None:
    error = UserError("tiny.tflite crashes the interpreter", "copy it again")
    with mock.patch("edge.assembly.prove_in_fork", side_effect=error):
        done = fireseg_edge("run", *RECORDING, cwd=run_folder)
    assert refused(done) == ["tiny.tflite crashes the interpreter: copy it again"]


def test_a_start_on_slow_kernels_warns(run_folder: Path) -> None:
    with mock.patch("edge.model.segmenter.Segmenter.kernels", "builtin"):
        done = fireseg_edge("run", *RECORDING, "--max-frames", "1", cwd=run_folder)
    assert done.code == 0
    assert "runs tiny.tflite without XNNPACK, several times slower: reinstall ai-edge-litert" in done.err


def test_in_real_time_max_fps_drops_frames_but_not_the_last(run_folder: Path) -> None:
    done = fireseg_edge("run", *RECORDING, "--replay", "realtime", "--max-fps", "2", "--log", "json", cwd=run_folder)
    assert done.code == 0
    results = lines(done.out, "result")
    assert 1 <= len(results) <= 3, "of 0.6 s; by default it would be 7"
    assert ", 0 dropped" not in done.err
    assert results[-1]["t_s"] == pytest.approx(29 / 50)


MISTAKES = {
    "missing model": (["--model", "gone.tflite"], "gone.tflite could not be read"),
    "missing source": (["--source", "gone.mp4"], "source 'gone.mp4' is"),
    "missing configuration": (["--config", "gone.toml"], "write one with `fireseg-edge config init`"),
    "not a video": (["--source", "tiny.tflite"], "tiny.tflite is not a readable video"),
    "unknown recording format": (["--record", "seen.txt"], "expected .mp4, .avi or .mkv"),
    "clips in a file": (["--clips", "tiny.tflite"], "tiny.tflite could not be written"),
    "a model that does not exist": (["--model", "bas"], "expected base, small or a .tflite file"),
    "no model": (["--model", ""], "expected base, small or a .tflite file"),
    "recording below a file": (["--record", "tiny.tflite/seen.mp4"], "could not be written"),
    "unreachable camera": (["--config", "impatient.toml"], "gave up after 1 reconnection without a frame"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2_without_a_password(
    run_folder: Path, mistake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.retry.FIRST_WAIT_S", 0.01)
    arguments, expected = MISTAKES[mistake]
    source = [] if "--config" in arguments else ["--source", "noise.avi"]
    done = fireseg_edge("run", "--model", "tiny.tflite", *source, *arguments, "--log", "json", cwd=run_folder)
    (line,) = refused(done)
    assert expected in line
    assert "hunter2" not in done.err + done.out


def test_a_model_without_a_card_is_a_line_of_the_log(run_folder: Path, plain_models: dict[str, Path]) -> None:
    arguments = ("--source", "noise.avi", "--model", plain_models["frames-in-0-1"], "--max-frames", "1")
    done = fireseg_edge("run", *arguments, cwd=run_folder)
    (line,) = [line for line in done.err.splitlines() if "carries no card" in line]
    assert re.match(r"\d\d:\d\d:\d\d ", line)


@pytest.mark.slow
def test_the_test_pattern_is_a_fire_for_the_shipped_model(shipped_model: Path, tmp_path: Path) -> None:
    arguments = ("--model", shipped_model, "--source", "test-pattern", "--replay", "every-frame")
    done = fireseg_edge("run", *arguments, "--max-frames", "70", "--log", "json", "--clips", "events", cwd=tmp_path)
    assert done.code == 0
    (start,) = lines(done.out, "event")
    assert start["kind"] == "start"
    assert FLAMES_FROM_S < start["t_s"] < FLAMES_FROM_S + 1.5
    assert (tmp_path / "events" / f"{start['id']}-start-overlay.jpg").is_file()
    assert (tmp_path / "events" / f"{start['id']}.mp4").is_file()


@pytest.mark.slow
def test_sighup_reloads_configuration_and_model_and_rejects_bad_ones(run_folder: Path, tmp_path: Path) -> None:
    config, model = tmp_path / "fireseg.toml", tmp_path / "model.tflite"
    shutil.copy(run_folder / "tiny.tflite", model)
    good = model.read_bytes()
    config.write_text('[model]\npath = "model.tflite"\n')
    with edge_process("--config", config, "--source", "test-pattern") as run:

        def reload(expected: str) -> str:
            since = len(run.log)
            run.process.send_signal(signal.SIGHUP)
            line = run.wait_for_log(expected, since=since)
            run.wait_for_results(3)
            regular = "tiles:", "since the start:"  # whenever they are due
            assert [each for each in run.log[since:] if not any(map(each.__contains__, regular))] == [line]
            return line

        run.wait_for_results(2)
        run.wait_for_log("streaming")
        assert run.results[-1]["zones"].keys() == {"frame"}
        # A truncated file that is mapped would end the process with SIGBUS.
        assert str(model) not in Path(f"/proc/{run.process.pid}/maps").read_text()
        config.write_text("[model]\npth = 1\n")
        assert "has no key pth: did you mean path?" in reload("configuration rejected, the old one stays in use")
        zone = '[[zones]]\nname = "stove"\npolygon = [[0, 0], [1, 0], [1, 1]]\n'
        config.write_text('[model]\npath = "model.tflite"\n' + zone)
        new = tmp_path / "new.tflite"
        for spoil in (
            lambda: os.truncate(model, len(good) // 2),
            lambda: model.write_bytes(b"rubbish" * 1000),
            lambda: new.write_bytes(good[: len(good) // 2]) and new.rename(model),
            lambda: model.write_bytes(without_weights(good)),
            lambda: model.unlink(),
        ):
            spoil()
            assert "model.tflite" in reload("configuration rejected")
        model.write_bytes(good)
        config.write_text("x = " + "[" * 20_000)
        assert "is nested too deeply" in reload("configuration rejected")
        config.write_text('[model]\npath = "model.tflite"\n' + zone)
        reload("configuration reloaded")
        run.wait_for(lambda: run.results[-1]["zones"].keys() == {"stove"})
        config.write_text('[model]\npath = "model.tflite"\n[mqtt]\nuser = "pi"\n')
        run.process.send_signal(signal.SIGHUP)
        run.wait_for_log("[mqtt] has changed: restart to apply it")
        assert run.stop() == 0
    assert run.log[-1].startswith(f"test-pattern: {len(run.results)} frames in"), "no line was lost in a reload"


@pytest.mark.slow
def test_a_signal_at_any_moment_ends_a_run_without_a_traceback(shipped_model: Path, tmp_path: Path) -> None:
    draw = random.Random(0)
    startup = [(False, draw.uniform(0, 0.1)) for _ in range(4)] + [(False, draw.uniform(0.1, 2.5)) for _ in range(6)]
    moments = startup + [(True, draw.uniform(0, 0.5)) for _ in range(4)]
    arguments = ("--source", "test-pattern", "--model", shipped_model, "--clips", tmp_path / "events")

    def stop_at(moment: tuple[bool, float], number: int) -> tuple[int, str, bool]:
        after_first_result, delay_s = moment
        with edge_process(*arguments) as run:
            if after_first_result:
                run.wait_for_results(1)
            time.sleep(delay_s)
            code = run.stop(number)
        return code, "\n".join(run.log), bool(run.results)

    numbers = [signal.SIGINT if at % 3 == 0 else signal.SIGTERM for at in range(len(moments))]
    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(stop_at, moments, numbers))
    for number, (code, log, had_results) in zip(numbers, ends, strict=True):
        # Before the loop starts there is nothing to shut down, and signals have their default effect.
        by_default = {-signal.SIGTERM} if number == signal.SIGTERM else {130, -signal.SIGINT, 1}
        assert code in ({0} if had_results else {0, *by_default}), log
        assert "FATAL" not in log
        assert "Traceback" not in log or (number == signal.SIGINT and not had_results), log
    assert sum(had_results for *_, had_results in ends) >= 4


@pytest.mark.slow
def test_a_full_disk_costs_the_images_but_no_alarm_and_no_event(shipped_model: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        fill(disk)
        arguments = ("--model", shipped_model, "--source", "test-pattern", "--clips", disk / "events")
        replay = ("--replay", "every-frame", "--max-frames", FIRE_FRAMES, "--log", "json")
        done = fireseg_edge("run", *arguments, *replay, cwd=tmp_path)
    assert done.code == 0
    assert [event["kind"] for event in lines(done.out, "event")] == ["start", "peak", "end"]
    assert len(lines(done.out, "result")) == FIRE_FRAMES
    assert "could not be written" in done.err
    assert "Traceback" not in done.err


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_run_without_standard_streams_goes_on(run_folder: Path, closed: str, tmp_path: Path) -> None:
    arguments = [*RUN, *RECORDING, "--config", "eager.toml", "--clips", str(tmp_path / "events"), "--log", "json"]
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *arguments], cwd=run_folder, env=ENVIRONMENT)
    assert done.returncode == 0
    assert list((tmp_path / "events").glob("*-start.jpg"))


def test_an_error_in_a_destructor_is_a_line_of_the_log(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Socketless:
        def __del__(self) -> None:
            raise OSError("too many open files")

    monkeypatch.setattr("edge.sinks.terminal.LOG_GRACE_S", WAIT_S)
    logging.getLogger("edge").setLevel(logging.ERROR)
    with log_to_stderr(verbose=False):
        Socketless()
    assert logging.getLogger("edge").level == logging.ERROR, "as before"
    logging.getLogger("edge").setLevel(logging.NOTSET)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith("OSError: too many open files (in a destructor)")
