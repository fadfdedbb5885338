"""`make bench-pi`: the shipped models on a Pi 4's and a Pi 5's processor, as far as an emulator can tell."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import ledger
from benchmarks.ledger import Entry
from benchmarks.models import Family, families
from benchmarks.pi.system import BUILD, CPUS, SUITES, Cpu, System, check_machine, open_system
from edge.console import OnStep, print_table, progress_bars, show_warning
from edge.errors import UserError, run_app
from edge.files import write_text
from export.tables import markdown_table, terminal_table
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
    out: Annotated[Path, typer.Option(help="Folder for pi.md.")] = BUILD,
) -> None:
    """Count instructions per frame and compare masks in an arm64 Debian under QEMU. Exit code 1 for a regression."""
    warnings.showwarning = show_warning
    if unknown := [name for name in (*(suite or ()), *(cpu or ())) if name not in (*SUITES, *CPUS)]:
        raise UserError(f"unknown {', '.join(unknown)}", f"expected any of {', '.join((*SUITES, *CPUS))}")
    suites = [name for name in SUITES if name in (suite or SUITES)]
    cpus, shipped = [CPUS[name] for name in CPUS if name in (cpu or CPUS)], families()
    check_machine()
    load_keras_backend(needs_tensorflow=True)
    from benchmarks.pi.instructions import HEADINGS, cells, regression

    if quick:
        suites, cpus, shipped = suites[:1], cpus[:1], shipped[:1]
    with progress_bars() as on_step:
        counted, lines, sentences = measure(suites, cpus, shipped, data, quick=quick, on_step=on_step)
    known = ledger.read()
    regressions = [text for line in counted if line in lines and (text := regression(line, known))]
    if note and not regressions:
        for line in lines:
            ledger.append(line)
    rows, sentences = [cells(line) for line in counted], [*sentences, *regressions]
    bullets = "\n".join(f"- {text}" for text in sentences)
    write_text(out / "pi.md", f"{markdown_table(HEADINGS, rows, words=3)}\n\n{bullets}\n")
    print_table(terminal_table(HEADINGS, rows, title="Instructions per frame, one thread, under QEMU", words=3))
    print("\n".join(sentences))
    if regressions:
        raise typer.Exit(1)


def measure(
    suites: Sequence[str],
    cpus: Sequence[Cpu],
    shipped: Sequence[Family],
    data: Path | None,
    *,
    quick: bool,
    on_step: OnStep,
) -> tuple[list[Entry], list[Entry], list[str]]:
    """Return the counts of all releases, the lines for the ledger, and other results. `quick`: no images, no peers.

    Only the first release is in the ledger; the others show that the project runs there.
    """
    from benchmarks.pi.agreement import compare_all
    from benchmarks.pi.instructions import footprint, prepare

    counted: list[Entry] = []
    lines: list[Entry] = []
    sentences: list[str] = []
    for name in suites:
        done = on_step(f"arm64 Debian {name}", 1)
        system = open_system(name)
        prepare(system)
        done()
        # One network is enough to compare runtimes.
        compared = shipped[0] if not quick and name == FIRST_SUITE else None
        of_suite, failed = count_all(system, cpus, shipped, compared, on_step)
        counted += of_suite
        sentences += failed
        if not quick:
            compared_masks = list(compare_all(system, cpus, shipped, data, on_step))
            sentences += [*(text for text, _ in compared_masks), footprint(system, cpus[0])]
            of_suite += [line for _, line in compared_masks]
        lines += of_suite if name == FIRST_SUITE else []
    return counted, lines, sentences


def count_all(
    system: System, cpus: Sequence[Cpu], shipped: Sequence[Family], compared: Family | None, on_step: OnStep
) -> tuple[list[Entry], list[str]]:
    """Count the shipped models, and the peers of one family; return lines, and a sentence per peer that fails."""
    from benchmarks.pi.instructions import CONVERTED, Network, count, peers_of, shape_of

    models = [(kind, path) for family in shipped for kind, path in family.shrunk.items()]
    networks = [(Network(path.stem, path, kind), shape_of(path)) for kind, path in models]
    failed = []
    if compared:
        peers, missing = peers_of(compared)
        if missing:
            failed.append(f"not counted: {', '.join(missing)} not in {CONVERTED}; run `make bench-peers` first")
        done = on_step("installing peers", len(peers))
        for peer in peers:
            if peer.environment:
                system.install(peer.environment.name, peer.environment.lock)
            networks.append((peer, shape_of(compared.shrunk["int8"])))
            done()
    done = on_step(f"counting instructions, {system.suite}", len(networks) * len(cpus))
    lines = []
    for network, shape in networks:
        for cpu in cpus:
            try:
                lines.append(count(system, cpu, network, shape))
            except UserError as error:
                if network.environment is None:
                    raise
                failed.append(f"{network.label}: {error}")
            done()
    return lines, failed


if __name__ == "__main__":
    run_app(app)
