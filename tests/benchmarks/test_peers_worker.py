"""A peer in a process of its own: what it is asked, what it answers, and how its end is told."""

from __future__ import annotations

import ast
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from benchmarks.peers.client import Client

from benchmarks.peers import worker
from benchmarks.peers.runtimes import ROOT, Environment, PeerError, last_words
from edge.model.segmenter import Segmenter

SIDE = 4
MAY_IMPORT = {"benchmarks.peers.worker"}


class Inverting:
    """A network that gives the inverse of the red channel, and counts its runs."""

    def __init__(self) -> None:
        self.runs = 0

    def put(self, frame: npt.NDArray[np.uint8]) -> None:
        self.frame = frame

    def invoke(self) -> None:
        self.runs += 1

    def take(self) -> npt.NDArray[Any]:
        return 255 - self.frame[:, :, 0]


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    path = tmp_path / "frames.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8))
    return path


@pytest.fixture
def tflite(tmp_path: Path) -> Path:
    """A float network that gives the sigmoid of the sum of a pixel's channels, and takes a second to make."""
    import tensorflow as tf

    frame = tf.keras.Input(batch_shape=(1, SIDE, SIDE, 3))
    rescaled = tf.keras.layers.Rescaling(1 / 127.5, offset=-1)(frame)
    layer = tf.keras.layers.Conv2D(1, 1, activation="sigmoid", kernel_initializer="ones")
    model = tf.keras.Model(frame, layer(rescaled))
    path = tmp_path / "toy.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return path


@pytest.fixture
def connect(tmp_path: Path) -> Callable[..., Client]:
    """Start a worker in the environment that the tests run in."""

    def connect(model: Path, adapter: str = "tflite") -> Client:
        return Client(Path(sys.executable), adapter, model, 1, "float32", tmp_path / "worker.log")

    return connect


def test_only_the_runs_after_the_warm_up_are_timed(frames: Path) -> None:
    network = Inverting()
    answer = worker.obey(network, {"command": "time", "frames": str(frames), "runs": 7, "warm_up": 2})
    assert len(answer["ms"]) == 7 and min(answer["ms"]) >= 0
    assert network.runs == 9


def test_each_frame_gets_its_own_map(frames: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps.npy"
    worker.obey(Inverting(), {"command": "segment", "frames": str(frames), "maps": str(maps)})
    np.testing.assert_array_equal(np.load(maps), 255 - np.load(frames)[:, :, :, 0])


def test_an_unknown_command_is_refused_with_those_there_are(frames: Path) -> None:
    with pytest.raises(ValueError, match="no command 'dance': expected time or segment"):
        worker.obey(Inverting(), {"command": "dance", "frames": str(frames)})


def test_what_a_runtime_raises_is_answered_as_one_line_and_ends_the_worker(tmp_path: Path) -> None:
    answers = io.StringIO()
    status = worker.serve(["tflite", str(tmp_path / "absent.tflite"), "1", "int8"], [], answers)
    assert status == 1
    (line,) = answers.getvalue().splitlines()
    assert "absent.tflite" in json.loads(line)["error"]


def test_a_frame_becomes_floats_channel_by_channel_with_their_values_kept() -> None:
    frame = np.arange(SIDE * SIDE * 3, dtype=np.uint8).reshape(SIDE, SIDE, 3)
    floats = worker.to_nchw(frame)
    assert floats.shape == (1, 3, SIDE, SIDE) and floats.flags.c_contiguous and floats.dtype == np.float32
    assert floats[0, 2, 1, 3] == frame[1, 3, 2]


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "peers").glob("*/*.py")), ids=lambda path: path.stem)
def test_what_runs_in_a_peers_environment_imports_nothing_else_of_the_project(path: Path) -> None:
    found = {
        node.module
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and node.module
        and node.module.split(".")[0] in {"edge", "train", "export", "benchmarks"}
    }
    assert found <= MAY_IMPORT


