"""Keras and its backend, imported without what they say of the machine, or an error that names the pip line."""

from __future__ import annotations

import importlib
import os

from edge.errors import UserError
from edge.quiet import quiet


def load_keras_backend(*modules: str) -> None:
    """Import Keras, and `modules` beside it. Raises `UserError` where one is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with quiet():
            for module in ("keras", "matplotlib", *modules):
                importlib.import_module(module)
            # Devices are looked for at the first operation, and a CUDA that is not there is told at length.
            importlib.import_module("keras").ops.zeros(1)
    except ImportError as error:
        raise UserError(f"{error.name} is not installed: run `pip install 'fireseg-edge[train]'`") from error
