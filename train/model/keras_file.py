"""Check a Keras model file before it is loaded, with errors that say more than those of Keras."""

from __future__ import annotations

import importlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np

from edge.errors import UserError

SUFFIXES = (".keras", ".h5", ".hdf5")
HDF5_SUFFIXES = SUFFIXES[1:]
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_CONFIG_BYTES = 32 << 20
MAX_UNPACKED_BYTES = 2 << 30  # against zip bombs: the largest model of this project is 30 MB
CONFIG_FILE = "config.json"  # in a .keras archive
# Where Keras looks up a class of an HDF5 file, which names no module.
MODULES = ("layers", "models", "initializers", "regularizers", "constraints", "dtype_policies", "activations")


def read_config(path: Path) -> Any:
    """Return the network's configuration, without loading it. Raises `UserError` if the file is not a whole model."""
    try:
        with path.open("rb") as file:
            is_hdf5 = file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE
        if path.suffix.lower() in HDF5_SUFFIXES:
            with h5py.File(path, "r") as hdf5:
                text = hdf5.attrs.get("model_config")
            if text is None:
                raise UserError(
                    f"{path} holds weights only, without the network", "save the whole model with model.save"
                )
        elif is_hdf5:
            raise UserError(f"{path} is an HDF5 file", "rename it to .h5")
        else:
            text = _read_archive(path)
        return json.loads(text)
    except (zipfile.BadZipFile, OSError) as error:
        kind = "HDF5" if path.suffix.lower() in HDF5_SUFFIXES else "Keras 3"
        raise UserError(f"{path} is cut short or not a {kind} model ({error})", "save or copy it again") from error
    # What json, h5py and zipfile raise for damaged, nested, encrypted or unknown content.
    except (ValueError, TypeError, KeyError, RecursionError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path} holds no readable network configuration ({error})", "save it again") from error


def check_config(path: Path, config: Any) -> None:
    """Raise `UserError` if the network has a Lambda layer, whose code would run on loading."""
    for entry in _entries(config):
        if entry["class_name"] in ("Lambda", "__lambda__"):
            settings = entry["config"] if isinstance(entry["config"], dict) else {}
            raise UserError(
                f"{path} holds Python code in a Lambda layer ({settings.get('name', 'unnamed')}), which is not run",
                "replace it by a Keras layer, such as Rescaling for /255, and save it again",
            )


def unknown_classes(config: Any) -> list[str]:
    """Return the classes and functions of the network that this Keras does not have."""
    return list(dict.fromkeys(name for entry in _entries(config) if (name := _unknown_name(entry))))


def check_weights(path: Path, model: keras.Model) -> None:
    """Raise `UserError` if a weight is not a finite number: such a network predicts nothing."""
    weights = {weight.path: np.asarray(weight.value) for weight in model.weights}
    if bad := [name for name, values in weights.items() if not np.isfinite(values.astype(np.float64)).all()]:
        raise UserError(
            f"{path} has NaN or infinite weights in {len(bad)} of {len(weights)} tensors (first: {bad[0]})",
            "its training diverged; retrain with a lower learning rate",
        )


def _read_archive(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        if sum(sizes.values()) > MAX_UNPACKED_BYTES or sizes.get(CONFIG_FILE, 0) > MAX_CONFIG_BYTES:
            raise UserError(
                f"{path} is refused: it unpacks to {sum(sizes.values()) >> 20} MiB",
                f"expected at most {MAX_UNPACKED_BYTES >> 20}, and {MAX_CONFIG_BYTES >> 20} of {CONFIG_FILE}",
            )
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"{damaged} is damaged")
        if CONFIG_FILE not in sizes:
            raise zipfile.BadZipFile(f"it holds no {CONFIG_FILE}")
        return archive.read(CONFIG_FILE)


def _entries(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every serialized object: a dict with `class_name` and `config`."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get("class_name"), str) and "config" in value:
                yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _unknown_name(entry: dict[str, Any]) -> str | None:
    name, module = entry["class_name"], entry.get("module")
    if name == "function":
        name = str(entry["config"])
    registered = entry.get("registered_name") or name
    if name.startswith("__") or name == "Functional" or keras.saving.get_registered_object(registered):
        return None
    if isinstance(module, str):
        return None if _is_keras(module) and hasattr(importlib.import_module(module), name) else str(registered)
    return None if any(hasattr(getattr(keras, module), name) for module in MODULES) else str(registered)


def _is_keras(module: str) -> bool:
    """Return whether the module exists in Keras. No other module is imported."""
    if module.partition(".")[0] != "keras":
        return False
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True
