"""What several commands share: options, loading a model, and checking the page's password."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from edge.config import Config, parse_listen
from edge.model.card import read_model
from edge.model.proof import prove_in_fork
from edge.model.segmenter import Segmenter
from edge.model.shipped import SHIPPED, find_model
from edge.secrets import load_service_secrets

MODEL_HELP = "base (default) or small, which are installed with fireseg-edge, or a .tflite file"
ModelOption = Annotated[str, typer.Option(help=f"The model: {MODEL_HELP}.", show_default=False)]
RuntimeOption = Annotated[str | None, typer.Option(help="litert or tflite-runtime; the fastest installed by default.")]

CAMERA_GROUP = "video"  # owns cameras, and may read a configuration that root wrote


def load_segmenter(model: str, *, threads: int | None = None, runtime: str | None = None) -> Segmenter:
    """Return a model, tried in a fork first unless it ships: a damaged one may crash the interpreter.

    Raises `UserError`.
    """
    path, data = find_model(model), None
    if model not in SHIPPED:
        data = read_model(path)
        prove_in_fork(path, data, runtime=runtime)
    return Segmenter(path, threads=threads, runtime=runtime, data=data)


def check_page(config: Config) -> None:
    """Raise `UserError` if other machines could open the page without a password.

    A password that only the service has is taken into account, or believed if this user may not read it.
    """
    file = config.web.password_file
    if config.web.listen and (not file or os.access(file, os.R_OK)):
        from edge.sinks.web.sink import find_password

        load_service_secrets()
        find_password(parse_listen(config.web.listen), file)
