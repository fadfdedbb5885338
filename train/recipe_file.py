"""A recipe as a TOML file: the flags of `fireseg-train fit` by their names, but for those that name folders.

What is typed as a flag wins over the file. `base` and `small` are ours, and are named without a path.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

import typer

from edge.errors import UserError

OURS = Path(__file__).parent / "recipes"
# Where the data lie and the run goes differs between machines, and so belongs on the command line.
FLAGS: dict[str, tuple[type, ...]] = {
    "encoder": (str,),
    "decoder": (str,),
    "width": (float, int),
    "size": (str, int),  # "192x320" or 224
    "backbone-weights": (str,),
    "frozen-epochs": (int,),
    "whole-epochs": (int,),
    "frozen-rate": (float, int),
    "whole-rate": (float, int),
    "whole-batch-norm": (bool,),
    "settle-epochs": (int,),
    "settle-rate": (float, int),
    "batch-size": (int,),
    "augment": (str,),
    "validation": (float, int),
    "mixed-precision": (bool,),
    "seed": (int,),
}
WORDS = {str: "a text in quotes", float: "a number", int: "a whole number", bool: "true or false"}


def take_recipe(context: typer.Context, name: str | None) -> str | None:
    """Typer's callback of --recipe: what the file says becomes the other flags' defaults."""
    if name is not None:
        context.default_map = {key.replace("-", "_"): value for key, value in read_recipe(name).items()}
    return name


def read_recipe(name: str) -> dict[str, Any]:
    """Read a recipe by its path, or one of ours by its name. Raises `UserError` naming what is wrong in it."""
    path = Path(name) if Path(name).suffix else OURS / f"{name}.toml"
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        ours = ", ".join(sorted(file.stem for file in OURS.glob("*.toml")))
        raise UserError(f"recipe {name} does not exist", f"expected a .toml file, or one of {ours}") from error
    except (OSError, ValueError) as error:  # TOML's own errors and those of UTF-8 are ValueErrors
        raise UserError(f"recipe {name} could not be read ({error})", "expected TOML, `flag = value` a line") from error
    for key, value in found.items():
        if key not in FLAGS:
            near = difflib.get_close_matches(key, FLAGS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(FLAGS)}"
            raise UserError(f"recipe {name} has {key!r}, which is no flag that a recipe can set", f"{hint}")
        if type(value) not in FLAGS[key]:  # not isinstance, to which True is a whole number
            raise UserError(f"recipe {name} has {key} = {value!r}", f"expected {WORDS[FLAGS[key][0]]}")
    return found
