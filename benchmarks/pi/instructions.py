"""Instructions per frame on a Pi's processor, of shipped models and peers; instructions to start, and bytes on disk."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.ledger import Entry, last, runtime_name, stamp
from benchmarks.models import Family
from benchmarks.peers.runtimes import NCNN, ONNXRUNTIME, OPENCV, TFLITE_RUNTIME, Environment
from benchmarks.pi.counted import READ_COUNTER_FD
from benchmarks.pi.system import CPUS, SHARED_DIR, Cpu, System, last_line
from edge.errors import UserError
from edge.files import sha256
from edge.model.card import split_model
from export.int8.graph import Graph

MACHINE = "aarch64-qemu"
HERE = Path(__file__).parents[1]
OWN_ENVIRONMENT = "fireseg"
# The files of benchmarks that run inside. They import numpy and a runtime only.
INSIDE_FILES = ("__init__.py", "pi/__init__.py", "pi/counted.py", "peers/__init__.py", "peers/worker.py")
FRAMES = 5  # the cheapest counts: Python's garbage collection adds a thousand instructions to some
MAX_GROWTH = 0.02
"""Growth of instructions per frame against the ledger that is a regression."""
CONVERTED = Path("build/peers/models")
# File suffix -> label in the ledger, precision, adapter, environment. For int8, signed activations: Arm's kernels are
# made for them. "own" is quantised by the runtime.
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
    environment: str = OWN_ENVIRONMENT
    """The virtual environment inside."""

    @property
    def files(self) -> list[Path]:
        """The model, and for ncnn its weights."""
        return [self.path, self.path.with_suffix(".bin")] if self.path.suffix == ".param" else [self.path]


@dataclass(frozen=True)
class Shape:
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
    system.run_checked(CPUS["cortex-a76"], "/usr/bin/python3", "-m", "compileall", "-q", "/opt/counting")


def count(system: System, cpu: Cpu, network: Network, shape: Shape) -> Entry:
    """Return a line for the ledger. Raise `UserError` with the runtime's message if it cannot run the network."""
    system.share(network.files)
    done = system.run(
        cpu,
        f"{system.environment(network.environment)}/bin/python", "-m", "benchmarks.pi.counted",
        network.adapter, f"{SHARED_DIR}/{network.path.name}", network.precision, str(FRAMES),
        counting=True, PYTHONPATH="/opt/counting", HEIGHT=str(shape.height), WIDTH=str(shape.width),
    )  # fmt: skip
    counts = system.counts() if done.returncode == 0 else []
    if len(counts) != FRAMES + 1:
        raise UserError(f"{network.label} does not run on {cpu.name}", last_line(done))
    runtime = next(line for line in reversed(done.stdout.splitlines()) if line.strip())
    return entry(system, cpu, network, shape, runtime, min(after - before for before, after in pairwise(counts)))


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


def as_row(line: Entry) -> dict[str, str]:
    """Return the cells of the table, in millions."""
    return {
        "model": line["model"],
        "runtime": line["runtime"],
        "cpu": line["cpu"],
        "instructions, M": f"{line['instructions_per_frame'] / 1e6:.1f}",
        "multiply-adds, M": f"{line['multiply_adds'] / 1e6:.0f}",
        "floor, M": f"{line['floor'] / 1e6:.1f}",
        "times the floor": f"{line['ratio']:.2f}",
    }


def peers_of(family: Family, folder: Path = CONVERTED) -> list[tuple[Network, Environment | None]]:
    """Return a family's models that `make bench-peers` converted, with their environments; None is the project's."""
    return [
        (Network(f"{family.name}-{kind}", path, precision, adapter, env.name if env else OWN_ENVIRONMENT), env)
        for suffix, kind, precision, adapter, env in FORMS
        if (path := folder / f"{family.name}{suffix}").is_file()
    ]


def missing_peers(family: Family, folder: Path = CONVERTED) -> list[str]:
    """Return a sentence that names the converted models of a family that are missing, if any."""
    missing = sorted({name for suffix, *_ in FORMS if not (folder / (name := f"{family.name}{suffix}")).is_file()})
    return [f"not counted: {', '.join(missing)} not in {folder}; run `make bench-peers` first"] if missing else []


def footprint(system: System, cpu: Cpu) -> dict[str, Any]:
    """Return the size of the environment that `pip install` makes, its packages, and the instructions to import it."""
    inside = system.environment(OWN_ENVIRONMENT)
    python, outside = f"{inside}/bin/python", system.root / inside.lstrip("/")
    system.run_checked(cpu, python, "-c", IMPORT)  # the first import writes byte code
    start_s = time.monotonic()
    system.run_checked(cpu, python, "-c", IMPORT, counting=True)
    elapsed_s = time.monotonic() - start_s
    before, after = system.counts()
    if "fire" not in system.run_checked(cpu, python, f"{inside}/bin/fireseg-edge", "--help"):
        raise UserError(f"fireseg-edge --help prints nothing on {cpu.name}", f"delete {system.root} and try again")
    return {
        "debian": system.suite,
        "python": system.python,
        "size_bytes": size_bytes(outside),
        "packages": installed(outside),
        "import_instructions": after - before,
        "import_emulated_seconds": round(elapsed_s, 1),
    }


def size_bytes(folder: Path) -> int:
    """Return the size of all files below a folder, without links."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def installed(environment: Path) -> list[str]:
    """Return the packages of a virtual environment with their versions."""
    folders = environment.glob("lib/python*/site-packages/*.dist-info")
    return sorted(re.sub(r"-(?=[^-]+$)", " ", path.name.removesuffix(".dist-info")) for path in folders)
