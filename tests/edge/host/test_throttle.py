"""The frame rate: never above its limit, and lower while the machine is hot."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from edge.host.machine import UNKNOWN, HostStatus, Throttling
from edge.host.throttle import MACHINE_POLL_S, SLOWEST_S, STALE_AFTER_S, Throttle
from tests.support.waiting import wait_for

COOL = HostStatus(None, 50.0, Throttling(0), 0.1)
HOT = HostStatus(None, 84.0, Throttling(0), 0.1)
THROTTLED = HostStatus(None, 60.0, Throttling(0x4), 0.1)
BETWEEN = HostStatus(None, 78.0, Throttling(0x40000), 0.1)  # throttled since boot, not now


class Machine:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.state = COOL
        self.hangs = False
        self.jobs: list[Callable[[], None]] = []

    def throttle(self, max_fps: float, *, slow_when_hot: bool = True) -> Throttle:
        return Throttle(
            max_fps,
            slow_when_hot=slow_when_hot,
            clock=lambda: self.now_s,
            read_machine=lambda: self.state,
            run_job=self.run_job,
        )

    def run_job(self, job: Callable[[], None]) -> None:
        """Read the machine at once, or later if its firmware hangs."""
        self.jobs.append(job)
        if not self.hangs:
            job()

    def run(self, throttle: Throttle, state: HostStatus, polls: int = 1, busy_s: float = 0.03) -> float:
        """Process a frame between polls of `state`, and return the interval afterwards."""
        self.state = state
        for _ in range(polls):
            self.now_s += MACHINE_POLL_S
            throttle.start()
            self.now_s += busy_s
            throttle.finish()
            throttle.poll()
        return round(throttle.interval_s(), 6)


def test_the_first_frame_is_processed_at_once_and_the_next_when_it_is_due() -> None:
    machine = Machine()
    throttle = machine.throttle(4)
    assert throttle.wait_s() == 0
    throttle.start()
    machine.now_s += 0.1
    assert round(throttle.wait_s(), 6) == 0.15
    machine.now_s += 1
    assert throttle.wait_s() == 0


def test_without_a_limit_it_never_waits_while_the_machine_is_cool() -> None:
    machine = Machine()
    throttle = machine.throttle(0)
    assert machine.run(throttle, COOL) == 0
    throttle.start()
    assert throttle.wait_s() == 0


def test_heat_or_throttling_halves_the_rate_down_to_one_per_second() -> None:
    for trouble in (HOT, THROTTLED):
        machine = Machine()
        throttle = machine.throttle(10)
        assert [machine.run(throttle, trouble) for _ in range(6)] == [0.2, 0.4, 0.8, SLOWEST_S, SLOWEST_S, SLOWEST_S]


def test_without_a_limit_the_processing_time_doubles() -> None:
    machine = Machine()
    assert machine.run(machine.throttle(0), HOT, busy_s=0.1) == 0.2


def test_the_rate_returns_step_by_step_once_clearly_cooler() -> None:
    machine = Machine()
    throttle = machine.throttle(10)
    machine.run(throttle, HOT, polls=3)
    assert machine.run(throttle, BETWEEN, polls=5) == 0.8
    assert [machine.run(throttle, COOL) for _ in range(4)] == [0.4, 0.2, 0.1, 0.1]
    machine.run(throttle, HOT, polls=500)
    assert machine.run(throttle, COOL, polls=4) == 0.1  # as soon after a long heat


def test_a_limit_below_one_per_second_holds_in_heat() -> None:
    machine = Machine()
    assert machine.run(machine.throttle(0.2), HOT, polls=3) == 5


def test_an_unknown_temperature_or_slow_when_hot_off_changes_nothing() -> None:
    machine = Machine()
    assert machine.run(machine.throttle(10), UNKNOWN, polls=3) == 0.1
    assert machine.run(machine.throttle(10, slow_when_hot=False), HOT, polls=3) == 0.1


def test_slow_when_hot_switched_off_by_a_reload_restores_the_rate() -> None:
    machine = Machine()
    throttle = machine.throttle(10)
    assert machine.run(throttle, HOT, polls=3) > 0.1
    throttle.slow_when_hot = False
    assert machine.run(throttle, HOT) == 0.1


def test_firmware_that_hangs_delays_no_frame_and_makes_the_status_unknown(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    throttle = machine.throttle(10)
    assert throttle.machine == COOL
    machine.hangs = True
    for _ in range(2 * round(STALE_AFTER_S / MACHINE_POLL_S)):
        machine.run(throttle, HOT)
    assert throttle.machine == UNKNOWN
    assert len(machine.jobs) == 2, "a second one would hang too"
    assert [record.message for record in caplog.records] == [
        "the machine's temperature and throttling cannot be read any more"
    ]
    machine.hangs, machine.state = False, COOL
    machine.jobs[-1]()
    machine.run(throttle, COOL)
    assert throttle.machine == COOL


def test_by_default_the_machine_is_read_in_another_thread() -> None:
    caller = threading.current_thread()
    readers = []

    def read() -> HostStatus:
        readers.append(threading.current_thread())
        return HOT

    throttle = Throttle(10, slow_when_hot=True, read_machine=read)

    def is_read() -> bool:
        throttle.poll()
        return throttle.machine is HOT

    wait_for(is_read)
    assert readers != [caller]
