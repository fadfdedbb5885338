"""The peers: each runtime at each precision it offers, the model form it reads, and its virtual environment.

Every runtime has its own environment, because they require incompatible versions of numpy.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import UserError
from edge.files import sha256

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "requirements" / "peers"
BUILD = ROOT / "build" / "peers"
INSTALL_LIMIT_S = 1800
MAX_REASON_CHARS = 240


class PeerError(Exception):
    """Why a peer or a conversion is not measured, as one line for its row."""

    def __init__(self, reason: str) -> None:
        super().__init__(" ".join(reason.split())[:MAX_REASON_CHARS])


@dataclass(frozen=True)
class Environment:
    """A virtual environment made from a lock file, and the Python version it needs if not the project's."""

    name: str
    lock: Path
    python: tuple[int, int] | None = None

    def prepare(self) -> Path:
        """Make the environment unless it exists; return its Python. Raise `PeerError` on failure."""
        path = BUILD / "environments" / f"{self.name}-{sha256(self.lock)[:12]}"
        if not path.is_dir():
            # Renamed when complete, so that an interrupted installation is never used.
            partial = path.with_name(f".{path.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            self._install(self._base_python(), partial)
            partial.rename(path)
        return path / "bin" / "python"

    def _base_python(self) -> str:
        if self.python is None or self.python == sys.version_info[:2]:
            return sys.executable
        name = f"python{self.python[0]}.{self.python[1]}"
        if path := shutil.which(name):
            return path
        raise PeerError(f"needs Python {self.python[0]}.{self.python[1]}, and {name} is not on PATH")

    def _install(self, base: str, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        run([base, "-m", "venv", str(folder)], INSTALL_LIMIT_S, f"{base} made no environment")
        # Wheels only: a peer without a wheel for this machine becomes a row that says so.
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        options = ["--require-hashes", "--no-deps", "--only-binary=:all:", "-r", str(self.lock)]
        machine = f"Python {sys.version_info[0]}.{sys.version_info[1]} on {platform.machine()}"
        run([*pip, *options], INSTALL_LIMIT_S, f"pip could not install {self.lock.name} for {machine}")


@dataclass(frozen=True)
class Peer:
    """A runtime at one precision: a row of the comparison."""

    runtime: str
    variant: str
    environment: Environment
    adapter: str
    model: str
    """The form it reads, a key of `benchmarks.peers.convert.Models`."""
    precision: str

    @property
    def name(self) -> str:
        return f"{self.environment.name}-{self.variant.replace(', ', '-').replace(' ', '-')}"

    @property
    def title(self) -> str:
        return f"{self.runtime} {self.variant}"


LITERT = Environment("litert", LOCKS / "litert.lock")
TFLITE_RUNTIME = Environment("tflite-runtime", LOCKS.parent / "tflite-runtime.lock", python=(3, 11))
ONNXRUNTIME = Environment("onnxruntime", LOCKS / "onnxruntime.lock")
OPENVINO = Environment("openvino", LOCKS / "openvino.lock")
NCNN = Environment("ncnn", LOCKS / "ncnn.lock")
PNNX = Environment("pnnx", LOCKS / "pnnx.lock")
OPENCV = Environment("opencv", LOCKS / "opencv.lock")
KERAS = Environment("keras", LOCKS / "keras.lock")

# "int8" is the project's model or its weights and scales in the peer's format; "int8, own" is quantized by the peer
# itself, on the same calibration images. ncnn is float only: its wheels contain no quantizer.
PEERS = (
    Peer("LiteRT", "int8", LITERT, "tflite", "int8", "int8"),
    Peer("LiteRT", "float32", LITERT, "tflite", "float32", "float32"),
    Peer("tflite-runtime", "int8", TFLITE_RUNTIME, "tflite", "int8", "int8"),
    Peer("tflite-runtime", "float32", TFLITE_RUNTIME, "tflite", "float32", "float32"),
    Peer("ONNX Runtime", "int8", ONNXRUNTIME, "onnxruntime", "onnx int8", "int8"),
    Peer("ONNX Runtime", "int8, own", ONNXRUNTIME, "onnxruntime", "onnx int8 own", "int8"),
    Peer("ONNX Runtime", "float32", ONNXRUNTIME, "onnxruntime", "onnx float32", "float32"),
    Peer("OpenVINO", "int8", OPENVINO, "openvino", "int8", "int8"),
    Peer("OpenVINO", "int8, own", OPENVINO, "openvino", "openvino int8 own", "int8"),
    Peer("OpenVINO", "bfloat16", OPENVINO, "openvino", "onnx float32", "bfloat16"),
    Peer("OpenVINO", "float32", OPENVINO, "openvino", "onnx float32", "float32"),
    Peer("ncnn", "float16", NCNN, "ncnn", "ncnn float32", "float16"),
    Peer("ncnn", "float32", NCNN, "ncnn", "ncnn float32", "float32"),
    Peer("OpenCV", "float32", OPENCV, "opencv", "onnx float32", "float32"),
    Peer("Keras", "float32", KERAS, "keras", "keras", "float32"),
)
REFERENCE = PEERS[0]
"""All times are divided by its time."""


def choose(names: Sequence[str]) -> list[Peer]:
    """Return the peers with these names or environments, and the reference; all peers for no names.

    Raises `UserError` for an unknown name.
    """
    known = {name for peer in PEERS for name in (peer.name, peer.environment.name)}
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"unknown peer {', '.join(unknown)}", f"expected any of {', '.join(sorted(known))}")
    return [peer for peer in PEERS if not names or peer == REFERENCE or {peer.name, peer.environment.name} & set(names)]


def worker_environment(threads: int | None = None) -> dict[str, str]:
    """Return environment variables that show a peer this project's files and none of its packages."""
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "VIRTUAL_ENV")}
    variables |= {"PYTHONPATH": str(ROOT), "PYTHONNOUSERSITE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return variables if threads is None else variables | {"OMP_NUM_THREADS": str(threads)}


def run(
    command: list[str], limit_s: float, failure: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> None:
    """Run a command without showing its output. Raise `PeerError` with its last line on failure."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, env=env, cwd=cwd)
    except subprocess.TimeoutExpired:
        raise PeerError(f"{failure}: it took longer than {limit_s:.0f} s") from None
    if done.returncode:
        raise PeerError(f"{failure}: {failure_reason(done.stderr, done.returncode)}")


def failure_reason(output: str, status: int) -> str:
    """Return why a program failed: the signal that ended it, else its last line of output."""
    if status < 0:
        return f"it crashed ({signal.Signals(-status).name})"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {status} without output"
