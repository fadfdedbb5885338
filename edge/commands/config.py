"""`fireseg-edge config`: write a configuration file, and check one."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from edge.commands.options import CAMERA_GROUP, check_config
from edge.config import SECTIONS, load_config
from edge.config_schema import section_template
from edge.console import show_warning
from edge.errors import UserError
from edge.files import replacing
from edge.reload import prepare

config_app = typer.Typer(
    help="Write a configuration file, or check one.",
    no_args_is_help=True,
    epilog="Example: `fireseg-edge config init fireseg.toml`, then `fireseg-edge config check fireseg.toml`",
)

PRIVATE = 0o600  # camera addresses contain passwords
READABLE_BY_SERVICE = 0o640  # which runs in the camera group
HEADER = """\
# Configuration of `fireseg-edge run --config THIS-FILE`. Command-line options override this file. Commented lines show
# defaults. Relative paths start at this file's directory. `fireseg-edge config check THIS-FILE` checks the file, and
# `kill -HUP` makes a running process reload it.
#
# Not a life-safety device: never rely on it in place of a smoke alarm.
"""
ZONES_TEXT = """\
# Each zone has its own alarm; without zones the whole frame is one. Corners are fractions of the frame, [x, y] from the
# top left. There are at most 100 zones and 100 ignored areas, each of at most 1,000 corners.
#[[zones]]
#name = "stove"
#polygon = [[0.1, 0.4], [0.5, 0.4], [0.5, 0.9], [0.1, 0.9]]

# Areas to ignore, such as a television.
#[[ignored]]
#polygon = [[0.8, 0.0], [1.0, 0.0], [1.0, 0.3], [0.8, 0.3]]
"""


@config_app.command(epilog="Example: `fireseg-edge config init fireseg.toml`")
def init(path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("fireseg.toml")) -> None:
    """Write a configuration file that documents every key, all at their defaults."""
    if os.path.exists(path):  # noqa: PTH110 - Path.exists raises for a name that is too long
        raise UserError(f"{path} already exists", "name another file, or remove it first")
    with replacing(path) as temporary:
        temporary.write_text(documented_config(), encoding="utf-8")
    make_private(path)
    print(f"{path} written: every key with its default; use it with `fireseg-edge run --config {path}`")


@config_app.command(epilog="Example: `fireseg-edge config check fireseg.toml`")
def check(path: Annotated[Path, typer.Argument(help="The file to check.")] = Path("fireseg.toml")) -> None:
    """Check a configuration file and load its model: one line for each mistake, and exit code 2."""
    config = load_config(path)
    check_config(config)
    setup, _ = prepare(config)
    segmenter, zone_map = setup.segmenter, setup.zones
    if config.mqtt.host:
        from edge.sinks.mqtt_login import clear_password

        if warning := clear_password(config.mqtt):
            show_warning(warning)
    model = f"{config.model.path}, {segmenter.width}x{segmenter.height} px"
    zones = ", ".join(zone_map.cells) if config.zones else "the whole frame"
    print(f"{path} is valid; model: {model}; zones: {zones}")


def make_private(path: Path) -> None:
    """Let only its owner read the file, or, if that is root, also the service."""
    path.chmod(PRIVATE)
    if not os.geteuid():
        with suppress(LookupError, OSError):  # no such group
            shutil.chown(path, group=CAMERA_GROUP)
            path.chmod(READABLE_BY_SERVICE)


def documented_config() -> str:
    """Return the text of a configuration file that documents every key and changes nothing."""
    return "\n".join([HEADER, *(section_template(kind, name) for name, kind in SECTIONS.items()), ZONES_TEXT])
