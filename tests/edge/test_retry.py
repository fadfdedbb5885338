"""The waits between attempts grow up to a limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.retry import FIRST_WAIT_S, LONGEST_WAIT_S, backoff_s


@given(st.integers(1, 5000))
def test_waits_double_up_to_the_longest(failures: int) -> None:
    wait_s = backoff_s(failures)
    assert FIRST_WAIT_S <= wait_s <= LONGEST_WAIT_S
    assert backoff_s(failures + 1) == min(2 * wait_s, LONGEST_WAIT_S)