def test_a_worker_gives_the_same_map_as_the_segmenter(
    connect: Callable[..., Client], tflite: Path, frames: Path, tmp_path: Path
) -> None:
    with connect(tflite) as client:
        client.segment(frames, tmp_path / "maps.npy")
        assert client.version
    with pytest.warns(UserWarning, match="carries no card"):
        segmenter = Segmenter(tflite, threads=1, runtime="litert")
    expected = np.stack([segmenter(frame).copy() for frame in np.load(frames)])
    maps = np.load(tmp_path / "maps.npy")
    assert len(np.unique(expected)) > 2
    np.testing.assert_allclose(np.clip(maps * 256, 0, 255).astype(np.uint8), expected, atol=1)


def test_a_worker_is_asked_for_times_again_and_again(
    connect: Callable[..., Client], tflite: Path, frames: Path
) -> None:
    with connect(tflite) as client:
        bursts = [client.time(frames, runs=4, warm_up=1) for _ in range(3)]
    assert [len(burst) for burst in bursts] == [4, 4, 4]
    assert all(time_ms > 0 for burst in bursts for time_ms in burst)


def test_a_model_that_does_not_load_is_one_line(connect: Callable[..., Client], tmp_path: Path) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"not a model")
    with pytest.raises(PeerError) as caught:
        connect(path)
    assert "\n" not in str(caught.value) and str(caught.value)


def test_a_runtime_that_is_not_installed_is_named(connect: Callable[..., Client], tflite: Path) -> None:
    with pytest.raises(PeerError, match="no_such_runtime"):
        connect(tflite, adapter="no_such_runtime")


def test_a_worker_that_was_killed_is_told_by_its_signal(
    connect: Callable[..., Client], tflite: Path, frames: Path
) -> None:
    client = connect(tflite)
    client._process.kill()
    client._process.wait()  # so that the order meets a broken pipe
    with pytest.raises(PeerError, match=r"it crashed \(SIGKILL\)"):
        client.time(frames, runs=1, warm_up=0)


def test_a_python_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match="could not be started"):
        Client(tmp_path / "python", "tflite", tmp_path / "x.tflite", 1, "int8", tmp_path / "worker.log")


@pytest.mark.parametrize(
    ("said", "status", "expected"),
    [
        ("Traceback\nValueError: no such operator\n\n", 1, "ValueError: no such operator"),
        ("", 3, "exit status 3, without a word"),
        ("anything", -11, "it crashed (SIGSEGV)"),
    ],
)
def test_a_failure_is_told_by_the_signal_or_by_the_last_line(said: str, status: int, expected: str) -> None:
    assert last_words(said, status) == expected


def test_an_environment_without_its_lock_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match=r"absent\.lock could not be read .*make lock"):
        Environment("absent", tmp_path / "absent.lock").prepare(tmp_path)


def test_an_environment_whose_python_is_nowhere_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PeerError, match=r"needs Python 3\.99, and there is no python3\.99 on PATH"):
        Environment("some", lock, python=(3, 99)).prepare(tmp_path / "environments")


@pytest.mark.slow
def test_a_package_that_cannot_be_had_is_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    lock = tmp_path / "impossible.lock"
    lock.write_text(f"fireseg-edge-no-such-package==1.0 --hash=sha256:{'0' * 64}\n")
    folder = tmp_path / "environments"
    with pytest.raises(PeerError, match=r"pip could not install impossible\.lock") as caught:
        Environment("impossible", lock).prepare(folder)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_an_environment_is_made_once(tmp_path: Path) -> None:
    lock = tmp_path / "empty.lock"
    lock.write_text("")
    environment = Environment("empty", lock)
    python = environment.prepare(tmp_path / "environments")
    made = python.stat().st_mtime_ns
    assert environment.prepare(tmp_path / "environments") == python
    assert python.stat().st_mtime_ns == made
