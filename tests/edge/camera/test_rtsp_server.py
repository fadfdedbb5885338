"""A real RTSP camera with a password: fire is detected, no frame is far behind, its password is hidden."""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import pytest

from benchmarks.soak.rig import free_port, wait_for_port
from edge.camera.base import CameraError, CameraSettings
from edge.camera.files import VideoFile
from edge.camera.pattern import FLAMES_FROM_S, PatternCamera
from edge.camera.rtsp import RtspCamera
from edge.images import Frame
from tests.support.edge_process import edge_process

SYSTEM_PYTHON = Path("/usr/bin/python3")
SERVER = Path(__file__).parents[2] / "support" / "rtsp_server.py"
BINDINGS = "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0')"
USER, PASSWORD = "me", "hunter2"
FPS, FRAMES = 15, 300
SIZE = (320, 240)
WAIT_S = 60.0
STALL_S = 4.0
SLOW_DECODE_S = 0.2


@pytest.fixture(scope="module")
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fire in a format that every GStreamer reads; a real one if available."""
    if (
        not SYSTEM_PYTHON.is_file()
        or subprocess.run([SYSTEM_PYTHON, "-c", BINDINGS], capture_output=True, timeout=WAIT_S).returncode
    ):
        pytest.skip("install python3-gi, gir1.2-gst-rtsp-server-1.0 and gstreamer1.0-plugins-{good,ugly} to run this")
    try:
        frames = video_frames(request.getfixturevalue("videos_dir") / "visifire_housefire_14.avi")
    except pytest.skip.Exception:
        frames = pattern_frames()
    path = tmp_path_factory.mktemp("rtsp") / "fire.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, SIZE)
    for frame in itertools.islice(frames, FRAMES):
        writer.write(cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), SIZE))
    writer.release()
    return path


def video_frames(path: Path) -> Iterator[Frame]:
    video = VideoFile(path)
    video.open()
    while frame := video.read():
        yield frame.rgb


def pattern_frames() -> Iterator[Frame]:
    """The test pattern, from shortly before its flames."""
    pattern = PatternCamera(fps=FPS)
    return (pattern.frame(FLAMES_FROM_S - 2 + number / FPS) for number in itertools.count())


@contextmanager
def served(video: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the camera in a separate process."""
    with subprocess.Popen([SYSTEM_PYTHON, SERVER, str(port), video, USER, PASSWORD]) as process:
        try:
            wait_for_port(port)
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_killed_or_hanging_camera_is_reconnected_without_showing_its_password(
    recording: Path, shipped_model: Path, tmp_path: Path
) -> None:
    port = free_port()
    address = f"rtsp://{USER}:{PASSWORD}@127.0.0.1:{port}/live"
    config = tmp_path / "fireseg.toml"
    config.write_text(f'[source]\naddress = "{address}"\nstall_s = {STALL_S}\n[model]\npath = "{shipped_model}"\n')
    with edge_process("--config", config) as run:
        with served(recording, port):
            run.wait_for(lambda: bool(run.events))
        run.wait_for_log("trying again")
        with served(recording, port) as process:
            run.wait_for_results(10)
            since = len(run.log)
            process.send_signal(signal.SIGSTOP)
            run.wait_for_log("trying again", since=since)
            process.send_signal(signal.SIGCONT)
            run.wait_for_results(10)
        assert run.stop() == 0
    everything = "\n".join([*run.log, *map(str, run.events)])
    assert f"rtsp://***@127.0.0.1:{port}/live" in everything
    assert PASSWORD not in everything


class SlowDecoder:
    """A `cv2.VideoCapture` on a machine that is slower than the stream."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture

    def grab(self) -> bool:
        time.sleep(SLOW_DECODE_S)
        return self._capture.grab()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._capture, name)


@pytest.mark.slow
def test_a_stream_that_is_decoded_too_slowly_ends_instead_of_showing_the_past(recording: Path) -> None:
    port = free_port()
    camera = RtspCamera(f"rtsp://{USER}:{PASSWORD}@127.0.0.1:{port}/live", CameraSettings())
    with served(recording, port):
        camera.open()
        try:
            frames = [camera.read() for _ in range(30)]
            skipped = sum(frame.skipped for frame in frames[-20:])
            assert 5 <= skipped <= 15  # of 15 frames per second, 10 are returned
            camera.start(SlowDecoder(camera._capture), "")  # type: ignore[arg-type]
            with pytest.raises(CameraError, match=r"is \d+ s late, decoded more slowly than it is sent: use its"):
                for _ in range(FRAMES):
                    camera.read()
        finally:
            camera.close()
