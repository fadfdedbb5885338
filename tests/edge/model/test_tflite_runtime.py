"""The models under tflite-runtime, the only interpreter that 32-bit ARM has, against ai-edge-litert.

tflite-runtime needs numpy 1, so it runs in a separate environment, created once below `build/`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge.images import Frame, read_rgb
from edge.model.card import split_model
from edge.model.preprocess import to_model_input
from edge.model.runtime import find_runtime
from edge.model.segmenter import Segmenter
from train.data.fireseg import load_dataset
from train.evaluation.metrics import agreement

ROOT = Path(__file__).parents[3]
LOCK = ROOT / "requirements" / "tflite-runtime.lock"
SHIPPED_MODEL = ROOT / "models" / "fireseg-base-int8.tflite"
INSTALL_LIMIT_S = 600
FRAMES = 20
MIN_AGREEMENT = 0.95  # IoU of the fire masks, pooled

# Runs there: writes the maps of the frames in a .npz and prints the runtime.
SEGMENT = """
import sys, numpy as np
from edge.model.segmenter import Segmenter
model, frames, maps = sys.argv[1:]
segmenter = Segmenter(model, threads=1, runtime="tflite-runtime")
with np.load(frames) as archive:
    np.save(maps, [segmenter(archive[name]).copy() for name in archive])
print(segmenter.runtime)
"""

Maps = npt.NDArray[np.uint8]  # N x H x W

pytestmark = pytest.mark.slow
needs_shipped_model = pytest.mark.skipif(
    not SHIPPED_MODEL.is_file(), reason=f"models/{SHIPPED_MODEL.name} is missing: export one to run this test"
)


@pytest.fixture(scope="module")
def tflite_runtime_python() -> Path:
    """A Python 3.11 with the packages of `requirements/tflite-runtime.lock`, created again after a change."""
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip(f"the lock has no tflite-runtime for {platform.machine()}")
    folder = ROOT / "build" / f"tflite-runtime-venv-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if not python.is_file():
        # Renamed when complete, so that an interrupted installation is not used.
        unfinished = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
        try:
            _install(unfinished)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return python


def _install(folder: Path) -> None:
    python311 = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if not python311:
        pytest.skip("tflite-runtime 2.14 needs Python 3.11, and there is no python3.11 on PATH")
    folder.parent.mkdir(exist_ok=True)
    subprocess.run([python311, "-m", "venv", folder], check=True, timeout=INSTALL_LIMIT_S)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    try:
        done = subprocess.run(
            [*pip, "--require-hashes", "-r", str(LOCK)], capture_output=True, text=True, timeout=INSTALL_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"pip did not install {LOCK.name} within {INSTALL_LIMIT_S} s")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        if "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr:
            pytest.fail(f"{LOCK.name} does not match the downloaded packages: {reason}")
        pytest.skip(f"pip could not install {LOCK.name}: {reason}")


@pytest.fixture
def noise() -> list[Frame]:
    """Coarse noise: the tiny network detects fire in two thirds of it."""
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, 9, 16, 3), np.uint8)
    return [cv2.resize(frame, (160, 90)).astype(np.uint8, copy=False) for frame in frames]


def maps_with_tflite_runtime(python: Path, model: Path, frames: list[Frame], folder: Path) -> Maps:
    """The maps of `Segmenter` under tflite-runtime."""
    np.savez(folder / "frames.npz", *frames)
    done = subprocess.run(
        [str(python), "-c", SEGMENT, str(model), str(folder / "frames.npz"), str(folder / "maps.npy")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "tflite-runtime 2.14.0\n"
    maps: Maps = np.load(folder / "maps.npy")
    return maps


def maps_with_litert(model: Path, frames: list[Frame]) -> Maps:
    """The maps of `Segmenter` under ai-edge-litert, which runs int8 with XNNPACK."""
    segmenter = Segmenter(model, threads=1, runtime="litert")
    return np.stack([segmenter(frame).copy() for frame in frames])


def maps_with_built_in_kernels(model: Path, frames: list[Frame]) -> Maps:
    """The maps of an int8 model under ai-edge-litert without XNNPACK."""
    module = find_runtime("litert").module
    interpreter = module.Interpreter(
        model_content=split_model(model)[0],
        experimental_op_resolver_type=module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    input_, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert input_["dtype"] == output["dtype"] == np.uint8
    _, height, width, _ = map(int, input_["shape"])
    maps = []
    for frame in frames:
        interpreter.set_tensor(input_["index"], to_model_input(frame, height, width)[None])
        interpreter.invoke()
        maps.append(interpreter.get_tensor(output["index"])[0, :, :, 0])
    return np.stack(maps)


def assert_same_fire(theirs: Maps, model: Path, frames: list[Frame]) -> None:
    """Compare the maps of an int8 model with those of the built-in kernels, and their masks with XNNPACK's.

    XNNPACK rounds differently between layers. Where the sigmoid is steep that is several steps in the map.
    """
    assert len(np.unique(theirs)) > 2, "constant maps would prove nothing"
    same_kernels, xnnpack = maps_with_built_in_kernels(model, frames), maps_with_litert(model, frames)
    assert theirs.shape == same_kernels.shape == xnnpack.shape
    assert np.abs(theirs.astype(int) - same_kernels).max() <= 1  # in steps of 1/256
    assert agreement(theirs >= 128, xnnpack >= 128) >= MIN_AGREEMENT


def test_the_tiny_models_give_the_same_maps_within_one_step(
    tflite_runtime_python: Path, models: dict[str, Path], noise: list[Frame], tmp_path: Path
) -> None:
    theirs = maps_with_tflite_runtime(tflite_runtime_python, models["int8"], noise, tmp_path)
    assert_same_fire(theirs, models["int8"], noise)
    theirs = maps_with_tflite_runtime(tflite_runtime_python, models["float32"], noise, tmp_path)
    assert np.abs(theirs.astype(int) - maps_with_litert(models["float32"], noise)).max() <= 1


@needs_shipped_model
@pytest.mark.parametrize("data", ["synthetic_dir", "fireseg_dir"])
def test_the_shipped_model_gives_the_same_map_within_one_step(
    tflite_runtime_python: Path, data: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    # About twenty images, evenly spaced over the data set.
    pairs = load_dataset(request.getfixturevalue(data)).pairs
    frames = [read_rgb(pair.image) for pair in pairs[:: max(1, len(pairs) // FRAMES)][:FRAMES]]
    theirs = maps_with_tflite_runtime(tflite_runtime_python, SHIPPED_MODEL, frames, tmp_path)
    assert_same_fire(theirs, SHIPPED_MODEL, frames)
