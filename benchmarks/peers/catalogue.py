"""Who is compared: each runtime at each precision it has, and which model file it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.peers.runtimes import LOCKS, Environment
from edge.errors import UserError


@dataclass(frozen=True)
class Peer:
    """A runtime at one precision: a row of the comparison."""

    runtime: str
    variant: str
    """How the row is told from the runtime's others."""
    environment: Environment
    adapter: str
    model: str
    """Which of `benchmarks.peers.convert.Models` it reads."""
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

# "int8, own" is by the runtime's own quantiser, on the calibration images of our int8; "int8" is our file or its twin.
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
    Peer("ncnn", "int8, own", NCNN, "ncnn", "ncnn int8 own", "int8"),
    Peer("ncnn", "float16", NCNN, "ncnn", "ncnn float32", "float16"),
    Peer("ncnn", "float32", NCNN, "ncnn", "ncnn float32", "float32"),
    Peer("OpenCV", "float32", OPENCV, "opencv", "onnx float32", "float32"),
    Peer("Keras", "float32", KERAS, "keras", "keras", "float32"),
)
REFERENCE = PEERS[0]
"""What the others' times are divided by."""


def choose(only: Sequence[str]) -> list[Peer]:
    """The peers named, by their own names or their environments', and the reference; all where none is named.

    Raises `UserError` for a name that is none.
    """
    known = {name for peer in PEERS for name in (peer.name, peer.environment.name)}
    if unknown := [name for name in only if name not in known]:
        raise UserError(f"there is no peer {', '.join(unknown)}", f"expected any of {', '.join(sorted(known))}")
    return [peer for peer in PEERS if not only or peer == REFERENCE or {peer.name, peer.environment.name} & set(only)]
