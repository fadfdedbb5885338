"""Actions on a run, from the page, MQTT or the command line.

Any thread may submit an action. The loop's thread carries it out between two frames, so that no part of a run needs a
lock for it. Actions that read or write a disk run in another thread.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from edge.errors import UserError, one_line, reason_of
from edge.threads import Worker

log = logging.getLogger(__name__)

MAX_WAITING = 32  # in each of the two queues; more are refused

Arguments = Mapping[str, Any]
Answer = dict[str, Any]
Handler = Callable[[Arguments], Answer]
"""Carries out an action and returns its answer. Raises `UserError`, also for wrong arguments."""


@dataclass(frozen=True)
class Request:
    """An action that waits to be carried out."""

    name: str
    arguments: Arguments
    origin: str
    answer: Future[Answer]


class Actions:
    """The actions that a run offers.

    Example:
        >>> actions = Actions()
        >>> actions.register("greet", lambda arguments: {"text": f"hello {arguments['name']}"})
        >>> answer = actions.submit("greet", {"name": "Ada"}, origin="page")
        >>> actions.poll()
        >>> answer.result()
        {'text': 'hello Ada'}
    """

    def __init__(self) -> None:
        self._handlers: dict[str, tuple[Handler, queue.Queue[Request | None]]] = {}
        self._waiting: queue.Queue[Request | None] = queue.Queue(MAX_WAITING)  # for the loop's thread
        self._slow: queue.Queue[Request | None] = queue.Queue(MAX_WAITING)
        self._worker = Worker("actions", self._run_slow)
        self._is_started = False

    def register(self, name: str, handler: Handler, *, is_slow: bool = False) -> None:
        """Offer an action.

        Args:
            handler: called in the loop's thread.
            is_slow: call it in another thread instead, since it may wait for a disk.
        """
        self._handlers[name] = handler, self._slow if is_slow else self._waiting
        if is_slow and not self._is_started:
            self._is_started = True
            self._worker.start()

    def submit(self, name: str, arguments: Arguments, *, origin: str) -> Future[Answer]:
        """Submit an action; thread-safe, never blocks.

        Args:
            origin: the source of the action, for the log, such as "page 192.168.1.7".
        Returns:
            A future for the answer. Its exception is always a `UserError`.
        """
        answer: Future[Answer] = Future()
        handler = self._handlers.get(name)
        if handler is None:
            remedy = f"expected one of {', '.join(sorted(self._handlers)) or 'none'}"
            answer.set_exception(UserError(f"there is no action {one_line(name)!r}", remedy))
            return answer
        try:
            handler[1].put_nowait(Request(name, arguments, origin, answer))
        except queue.Full:
            answer.set_exception(UserError(f"{MAX_WAITING} actions are waiting already", "try again in a moment"))
        return answer

    def poll(self) -> None:
        """Carry out the actions that wait for the loop's thread; later ones wait for the next frame."""
        with suppress(queue.Empty):
            for _ in range(MAX_WAITING):
                if request := self._waiting.get_nowait():
                    self._carry_out(request)

    def close(self) -> None:
        """End the thread of slow actions, within a second."""
        if self._is_started:
            with suppress(queue.Full):
                self._slow.put_nowait(None)
            self._worker.join(1.0)

    def _run_slow(self) -> None:
        while request := self._slow.get():
            self._carry_out(request)

    def _carry_out(self, request: Request) -> None:
        if not request.answer.set_running_or_notify_cancel():  # its sender no longer waits
            return
        try:
            # Before, since this fails for arguments that are nested too deep.
            shown = ", ".join(f"{name} {value}" for name, value in request.arguments.items())
            answer = self._handlers[request.name][0](request.arguments)
        except UserError as error:
            log.warning("%s: %s refused: %s", request.origin, request.name, error)
            request.answer.set_exception(error)
        except Exception as error:  # any kind: an action must not end the run
            log.error("%s: %s failed (%s)", request.origin, request.name, reason_of(error))
            log.debug("traceback", exc_info=error)
            request.answer.set_exception(UserError(f"{request.name} failed ({reason_of(error)})", "see the log"))
        else:
            log.info("%s: %s", request.origin, one_line(f"{request.name} {shown}".strip()))
            request.answer.set_result(answer)


def text_argument(arguments: Arguments, name: str) -> str:
    """Return an argument that is a text. Raises `UserError`."""
    value = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise UserError(f"{name} is {one_line(repr(value))}", "expected a text")
    return value


def number_argument(arguments: Arguments, name: str, default: float | None, *, low: float, high: float) -> float:
    """Return an argument that is a number within bounds, or its default. Raises `UserError`."""
    value = arguments.get(name, default)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise UserError(f"{name} is {one_line(repr(value))}", f"expected a number from {low:g} to {high:g}")
    return float(value)


def allow_only(arguments: Arguments, *names: str) -> None:
    """Raise `UserError` for an argument that the action does not have: a misspelt one must not choose the default."""
    if unknown := [name for name in arguments if name not in names]:
        raise UserError(f"there is no argument {one_line(unknown[0])!r}", f"expected {', '.join(names) or 'none'}")
