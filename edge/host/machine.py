"""Read the host: board, processor, governor, temperature, throttling and load.

A measurement on a hot or under-powered Pi says nothing about the code, and a throttled camera misses frames. What
neither Linux nor the Pi's firmware reports is None.
"""

from __future__ import annotations

import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path("/")
# Bits of `vcgencmd get_throttled`; the same 16 bits higher: happened since boot.
THROTTLE_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
HOT_C = 80.0  # from here a Raspberry Pi throttles
# 64-bit Arm kernels report only implementer and part. These are the Pi's.
ARM_PARTS = {
    "0xb76": "ARM1176",
    "0xc07": "Cortex-A7",
    "0xd03": "Cortex-A53",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
}
ARM = "0x41"


@dataclass(frozen=True)
class Throttling:
    """Reasons for throttling, as reported by the Pi's firmware."""

    bits: int

    @property
    def now(self) -> list[str]:
        """Reasons that apply now."""
        return [name for bit, name in THROTTLE_BITS.items() if self.bits >> bit & 1]

    @property
    def since_boot(self) -> list[str]:
        """Reasons that applied at any time since boot."""
        return Throttling(self.bits >> 16).now


@dataclass(frozen=True)
class HostStatus:
    """Status of the machine at one moment."""

    governor: str | None
    temperature_c: float | None
    throttling: Throttling | None
    load: float | None
    """Runnable processes, averaged over the last minute."""


UNKNOWN = HostStatus(None, None, None, None)


def read_state(root: Path = ROOT, *, firmware_timeout_s: float = 2.0) -> HostStatus:
    """Return the current status. Takes a few milliseconds on a Pi."""
    millidegrees = _first_number(_read(root / "sys/class/thermal/thermal_zone0/temp"))
    vcgencmd = output_of("vcgencmd", "get_throttled", timeout_s=firmware_timeout_s)
    throttled = re.fullmatch(r"throttled=(0x[0-9a-fA-F]+)", vcgencmd.strip())
    return HostStatus(
        _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or None,
        millidegrees and millidegrees / 1000,
        Throttling(int(throttled[1], 16)) if throttled else None,
        _first_number(_read(root / "proc/loadavg")),
    )


def cpu_name() -> str:
    """Return the board, if the machine reports one, else the processor."""
    return board_model() or cpu_model()


def board_model(root: Path = ROOT) -> str | None:
    """Return the board, such as "Raspberry Pi 5 Model B Rev 1.0"; None without a device tree."""
    return _read(root / "proc/device-tree/model") or None


def cpu_model(root: Path = ROOT) -> str:
    """Return the first processor, such as "Cortex-A76", by what the kernel reports: Arm core, model name, machine type.

    32-bit Arm kernels also print a model name ("ARMv7 Processor rev 3 (v7l)"), but several cores share it.
    """
    facts: dict[str, str] = {}
    for line in _read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    core = ARM_PARTS.get(facts.get("CPU part", "")) if facts.get("CPU implementer") == ARM else None
    return core or facts.get("model name") or platform.processor() or platform.machine()


def trouble(before: HostStatus, after: HostStatus) -> list[str]:
    """Return why a measurement between two statuses is not comparable; empty if the machine was not throttled."""
    reasons = []
    if before.throttling and after.throttling:
        # Throttling since boot counts only if it appeared between the two statuses.
        appeared = set(after.throttling.since_boot) - set(before.throttling.since_boot)
        if throttled := {*before.throttling.now, *after.throttling.now, *appeared}:
            names = ", ".join(name for name in THROTTLE_BITS.values() if name in throttled)
            reasons.append(f"the machine was throttled ({names})")
    hottest_c = max(state.temperature_c or 0.0 for state in (before, after))
    if hottest_c >= HOT_C:
        reasons.append(f"the machine was {hottest_c:.0f} °C hot (it throttles from {HOT_C:.0f} °C)")
    return reasons


def conditions(before: HostStatus, after: HostStatus) -> dict[str, Any]:
    """Return the machine and both statuses as JSON, to be stored beside a measurement."""
    throttling = after.throttling
    return {
        "board": board_model(),
        "cpu": cpu_model(),
        "governor": after.governor,
        "temperature_before_c": before.temperature_c,
        "temperature_after_c": after.temperature_c,
        "throttle_bits": None if throttling is None else f"{throttling.bits:#x}",
        "throttled_now": None if throttling is None else throttling.now,
        "throttled_since_boot": None if throttling is None else throttling.since_boot,
        "load": before.load,
        "trouble": trouble(before, after),
    }


def output_of(*command: str, timeout_s: float) -> str:
    """Return what a command prints; empty if it is not installed or does not end in time."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\x00 \n")  # device-tree strings end with a zero byte
    except OSError:  # missing, or unreadable like the thermal zone of a part that is switched off
        return ""


def _first_number(text: str) -> float | None:
    match = re.match(r"-?\d+(\.\d+)?", text)
    return float(match[0]) if match else None
