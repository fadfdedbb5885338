"""Run Apprise in a child process: one question on stdin, one answer on stdout, both JSON."""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from typing import Any

import apprise
from apprise.attachment.memory import AttachMemory


def answer(function: Callable[[Any], Any]) -> None:
    """Print the answer to the question on stdin."""
    with suppress(OSError):
        os.nice(5)  # fires are detected meanwhile
    with redirect_stdout(sys.stderr):  # plugins may print
        result = function(json.load(sys.stdin))
    print(json.dumps(result))


def service_names(urls: list[str]) -> list[str | None]:
    """Return the name of each URL's service; None for a wrong URL and for one with several recipients.

    Those are tried again as a whole if one of them fails: the others would be notified again and again.
    """
    plugins = [apprise.Apprise.instantiate(url, suppress_exceptions=True) for url in urls]
    return [str(each.service_name or type(each).__name__) if each and len(each) == 1 else None for each in plugins]


def send(message: dict[str, Any]) -> str:
    """Send a notification; return why it failed, in Apprise's words, or an empty text."""
    reasons: list[str] = ["the service refused it"]
    log = logging.getLogger("apprise")
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: reasons.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    jpeg = base64.b64decode(message["picture"])
    service = apprise.Apprise()
    sent = service.add(message["url"]) and service.notify(
        title=message["title"],
        body=message["text"],
        body_format=apprise.NotifyFormat.TEXT,
        notify_type=apprise.NotifyType.FAILURE if message["urgent"] else apprise.NotifyType.INFO,
        attach=apprise.AppriseAttachment([AttachMemory(jpeg, "fire.jpg", "image/jpeg")]) if jpeg else None,
    )
    return "" if sent else reasons[-1]
