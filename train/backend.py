"""Keras and its backend, imported without what they say of the machine, or an error that names the pip line."""

from __future__ import annotations

import importlib
import os

from edge.console import quiet
from edge.errors import UserError

EXTRA = "run `pip install '.[train]'` in the project's folder"


def load_modules(*modules: str) -> None:
    """Import what the train extra brings. Raises `UserError` where one is not installed or does not load."""
    try:
        for module in modules:
            importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{error.name or error} is not installed", f"{EXTRA}") from error


def load_keras_backend(*, needs_tensorflow: bool = False) -> None:
    """Import Keras on the backend that KERAS_BACKEND names, TensorFlow by default. Raises `UserError`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if needs_tensorflow and backend != "tensorflow":
        raise UserError(f"KERAS_BACKEND is {backend}, but TFLite's converter needs tensorflow", "unset KERAS_BACKEND")
    with quiet():
        try:
            load_modules("keras", "matplotlib", *(["tensorflow"] if needs_tensorflow else []))
            # Devices are looked for at the first operation, and a CUDA that is not there is told at length.
            importlib.import_module("keras").ops.zeros(1)
        except ValueError as error:
            raise UserError(
                f"Keras has no backend {backend!r}", "set KERAS_BACKEND to tensorflow, jax or torch"
            ) from error
