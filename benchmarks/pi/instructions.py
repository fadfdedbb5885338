"""Instructions a frame on a Pi's processor: of each model that ships and of its peers, with the floor beside them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.ledger import Entry, last, runtime_name, stamp
from benchmarks.pi.cpus import CPUS, Cpu
from benchmarks.pi.system import HANDED_IN, System, last_words
from edge.errors import UserError
from edge.files import sha256
from edge.model.card import split_model
from export.int8.graph import Graph

MACHINE = "aarch64-qemu"
HERE = Path(__file__).parents[1]
# What of benchmarks runs inside: the adapters import numpy and their runtime, and nothing else of ours.
INSIDE_FILES = ("__init__.py", "pi/__init__.py", "pi/counted.py", "peers/__init__.py", "peers/worker.py")
# Python tidies up now and then, a thousand instructions at a time: the cheapest of a few frames is free of it.
FRAMES = 5
MAX_GROWTH = 0.02
"""How many more instructions a frame may cost than the ledger's last line says, before it is a regression."""


@dataclass(frozen=True)
class Network:
    """A model file, and the runtime that runs it."""

    label: str
    """What the ledger calls the model."""
    path: Path
    precision: str
    adapter: str = "tflite"
    environment: str = "fireseg"
    """The virtual environment inside."""
    sidecar: str | None = None
    """The suffix of a second file that belongs to the first."""


@dataclass(frozen=True)
class Shape:
    """What a network is whatever runs it: its input, and its multiply-adds a frame."""

    height: int
    width: int
    multiply_adds: int


def shape_of(tflite: Path) -> Shape:
    """Read a `.tflite` of ours."""
    graph = Graph(split_model(tflite)[0])
    _, height, width, _ = graph.shape(graph.inputs[0])
    return Shape(height, width, graph.multiply_adds())


def prepare(system: System) -> None:
    """Copy in what counts, and only that, with its byte code: a first run that compiles lays memory out otherwise."""
    shutil.rmtree(system.root / "opt/counting", ignore_errors=True)
    adapters = [f"peers/adapters/{path.name}" for path in (HERE / "peers/adapters").glob("*.py")]
    for name in (*INSIDE_FILES, *adapters):
        to = system.root / "opt/counting/benchmarks" / name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / name, to)
    system.must(CPUS["cortex-a76"], "/usr/bin/python3", "-m", "compileall", "-q", "/opt/counting")


def count(system: System, cpu: Cpu, network: Network, shape: Shape) -> Entry:
    """One line of the ledger. Raises `UserError` where the runtime cannot run the network, with its own words."""
    system.hand_in([network.path, *([network.path.with_suffix(network.sidecar)] if network.sidecar else [])])
    done = system.run(
        cpu,
        f"{system.environment(network.environment)}/bin/python", "-m", "benchmarks.pi.counted",
        network.adapter, f"{HANDED_IN}/{network.path.name}", network.precision, str(FRAMES),
        counting=True, PYTHONPATH="/opt/counting", HEIGHT=str(shape.height), WIDTH=str(shape.width),
    )  # fmt: skip
    counts = system.counts() if done.returncode == 0 else []
    if len(counts) != FRAMES + 1:
        raise UserError(f"{network.label} does not run on {cpu.name}", f"{last_words(done)}")
    runtime = next(line for line in reversed(done.stdout.splitlines()) if line.strip())
    return entry(system, cpu, network, shape, runtime, min(b - a for a, b in pairwise(counts)))


def entry(system: System, cpu: Cpu, network: Network, shape: Shape, runtime: str, instructions: int) -> Entry:
    """What was counted, beside what the processor cannot do without."""
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


def regression(found: Entry, entries: list[Entry]) -> str | None:
    """What to say where a model costs more than the last line of its model, processor and runtime says; else None.

    Another network under the name, which has other multiply-adds, begins anew.
    """
    same = [old for old in entries if old["kind"] == "instructions" and runtime_name(old) == runtime_name(found)]
    before = last(same, cpu=found["cpu"], model=found["model"], multiply_adds=found["multiply_adds"])
    now = found["instructions_per_frame"]
    if before is None or now <= before["instructions_per_frame"] * (1 + MAX_GROWTH):
        return None
    return (
        f"{found['model']} on {found['cpu']} with {found['runtime']}: {now:,} instructions a frame, "
        f"{now / before['instructions_per_frame'] - 1:+.1%} against the ledger; at most {MAX_GROWTH:+.0%} is taken"
    )


def as_row(found: Entry) -> dict[str, Any]:
    """A line for the table, in millions."""
    return {
        "model": found["model"],
        "runtime": found["runtime"],
        "cpu": found["cpu"],
        "instructions, M": f"{found['instructions_per_frame'] / 1e6:.1f}",
        "multiply-adds, M": f"{found['multiply_adds'] / 1e6:.0f}",
        "floor, M": f"{found['floor'] / 1e6:.1f}",
        "times the floor": f"{found['ratio']:.2f}",
    }
