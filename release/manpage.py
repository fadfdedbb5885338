"""The manual page of `fireseg-edge`, from the help of its commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer.main

from edge.cli import app

NAME = "fireseg-edge"
FILES = {
    "/etc/fireseg-edge/fireseg.toml": "The configuration of the service `fireseg-edge`.",
    "/etc/fireseg-edge/CAMERA.toml": "That of the service `fireseg-edge@CAMERA`, for a further camera.",
    "/etc/fireseg-edge/secrets.env": "Passwords as `FIRESEG_MQTT_PASSWORD=…`; readable by root only.",
    "/var/lib/fireseg-edge": "What the services keep: undelivered events, saved states, images and clips.",
    "/usr/share/fireseg-edge/fireseg.toml": "A configuration that documents every key.",
}


def manual_page(version: str) -> str:
    """Return the page in roff."""
    group: Any = typer.main.get_command(app)
    lines = [
        f'.TH FIRESEG\\-EDGE 1 "" "{roff(f"{NAME} {version}")}" "User commands"',
        ".SH NAME", rf"fireseg\-edge \- {roff('detect fire with a camera')}",
        ".SH SYNOPSIS", r".B fireseg\-edge", ".I COMMAND", "[OPTIONS]",
        ".SH DESCRIPTION", roff(group.help), ".SH COMMANDS", *commands(group, ""),
        ".SH FILES",
    ]  # fmt: skip
    for path, text in FILES.items():
        lines += [".TP", f".I {roff(path)}", roff(text)]
    return "\n".join(lines) + "\n"


def commands(group: Any, prefix: str) -> Iterator[str]:
    """Yield the lines of a group's commands, and of those in its groups."""
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
            continue
        context = typer.Context(command, info_name=name)
        yield f".SS {roff(prefix + name)}"
        yield roff(command.help or "")
        for option in command.params:
            if record := option.get_help_record(context):
                yield from (".TP", rf"\fB{roff(record[0])}\fR", roff(record[1]))
        if command.epilog:
            yield from (".PP", roff(command.epilog))


def roff(text: str) -> str:
    """Return Markdown text as roff: paragraphs, bold and code, with nothing taken for a request."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    text = re.sub(r"\*\*(.+?)\*\*|`(.+?)`", lambda match: rf"\fB{match[1] or match[2]}\fR", text, flags=re.DOTALL)
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]
    return "\n.PP\n".join(re.sub(r"^(?=[.'])", r"\\&", paragraph) for paragraph in paragraphs)
