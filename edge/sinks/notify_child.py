"""What `notify.py` asks of Apprise, in a process of its own: questions on stdin and answers on stdout, as JSON."""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import apprise
from apprise.attachment.memory import AttachMemory


def answer(function: Callable[[Any], Any]) -> None:
    """Print the answer to the question on stdin."""
    with suppress(OSError):
        os.nice(5)  # fires are detected meanwhile
    print(json.dumps(function(json.load(sys.stdin))))


def service_names(urls: list[str]) -> list[str | None]:
    """Return the name of each URL's service, None for a URL that is wrong."""
    plugins = [apprise.Apprise.instantiate(url, suppress_exceptions=True) for url in urls]
    return [plugin and str(plugin.service_name or type(plugin).__name__) for plugin in plugins]


def send(message: dict[str, Any]) -> str:
    """Send a notification; return why it failed, in Apprise's words, or an empty text."""
    reasons: list[str] = ["the service refused it"]
    log = logging.getLogger("apprise")
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: reasons.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    plugin = apprise.Apprise.instantiate(message["url"], suppress_exceptions=True)
    jpeg = base64.b64decode(message["picture"])
    attachment = apprise.AppriseAttachment([AttachMemory(jpeg, "fire.jpg", "image/jpeg")]) if jpeg else None
    sent = plugin and plugin.notify(
        title=message["title"],
        body=message["text"],
        notify_type=apprise.NotifyType.FAILURE if message["urgent"] else apprise.NotifyType.INFO,
        attach=attachment,
    )
    return "" if sent else reasons[-1]
