"""Read the host: board, processor, governor, temperature, throttling and load.

A measurement on a hot or under-powered Pi says nothing about the code, and a throttled camera misses frames. Facts come
from Linux or the Pi's firmware; a fact that the machine does not report is None.
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
HOT_C = 80.0
"""Temperature at which a Raspberry Pi starts to throttle."""
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


def read_state(root: Path = ROOT, *, firmware_timeout_s: float = 2.0) -> HostStatus:
    """Return the current status. Takes a few milliseconds on a Pi.

    Example:
        >>> read_state().temperature_c
        52.0
    """
    return HostStatus(
        _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or None,
        parse_temperature(_read(root / "sys/class/thermal/thermal_zone0/temp")),
        parse_throttled(_query_firmware("get_throttled", firmware_timeout_s)),
        parse_load(_read(root / "proc/loadavg")),
    )


def cpu_name() -> str:
    """Return the board, if the machine reports one, else the processor."""
    return board_model() or cpu_model() or platform.processor() or platform.machine()


def board_model(root: Path = ROOT) -> str | None:
    """Return the board, such as "Raspberry Pi 5 Model B Rev 1.0"; None without a device tree."""
    return _read(root / "proc/device-tree/model") or None


def cpu_model(root: Path = ROOT) -> str | None:
    """Return the processor, such as "Cortex-A76"; None if the kernel does not report it."""
    return parse_cpu(_read(root / "proc/cpuinfo"))


def trouble(before: HostStatus, after: HostStatus) -> list[str]:
    """Return why a measurement between two statuses is not comparable; empty if the machine was not throttled."""
    reasons = []
    if before.throttling and after.throttling:
        # Throttling since boot counts only if it appeared between the two statuses.
        appeared = set(after.throttling.since_boot) - set(before.throttling.since_boot)
        throttled = {*before.throttling.now, *after.throttling.now, *appeared}
        if throttled:
            names = ", ".join(name for name in THROTTLE_BITS.values() if name in throttled)
            reasons.append(f"the machine was throttled ({names})")
    hottest_c = max((state.temperature_c for state in (before, after) if state.temperature_c is not None), default=0.0)
    if hottest_c >= HOT_C:
        reasons.append(f"the machine was {hottest_c:.0f} °C hot (it throttles from {HOT_C:.0f} °C)")
    return reasons


def conditions(before: HostStatus, after: HostStatus) -> dict[str, Any]:
    """Return the machine and both statuses as JSON, to be stored beside a measurement."""
    throttling = after.throttling
    return {
        "board": board_model(),
        "cpu": cpu_model() or platform.processor() or platform.machine(),
        "governor": after.governor,
        "temperature_before_c": before.temperature_c,
        "temperature_after_c": after.temperature_c,
        "throttle_bits": None if throttling is None else f"{throttling.bits:#x}",
        "throttled_now": None if throttling is None else throttling.now,
        "throttled_since_boot": None if throttling is None else throttling.since_boot,
        "load": before.load,
        "trouble": trouble(before, after),
    }


def parse_throttled(text: str) -> Throttling | None:
    """Parse `throttled=0x50005` as the Pi's firmware prints it; None for any other text."""
    match = re.fullmatch(r"throttled=(0x[0-9a-fA-F]+)", text.strip())
    return Throttling(int(match[1], 16)) if match else None


def parse_temperature(text: str) -> float | None:
    """Parse millidegrees, as Linux thermal zones print them, into °C."""
    return int(text) / 1000 if re.fullmatch(r"-?\d+", text) else None


def parse_load(text: str) -> float | None:
    """Parse the first number of /proc/loadavg."""
    match = re.match(r"\d+\.\d+", text)
    return float(match[0]) if match else None


def parse_cpu(cpuinfo: str) -> str | None:
    """Return the first processor of /proc/cpuinfo: a known Arm core, else the model name, else None.

    32-bit Arm kernels also print a model name ("ARMv7 Processor rev 3 (v7l)"), but several cores share it.
    """
    facts: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    core = ARM_PARTS.get(facts.get("CPU part", "")) if facts.get("CPU implementer") == ARM else None
    return core or facts.get("model name") or None


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\x00 \n")  # device-tree strings end with a zero byte
    except OSError:  # missing, or unreadable like the thermal zone of a part that is switched off
        return ""


def _query_firmware(command: str, timeout_s: float) -> str:
    try:
        done = subprocess.run(["vcgencmd", command], capture_output=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired):  # not a Pi, or its firmware does not respond
        return ""
    return done.stdout.decode(errors="replace")
