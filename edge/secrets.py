"""Passwords and other secrets: from the environment or a file, never from the command line, where all can read them."""

from __future__ import annotations

import os
from pathlib import Path

from edge.errors import UserError

MQTT_USER, MQTT_PASSWORD = "FIRESEG_MQTT_USER", "FIRESEG_MQTT_PASSWORD"
WEBHOOK_SECRET = "FIRESEG_WEBHOOK_SECRET"
WEB_PASSWORD = "FIRESEG_WEB_PASSWORD"


def read_secret(variable: str, file: str) -> str | None:
    """What the environment's `variable` says, else what `file` holds; None where neither is given.

    Raises `UserError` for a file that cannot be read or is empty.
    """
    if given := os.environ.get(variable):
        return given
    if not file:
        return None
    try:
        secret = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise UserError(
            f"{file} could not be read ({reason}): expected a file with a secret and nothing else"
        ) from error
    if not secret:
        raise UserError(f"{file} is empty: expected a file with a secret and nothing else")
    return secret
