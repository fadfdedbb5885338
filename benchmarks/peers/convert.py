"""One trained network in the form that each peer reads. Converted again only if an input changed.

Each conversion runs in the environment that holds its converter. A failed one becomes the reason in the rows of the
peers that read it.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.runtimes import (
    KERAS,
    ONNXRUNTIME,
    OPENVINO,
    PNNX,
    ROOT,
    Environment,
    PeerError,
    run,
    worker_environment,
)
from edge.console import OnStep
from edge.errors import UserError
from edge.files import sha256, write_bytes, write_text
from edge.images import Frame
from edge.model.card import Card, split_model
from export.calibration import assert_disjoint, candidates_from_pairs, choose
from train.data.splits import Split

CONVERSION_LIMIT_S = 1800
CALIBRATION_COUNT = 200
SCRIPTS = Path(__file__).with_name("conversions")
# ONNX Runtime's x86 kernels are three times faster with unsigned activations; elsewhere its guide advises signed ones.
ACTIVATIONS = "uint8" if platform.machine() in ("x86_64", "AMD64") else "int8"


Models = dict[str, Path | PeerError]
"""The file of each form, or why its conversion failed."""


@dataclass(frozen=True)
class Job:
    """One conversion: a script of `conversions` with its arguments and its target."""

    form: str
    environment: Environment
    script: str
    arguments: list[str | Path]
    target: Path


def find_int8(keras: Path) -> tuple[Path, Card]:
    """Return the int8 file beside a Keras model, with its card. Raise `UserError` if they do not match."""
    if not keras.is_file():
        raise UserError(f"model {keras} does not exist", "expected a .keras file, with its int8 .tflite beside it")
    path = keras.with_name(f"{keras.stem}-int8.tflite")
    _, card = split_model(path)
    if card is None or card.get("keras_sha256") != sha256(keras):
        remedy = f"make it with MODEL={keras} make export-int8, and copy build/export/fireseg-int8.tflite to {path}"
        raise UserError(f"{path} was not exported from {keras}, by its card", remedy)
    return path, card


def calibration_frames(
    card: Card, split: Split, height: int, width: int, on_step: OnStep
) -> tuple[Frame, dict[str, Any]]:
    """Return the frames that calibrated the int8 model with this card, N x height x width x 3, and facts on them.

    `same_as_int8` says whether they are the same images. On other data they cannot be.
    """
    calibration = card.get("calibration") or {}
    candidates = candidates_from_pairs(split.train, on_step("reading training images", len(split.train)))
    chosen = choose(candidates, calibration.get("images", CALIBRATION_COUNT), calibration.get("seed", 0))
    assert_disjoint(chosen.images, split.test)
    return chosen.frames(height, width), {
        "images": len(chosen.images),
        "sha256": chosen.sha256,
        "same_as_int8": chosen.sha256 == calibration.get("sha256"),
    }


def make_models(keras: Path, int8: Path, frames: Frame, folder: Path, on_step: OnStep) -> Models:
    """Convert to every form.

    Args:
        frames: for calibration, N x H x W x 3 bytes.
        folder: where the models stay, for `make bench-pi` too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start = folder / keras.stem
    np.save(f"{start}-calibration.npy", frames)
    paths = {"keras": Path(f"{start}.keras")} | {kind: Path(f"{start}-{kind}.tflite") for kind in ("int8", "float32")}
    write_bytes(paths["keras"], keras.read_bytes())  # a training run may replace the original
    write_bytes(paths["int8"], split_model(int8)[0])  # without the card: other readers expect a plain flatbuffer
    jobs = conversion_jobs(folder, keras.stem, *(str(size) for size in frames.shape[1:3]))
    done = on_step("converting", 1 + len(jobs))
    _unless_fresh(paths["float32"], [keras], [], lambda target: _write_float_tflite(keras, target))
    done()
    models: Models = {**paths}
    for job in jobs:
        try:
            _convert(job)
            models[job.form] = job.target
        except PeerError as error:
            models[job.form] = error
        done()
    return models


def conversion_jobs(folder: Path, name: str, height: str, width: str) -> list[Job]:
    """Return the conversions in an order in which each finds its sources."""

    def path(suffix: str) -> Path:
        return folder / f"{name}-{suffix}"

    onnx, calibration = path("float32.onnx"), path("calibration.npy")
    jobs = [Job("onnx float32", KERAS, "onnx_from_tflite", [path("float32.tflite"), "-"], onnx)]
    for kind in ("uint8", "int8"):  # `make bench-pi` reads the form that this machine does not use
        form = "" if kind == ACTIVATIONS else f" {kind}"
        target, own = path(f"int8-{kind}-activations.onnx"), path(f"int8-own-{kind}-activations.onnx")
        jobs += [
            Job(f"onnx int8{form}", KERAS, "onnx_from_tflite", [path("int8.tflite"), kind], target),
            Job(f"onnx int8 own{form}", ONNXRUNTIME, "onnx_int8", [onnx, calibration, kind], own),
        ]
    openvino, ncnn = path("int8-own.openvino.xml"), path("float32.ncnn.param")
    return [
        *jobs,
        Job("openvino int8 own", OPENVINO, "openvino_int8", [onnx, calibration], openvino),
        Job("ncnn float32", PNNX, "ncnn_float", [onnx, height, width], ncnn),
    ]


def _convert(job: Job) -> None:
    sources = [argument for argument in job.arguments if isinstance(argument, Path)]
    if missing := [path.name for path in sources if not path.is_file()]:
        raise PeerError(f"{job.target.name} could not be made: its source {missing[0]} is missing")

    def make(target: Path) -> None:
        python = str(job.environment.prepare())
        command = [python, "-m", f"benchmarks.peers.conversions.{job.script}", *map(str, job.arguments), str(target)]
        run(command, CONVERSION_LIMIT_S, f"{target.name} could not be made", env=worker_environment(), cwd=ROOT)

    words = [argument for argument in job.arguments if isinstance(argument, str)]
    _unless_fresh(job.target, [*sources, job.environment.lock, SCRIPTS / f"{job.script}.py"], words, make)


def _unless_fresh(target: Path, sources: list[Path], words: list[str], make: Callable[[Path], None]) -> None:
    """Call `make` unless `target` exists and was made from the same contents."""
    digest = hashlib.sha256(" ".join([*map(sha256, sources), *words]).encode()).hexdigest()
    stamp = target.with_name(f".{target.name}.made-of")
    parts = [stamp, *_parts(target)]
    if all(part.is_file() for part in parts) and stamp.read_text() == digest:
        return
    for part in parts:  # a failed conversion must not leave a stale file
        part.unlink(missing_ok=True)
    make(target)
    write_text(stamp, digest)


def _parts(model: Path) -> list[Path]:
    """Return all files of a model: OpenVINO's .xml and ncnn's .param keep their weights in a .bin beside them."""
    return [model, model.with_suffix(".bin")] if model.suffix in (".xml", ".param") else [model]


def _write_float_tflite(keras: Path, target: Path) -> None:
    from edge.model.runtime import find_runtime
    from export.convert import convert
    from train.model.io import load_keras

    write_bytes(target, convert(load_keras(keras), "float32", find_runtime("litert")).flatbuffer)
