"""Instructions per frame on a Pi's processor, of shipped models and peers; instructions to start, and bytes on disk."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from benchmarks.ledger import Entry, last, runtime_name, stamp
from benchmarks.models import Family
from benchmarks.peers.runtimes import BUILD, NCNN, ONNXRUNTIME, OPENCV, TFLITE_RUNTIME, Environment
from benchmarks.pi.counted import READ_COUNTER_FD
from benchmarks.pi.system import CPUS, SHARED_DIR, Cpu, System
from edge.files import sha256
from edge.model.card import split_model
from export.int8.graph import Graph

MACHINE = "aarch64-qemu"
HERE = Path(__file__).parents[1]
OWN_ENVIRONMENT = "/opt/fireseg"
# The files of benchmarks that run inside. They import numpy and a runtime only.
INSIDE_FILES = ("__init__.py", "pi/__init__.py", "pi/counted.py", "peers/__init__.py", "peers/worker.py")
FRAMES = 5  # the cheapest counts: Python's garbage collection adds a thousand instructions to some
MAX_GROWTH = 0.02
"""Growth of instructions per frame against the ledger that is a regression."""
CONVERTED = BUILD / "models"
# File suffix -> label in the ledger, precision, adapter, environment. For int8, signed activations: Arm's kernels are
# made for them. "own" is quantized by the runtime.
FORMS: tuple[tuple[str, str, str, str, Environment | None], ...] = (
    ("-float32.tflite", "float32", "float32", "tflite", None),
    ("-int8.tflite", "int8", "int8", "tflite", TFLITE_RUNTIME),
    ("-float32.onnx", "float32", "float32", "onnxruntime", ONNXRUNTIME),
    ("-int8-int8-activations.onnx", "int8", "int8", "onnxruntime", ONNXRUNTIME),
    ("-int8-own-int8-activations.onnx", "int8 own", "int8", "onnxruntime", ONNXRUNTIME),
    ("-float32.ncnn.param", "float32", "float32", "ncnn", NCNN),
    ("-float32.ncnn.param", "float16", "float16", "ncnn", NCNN),
    ("-float32.onnx", "float32", "float32", "opencv", OPENCV),
)
# The counter is read before and after, so that the interpreter's own start does not count.
IMPORT = f"""
import contextlib, os
def read_counter():
    with contextlib.suppress(OSError):
        os.close({READ_COUNTER_FD})
read_counter()
import edge.model.segmenter
edge.model.segmenter.find_runtime()
read_counter()
"""


@dataclass(frozen=True)
class Network:
    """A model file and the runtime that runs it."""

    label: str
    """The model's name in the ledger."""
    path: Path
    precision: str
    adapter: str = "tflite"
    environment: Environment | None = None
    """A peer's; None for the project's."""


class Shape(NamedTuple):
    """Input size and multiply-adds per frame of a network."""

    height: int
    width: int
    multiply_adds: int


def shape_of(tflite: Path) -> Shape:
    graph = Graph(split_model(tflite)[0])
    _, height, width, _ = graph.shape(graph.inputs[0])
    return Shape(height, width, graph.multiply_adds())


def prepare(system: System) -> None:
    """Copy the counting files inside and compile them; compiling in the first run would change its memory layout."""
    shutil.rmtree(system.root / "opt/counting", ignore_errors=True)
    adapters = [f"peers/adapters/{path.name}" for path in (HERE / "peers/adapters").glob("*.py")]
    for name in (*INSIDE_FILES, *adapters):
        target = system.root / "opt/counting/benchmarks" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / name, target)
    system.run(CPUS["cortex-a76"], "/usr/bin/python3", "-m", "compileall", "-q", "/opt/counting")


