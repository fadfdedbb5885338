"""Secrets: read from the environment or a file, and redacted from everything that is shown or sent.

Never from the command line, where every local user can read them. A redacted URL keeps its host and path, but no query
value: each camera manufacturer names the password parameter differently.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from edge.errors import UserError, one_line
from edge.files import read_limited

MQTT_USER, MQTT_PASSWORD = "FIRESEG_MQTT_USER", "FIRESEG_MQTT_PASSWORD"
SOURCE_LOGIN = "FIRESEG_SOURCE_USER", "FIRESEG_SOURCE_PASSWORD"
WEBHOOK_LOGIN = "FIRESEG_WEBHOOK_USER", "FIRESEG_WEBHOOK_PASSWORD"
WEBHOOK_SECRET = "FIRESEG_WEBHOOK_SECRET"
WEB_PASSWORD = "FIRESEG_WEB_PASSWORD"
SERVICE_SECRETS = Path("/etc/fireseg-edge/secrets.env")

HIDDEN = "***"
MAX_LINE = 4000  # letters of a log line
MAX_REDACTED = 100_000  # letters of a text; what follows is left out
MAX_SECRET_BYTES = 1 << 16
_URL = re.compile(r"://(\S+)")  # no scheme: a search for one would take quadratic time on a long word
_VALUE = re.compile(r"=[^&;]*")


def read_variable(variable: str) -> str:
    """Return a user or secret in the environment; empty without one. Raises `UserError` unless it is UTF-8."""
    value = os.environ.get(variable, "")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{variable} is not UTF-8 text", "set it again in a UTF-8 terminal, or use a file") from error
    return value


def read_secret(variable: str, file: str) -> str | None:
    """Return the secret in the environment `variable`, else in `file`; None if neither is set.

    Raises `UserError` for a variable that is not UTF-8, and a file that cannot be read or is empty.
    """
    if secret := read_variable(variable):
        return secret
    if not file:
        return None
    remedy = "expected a file with a secret and nothing else"
    try:
        secret = read_limited(Path(file), MAX_SECRET_BYTES, remedy).decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} could not be read (it is not UTF-8 text)", remedy) from error
    if not secret:
        raise UserError(f"{file} is empty", remedy)
    return secret


def load_service_secrets() -> bool:
    """Set the environment variables that systemd sets for the service, except those that are set.

    Returns False for a file that this user may not read.
    """
    try:
        for line in SERVICE_SECRETS.read_text(encoding="utf-8").splitlines():
            name, mark, value = line.strip().partition("=")
            if mark and not name.startswith(("#", ";")):
                os.environ.setdefault(name, value.strip("'\""))
    except PermissionError:
        return False
    except (OSError, UnicodeDecodeError):
        pass
    return True


def redact(text: str) -> str:
    """Return the text with the credentials of every URL replaced by ***, and cut after `MAX_REDACTED` letters."""
    cut = len(text) > MAX_REDACTED

    def without_credentials(url: re.Match[str]) -> str:
        is_cut = cut and url.end() == MAX_REDACTED  # maybe before the @ that marks a password
        return f"://{HIDDEN if is_cut else _without_credentials(url[1])}"

    return _URL.sub(without_credentials, text[:MAX_REDACTED]) + (" …" if cut else "")


def _without_credentials(address: str) -> str:
    """Redact what follows `scheme://`. A password may contain any character, so the last @ ends it."""
    user, at, rest = address.rpartition("@")
    if "?" in user:  # an @ in a query or a ? in a password: ambiguous
        return HIDDEN
    path, mark, query = rest.partition("?")
    if mark:
        query = _VALUE.sub(f"={HIDDEN}", query) if "=" in query else HIDDEN
    return f"{HIDDEN if at else ''}{at}{path}{mark}{query}"


class RedactingFormatter(logging.Formatter):
    """Formats a record, its exception included, without credentials, and its message without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = one_line(redact(record.message), MAX_LINE)
        return super().formatMessage(record)
