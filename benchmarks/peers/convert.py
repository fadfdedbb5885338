"""One trained network, in the form that each peer reads. Made again only where something that goes in has changed.

Each conversion runs in the environment that has its converter. One that fails is no error but a reason, kept for the
rows of all that would read it.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers.catalogue import KERAS, NCNN, ONNXRUNTIME, OPENVINO, PNNX
from benchmarks.peers.client import worker_environment
from benchmarks.peers.runtimes import ROOT, Environment, PeerError, run
from edge.console import OnStep
from edge.errors import UserError
from edge.files import sha256, write_bytes, write_text
from edge.images import Frame
from edge.model.card import Card, split_model

CONVERSION_LIMIT_S = 1800
SCRIPTS = Path(__file__).with_name("conversions")
# ONNX Runtime's kernels for x86 take unsigned activations three times as fast as signed; elsewhere signed ones, which
# its guide advises to try first.
ACTIVATIONS = "uint8" if platform.machine() in ("x86_64", "AMD64") else "int8"

Prepare = Callable[[Environment], Path]


@dataclass(frozen=True)
class DataSource:
    """What is compared: a Keras model, and the int8 model that we made of it."""

    keras: Path
    int8: Path
    card: Card

    @property
    def name(self) -> str:
        return self.keras.stem


@dataclass(frozen=True)
class Models:
    """The file of each form, or why there is none."""

    files: dict[str, Path | PeerError]

    def file(self, form: str) -> Path:
        """Raises `PeerError` where the conversion failed."""
        found = self.files[form]
        if isinstance(found, PeerError):
            raise found
        return found


def find_source(keras: Path, int8: Path | None) -> DataSource:
    """The Keras model and its int8 file, by default beside it. Raises `UserError` where they are not one network."""
    if not keras.is_file():
        raise UserError(f"model {keras} does not exist", "expected a .keras file, with its int8 .tflite beside it")
    path = int8 or keras.with_name(f"{keras.stem}-int8.tflite")
    if not path.is_file():
        raise UserError(f"{path} does not exist", f"make it with MODEL={keras} make export-int8, and pass --int8 PATH")
    _, card = split_model(path)
    if card is None or card.get("keras_sha256") != sha256(keras):
        raise UserError(
            f"{path} was not made from {keras}, by what its card says",
            f"expected the same network in both; make it with MODEL={keras} make export-int8, and pass --int8 PATH",
        )
    return DataSource(keras, path, card)


def make_models(source: DataSource, frames: Frame, folder: Path, prepare: Prepare, on_step: OnStep) -> Models:
    """Convert to every form.

    Args:
        frames: what calibrates, N x H x W x 3.
        folder: where the models go, and stay for other tools.
        prepare: gives the Python of an environment, or raises `PeerError`.
    """
    name = source.name
    calibration = folder / f"{name}-calibration.npy"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(calibration, frames)
    height, width = (str(size) for size in frames.shape[1:3])
    files: dict[str, Path | PeerError] = {"keras": folder / source.keras.name}
    write_bytes(folder / source.keras.name, source.keras.read_bytes())  # a training may replace the file meanwhile
    files["int8"] = folder / f"{name}-int8.tflite"
    # Without the card: other readers need not know of a ZIP archive behind the flatbuffer.
    write_bytes(folder / f"{name}-int8.tflite", split_model(source.int8)[0])
    files["float32"] = folder / f"{name}-float32.tflite"
    float_onnx, int8_onnx = folder / f"{name}-float32.onnx", f"{name}-int8-{{}}.onnx"
    jobs: list[tuple[str, Environment, str, list[str | Path], Path]] = [
        ("onnx float32", KERAS, "onnx_from_tflite", [folder / f"{name}-float32.tflite", "-"], float_onnx)
    ]
    for kind in ("uint8", "int8"):  # the one that this machine does not use is for others
        suffix = "" if kind == ACTIVATIONS else f" {kind}"
        target = folder / int8_onnx.format(f"{kind}-activations")
        tflite = folder / f"{name}-int8.tflite"
        jobs.append((f"onnx int8{suffix}", KERAS, "onnx_from_tflite", [tflite, kind], target))
        target = folder / int8_onnx.format(f"own-{kind}-activations")
        jobs.append((f"onnx int8 own{suffix}", ONNXRUNTIME, "onnx_int8", [float_onnx, calibration, kind], target))
    own_xml, float_param = folder / f"{name}-int8-own.openvino.xml", folder / f"{name}-float32.ncnn.param"
    own_param = folder / f"{name}-int8-own.ncnn.param"
    jobs += [
        ("openvino int8 own", OPENVINO, "openvino_int8", [float_onnx, calibration], own_xml),
        ("ncnn float32", PNNX, "ncnn_float", [float_onnx, height, width], float_param),
        ("ncnn int8 own", NCNN, "ncnn_int8", [float_param, calibration], own_param),
    ]
    done = on_step("converting", 1 + len(jobs))
    _unless_fresh(folder / f"{name}-float32.tflite", [source.keras], lambda target: _float_tflite(source.keras, target))
    done()
    for form, environment, script, arguments, target in jobs:
        try:
            _convert(environment, script, arguments, target, prepare)
            files[form] = target
        except PeerError as error:
            files[form] = error
        done()
    return Models(files)


def _convert(
    environment: Environment, script: str, arguments: list[str | Path], target: Path, prepare: Prepare
) -> None:
    sources = [argument for argument in arguments if isinstance(argument, Path)]
    if missing := [path.name for path in sources if not all(part.is_file() for part in _parts(path))]:
        raise PeerError(f"{missing[0]}, from which {target.name} is made, could not be made")

    def make(target: Path) -> None:
        command = [str(prepare(environment)), "-m", f"benchmarks.peers.conversions.{script}", *map(str, arguments)]
        failure = f"{target.name} could not be made"
        run([*command, str(target)], CONVERSION_LIMIT_S, failure, env=worker_environment(), cwd=ROOT)

    words = [str(argument) for argument in arguments if not isinstance(argument, Path)]
    _unless_fresh(target, [*sources, environment.lock, SCRIPTS / f"{script}.py"], make, words)


def _unless_fresh(
    target: Path, sources: list[Path], make: Callable[[Path], None], words: list[str] | None = None
) -> None:
    """Call `make` unless `target` is there and was made of the same contents."""
    contents = [sha256(part) for source in sources for part in _parts(source)]
    digest = hashlib.sha256(" ".join([*contents, *(words or [])]).encode()).hexdigest()
    stamp = target.with_name(f".{target.name}.made-of")
    if all(part.is_file() for part in [stamp, *_parts(target)]) and stamp.read_text() == digest:
        return
    for part in [stamp, *_parts(target)]:  # what is stale must not pass for what could not be made
        part.unlink(missing_ok=True)
    make(target)
    write_text(stamp, digest)


def _parts(model: Path) -> list[Path]:
    """All files of a model: OpenVINO's .xml and ncnn's .param say only what is computed, a .bin beside them by what."""
    return [model, model.with_suffix(".bin")] if model.suffix in (".xml", ".param") else [model]


def _float_tflite(keras: Path, target: Path) -> None:
    from edge.model.runtime import find_runtime
    from export.convert import convert
    from train.model.io import load_keras

    write_bytes(target, convert(load_keras(keras), "float32", find_runtime("litert")).flatbuffer)