def count(system: System, cpu: Cpu, network: Network, shape: Shape) -> Entry:
    """Return a line for the ledger. Raise `UserError` with the runtime's message if it cannot run the network."""
    weights = network.path.with_suffix(".bin")  # ncnn's
    system.share([network.path, weights] if weights.is_file() else [network.path])
    environment = f"/opt/{network.environment.name}" if network.environment else OWN_ENVIRONMENT
    output = system.run(
        cpu, f"{environment}/bin/python", "-m", "benchmarks.pi.counted",
        network.adapter, f"{SHARED_DIR}/{network.path.name}", network.precision, str(FRAMES),
        counting=True, PYTHONPATH="/opt/counting", HEIGHT=str(shape.height), WIDTH=str(shape.width),
    )  # fmt: skip
    per_frame = min(after - before for before, after in pairwise(system.counts()))
    return entry(system, cpu, network, shape, output.strip().splitlines()[-1], per_frame)


def entry(system: System, cpu: Cpu, network: Network, shape: Shape, runtime: str, instructions: int) -> Entry:
    """Return a line for the ledger: the count, and the floor that multiply-adds alone require."""
    floor = shape.multiply_adds / cpu.multiply_adds[network.precision]
    return stamp("instructions", MACHINE) | {
        "cpu": cpu.name,
        "model": network.label,
        "runtime": runtime,
        "model_sha256": sha256(network.path),
        "versions": {"debian": system.suite, "python": system.python},
        "instructions_per_frame": instructions,
        "multiply_adds": shape.multiply_adds,
        "floor": round(floor),
        "ratio": round(instructions / floor, 3),
    }


def regression(line: Entry, entries: Sequence[Entry]) -> str | None:
    """Return a sentence if a model costs over 2 % more than on the ledger's last line of model, CPU and runtime.

    A network with other multiply-adds under the same name starts a new series.
    """
    same = [old for old in entries if old["kind"] == "instructions" and runtime_name(old) == runtime_name(line)]
    before = last(same, cpu=line["cpu"], model=line["model"], multiply_adds=line["multiply_adds"])
    now = line["instructions_per_frame"]
    if before is None or now <= before["instructions_per_frame"] * (1 + MAX_GROWTH):
        return None
    return (
        f"{line['model']} on {line['cpu']} with {line['runtime']}: {now:,} instructions per frame, "
        f"{now / before['instructions_per_frame'] - 1:+.1%} against the ledger; at most {MAX_GROWTH:+.0%} is allowed"
    )


HEADINGS = (
    "model", "runtime", "cpu", "instructions, M", "multiply-adds, M", "floor, M", "times the floor",
)  # fmt: skip


def cells(line: Entry) -> tuple[str, ...]:
    """Return a row of the table, in millions."""
    millions = (line[name] / 1e6 for name in ("instructions_per_frame", "multiply_adds", "floor"))
    return line["model"], line["runtime"], line["cpu"], *(f"{value:.1f}" for value in millions), f"{line['ratio']:.2f}"


def peers_of(family: Family) -> tuple[list[Network], list[str]]:
    """Return a family's models that `make bench-peers` converted, and the names of those that are missing."""
    networks = [
        Network(f"{family.name}-{kind}", CONVERTED / f"{family.name}{suffix}", precision, adapter, environment)
        for suffix, kind, precision, adapter, environment in FORMS
    ]
    missing = {network.path.name for network in networks if not network.path.is_file()}
    return [network for network in networks if network.path.name not in missing], sorted(missing)


def footprint(system: System, cpu: Cpu) -> str:
    """Return the size of the environment that `pip install` makes, its packages, and the instructions to import it."""
    python, outside = f"{OWN_ENVIRONMENT}/bin/python", system.root / OWN_ENVIRONMENT.lstrip("/")
    system.run(cpu, python, "-c", IMPORT)  # the first import writes byte code
    system.run(cpu, python, "-c", IMPORT, counting=True)
    before, after = system.counts()
    size_bytes = sum(path.stat().st_size for path in outside.rglob("*") if path.is_file() and not path.is_symlink())
    packages = len(list(outside.glob("lib/python*/site-packages/*.dist-info")))
    return (
        f"Debian {system.suite}, Python {system.python}: {size_bytes / 1e6:.0f} MB installed, {packages} packages, "
        f"{(after - before) / 1e6:.0f} M instructions to import"
    )
