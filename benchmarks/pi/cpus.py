"""The processors of the Pis: how QEMU names them, what they tell of themselves, and what a multiply-add must cost."""

from __future__ import annotations

from dataclasses import dataclass

CORES = 4


@dataclass(frozen=True)
class Cpu:
    """A processor that QEMU can be."""

    name: str
    """QEMU's name for it."""
    board: str
    part: str
    features: str
    """As its /proc/cpuinfo lists them: XNNPACK picks its kernels by these, and finds none of them under plain QEMU."""
    multiply_adds: dict[str, float]
    """Per vector instruction, for each arithmetic: what no program can do better than on 128-bit registers."""

    @property
    def cpuinfo(self) -> str:
        """What its /proc/cpuinfo says."""
        lines = (
            f"Features\t: {self.features}",
            "CPU implementer\t: 0x41",
            "CPU architecture: 8",
            "CPU variant\t: 0x0",
            f"CPU part\t: {self.part}",
            "CPU revision\t: 3",
        )
        return "".join(f"processor\t: {core}\n" + "\n".join(lines) + "\n\n" for core in range(CORES))


# SDOT does 16 multiply-adds of bytes; without it the shortest way is SMULL and SMLAL of 8 each and SADALP to add them
# up, 3 instructions for 16. FMLA does 4 in single precision and 8 in half. Sources: Arm Architecture Reference Manual
# for A-profile, and the features that Raspberry Pi OS reports on each board.
CPUS = {
    cpu.name: cpu
    for cpu in (
        Cpu(
            "cortex-a76",
            "Pi 5",
            "0xd0b",
            "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
            {"int8": 16, "float16": 8, "float32": 4},
        ),
        Cpu(
            "cortex-a72",
            "Pi 4",
            "0xd08",
            "fp asimd evtstrm crc32 cpuid",
            {"int8": 16 / 3, "float16": 4, "float32": 4},
        ),
    )
}
