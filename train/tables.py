"""Figures as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def print_metrics(rows: Mapping[str, Mapping[str, float]], title: str) -> None:
    """A column for each split, a line for each metric."""
    table = Table("metric", *rows, title=title)
    for name in next(iter(rows.values())):
        table.add_row(name, *(_shown(metrics[name]) for metrics in rows.values()))
    Console().print(table)


def print_table(table: Table) -> None:
    """Print as wide as the table is where nobody looks: a pipe has no width."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)


def print_shares(rows: Mapping[str, Mapping[str, Any]], title: str) -> None:
    """A line for each set or video: how many pictures, and which shares of them; nothing where there are no rows."""
    if not rows:
        return
    names = [name for name, value in next(iter(rows.values())).items() if not isinstance(value, str)]
    table = Table("", *(name.replace("_percent", " %").replace("_", " ") for name in names), title=title)
    for row, values in rows.items():
        cells = (f"{values[name] * 100:.1f} %" if isinstance(values[name], float) else values[name] for name in names)
        table.add_row(row, *map(str, cells))
    Console().print(table)


def _shown(value: float) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
