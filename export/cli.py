"""`fireseg-export`: registers the commands of `export.commands`."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import typer

from edge.console import run_with_output, show_warning
from edge.errors import run_app, training_packages

with training_packages("fireseg-export"):
    from export.commands.convert import convert_command
    from export.commands.drift import drift_command
    from export.commands.export import export_command
    from export.commands.inspect import inspect_command
    from export.commands.layers import layers_command
    from export.commands.publish import publish_app
    from export.commands.self_test import self_test_command

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback(epilog="Example: `MODEL=runs/mine/best.keras FIRESEG_DIR=data/fireseg fireseg-export all`")
def main() -> None:
    """Convert a Keras U-Net to TFLite and measure what that costs."""
    warnings.showwarning = show_warning


COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "all": (export_command, "MODEL=runs/mine/best.keras FIRESEG_DIR=data/fireseg fireseg-export all"),
    "convert": (convert_command, "fireseg-export convert runs/mine/best.keras --to int8 --data data/fireseg"),
    "drift": (drift_command, "fireseg-export drift models/fireseg-base.keras models/fireseg-base-int8.tflite"),
    "inspect": (inspect_command, "fireseg-export inspect models/fireseg-base-int8.tflite"),
    "self-test": (self_test_command, "fireseg-export self-test models/*.tflite"),
    "layers": (layers_command, "fireseg-export layers build/export/fireseg-{int8,float32}.tflite"),
}
for name, (command, example) in COMMANDS.items():
    app.command(name, epilog=f"Example: `{example}`")(command)
app.add_typer(publish_app, name="publish")


def run() -> None:
    """Entry point."""
    with training_packages("fireseg-export"):
        run_app(lambda: run_with_output(app))
