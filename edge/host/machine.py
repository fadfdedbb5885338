"""What machine this is and how it fares: board, processor, governor, temperature, throttling, load.

A figure measured on a hot or underfed Pi says nothing of the code, and a camera that throttles misses frames. Each
fact is read where Linux or the Pi's firmware keeps it; where a machine has none of it, the fact is None.
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
# By the bit of `vcgencmd get_throttled`; 16 bits above stands whether it happened since boot.
THROTTLE_BITS = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
SINCE_BOOT = 16
HOT_C = 80.0
"""Where a Raspberry Pi begins to slow down by itself."""
FIRMWARE_TIMEOUT_S = 2.0
# 64-bit Arm kernels give the processor's number alone. These are the Pi's, of implementer 0x41.
ARM_PARTS = {0xB76: "ARM1176", 0xC07: "Cortex-A7", 0xD03: "Cortex-A53", 0xD08: "Cortex-A72", 0xD0B: "Cortex-A76"}
ARM = 0x41


@dataclass(frozen=True)
class Throttling:
    """What the Pi's firmware says holds it back."""

    bits: int

    @property
    def now(self) -> list[str]:
        return list(self._named(0))

    @property
    def since_boot(self) -> list[str]:
        return list(self._named(SINCE_BOOT))

    def _named(self, shift: int) -> Iterator[str]:
        return (name for bit, name in THROTTLE_BITS.items() if self.bits >> (bit + shift) & 1)


@dataclass(frozen=True)
class HostStatus:
    """How the machine fares at one moment."""

    governor: str | None
    temperature_c: float | None
    throttling: Throttling | None
    load: float | None
    """Processes that want to run, averaged over the last minute."""


def read_state(root: Path = ROOT) -> HostStatus:
    """Look at everything that changes while a machine runs. Takes some milliseconds on a Pi."""
    return HostStatus(
        parse_word(_read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        parse_temperature(_read(root / "sys/class/thermal/thermal_zone0/temp")),
        parse_throttled(_ask_firmware("get_throttled")),
        parse_load(_read(root / "proc/loadavg")),
    )


def cpu_name() -> str:
    """The machine as a person knows it: the board where it says so, else the processor."""
    return board_model() or cpu_model() or platform.processor() or platform.machine()


def board_model(root: Path = ROOT) -> str | None:
    """Such as "Raspberry Pi 5 Model B Rev 1.0"; None where there is no device tree."""
    return parse_word(_read(root / "proc/device-tree/model"))


def cpu_model(root: Path = ROOT) -> str | None:
    """Such as "Cortex-A76"; None where the kernel does not say."""
    return parse_cpu(_read(root / "proc/cpuinfo"))


def trouble(before: HostStatus, after: HostStatus) -> list[str]:
    """Why what was measured between two looks tells nothing of the code; empty where nothing held the machine back."""
    found = []
    if before.throttling and after.throttling:
        # What happened since boot alone does not count, unless it began to stand there between the two looks.
        began = set(after.throttling.since_boot) - set(before.throttling.since_boot)
        held = [
            name for name in THROTTLE_BITS.values() if name in {*before.throttling.now, *after.throttling.now, *began}
        ]
        if held:
            found.append(f"the firmware held the machine back ({', '.join(held)})")
    hottest_c = max((state.temperature_c for state in (before, after) if state.temperature_c is not None), default=0.0)
    if hottest_c >= HOT_C:
        found.append(f"the machine was {hottest_c:.0f} °C hot (it slows down from {HOT_C:.0f} °C)")
    return found


def conditions(before: HostStatus, after: HostStatus) -> dict[str, Any]:
    """The machine and both looks at it, for JSON beside a figure."""
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
    """`throttled=0x50005` as the Pi's firmware answers; None for any other answer."""
    match = re.fullmatch(r"throttled=(0x[0-9a-fA-F]+)", (text or "").strip())
    return Throttling(int(match[1], 16)) if match else None


def parse_temperature(text: str | None) -> float | None:
    """Thousandths of a degree, as Linux' thermal zones give them -> °C."""
    match = re.fullmatch(r"-?\d+", (text or "").strip())
    return int(match[0]) / 1000 if match else None


def parse_load(text: str | None) -> float | None:
    """The first number of /proc/loadavg."""
    match = re.match(r"\d+\.\d+", text or "")
    return float(match[0]) if match else None


def parse_word(text: str | None) -> str | None:
    """A file of one line; the device tree ends its strings with a zero byte."""
    return (text or "").strip("\x00 \n") or None


def parse_cpu(cpuinfo: str | None) -> str | None:
    """The first processor of /proc/cpuinfo: an Arm core by its name, else the model name, else None.

    32-bit Arm kernels give a model name too ("ARMv7 Processor rev 3 (v7l)"), which is that of several cores.
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
    except OSError:  # not there, or there and not readable, as thermal zones of switched-off parts are
        return None


def _ask_firmware(question: str) -> str | None:
    try:
        done = subprocess.run(
            ["vcgencmd", question],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=FIRMWARE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):  # no Pi, or one whose firmware does not answer
        return None
    return done.stdout
