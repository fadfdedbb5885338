"""`fireseg-edge feedback list` and `export`: the fires with a verdict, and their frames for training."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from edge.config import load_config
from edge.console import JsonOption, print_table
from edge.control.feedback import list_fires
from edge.control.feedback_export import export_feedback
from edge.errors import UserError, counted

ConfigOption = Annotated[Path | None, typer.Option(help="The configuration, with [clips] folder.")]
ClipsOption = Annotated[Path | None, typer.Option(help="The folder of clips, instead.")]

feedback_app = typer.Typer(
    help="List fires with their verdicts; export frames for training.",
    no_args_is_help=True,
    epilog="Example: `fireseg-edge feedback export feedback --config fireseg.toml`",
)


@feedback_app.command("list", epilog="Example: `fireseg-edge feedback list --config fireseg.toml`")
def list_command(config: ConfigOption = None, clips: ClipsOption = None, as_json: JsonOption = False) -> None:
    """List the fires in the folder of clips, with the verdicts given on the page, over MQTT or the API."""
    folder = clips_folder(config, clips)
    fires = list_fires(folder)
    if as_json:
        print(json.dumps([asdict(fire) for fire in fires], indent=2))
        return
    table = Table("fire", "verdict", "given", "frames for training", "size MB", title=str(folder))
    for fire in fires:
        table.add_row(fire.id, fire.verdict or "–", fire.time, str(fire.frames), f"{fire.size_bytes / 1e6:.2f}")
    print_table(table)


@feedback_app.command(epilog="Example: `fireseg-edge feedback export feedback --config fireseg.toml`")
def export(
    out: Annotated[Path, typer.Argument(help="A new folder, or that of an earlier export.")],
    config: ConfigOption = None,
    clips: ClipsOption = None,
) -> None:
    """Write the frames of fires with a verdict as `fireseg-train fit` takes them: negatives/, and fires/ with masks."""
    for part in export_feedback(clips_folder(config, clips), out):
        print(f"{out / part.name}: {counted(part.images, 'image')} of {counted(part.fires, 'event')}")


def clips_folder(config: Path | None, clips: Path | None) -> Path:
    """Return the folder of clips. Raises `UserError` without one."""
    folder = load_config(config, {"clips": {"folder": clips and str(clips)}}).clips.folder
    if not folder:
        raise UserError("no folder of clips is configured", "set [clips] folder in --config, or pass --clips")
    return Path(folder)
