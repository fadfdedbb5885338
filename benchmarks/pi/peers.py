"""The peers whose aarch64 wheels exist, with the models that `make bench-peers` converted for them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.models import Family
from benchmarks.peers.catalogue import NCNN, ONNXRUNTIME, OPENCV, TFLITE_RUNTIME
from benchmarks.peers.runtimes import Environment
from benchmarks.pi.instructions import Network

CONVERTED = Path("build/peers/models")
# What follows the model's name in the file's -> what the ledger adds to it, precision, adapter, environment. For int8
# those with signed activations, which Arm's kernels are made for. "own" is by the runtime's own quantiser.
FORMS: tuple[tuple[str, str, str, str, Environment | None], ...] = (
    ("-float32.tflite", "float32", "float32", "tflite", None),
    ("-int8.tflite", "int8", "int8", "tflite", TFLITE_RUNTIME),
    ("-float32.onnx", "float32", "float32", "onnxruntime", ONNXRUNTIME),
    ("-int8-int8-activations.onnx", "int8", "int8", "onnxruntime", ONNXRUNTIME),
    ("-int8-own-int8-activations.onnx", "int8 own", "int8", "onnxruntime", ONNXRUNTIME),
    ("-float32.ncnn.param", "float32", "float32", "ncnn", NCNN),
    ("-float32.ncnn.param", "float16", "float16", "ncnn", NCNN),
    ("-int8-own.ncnn.param", "int8 own", "int8", "ncnn", NCNN),
    ("-float32.onnx", "float32", "float32", "opencv", OPENCV),
)


def peers_of(family: Family, folder: Path = CONVERTED) -> list[tuple[Network, Environment | None]]:
    """What of a family's model was converted, and the environment each needs; None is the project's own."""
    found = []
    for suffix, kind, precision, adapter, environment in FORMS:
        path = folder / f"{family.name}{suffix}"
        if path.is_file():
            network = Network(
                f"{family.name}-{kind}",
                path,
                precision,
                adapter,
                environment.name if environment else "fireseg",
                ".bin" if path.suffix == ".param" else None,
            )
            found.append((network, environment))
    return found


def missing_peers(family: Family, folder: Path = CONVERTED) -> list[str]:
    """Sentences on the peers of a family that cannot be counted."""
    missing = {path.name for suffix, *_ in FORMS if not (path := folder / f"{family.name}{suffix}").is_file()}
    if not missing:
        return []
    return [f"not counted, for want of {', '.join(sorted(missing))} in {folder}: run `make bench-peers` first"]
