"""Record the machine's condition during each benchmark; never save a throttled run as a baseline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.models import timed_models
from edge.errors import UserError
from edge.host.machine import conditions, read_state

TROUBLE = pytest.StashKey[dict[str, None]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accept", action="store_true", help="Write figures to the ledger even if they changed without a cause."
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TROUBLE] = {}
    if config.getoption("benchmark_only"):
        try:
            timed_models()
        except UserError as error:
            raise pytest.UsageError(str(error)) from error


@pytest.fixture
def recorded(benchmark: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Yield a benchmark whose `extra_info` holds the machine's condition."""
    before = read_state()
    yield benchmark
    condition = conditions(before, read_state())
    benchmark.extra_info |= condition
    if condition["trouble"]:
        request.config.stash[TROUBLE] |= dict.fromkeys(condition["trouble"])
        # pytest-benchmark has no hook to veto saving.
        session = request.config._benchmarksession  # type: ignore[attr-defined]
        session.save = session.autosave = None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for reason in config.stash[TROUBLE]:
        terminalreporter.write_line(
            f"NOT SAVED as a baseline: {reason}; cool the machine, supply 5 V at full current, and run again", red=True
        )
