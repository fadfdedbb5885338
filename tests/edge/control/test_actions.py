"""Actions: submitted by any thread, carried out by the loop's, and a failing one ends nothing."""

from __future__ import annotations

import math
import threading
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.control.actions import MAX_WAITING, Actions, Arguments, number_argument, text_argument
from edge.errors import UserError
from tests.support.waiting import TIMEOUT_S

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda each: st.lists(each, max_size=2) | st.dictionaries(st.text(max_size=3), each, max_size=2),
    max_leaves=4,
)


def thread_name(_: Arguments) -> dict[str, Any]:
    return {"thread": threading.current_thread().name}


def test_an_action_waits_for_the_loops_thread(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "edge")
    actions = Actions()
    actions.register("where", thread_name)
    asked = [actions.submit("where", {"n": n}, origin="page 192.168.1.7") for n in range(2)]
    assert not asked[0].done()
    actions.poll()
    assert [each.result() for each in asked] == [{"thread": threading.current_thread().name}] * 2
    assert [record.message for record in caplog.records] == [f"page 192.168.1.7: where n {n}" for n in range(2)]


def test_a_slow_action_does_not_wait_for_the_loop() -> None:
    with closing(Actions()) as actions:
        actions.register("where", thread_name, is_slow=True)
        assert actions.submit("where", {}, origin="test").result(TIMEOUT_S)["thread"] == "actions"


def test_an_unknown_action_names_those_that_there_are() -> None:
    actions = Actions()
    assert str(actions.submit("arm", {}, origin="x").exception()) == "there is no action 'arm': expected one of none"
    for name in ("snooze", "arm"):
        actions.register(name, thread_name)
    error = actions.submit("a\nb", {}, origin="x").exception()
    assert str(error).endswith(": expected one of arm, snooze") and "\n" not in str(error)


def test_a_handler_that_fails_is_one_sentence_and_the_next_action_works(caplog: pytest.LogCaptureFixture) -> None:
    actions = Actions()
    actions.register("divide", lambda arguments: {"result": 1 / arguments["by"]})
    first, second, third = (actions.submit("divide", {"by": by}, origin="MQTT") for by in (0, "x", 2))
    actions.poll()
    assert str(first.exception()) == "divide failed (ZeroDivisionError: division by zero): see the log"
    assert isinstance(second.exception(), UserError)
    assert third.result() == {"result": 0.5}
    assert "MQTT: divide failed (ZeroDivisionError" in caplog.text


def test_too_many_actions_are_refused_until_the_loop_has_carried_some_out() -> None:
    actions = Actions()
    actions.register("where", thread_name)
    asked = [actions.submit("where", {}, origin="test") for _ in range(MAX_WAITING + 1)]
    assert str(asked[-1].exception()) == f"{MAX_WAITING} actions are waiting already: try again in a moment"
    actions.poll()
    assert all(each.result() for each in asked[:-1])


def test_arguments_nested_too_deep_for_the_loops_thread_do_not_end_it() -> None:
    actions = Actions()
    actions.register("where", thread_name)
    deep: Any = []
    for _ in range(2000):
        deep = [deep]
    refused, done = (actions.submit("where", {"x": x}, origin="MQTT") for x in (deep, 1))
    actions.poll()
    assert str(refused.exception()).startswith("where failed (RecursionError")
    assert done.result()


def test_actions_that_come_while_some_are_carried_out_do_not_hold_up_the_loop() -> None:
    actions = Actions()

    def again(_: Arguments) -> dict[str, Any]:
        actions.submit("again", {}, origin="test")
        return {}

    actions.register("again", again)
    actions.submit("again", {}, origin="test")
    actions.poll()  # returns


def test_an_action_that_nobody_waits_for_any_more_is_not_carried_out() -> None:
    actions, done = Actions(), list[int]()

    def note(arguments: Arguments) -> dict[str, Any]:
        done.append(arguments["n"])
        return {}

    actions.register("note", note)
    first, _ = (actions.submit("note", {"n": n}, origin="test") for n in range(2))
    assert first.cancel()
    actions.poll()
    assert done == [1]


@given(value=JSON)
def test_an_argument_is_a_valid_number_or_text_or_one_line(value: Any) -> None:
    for check in (
        lambda: number_argument({"x": value}, "x", None, low=0, high=60),
        lambda: text_argument({"x": value}, "x"),
    ):
        try:
            checked = check()
        except UserError as error:
            assert str(error).startswith("x is ") and "\n" not in str(error)
        else:
            assert checked == value
            assert isinstance(checked, str) or (0 <= checked <= 60 and not math.isnan(checked))
    assert number_argument({}, "x", 7, low=0, high=60) == 7
