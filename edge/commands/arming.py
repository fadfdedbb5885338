"""`fireseg-edge arm`, `disarm`, `snooze` and `acknowledge`: tell a run of this machine when to notify people."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.commands.options import RunConfigOption, RunWebOption, load_run_config
from edge.control.client import act


def arm_command(config: RunConfigOption = None, web: RunWebOption = None) -> None:
    """Arm the alarm: end disarming and a snooze. In a window of the schedule, until the window ends."""
    print_state(ask(config, web, "arm"))


def disarm_command(
    config: RunConfigOption = None,
    hours: Annotated[float | None, typer.Option(help="For how long; [arming] disarm_h by default.")] = None,
    web: RunWebOption = None,
) -> None:
    """Disarm the alarm for some hours: fires are recorded and shown, and nobody is notified."""
    print_state(ask(config, web, "disarm", hours=hours))


def snooze_command(
    config: RunConfigOption = None,
    minutes: Annotated[
        float | None, typer.Option(help="For how long; 0 ends a snooze; [arming] snooze_min by default.")
    ] = None,
    web: RunWebOption = None,
) -> None:
    """Silence the alarm for some minutes: fires are recorded and shown, and nobody is notified."""
    print_state(ask(config, web, "snooze", minutes=minutes))


def acknowledge_command(
    config: RunConfigOption = None,
    zone: Annotated[str | None, typer.Option(help="Only the fire in this zone.")] = None,
    web: RunWebOption = None,
) -> None:
    """Silence the fires that are raised now until they end, or grow to more than twice their area."""
    print(f"acknowledged: {', '.join(ask(config, web, 'acknowledge', zone=zone)['zones'])}")


def ask(config: Path | None, web: str | None, action: str, **arguments: float | str | None) -> dict[str, Any]:
    """Return the run's answer to an action; arguments that are None are left out. Raises `UserError`."""
    given = {name: value for name, value in arguments.items() if value is not None}
    return act(load_run_config(config, web), action, given)


def print_state(answer: dict[str, Any]) -> None:
    """Print until when the alarm is silenced, in local time."""
    times = {"disarmed": answer["disarmed_until"], "snoozed": answer["snoozed_until"]}
    silences = [f"{word} until {local_time(time)}" for word, time in times.items() if time]
    print(", ".join(silences) or "armed")


def local_time(time: str) -> str:
    return f"{datetime.fromisoformat(time).astimezone():%a %Y-%m-%d %H:%M}"
