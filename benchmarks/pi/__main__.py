"""`make bench-pi`: the shipped models on a Pi 4's and a Pi 5's processor, as far as an emulator can tell."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from benchmarks import ledger
from benchmarks.models import Family, families
from benchmarks.pi.system import BUILD, CPUS, SUITES, Cpu, System, check_machine, open_system
from edge.console import JsonOption, OnStep, print_table, progress_bars, show_warning
from edge.errors import UserError, run_app
from edge.files import write_json, write_text
from train.backend import load_keras_backend
from train.commands.options import DataOption

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

FIRST_SUITE = next(iter(SUITES))


@app.command(epilog="Example: `python -m benchmarks.pi --suite bookworm --cpu cortex-a76 --quick`")
def main(
    data: DataOption = None,
    suite: Annotated[list[str] | None, typer.Option(help="Debian releases; all by default.")] = None,
    cpu: Annotated[list[str] | None, typer.Option(help="Processors; all by default.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One model, one processor, no images, no peers.")] = False,
    note: Annotated[bool, typer.Option(help="Add the figures to the ledger.")] = True,
    out: Annotated[Path, typer.Option(help="Folder for pi.json and pi.md.")] = BUILD,
    as_json: JsonOption = False,
) -> None:
    """Count instructions per frame and compare masks in an arm64 Debian under QEMU. Exit code 1 for a regression."""
    warnings.showwarning = show_warning
    suites = [_checked(name, SUITES, "Debian release") for name in suite or list(SUITES)]
    cpus = [CPUS[_checked(name, CPUS, "processor")] for name in cpu or list(CPUS)]
    shipped = families()
    if not shipped:
        raise UserError("models/ holds no .keras model", "expected the shipped ones")
    check_machine()
    load_keras_backend(needs_tensorflow=True)
    from benchmarks.pi.instructions import as_row, regression
    from export.report import markdown_table

    if quick:
        suites, cpus, shipped = suites[:1], cpus[:1], shipped[:1]
    with progress_bars() as on_step:
        report, lines = measure(suites, cpus, shipped, data, quick=quick, on_step=on_step)
    known = ledger.read()
    counted = [line for line in lines if line["kind"] == "instructions"]
    report["regressions"] = [text for line in counted if (text := regression(line, known))]
    if note and not report["regressions"]:
        for line in lines:
            ledger.append(line)
    rows = [as_row(line) for line in report["instructions"]]
    write_json(out / "pi.json", report)
    markdown = [*markdown_table(tuple(rows[0]), [tuple(row.values()) for row in rows]), ""]
    write_text(out / "pi.md", "\n".join([*markdown, *(f"- {text}" for text in sentences(report))]) + "\n")
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        table = Table(title="Instructions per frame, one thread, under QEMU")
        for heading in rows[0]:
            table.add_column(heading, justify="left" if heading in ("model", "runtime", "cpu") else "right")
        for row in rows:
            table.add_row(*row.values())
        print_table(table)
        print("\n".join(sentences(report)))
    if report["regressions"]:
        raise typer.Exit(1)


def measure(
    suites: Sequence[str],
    cpus: Sequence[Cpu],
    shipped: Sequence[Family],
    data: Path | None,
    *,
    quick: bool,
    on_step: OnStep,
) -> tuple[dict[str, Any], list[ledger.Entry]]:
    """Return the report and the lines for the ledger. `quick` skips images and peers.

    Only the first release is in the ledger; the others show that the project runs there.
    """
    from benchmarks.pi.agreement import compare_all
    from benchmarks.pi.instructions import footprint, missing_peers, prepare

    report: dict[str, Any] = {"instructions": [], "agreement": [], "footprint": [], "failed": []}
    lines: list[ledger.Entry] = []
    for name in suites:
        done = on_step(f"arm64 Debian {name}", 1)
        system = open_system(name)
        prepare(system)
        done()
        # One network is enough to compare runtimes.
        compared = shipped[0] if not quick and name == FIRST_SUITE else None
        report["failed"] += missing_peers(compared) if compared else []
        counted, failed = count_all(system, cpus, shipped, compared, on_step)
        report["instructions"] += counted
        report["failed"] += failed
        if not quick:
            for row, line in compare_all(system, cpus, shipped, data, on_step):
                report["agreement"].append(row)
                counted.append(line)
            report["footprint"].append(footprint(system, cpus[0]))
        lines += counted if name == FIRST_SUITE else []
    return report, lines


def count_all(
    system: System, cpus: Sequence[Cpu], shipped: Sequence[Family], compared: Family | None, on_step: OnStep
) -> tuple[list[ledger.Entry], list[str]]:
    """Count the shipped models, and the peers of one family; return lines, and a sentence per peer that fails."""
    from benchmarks.pi.instructions import OWN_ENVIRONMENT, Network, count, peers_of, shape_of

    networks = [
        (Network(path.stem, path, kind), shape_of(path)) for family in shipped for kind, path in family.shrunk.items()
    ]
    if compared:
        peers = peers_of(compared)
        done = on_step("installing peers", len(peers))
        for network, environment in peers:
            if environment:
                system.install(environment.name, environment.lock)
            networks.append((network, shape_of(compared.shrunk["int8"])))
            done()
    done = on_step(f"counting instructions, {system.suite}", len(networks) * len(cpus))
    lines, failed = [], []
    for network, shape in networks:
        for cpu in cpus:
            try:
                lines.append(count(system, cpu, network, shape))
            except UserError as error:
                if network.environment == OWN_ENVIRONMENT:
                    raise
                failed.append(str(error))
            done()
    return lines, failed


def sentences(report: dict[str, Any]) -> list[str]:
    """Return the results that are not in the table of instructions."""
    return [
        *(
            f"{row['model']} on {row['cpu']}, Debian {row['debian']}, against this machine on {row['data']}: "
            f"{row['summary']}; fire_iou {row['fire_iou']:.4f}, drift from the Keras float "
            f"{row['fire_iou_drift'] * 100:+.2f} points, agreement {row['agreement_with_float']:.4f}"
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


def _checked(name: str, known: dict[str, Any], kind: str) -> str:
    if name not in known:
        raise UserError(f"unknown {kind} {name!r}", f"expected one of {', '.join(known)}")
    return name


if __name__ == "__main__":
    run_app(app)
