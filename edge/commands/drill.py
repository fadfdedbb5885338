"""`fireseg-edge drill`: try every link of a run from the model to the receivers, with a painted flame."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from edge.commands.options import RunConfigOption, RunWebOption, load_run_config
from edge.control.client import act, get_state
from edge.control.drill import DELIVERY_S, PAINT_S, step_text
from edge.errors import UserError
from edge.run_status import DrillStep

POLL_S = 0.5
LIMIT_S = PAINT_S + DELIVERY_S + 15.0  # and as long as a run may be held up


def drill_command(
    config: RunConfigOption = None,
    zone: Annotated[str | None, typer.Option(help="Paint the flame in this zone; the first one by default.")] = None,
    web: RunWebOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hold a fire drill: a painted flame in the camera's frames, and a table of how fast each receiver had it.

    Every event is marked as a drill. Exit code 1 if a link is broken, or if a real alarm stopped the drill.
    """
    settings = load_run_config(config, web)
    started = act(settings, "drill", {"zone": zone} if zone else {})["time"]
    deadline_s = time.monotonic() + LIMIT_S
    while (drill := get_state(settings).get("drill") or {}).get("running", True) or drill["started"] < started:
        if time.monotonic() >= deadline_s:
            raise UserError(f"the drill has not ended within {LIMIT_S:g} s", "see the log of the run")
        time.sleep(POLL_S)
    print(json.dumps(drill, indent=2) if as_json else table(drill))
    if not drill["passed"]:
        raise typer.Exit(1)


def table(drill: dict[str, Any]) -> str:
    """Return a drill as lines: one for each link."""
    steps = [DrillStep(**step) for step in drill["steps"]]
    lines = [f"{'FAIL' if step.problem else 'OK':7}{step_text(step)}" for step in steps]
    outcome = "passed" if drill["passed"] else drill["problem"] or "failed"
    return "\n".join([*lines, f"fire drill in {drill['zone']}: {outcome}"])
