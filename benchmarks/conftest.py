"""What the machine was like during each benchmark; a run on one that was held back never becomes a baseline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.models import timed_models
from edge.errors import UserError
from edge.host.machine import conditions, read_state

TROUBLE = pytest.StashKey[dict[str, None]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TROUBLE] = {}
    if config.getoption("benchmark_only"):
        try:
            timed_models()
        except UserError as error:
            raise pytest.UsageError(str(error)) from error


@pytest.fixture
def watched(benchmark: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A benchmark that notes how the machine fared."""
    before = read_state()
    yield benchmark
    found = conditions(before, read_state())
    benchmark.extra_info |= found
    if found["trouble"]:
        request.config.stash[TROUBLE] |= dict.fromkeys(found["trouble"])
        # pytest-benchmark has no hook that keeps it from saving.
        session = request.config._benchmarksession  # type: ignore[attr-defined]
        session.save = session.autosave = None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for reason in config.stash[TROUBLE]:
        terminalreporter.write_line(
            f"NOT SAVED as a baseline: {reason}; cool it, feed it 5 V at its full current, and run again", red=True
        )
