"""Settings as dataclasses: each key has a default, its bounds and a sentence, and TOML is read and written by them.

One definition serves the checks, the errors and the documented file that `fireseg-edge config init` writes.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_type_hints

from edge.secrets import redact

Section = TypeVar("Section")
LINE = 110


def setting(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Iterable[str] | None = None,
) -> Any:
    """A documented key of a settings dataclass. The bounds are part of what is allowed."""
    known = tuple(choices) if choices is not None else None
    return dataclasses.field(default=default, metadata={"doc": doc, "low": low, "high": high, "choices": known})


def read_section(kind: type[Section], values: Any, where: str, errors: list[str]) -> Section:
    """A dataclass of `kind` from a TOML table; what is wrong goes to `errors`, and the defaults stand in for it."""
    if not isinstance(values, Mapping):
        errors.append(f"{where} is {show(values)}: expected a table of keys and values")
        return kind()
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if "doc" in field.metadata}  # type: ignore[arg-type]
    taken: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            errors.append(unknown_key(key, where, fields))
        elif (wrong := what_is_wrong(value, hints[key], fields[key].metadata)) is not None:
            errors.append(f"{where} {key} = {show(value)}: expected {wrong}")
        else:
            taken[key] = hints[key](value)
    return kind(**taken)


def what_is_wrong(value: Any, type_: type, bounds: Mapping[str, Any]) -> str | None:
    """What is expected instead of a value; None where it will do."""
    low, high, choices = bounds["low"], bounds["high"], bounds["choices"]
    if choices is not None:
        return None if value in choices else f"one of {', '.join(json.dumps(choice) for choice in choices)}"
    if type_ is bool:
        return None if isinstance(value, bool) else "true or false"
    if type_ is str:
        if isinstance(value, str) and (value.isprintable() or not value):
            return None
        return 'a text in quotes, such as "…", without control characters'
    name = "a whole number" if type_ is int else "a number"
    fits = isinstance(value, int if type_ is int else int | float) and not isinstance(value, bool)
    # Written so that nan, which is neither below nor above, does not fit.
    if fits and math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high):
        return None
    if low is None:
        return name
    return f"{name} of at least {low:g}" if high is None else f"{name} from {low:g} to {high:g}"


def unknown_key(key: str, where: str, known: Iterable[str]) -> str:
    """The error for a key that is none, with the name that comes nearest."""
    names = list(known)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]}?" if near else f"expected {', '.join(names)}"
    return f"{where} has no key {key}: {advice}"


def documented(kind: type, table: str) -> str:
    """A section as TOML: every key with its sentence and its default, commented out."""
    lines = [f"[{table}]"]
    for field in dataclasses.fields(kind):
        if "doc" not in field.metadata:
            continue
        lines += [f"# {line}" for line in textwrap.wrap(describe(field), LINE)]
        lines += [f"#{field.name} = {show(field.default)}", ""]
    return "\n".join(lines)


def describe(field: dataclasses.Field[Any]) -> str:
    """The sentence of a key, with its choices."""
    choices = field.metadata["choices"]
    return field.metadata["doc"] + (f" One of {', '.join(choices)}." if choices else "")


def show(value: Any) -> str:
    """A value as TOML writes it, without credentials."""
    return redact(json.dumps(value, ensure_ascii=False, default=str))
