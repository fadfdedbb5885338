"""`fireseg-export inspect`: what is in a `.tflite`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from edge.console import JsonOption, print_table


def inspect_command(
    model: Annotated[Path, typer.Argument(help="A .tflite model, from this project or any other.")],
    as_json: JsonOption = False,
) -> None:
    """Show a model's operators, dtypes, quantization, multiply-adds, XNNPACK partitions and card."""
    from export.inspect import inspect

    description = inspect(model)
    if as_json:
        print(json.dumps(description, indent=2))
        return
    table = Table(title=model.name, show_header=False)
    for key, value in description.items():
        if key == "multiply_adds":
            value = f"{value / 1e6:.1f} million"
        elif isinstance(value, dict | list):
            value = json.dumps(value, indent=1).strip("{}[]").replace('"', "").replace("\n ", "\n").strip() or "none"
        table.add_row(key.replace("_", " "), str(value))
    print_table(table)
