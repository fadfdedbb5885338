"""The README's installation: the wheel with its newest dependencies, and nothing else, used from an empty folder.

`make test-wheel` runs it. pip downloads what the package requires, without a lock.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera.pattern import PatternCamera
from edge.images import encode_jpeg, write_image
from tests.packaging.conftest import ENVIRONMENT, ROOT, checked
from tests.support.edge_process import lines
from tests.support.mjpeg_server import part, serve_camera, stream
from tests.support.mqtt_fixtures import listening, mosquitto
from tests.support.run_cli import Done, refused
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

WAIT_S = 60.0
FLAMES_S = 6.0  # when the test pattern shows flames


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment with the wheel alone."""
    python = tmp_path_factory.mktemp("installed") / "environment" / "bin" / "python"
    checked(sys.executable, "-m", "venv", python.parents[1])
    checked(python, "-m", "pip", "install", "--quiet", wheel)
    print(checked(python, "-m", "pip", "list", "--format", "freeze"))
    return python.parent


@pytest.fixture
def fireseg_edge(installed: Path, tmp_path: Path) -> Command:
    return Command(installed / "fireseg-edge", tmp_path)


class Command:
    """The installed `fireseg-edge`, in an empty folder."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program, self.folder = program, folder

    def __call__(self, *arguments: object) -> Done:
        done = subprocess.run(
            [str(self.program), *map(str, arguments)],
            cwd=self.folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=WAIT_S,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def run(self, *arguments: object) -> str:
        """Return what a successful `fireseg-edge run --log json` prints."""
        done = self("run", *arguments, "--log", "json")
        assert done.code == 0, done.err
        return done.out

    @contextmanager
    def running(self, *arguments: object) -> Iterator[list[str]]:
        """Start a run, and yield its growing log."""
        log: list[str] = []
        with subprocess.Popen(
            [str(self.program), "run", *map(str, arguments)],
            cwd=self.folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stderr
            reader = threading.Thread(target=log.extend, args=(process.stderr,))
            reader.start()
            try:
                yield log
            finally:
                process.terminate()
                assert process.wait(WAIT_S) == 0, log
                reader.join()


def test_the_wheel_has_the_shipped_models_byte_for_byte_and_a_version(installed: Path, fireseg_edge: Command) -> None:
    code = "from edge.model.shipped import SHIPPED; print(*SHIPPED.values())"
    for path in map(Path, checked(installed / "python", "-P", "-c", code).split()):
        assert path.is_relative_to(installed.parent)
        shipped = ROOT / "models" / path.name
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(shipped.read_bytes()).digest()
    done = fireseg_edge("--version")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (done.code, done.out) == (0, f"fireseg-edge {version}\n")


def test_fire_is_detected_in_the_test_pattern_and_in_its_recording(fireseg_edge: Command) -> None:
    out = fireseg_edge.run(
        "--source", "test-pattern", "--replay", "every-frame", "--max-frames", 70, "--record", "seen.mp4"
    )
    assert len(lines(out, "result")) == 70
    assert [event["kind"] for event in lines(out, "event")][:1] == ["start"]
    seen = fireseg_edge.run("--source", "seen.mp4", "--replay", "every-frame", "--model", "small")
    assert len(lines(seen, "result")) == 70
    assert max(result["fire_share"] for result in lines(seen, "result")) > 0.002


def test_an_mjpeg_camera_is_read(fireseg_edge: Command) -> None:
    frames = [part(encode_jpeg(PatternCamera(fps=10).frame(FLAMES_S)))] * 10_000
    with serve_camera(stream(*frames)) as address:
        results = lines(fireseg_edge.run("--source", f"http://{address}", "--max-frames", 3), "result")
    assert [result["frame"] > 0 for result in results] == [True] * 3
    assert all(result["fire_share"] > 0 for result in results)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("rtsp://me:hunter2@127.0.0.1:9/live", "rtsp://***@127.0.0.1:9/live does not answer (Connection refused)"),
        ("/dev/video99", "/dev/video99 does not exist"),
        ("http://127.0.0.1:9/live", "does not answer"),
    ],
)
def test_a_camera_that_cannot_be_opened_is_one_line(fireseg_edge: Command, address: str, expected: str) -> None:
    (fireseg_edge.folder / "once.toml").write_text("[source]\nreconnect_limit = 1\n")
    done = fireseg_edge("run", "--config", "once.toml", "--source", address)
    (line,) = refused(done)
    assert expected in line
    assert "hunter2" not in done.err + done.out


def test_images_are_segmented_and_the_model_timed(fireseg_edge: Command) -> None:
    write_image(fireseg_edge.folder / "photo.jpg", PatternCamera(fps=10).frame(FLAMES_S))
    done = fireseg_edge("segment", "photo.jpg", "--out", "masks", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)[0]["fire_share"] > 0
    mask = cv2.imread(str(fireseg_edge.folder / "masks" / "photo-mask.png"), cv2.IMREAD_GRAYSCALE)
    assert set(np.unique(mask)) == {0, 255}
    done = fireseg_edge("bench", "--model", "small", "--seconds", 0, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["stages"]["whole frame"]["runs"] >= 50


def test_a_written_configuration_is_valid_and_a_service_needs_no_clone(fireseg_edge: Command) -> None:
    assert fireseg_edge("config", "init").code == 0
    assert "model: base, 224x224 px" in fireseg_edge("config", "check").out
    done = fireseg_edge("doctor", "--config", "fireseg.toml", "--source", "test-pattern")
    results = {line.split()[1]: line.split()[0] for line in done.out.splitlines()}
    assert [results[name] for name in ("model", "runtime", "camera")] == ["OK"] * 3
    unit = fireseg_edge("install-service", "--config", "fireseg.toml", "--dry-run")
    assert unit.code == 0, unit.err
    assert f"ExecStart=:{fireseg_edge.program} run --config {fireseg_edge.folder}/fireseg.toml" in unit.out


def test_the_page_and_the_broker_are_served(fireseg_edge: Command) -> None:
    with mosquitto(fireseg_edge.folder) as broker, listening(broker) as listener:
        config = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\nname = "kitchen"\n[spool]\nfolder = "spool"\n'
        (fireseg_edge.folder / "page.toml").write_text(config)
        arguments = ("--config", "page.toml", "--source", "test-pattern", "--web", "127.0.0.1:0")
        with fireseg_edge.running(*arguments) as log:
            wait_for(lambda: any("the live page is at" in line for line in log))
            url = next(line.split()[-1] for line in log if "the live page is at" in line)
            wait_for(lambda: "connected" in "".join(log) and "streaming" in "".join(log))
            wait_for(lambda: listener.events)
            with urllib.request.urlopen(url, timeout=WAIT_S) as response:
                assert b"<html" in response.read()
            with urllib.request.urlopen(f"{url}metrics", timeout=WAIT_S) as response:
                assert b"fireseg_" in response.read()
