"""Figures as tables on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def print_metrics(rows: dict[str, dict[str, float]], title: str) -> None:
    table = Table("metric", *rows, title=title)
    for name in next(iter(rows.values())):
        table.add_row(name, *(f"{metrics[name]:.4f}" for metrics in rows.values()))
    Console().print(table)
