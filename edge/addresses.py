"""Addresses of cameras, webhooks and brokers: what is valid, and credentials in them."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from urllib.parse import quote, urlsplit

from edge.errors import UserError
from edge.secrets import read_secret, read_variable, redact

PERCENT_ENCODE = (
    "write # / ? @ : [ ] % in a user or password as %23 %2F %3F %40 %3A %5B %5D %25, "
    "or use the keys user and password_file"
)

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"  # of a host name


def check_login(url: str) -> None:
    """Raise `UserError` if the user or password in an address ends its host part, or is not valid in it."""
    if "@" not in url:
        return
    with suppress(ValueError):
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if it is not a number
        if parts.hostname and "@" not in parts.fragment:
            return
    raise UserError(f"the address {redact(url)!r} is not valid", PERCENT_ENCODE)


def add_login(url: str, variables: tuple[str, str], user: str, password_file: str) -> str:
    """Return the address with user and password, percent-encoded, which replace those in it.

    Args:
        variables: environment variables of user and password, which override the other two arguments.
    Raises `UserError` if the password cannot be read.

    Example:
        >>> add_login("rtsp://cam/1", ("CAM_USER", "CAM_PASSWORD"), "me", "")
        'rtsp://me@cam/1'
    """
    user, password = read_variable(variables[0]) or user, read_secret(variables[1], password_file)
    scheme, mark, rest = url.partition("://")
    if not mark or not (user or password):
        return url
    login = quote(user, safe="") + ("" if password is None else f":{quote(password, safe='')}")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    return f"{scheme}://{login}@{authority.rpartition('@')[2]}{rest[len(authority) :]}"


def check_source(text: str) -> None:
    """Raise `UserError` for the address of a network camera without a host, or with an invalid user or password."""
    if "://" not in text:
        return
    check_login(text)
    with suppress(ValueError):
        parts = urlsplit(text)
        _ = parts.port  # raises ValueError if it is not a number
        if parts.hostname or parts.scheme not in ("rtsp", "rtsps", "http", "https"):
            return
    raise UserError(f"the address {redact(text)!r} is not valid", "expected a host, such as rtsp://HOST:PORT/PATH")


def check_url(url: str) -> None:
    """Raise `UserError` unless `url` is an http or https address with a host."""
    check_login(url)
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and re.fullmatch("[!-~]+", url):
            return
    remedy = "expected http:// or https:// and a host, other characters percent-encoded"
    raise UserError(f"[webhook] url {redact(url)!r} is not an address", remedy)


def check_open_url(url: str) -> None:
    """Raise `UserError` unless `url` is an http or https address with a host and without a user and password."""
    if "@" in url:
        remedy = "expected an address without user and password; an @ in its path is written %40"
        raise UserError(f"the address {redact(url)!r} has a user or password", remedy)
    check_url(url)


def check_host(text: str) -> None:
    """Raise `UserError` unless `text` is a host name or an IP address, without a port."""
    with suppress(ValueError):
        ipaddress.ip_address(text)
        return
    if not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", text):
        remedy = 'expected a name or an address alone, such as "broker.local"; the port is [mqtt] port'
        raise UserError(f"[mqtt] host {redact(text)!r}", remedy)


def check_topic(text: str) -> str:
    """Return `text` if it can begin an MQTT topic. Raises `UserError`."""
    if not re.fullmatch(r"[^#+/]+(/[^#+/]+)*", text):
        raise UserError(f"[mqtt] topic {text!r}", 'expected a topic without # and +, such as "fireseg"')
    return text
