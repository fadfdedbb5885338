"""How the run fares, about once a second: what pages, brokers, metrics and systemd tell of it beside the results."""

from __future__ import annotations

from dataclasses import dataclass

from edge.camera.capture import State
from edge.host.machine import State as MachineState


@dataclass(frozen=True)
class Status:
    """One look at the run. It comes whether or not the source gives frames."""

    source: str
    """Without credentials."""
    source_state: State
    openings: int
    """How often the source was opened, the first time included."""
    running_s: float
    """Since the loop began."""
    results: int
    dropped: int
    """Frames that came while the model was busy, or that `max_fps` left out."""
    fps: float
    """Results a second since the last status."""
    quiet_s: float
    """Since the last result, or since the loop began where there was none."""
    machine: MachineState
    model_sha256: str
