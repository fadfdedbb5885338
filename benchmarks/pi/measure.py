"""All that `make bench-pi` measures, gathered for its report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import drift, ledger
from benchmarks.models import Family
from benchmarks.pi import agreement
from benchmarks.pi.cpus import Cpu
from benchmarks.pi.footprint import footprint
from benchmarks.pi.instructions import Network, Shape, count, prepare, shape_of
from benchmarks.pi.peers import missing_peers, peers_of
from benchmarks.pi.system import BUILD, SUITES, System, open_system
from edge.console import OnStep
from edge.errors import UserError
from train.data.sources import find_data
from train.data.splits import make_split

FIRST_SUITE = next(iter(SUITES))

Report = dict[str, Any]


def measure(
    suites: Sequence[str],
    cpus: Sequence[Cpu],
    shipped: Sequence[Family],
    data: Path | None,
    *,
    short: bool,
    on_step: OnStep,
) -> tuple[Report, list[ledger.Entry]]:
    """What was found, and the lines of it that belong into the ledger. `short` leaves out pictures and peers."""
    report: Report = {"instructions": [], "agreement": [], "footprint": [], "failed": []}
    lines: list[ledger.Entry] = []
    for name in suites:
        done = on_step(f"arm64 Debian {name}", 1)
        system = open_system(name)
        prepare(system)
        done()
        with_peers = not short and name == FIRST_SUITE
        lines += _count_all(system, cpus, shipped, with_peers, report, on_step)
        if not short:
            lines += _compare_all(system, cpus, shipped, data, report, on_step)
            report["footprint"].append(footprint(system, cpus[0]))
    return report, lines


def _count_all(
    system: System,
    cpus: Sequence[Cpu],
    shipped: Sequence[Family],
    with_peers: bool,
    report: Report,
    on_step: OnStep,
) -> list[ledger.Entry]:
    networks = [
        (Network(path.stem, path, kind), shape_of(path)) for family in shipped for kind, path in family.shrunk.items()
    ]
    if with_peers:
        for family in shipped[:1]:  # one network is enough to compare runtimes by
            report["failed"] += missing_peers(family)
            networks += _install_peers(system, family, on_step)
    done = on_step(f"counting instructions, {system.suite}", len(networks) * len(cpus))
    lines = []
    for network, shape in networks:
        for cpu in cpus:
            try:
                lines.append(count(system, cpu, network, shape))
            except UserError as error:
                if network.environment == "fireseg":
                    raise
                report["failed"].append(str(error))  # a peer that does not run is a row that says so
            done()
    report["instructions"] += lines
    # One release in the ledger: what the other shows is that it runs there too.
    return lines if system.suite == FIRST_SUITE else []


def _install_peers(system: System, family: Family, on_step: OnStep) -> list[tuple[Network, Shape]]:
    peers = peers_of(family)
    done = on_step("installing peers", len(peers))
    for _, environment in peers:
        if environment:
            system.install(environment.name, environment.lock)
        done()
    return [(network, shape_of(family.shrunk["int8"])) for network, _ in peers]


def _compare_all(
    system: System,
    cpus: Sequence[Cpu],
    shipped: Sequence[Family],
    data: Path | None,
    report: Report,
    on_step: OnStep,
) -> list[ledger.Entry]:
    source = find_data(data, on_step)
    split = make_split(source.dataset, "official" if {"train", "test"} <= source.dataset.parts.keys() else "by-video")
    pairs = agreement.spread(split.test)
    done = on_step(f"segmenting {len(pairs)} pictures, {system.suite}", len(shipped) * (len(cpus) + 1))
    lines = []
    for family in shipped:
        model = family.shrunk["int8"]
        here = agreement.segment_here(model, pairs, BUILD / "masks-here")
        done()
        loaded = drift.load(family)
        for cpu in cpus:
            inside = agreement.segment_inside(system, cpu, model, pairs)
            found = agreement.compare_masks(here, inside)
            line = agreement.ledger_line(loaded, "int8", inside, pairs, source, split, cpu)
            lines.append(line)
            report["agreement"].append(
                {
                    "model": model.stem, "cpu": cpu.name, "debian": system.suite, "data": source.title,
                    "images": found.images, "differing_images": found.differing_images,
                    "differing_pixels": found.differing_pixels, "pixels": found.pixels, "said": str(found),
                    "fire_iou": line["fire_iou"], "fire_iou_drift": line["fire_iou_drift"],
                    "agreement_with_float": line["agreement"],
                }
            )  # fmt: skip
            done()
    return lines if system.suite == FIRST_SUITE else []


def sentences(report: Report) -> list[str]:
    """What the table of instructions does not say."""
    return [
        *(
            f"{row['model']} on {row['cpu']}, Debian {row['debian']}, against this machine on {row['data']}: "
            f"{row['said']}; "
            f"fire_iou {row['fire_iou']:.4f}, drift from the Keras float {row['fire_iou_drift'] * 100:+.2f} points, "
            f"agreement {row['agreement_with_float']:.4f}"
            for row in report["agreement"]
        ),
        *(
            f"Debian {row['debian']}, Python {row['python']}: {row['size_bytes'] / 1e6:.0f} MB installed, "
            f"{len(row['packages'])} packages, {row['import_instructions'] / 1e6:.0f} M instructions to import"
            for row in report["footprint"]
        ),
        *report["failed"],
        *report.get("regressions", []),
    ]
