"""Dataclasses that describe TOML tables: each key is defined once, with its default, its limits and one sentence.

Validation, error messages and the file that `fireseg-edge config init` writes all read that one definition.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

from edge.errors import UserError
from edge.secrets import redact

Section = TypeVar("Section")
LINE = 110


PathKind = Literal["any", "required", "if-exists"]
"""required: a file that must exist, such as a secret; if-exists: otherwise the text means something else."""


def field(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] | None = None,
    path: PathKind | None = None,
    check: Callable[[str], object] | None = None,
) -> Any:
    """Return a dataclass field that describes one key.

    Args:
        low, high: inclusive bounds of a number.
        path: the key names a path, which is resolved against the directory of the file.
        check: raises `UserError` for a text other than the default; its remedy becomes the message.

    Example:
        >>> max_fps: float = field(10.0, "Results per second at most.", low=0, high=1000)
    """
    key = {"doc": doc, "low": low, "high": high, "choices": choices, "path": path, "check": check}
    return dataclasses.field(default=default, metadata=key)


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file. Raises `UserError` if it cannot be read or parsed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"configuration {path} could not be read ({error.strerror})",
            "check the path, or write one with `fireseg-edge config init`",
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"configuration {path} is not UTF-8 text", "save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"configuration {path} is not TOML ({error})", "correct it there") from error


def read_section(
    kind: type[Section], values: Any, where: str, errors: list[str], *, folder: Path | None = None
) -> Section:
    """Return a dataclass of `kind` from a TOML table; mistakes go to `errors` and leave the default in place."""
    if not isinstance(values, Mapping):
        errors.append(f"{where} is {show(values)}: expected a table of keys and values")
        return kind()
    hints = get_type_hints(kind)
    keys = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    valid: dict[str, Any] = {}
    for key, value in values.items():
        if key not in keys:
            errors.append(unknown_key(key, where, keys))
            continue
        error = validation_error(value, hints[key], keys[key])
        if error is None and folder is not None and value and (path_kind := keys[key].metadata["path"]):
            value, error = _resolve(folder / value, value, path_kind)
        if error is None:
            valid[key] = hints[key](value)
        else:
            errors.append(f"{where} {key} = {show(value)}: {error}")
    return kind(**valid)


def validation_error(value: Any, type_: type, key: dataclasses.Field[Any]) -> str | None:
    """Return what was expected of a key instead of `value`; None if the value is valid."""
    low, high, choices, check = (key.metadata[name] for name in ("low", "high", "choices", "check"))
    if choices is not None:
        return None if value in choices else f"expected one of {', '.join(json.dumps(choice) for choice in choices)}"
    if type_ is bool:
        return None if isinstance(value, bool) else "expected true or false"
    if type_ is str:
        if not isinstance(value, str) or not (value.isprintable() or not value):
            return 'expected a text in quotes, such as "…", without control characters'
        try:
            if check and value != key.default:
                check(value)
        except UserError as error:
            return error.remedy
        return None
    name = "a whole number" if type_ is int else "a number"
    is_number = isinstance(value, int if type_ is int else int | float) and not isinstance(value, bool)
    # Written so that nan, which compares false with everything, is refused.
    if is_number and math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high):
        return None
    if low is None:
        return f"expected {name}"
    return f"expected {name} of at least {low:g}" if high is None else f"expected {name} from {low:g} to {high:g}"


def unknown_key(key: str, where: str, known: Iterable[str]) -> str:
    """Return the error for an unknown key, with the nearest known name."""
    names = list(known)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]}?" if near else f"expected {', '.join(names)}"
    return f"{where} has no key {key}: {advice}"


def section_template(kind: type, name: str) -> str:
    """Return a table as TOML: every key with its sentence and its default, commented out."""
    lines = [f"[{name}]"]
    for key in dataclasses.fields(kind):
        choices = key.metadata["choices"]
        doc = key.metadata["doc"] + (f" One of {', '.join(choices)}." if choices else "")
        lines += [f"# {line}" for line in textwrap.wrap(doc, LINE)]
        lines += [f"#{key.name} = {show(key.default)}", ""]
    return "\n".join(lines)


def show(value: Any) -> str:
    """Return a value as TOML writes it, without credentials."""
    return redact(json.dumps(value, ensure_ascii=False, default=str))


def _resolve(path: Path, value: str, kind: PathKind) -> tuple[str, str | None]:
    """Return the value that the key takes, and what was expected if the path is wrong."""
    if kind == "if-exists":
        with suppress(OSError):  # such as a URL longer than a file name may be
            return (str(path) if path.exists() else value), None
        return value, None
    with suppress(OSError):  # a service's secrets lie where other users may not look
        if kind == "required" and not path.is_file():
            return str(path), "expected a file, but there is none"
    return str(path), None
