"""`fireseg-edge`, the command that runs on the Pi. Needs no TensorFlow."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from typing import Annotated

import typer

from edge import __version__
from edge.commands.arming import acknowledge_command, arm_command, disarm_command, snooze_command
from edge.commands.bench import bench_command
from edge.commands.config import config_app
from edge.commands.doctor import doctor_command
from edge.commands.drill import drill_command
from edge.commands.evaluate import evaluate_command
from edge.commands.feedback import feedback_app
from edge.commands.notify import notify_app
from edge.commands.run import run_command
from edge.commands.segment import segment_command
from edge.commands.service import install_service_command
from edge.commands.survey import survey_command
from edge.commands.update import update_command
from edge.console import run_with_output, show_warning
from edge.errors import run_app

app = typer.Typer(
    help="Detect fire with a Raspberry Pi camera. Not a life-safety device: it never replaces a smoke alarm.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog="Example: `fireseg-edge run --source test-pattern --web 127.0.0.1:8080`",
)
for name, command, example in (
    ("run", run_command, "fireseg-edge run --source test-pattern --max-frames 300"),
    ("segment", segment_command, "fireseg-edge segment photo.jpg --out masks"),
    ("bench", bench_command, "fireseg-edge bench --model small --threads 1"),
    ("evaluate", evaluate_command, "fireseg-edge evaluate recordings/events.csv --fps 10 --ablate"),
    ("survey", survey_command, "fireseg-edge survey --source 0 --out survey.png"),
    ("arm", arm_command, "fireseg-edge arm --config fireseg.toml"),
    ("disarm", disarm_command, "fireseg-edge disarm --hours 2 --config fireseg.toml"),
    ("snooze", snooze_command, "fireseg-edge snooze --minutes 30 --config fireseg.toml"),
    ("acknowledge", acknowledge_command, "fireseg-edge acknowledge --zone stove --config fireseg.toml"),
    ("doctor", doctor_command, "fireseg-edge doctor --source /dev/video0"),
    ("drill", drill_command, "fireseg-edge drill --config fireseg.toml"),
    ("update", update_command, "fireseg-edge update --check --config fireseg.toml"),
    ("install-service", install_service_command, "sudo fireseg-edge install-service --config fireseg.toml"),
):
    app.command(name, epilog=f"Example: `{example}`")(command)
app.add_typer(config_app, name="config")
app.add_typer(feedback_app, name="feedback")
app.add_typer(notify_app, name="notify")


def print_version(value: bool) -> None:
    if value:
        print(f"fireseg-edge {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Detect fire with a Raspberry Pi camera."""
    warnings.showwarning = show_warning


def run() -> None:
    """Entry point. Ends the process at once if a daemon thread still hangs in a camera driver or on a slow disk.

    A normal shutdown kills such a thread when it returns to Python. Inside C++ that aborts the process with "FATAL:
    exception not rethrown".
    """
    try:
        run_app(lambda: run_with_output(app))
    except SystemExit as ending:
        if any(thread.daemon for thread in threading.enumerate()):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(ending.code if isinstance(ending.code, int) else int(ending.code is not None))
        raise
