"""`make bench-pi`: the models that ship, on a Pi 4's and a Pi 5's processor, as far as an emulator can tell."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import drift, ledger
from benchmarks.artefacts import Family, families
from benchmarks.pi import agreement
from benchmarks.pi.cpus import CPUS, Cpu
from benchmarks.pi.footprint import footprint
from benchmarks.pi.instructions import Network, Shape, as_row, count, prepare, regression, shape_of
from benchmarks.pi.peers import missing_peers, peers_of
from benchmarks.pi.system import BUILD, SUITES, System, open_system
from edge.cli import JsonOption, show_warning
from edge.errors import UserError, run_app
from edge.files import write_json, write_text
from edge.progress import OnStep, progress_bars
from export.report import markdown_table
from train.backend import load_keras_backend
from train.cli import DataOption
from train.datasets import find_data
from train.splits import make_split

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

FIRST_SUITE = next(iter(SUITES))


@app.command(epilog="Example: `python -m benchmarks.pi --suite bookworm --cpu cortex-a76 --short`")
def main(
    data: DataOption = None,
    suite: Annotated[list[str] | None, typer.Option(help="Debian releases; all by default.")] = None,
    cpu: Annotated[list[str] | None, typer.Option(help="Processors; all by default.")] = None,
    short: Annotated[bool, typer.Option("--short", help="One model, one processor, no pictures, no peers.")] = False,
    note: Annotated[bool, typer.Option(help="Add what was measured to the ledger.")] = True,
    out: Annotated[Path, typer.Option(help="Folder for pi.json and pi.md.")] = BUILD,
    as_json: JsonOption = False,
) -> None:
    """Count instructions a frame, and compare masks, in an arm64 Debian under QEMU."""
    warnings.showwarning = show_warning
    load_keras_backend()
    suites = [_one_of(name, SUITES, "Debian release") for name in suite or list(SUITES)]
    cpus = [CPUS[_one_of(name, CPUS, "processor")] for name in cpu or list(CPUS)]
    shipped = families()
    if not shipped:
        raise UserError("models/ holds no .keras model: expected the shipped ones")
    if short:
        suites, cpus, shipped = suites[:1], cpus[:1], shipped[:1]
    report: dict[str, Any] = {"instructions": [], "agreement": [], "footprint": [], "failed": []}
    lines: list[ledger.Entry] = []
    with progress_bars() as on_step:
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
    known = ledger.read()
    report["regressions"] = [
        text for line in lines if line["kind"] == "instructions" and (text := regression(line, known))
    ]
    if note and not report["regressions"]:
        for line in lines:
            ledger.append(line)
    rows = [as_row(line) for line in report["instructions"]]
    write_json(out / "pi.json", report)
    markdown = [*markdown_table(tuple(rows[0]), [tuple(row.values()) for row in rows]), ""]
    markdown += [f"- {text}" for text in (*sentences(report), "")]
    write_text(out / "pi.md", "\n".join(markdown))
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _print(rows, report)
    if report["regressions"]:
        raise typer.Exit(1)


def _count_all(
    system: System,
    cpus: Sequence[Cpu],
    shipped: Sequence[Family],
    with_peers: bool,
    report: dict[str, Any],
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
    report: dict[str, Any],
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


def sentences(report: dict[str, Any]) -> list[str]:
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
        *report["regressions"],
    ]


def _print(rows: Sequence[dict[str, Any]], report: dict[str, Any]) -> None:
    table = Table(title="Instructions a frame, one thread, under QEMU")
    for heading in rows[0]:
        table.add_column(heading, justify="left" if heading in ("model", "runtime", "cpu") else "right")
    for row in rows:
        table.add_row(*row.values())
    console = Console()
    console.print(table)
    for text in sentences(report):
        print(text)


def _one_of(name: str, known: dict[str, Any], kind: str) -> str:
    if name not in known:
        raise UserError(f"there is no {kind} {name!r} here: expected one of {', '.join(known)}")
    return name


if __name__ == "__main__":
    run_app(app)
