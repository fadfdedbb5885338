"""Rows as a table for the terminal and for Markdown: the first columns hold words, the others numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

Rows = Iterable[Sequence[str]]


def terminal_table(headings: Sequence[str], rows: Rows, *, title: str | None = None, words: int = 1) -> Table:
    """Return a table whose first `words` columns are left-aligned, and the others right-aligned."""
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number < words else "right")
    for cells in rows:
        table.add_row(*cells)
    return table


def markdown_table(headings: Sequence[str], rows: Rows, *, words: int = 1) -> str:
    """Return the same table in Markdown, without a final newline."""
    rule = ["---" if number < words else "---:" for number in range(len(headings))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows))
