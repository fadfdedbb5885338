"""Read the host: board, processor, governor, temperature, throttling and load.

A measurement on a hot or under-powered Pi says nothing about the code, and a throttled camera misses frames. Facts come
from Linux or the Pi's firmware; a fact that the machine does not report is None.
"""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path("/")
# Bits of `vcgencmd get_throttled`; the same 16 bits higher: happened since boot.
THROTTLE_BITS = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
SINCE_BOOT = 16
HOT_C = 80.0
"""Temperature at which a Raspberry Pi starts to throttle."""
# 64-bit Arm kernels report only the part number. These are the Pi's, by implementer 0x41.
ARM_PARTS = {0xB76: "ARM1176", 0xC07: "Cortex-A7", 0xD03: "Cortex-A53", 0xD08: "Cortex-A72", 0xD0B: "Cortex-A76"}
ARM = 0x41


@dataclass(frozen=True)
class Throttling:
    """Reasons for throttling, as reported by the Pi's firmware."""

    bits: int

    @property
    def now(self) -> list[str]:
        """Reasons that apply now."""
        return list(self._named(0))

    @property
    def since_boot(self) -> list[str]:
        """Reasons that applied at any time since boot."""
        return list(self._named(SINCE_BOOT))

    def _named(self, shift: int) -> Iterator[str]:
        return (name for bit, name in THROTTLE_BITS.items() if self.bits >> (bit + shift) & 1)


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
        parse_word(_read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        parse_temperature(_read(root / "sys/class/thermal/thermal_zone0/temp")),
        parse_throttled(_query_firmware("get_throttled", firmware_timeout_s)),
        parse_load(_read(root / "proc/loadavg")),
    )


def cpu_name() -> str:
    """Return the board, if the machine reports one, else the processor."""
    return board_model() or cpu_model() or platform.processor() or platform.machine()


def board_model(root: Path = ROOT) -> str | None:
    """Return the board, such as "Raspberry Pi 5 Model B Rev 1.0"; None without a device tree."""
    return parse_word(_read(root / "proc/device-tree/model"))


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


def parse_throttled(text: str | None) -> Throttling | None:
    """Parse `throttled=0x50005` as the Pi's firmware prints it; None for any other text."""
    match = re.fullmatch(r"throttled=(0x[0-9a-fA-F]+)", (text or "").strip())
    return Throttling(int(match[1], 16)) if match else None


def parse_temperature(text: str | None) -> float | None:
    """Parse millidegrees, as Linux thermal zones print them, into °C."""
    match = re.fullmatch(r"-?\d+", (text or "").strip())
    return int(match[0]) / 1000 if match else None


def parse_load(text: str | None) -> float | None:
    """Parse the first number of /proc/loadavg."""
    match = re.match(r"\d+\.\d+", text or "")
    return float(match[0]) if match else None


def parse_word(text: str | None) -> str | None:
    """Parse a file of one line; device-tree strings end with a zero byte."""
    return (text or "").strip("\x00 \n") or None


def parse_cpu(cpuinfo: str | None) -> str | None:
    """Return the first processor of /proc/cpuinfo: a known Arm core, else the model name, else None.

    32-bit Arm kernels also print a model name ("ARMv7 Processor rev 3 (v7l)"), but several cores share it.
    """
    facts: dict[str, str] = {}
    for line in (cpuinfo or "").splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    if _number(facts.get("CPU implementer")) == ARM and (name := ARM_PARTS.get(_number(facts.get("CPU part")))):
        return name
    return facts.get("model name") or None


def _number(text: str | None) -> int:
    return int(text, 16) if text and re.fullmatch(r"0x[0-9a-fA-F]+", text) else -1


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:  # missing, or unreadable like the thermal zone of a part that is switched off
        return None


def _query_firmware(command: str, timeout_s: float) -> str | None:
    try:
        done = subprocess.run(
            ["vcgencmd", command],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):  # not a Pi, or its firmware does not respond
        return None
    return done.stdout
