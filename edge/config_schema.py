"""Dataclasses that describe TOML tables: each key is defined once, with its default, its bounds and a description.

Validation, error messages and the file that `fireseg-edge config init` writes all read that one definition.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import textwrap
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_origin, get_type_hints

from edge.errors import UserError, one_line
from edge.files import read_limited
from edge.secrets import redact

Section = TypeVar("Section")
LINE = 110

MAX_BYTES = 1 << 18  # of a configuration file; one with every key has 8 kB
MAX_CHAIN = 20  # names joined by dots: tomllib takes quadratic memory for them
_PART = rb"[ \t]*(?:[\w-]+|'[^'\n]*+'|\"(?:[^\"\\\n]|\\.)*+\")[ \t]*"
LONG_CHAIN = re.compile(rb"(?:\.%b){%d}" % (_PART, MAX_CHAIN))
NEAR = 0.7
"""Least similarity of a key that is suggested for an unknown one: on_share is not on_s."""
MAX_SHOWN = 200  # letters of a value in an error
MAX_LIST = 100  # texts of a list
MAX_TEXT = 1000  # letters of a value: no address, path or topic is longer

PathKind = Literal["any", "required", "written"]
"""any: a path; required: a file that must exist, such as a secret; written: a folder that the run writes."""


def field(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] | None = None,
    path: PathKind | None = None,
    names: str | None = None,
    check: Callable[[Any], object] | None = None,
) -> Any:
    """Return a dataclass field that describes one key.

    Args:
        low, high: inclusive bounds; None for no bound.
        choices: the texts to choose from; a number stands for its digits.
        path: the key names a path, relative to the directory of the file.
        names: a regular expression for texts that stand for something else than a path.
        check: raises `UserError` for an invalid text or list of texts; its remedy becomes the message.
    """
    key = {"doc": doc, "low": low, "high": high, "choices": choices, "path": path, "names": names, "check": check}
    return dataclasses.field(default=default, metadata=key)


def read_data(path: Path) -> bytes:
    """Return the bytes of a configuration file. Raises `UserError` if it cannot be read."""
    remedy = "check the path, or write one with `fireseg-edge config init`"
    return read_limited(path, MAX_BYTES, remedy, "configuration")


def parse_toml(data: bytes, path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file. Raises `UserError` if it cannot be parsed."""
    if len(data) > MAX_BYTES:
        raise UserError(
            f"configuration {path} has {len(data) / 1e6:.1f} MB", f"expected at most {MAX_BYTES / 1e6:.1f} MB"
        )
    if LONG_CHAIN.search(data):
        raise UserError(f"configuration {path} has a name of more than {MAX_CHAIN} parts", "expected [table] and key")
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except ValueError as error:  # neither UTF-8 nor TOML
        remedy = "fix the syntax" + ('; a text needs quotes, such as "…"' if "Invalid value" in str(error) else "")
        raise UserError(f"configuration {path} is not TOML in UTF-8 ({error})", remedy) from error
    except (RecursionError, MemoryError) as error:
        raise UserError(f"configuration {path} is nested too deeply", "expected tables of keys and values") from error


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
        elif error := validation_error(value, hints[key], keys[key]):
            errors.append(f"{where} {key} = {show(value)}: {error}")
        elif folder and value and _is_path(value, keys[key]):
            valid[key] = str(folder / value)
            if keys[key].metadata["path"] == "required" and _is_missing(folder / value):
                errors.append(f"{where} {key} = {show(valid[key])}: expected an existing file")
        else:
            valid[key] = hints[key](value)
    return kind(**valid)


def validation_error(value: Any, type_: type, key: dataclasses.Field[Any]) -> str | None:
    """Return the values that a key accepts, as text; None if `value` is valid."""
    low, high, choices, check = (key.metadata[name] for name in ("low", "high", "choices", "check"))
    if choices is not None:
        expected = f"expected one of {', '.join(json.dumps(choice) for choice in choices)}"
        return None if str(value) in choices else expected
    if type_ is bool:
        return None if isinstance(value, bool) else "expected true or false"
    if tuple in (type_, get_origin(type_)):
        return _list_error(value, key)
    if type_ is str:
        if not isinstance(value, str) or not value.isprintable():
            return 'expected a text in quotes, such as "…", without control characters'
        if len(value) > MAX_TEXT:
            return f"expected at most {MAX_TEXT} characters"
        try:
            if check and value != key.default:
                check(value)
        except UserError as error:
            return error.remedy
        return None
    is_number = isinstance(value, int if type_ is int else int | float) and not isinstance(value, bool)
    least, most = (-math.inf if low is None else low), (math.inf if high is None else high)
    if is_number and least <= value <= most:  # false for nan
        return None
    name = "a whole number" if type_ is int else "a number"
    if high is None:
        return f"expected {name}" + ("" if low is None else f" of at least {low:g}")
    most_text = str(high) if type_ is int else f"{high:g}"
    return f"expected {name} of at most {most_text}" if low is None else f"expected {name} from {low:g} to {most_text}"


def _list_error(value: Any, key: dataclasses.Field[Any]) -> str | None:
    """Return what is wrong with a list of texts; None if it is valid."""
    if not isinstance(value, list | tuple) or len(value) > MAX_LIST:
        return f'expected a list of at most {MAX_LIST} texts, such as ["…", "…"]'
    for text in value:
        if not isinstance(text, str) or not text.isprintable() or len(text) > MAX_TEXT:
            return f'expected texts in quotes, such as "…", not {show(text)}'
    try:
        if check := key.metadata["check"]:
            check(value)
    except UserError as error:
        return error.remedy
    return None


def unknown_key(key: str, where: str, known: Collection[str]) -> str:
    """Return the error for an unknown key, with the nearest known name."""
    key = one_line(redact(key), MAX_SHOWN)
    near = difflib.get_close_matches(key, known, n=1, cutoff=NEAR)
    advice = f"did you mean {near[0]}?" if near else f"expected {', '.join(known)}"
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
    """Return a value as TOML writes it, without credentials and shortened."""
    try:
        text = redact(json.dumps(value, ensure_ascii=False, default=str))
    except (ValueError, RecursionError):  # an integer of thousands of digits, thousands of nested tables
        return "a value too large to show"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _is_path(text: str, key: dataclasses.Field[Any]) -> bool:
    names = key.metadata["names"]
    return key.metadata["path"] is not None and not (names and re.fullmatch(names, text))


def _is_missing(path: Path) -> bool:
    """Return whether there is certainly no such file; a service's secret may be invisible."""
    try:
        return not path.is_file()
    except OSError:
        return False
