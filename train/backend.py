"""Load Keras and its backend quietly, or explain how to install them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable

from edge.errors import UserError
from edge.host.heap import keep_freed_memory
from edge.quiet import quiet


def load_modules(*modules: str) -> None:
    """Import modules of the train extra. Raises `UserError` if one is missing or does not load."""
    try:
        for module in modules:
            importlib.import_module(module)
    except ImportError as error:
        remedy = "run `pip install '.[train]'` in the project's folder"
        raise UserError(f"{error.name or error} is not installed", remedy) from error


def load_keras_backend(*, needs_tensorflow: bool = False, prepare: Callable[[], None] = lambda: None) -> None:
    """Import Keras with the backend that KERAS_BACKEND names, TensorFlow by default. Raises `UserError`.

    `prepare` is called before the first operation.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow enables oneDNN by default only on newer CPUs; training is faster with it on those with AVX2 too.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if needs_tensorflow and backend != "tensorflow":
        raise UserError(f"KERAS_BACKEND is {backend}, but TFLite's converter needs tensorflow", "unset KERAS_BACKEND")
    keep_freed_memory()  # before TensorFlow starts its threads
    with quiet():
        try:
            load_modules("keras", "matplotlib", *(["tensorflow"] if needs_tensorflow else []))
            prepare()
            # The first operation looks for devices and logs at length about a missing CUDA.
            importlib.import_module("keras").ops.zeros(1)
        except ValueError as error:
            raise UserError(
                f"Keras has no backend {backend!r}", "set KERAS_BACKEND to tensorflow, jax or torch"
            ) from error
