"""`fireseg-edge notify test`: send a test notification to every service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge.camera.pattern import FLAMES_FROM_S, PatternCamera
from edge.config import load_config
from edge.errors import UserError
from edge.images import encode_jpeg

notify_app = typer.Typer(
    help="Test the notifications.",
    no_args_is_help=True,
    epilog="Example: `fireseg-edge notify test --config fireseg.toml`",
)


@notify_app.callback()
def notify() -> None:
    """Test the notifications."""


@notify_app.command(epilog="Example: `fireseg-edge notify test --config fireseg.toml`")
def test(
    config: Annotated[Path | None, typer.Option(help="The configuration, with [notify] urls_file.")] = None,
    urls_file: Annotated[Path | None, typer.Option(help="A file with one Apprise URL per line.")] = None,
) -> None:
    """Send a test notification with a picture to every service; exit code 1 if one fails."""
    settings = load_config(config, {"notify": {"urls_file": urls_file and str(urls_file)}}).notify
    if not settings.urls_file:
        raise UserError("no services are configured", "set [notify] urls_file in --config, or pass --urls-file")
    from edge.sinks.notify import read_services, send

    jpeg = encode_jpeg(PatternCamera(fps=1).frame(FLAMES_FROM_S + 5)) if settings.picture else None
    failures = 0
    for service in read_services(Path(settings.urls_file)):
        try:
            send(service, "Test of FireSeg Edge", "No fire: this is a test.", urgent=False, jpeg=jpeg)
            print(f"OK     {service.name}", flush=True)
        except ConnectionError as error:
            failures += 1
            print(f"FAIL   {service.name}: {error}", flush=True)
    if failures:
        raise typer.Exit(1)
