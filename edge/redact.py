"""Keeping credentials out of everything that is shown or sent: logs, errors, events.

Cameras are opened by URLs such as rtsp://user:password@host/path?token=…; what is shown of one keeps its host and its
path. Too much is taken away rather than too little: every value of a query goes, since each maker names the password
differently.
"""

from __future__ import annotations

import logging
import re

HIDDEN = "***"
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://)(\S+)")
_VALUE = re.compile(r"=[^&;]*")


def redact(text: str) -> str:
    """The text with the credentials of every URL in it replaced by ***."""
    return _URL.sub(lambda url: url[1] + _without_credentials(url[2]), text)


def _without_credentials(address: str) -> str:
    """What follows `scheme://`, up to the next space. A password may hold any sign, so the last @ ends it."""
    user, at, rest = address.rpartition("@")
    if "?" in user:  # an @ within a query, or a ? within a password: nobody can tell
        return HIDDEN
    path, mark, query = rest.partition("?")
    if mark:
        query = _VALUE.sub(f"={HIDDEN}", query) if "=" in query else HIDDEN
    return f"{HIDDEN if at else ''}{at}{path}{mark}{query}"


class RedactingFormatter(logging.Formatter):
    """Formats a record, its exception included, without credentials."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
