"""How often the loop looks: never more than it may, less while the machine is hot."""

from __future__ import annotations

from edge.host.machine import HostStatus, Throttling
from edge.host.throttle import LOOK_EVERY_S, SLOWEST_S, Throttle

COOL = HostStatus(None, 50.0, Throttling(0), 0.1)
HOT = HostStatus(None, 84.0, Throttling(0), 0.1)
THROTTLED = HostStatus(None, 60.0, Throttling(0x4), 0.1)
BETWEEN = HostStatus(None, 78.0, Throttling(0x40000), 0.1)  # throttled since boot, not now
UNKNOWN = HostStatus(None, None, None, None)


class Machine:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.state = COOL

    def pace(self, max_fps: float, *, slow_when_hot: bool = True) -> Throttle:
        return Throttle(max_fps, slow_when_hot=slow_when_hot, clock=lambda: self.now_s, look=lambda: self.state)

    def run(self, pace: Throttle, state: HostStatus, looks: int = 1, busy_s: float = 0.03) -> float:
        """Let it look so many times at a state of the machine; the interval that it keeps then."""
        self.state = state
        for _ in range(looks):
            self.now_s += LOOK_EVERY_S
            pace.took()
            self.now_s += busy_s
            pace.done()
            pace.look_after()
        return round(pace.interval_s(), 6)


def test_the_first_frame_is_taken_at_once_and_the_next_when_it_is_due() -> None:
    machine = Machine()
    pace = machine.pace(4)
    assert pace.wait_s() == 0
    pace.took()
    machine.now_s += 0.1
    assert round(pace.wait_s(), 6) == 0.15
    machine.now_s += 1
    assert pace.wait_s() == 0


def test_without_a_bound_it_never_waits_while_the_machine_is_well() -> None:
    machine = Machine()
    pace = machine.pace(0)
    assert machine.run(pace, COOL) == 0
    pace.took()
    assert pace.wait_s() == 0


def test_heat_or_throttling_halves_the_rate_again_and_again_down_to_one_a_second() -> None:
    for trouble in (HOT, THROTTLED):
        machine = Machine()
        pace = machine.pace(10)
        assert [machine.run(pace, trouble) for _ in range(6)] == [0.2, 0.4, 0.8, SLOWEST_S, SLOWEST_S, SLOWEST_S]


def test_without_a_bound_it_is_the_machine_s_own_time_that_doubles() -> None:
    machine = Machine()
    assert machine.run(machine.pace(0), HOT, busy_s=0.1) == 0.2


def test_the_rate_comes_back_step_by_step_and_only_when_clearly_cooler() -> None:
    machine = Machine()
    pace = machine.pace(10)
    machine.run(pace, HOT, looks=3)
    assert machine.run(pace, BETWEEN, looks=5) == 0.8
    assert [machine.run(pace, COOL) for _ in range(4)] == [0.4, 0.2, 0.1, 0.1]


def test_long_heat_does_not_make_a_long_way_back() -> None:
    machine = Machine()
    pace = machine.pace(10)
    machine.run(pace, HOT, looks=500)
    assert machine.run(pace, COOL, looks=4) == 0.1


def test_a_rate_below_one_a_second_is_kept_in_heat() -> None:
    machine = Machine()
    assert machine.run(machine.pace(0.2), HOT, looks=3) == 5


def test_a_machine_that_tells_nothing_is_not_slowed_down_nor_one_that_is_not_to_be_spared() -> None:
    machine = Machine()
    assert machine.run(machine.pace(10), UNKNOWN, looks=3) == 0.1
    assert machine.run(machine.pace(10, slow_when_hot=False), HOT, looks=3) == 0.1
