"""`fireseg-train`: registers the commands."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import typer

from edge.console import run_with_output, show_warning
from edge.errors import run_app, training_packages

with training_packages("fireseg-train"):
    from train.commands.data import check_command, fetch_command, synth_command
    from train.commands.evaluate import eval_command
    from train.commands.fit import fit_command
    from train.commands.folds import folds_command
    from train.commands.import_labels import import_labels_command
    from train.commands.predict import predict_command

SUMMARY = "Train and evaluate a fire segmentation U-Net on FireSeg."
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown")
COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "check": (check_command, "data/fireseg"),
    "fetch": (fetch_command, "--out data/fireseg --from Downloads/fireseg.zip"),
    "synth": (synth_command, "build/synthetic --count 240 --seed 0"),
    "import-labels": (import_labels_command, "cvat/annotations/instances_default.json corrected --images cvat/images"),
    "fit": (fit_command, "--recipe small --data data/fireseg --out runs/mine"),
    "eval": (eval_command, "models/fireseg-base-int8.tflite --split all --report-dir out"),
    "folds": (folds_command, "runs/fold-0 runs/fold-1 --data data/fireseg"),
    "predict": (predict_command, "runs/mine/best.keras photo.jpg --out masks"),
}
for _name, (_command, _example) in COMMANDS.items():
    app.command(_name, epilog=f"Example: `fireseg-train {_name} {_example}`")(_command)


@app.callback(help=SUMMARY, epilog="Example: `fireseg-train fit --recipe base --data data/fireseg --out runs/mine`")
def main() -> None:
    warnings.showwarning = show_warning


def run() -> None:
    """Entry point."""
    with training_packages("fireseg-train"):
        run_app(lambda: run_with_output(app))
