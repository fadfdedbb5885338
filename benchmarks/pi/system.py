"""A real arm64 Debian in a folder, with the project installed as on a Pi; made once, kept in build/pi.

debootstrap downloads Debian's packages; they are unpacked and not configured, which saves minutes under emulation.
Programs run by `chroot` and an emulator copied in with its libraries, so that nothing is mounted or registered.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from edge.errors import UserError
from edge.files import sha256
from release.wheels import DEBIAN, debian, download_wheels, run_pip

ROOT = Path(__file__).parents[2]
BUILD = Path("build/pi")
REQUIREMENTS = ROOT / "requirements"
SUITES = tuple(DEBIAN)  # releases of Debian and Raspberry Pi OS
TOOLS = {"debootstrap": "debootstrap", "qemu-aarch64": "qemu-user", "gcc": "gcc"}  # command -> Debian package
PLUGIN_SOURCE = Path(__file__).with_name("count_instructions.c")
EMULATOR = ["/opt/qemu/lib/ld-linux-x86-64.so.2", "--library-path", "/opt/qemu/lib", "/opt/qemu/qemu-aarch64"]
COUNTS = "tmp/counts"
RESERVED = "0x200000000"  # bytes of guest memory, so that its address does not depend on the emulator's threads
SHARED_DIR = "/srv/shared"
# All that a run inside sees. The fixed seed makes sets and dictionaries iterate in the same order.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"}
TIME_LIMIT_S = 900
CORES = 4


@dataclass(frozen=True)
class Cpu:
    """A Pi's processor, by QEMU's name."""

    name: str
    part: str
    features: str
    """As in its /proc/cpuinfo, by which XNNPACK picks its kernels. Plain QEMU shows none."""
    multiply_adds: dict[str, float]
    """Per vector instruction, for each precision: the bound for 128-bit registers."""

    @property
    def cpuinfo(self) -> str:
        """Return the content of its /proc/cpuinfo."""
        common = f"""\
Features\t: {self.features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {self.part}
CPU revision\t: 3

"""
        return "".join(f"processor\t: {core}\n{common}" for core in range(CORES))


# SDOT does 16 int8 multiply-adds; without it, SMULL, SMLAL and SADALP take 3 instructions for 16. FMLA does 4 in
# float32, 8 in float16. Sources: Arm Architecture Reference Manual for A-profile; Raspberry Pi OS on each board.
CPUS = {
    "cortex-a76": Cpu(  # Pi 5
        "cortex-a76", "0xd0b",
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
        {"int8": 16, "float16": 8, "float32": 4},
    ),
    "cortex-a72": Cpu(  # Pi 4
        "cortex-a72", "0xd08", "fp asimd evtstrm crc32 cpuid", {"int8": 16 / 3, "float16": 4, "float32": 4}
    ),
}  # fmt: skip


@dataclass(frozen=True)
class System:
    """An arm64 Debian in a folder."""

    suite: str
    root: Path

    @property
    def python(self) -> str:
        """The version of its Python, such as "3.11"."""
        return debian(self.suite).python

    def run(self, cpu: Cpu, *command: str, counting: bool = False, **environment: str) -> str:
        """Run a command inside on this processor and return its output; its paths are those inside.

        With `counting`, `counts` returns the instruction counts afterwards. Raise `UserError` if the command fails,
        with its last line on stderr: of a traceback, the exception.
        """
        (self.root / "proc/cpuinfo").write_text(cpu.cpuinfo)
        plugin = ["-plugin", f"/opt/qemu/count_instructions.so,to=/{COUNTS}"] if counting else []
        chroot = shutil.which("chroot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "chroot"
        # setarch -R: random addresses reorder Python's sets, which changes the count by some hundreds.
        inside = ["setarch", "-R", chroot, str(self.root.resolve()), *EMULATOR, "-R", RESERVED, "-cpu", cpu.name]
        problem = f"{' '.join(command[:4])} failed on {cpu.name}"
        try:
            done = subprocess.run(
                [*inside, *plugin, *command],
                env=ENVIRONMENT | environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=TIME_LIMIT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise UserError(problem, f"it took longer than {TIME_LIMIT_S} s; run it on an idle machine") from error
        if done.returncode:
            raise UserError(problem, (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
        return done.stdout

    def counts(self) -> list[int]:
        """Return the counter's values in the last counting run."""
        return [int(line.split()[1]) for line in (self.root / COUNTS).read_text().splitlines()]

    def install(self, name: str, lock: Path, own_wheel: Path | None = None) -> None:
        """Make a virtual environment inside from a lock file, unless it exists.

        The project's wheel is installed by name, as by `pip install fireseg-edge`, to test its dependencies.
        """
        inside, stamp = f"/opt/{name}", self.root / f"opt/{name}/.installed-from"
        contents = f"{sha256(lock)} {contents_hash(own_wheel) if own_wheel else ''}"
        if stamp.is_file() and stamp.read_text() == contents:
            return
        folder = self.root / f"wheels/{name}"
        for old in (stamp.parent, folder):
            shutil.rmtree(old, ignore_errors=True)
        download_wheels(lock, debian(self.suite), folder)
        packages = [f"/wheels/{name}/{wheel.name}" for wheel in sorted(folder.glob("*.whl"))]
        if own_wheel:
            shutil.copy(own_wheel, folder)
            packages = ["fireseg-edge"]
        cpu = CPUS["cortex-a76"]
        self.run(cpu, "/usr/bin/python3", "-m", "venv", "--without-pip", inside)
        pip = next((self.root / "usr/share/python-wheels").glob("pip-*.whl"))
        self.run(
            cpu, f"{inside}/bin/python", f"/usr/share/python-wheels/{pip.name}/pip", "install", "-q",
            "--no-index", "--find-links", f"/wheels/{name}", *packages,
        )  # fmt: skip
        shutil.rmtree(folder)
        stamp.write_text(contents)

    def share(self, paths: Iterable[Path]) -> Path:
        """Copy files into an empty SHARED_DIR inside; return its path outside."""
        folder = self.root / SHARED_DIR.lstrip("/")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for path in paths:
            shutil.copy(path, folder)
        return folder


def check_machine() -> None:
    """Raise `UserError` if this machine cannot make or run such a system."""
    if os.uname().machine != "x86_64":
        raise UserError(f"this is a {os.uname().machine} machine, expected x86_64", "on a Pi itself run `make bench`")
    if missing := [package for command, package in TOOLS.items() if shutil.which(command) is None]:
        raise UserError(f"{', '.join(missing)} not found", f"run `sudo apt-get install {' '.join(TOOLS.values())}`")
    if os.geteuid() != 0:
        raise UserError("entering an arm64 system with chroot needs root", "run `sudo make bench-pi`")


def open_system(suite: str) -> System:
    """Return the system of a Debian release, with emulator and project; make it if it does not exist."""
    system = System(suite, BUILD / suite)
    if not system.root.is_dir():
        _unpack_debian(system)
    _copy_emulator(system)
    system.install("fireseg", REQUIREMENTS / "edge.lock", build_own_wheel(BUILD / "own-wheel"))
    return system


def _unpack_debian(system: System) -> None:
    partial = system.root.with_name(f"{system.suite}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    log = partial.with_name(f"{system.suite}.log")
    command = ["debootstrap", "--arch=arm64", "--foreign", "--variant=minbase", "--include=python3,python3-venv"]
    with log.open("w") as out:
        done = subprocess.run([*command, system.suite, str(partial)], stdout=out, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise UserError(f"debootstrap could not download Debian {system.suite}", f"check the network; its log is {log}")
    for package in (partial / "var/cache/apt/archives").glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(partial)], check=True)
    shutil.rmtree(partial / "var/cache/apt/archives")
    # pip reads this file at start; configuring the package would make it.
    certificates = partial / "etc/ssl/certs/ca-certificates.crt"
    certificates.parent.mkdir(parents=True, exist_ok=True)
    trusted = sorted((partial / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    certificates.write_bytes(b"".join(path.read_bytes() for path in trusted))
    cpus = partial / "sys/devices/system/cpu"
    cpus.mkdir(parents=True, exist_ok=True)
    for name in ("possible", "present"):
        (cpus / name).write_text(f"0-{CORES - 1}\n")
    partial.rename(system.root)


def _copy_emulator(system: System) -> None:
    """Copy this machine's emulator with its libraries, and compile the counting plugin."""
    emulator = shutil.which("qemu-aarch64") or ""
    libraries = system.root / "opt/qemu/lib"
    libraries.mkdir(parents=True, exist_ok=True)
    linked = subprocess.run(["ldd", emulator], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"(/\S+)", linked):
        shutil.copy(library, libraries)
    shutil.copy(emulator, system.root / "opt/qemu/qemu-aarch64")
    plugin = system.root / "opt/qemu/count_instructions.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(plugin), str(PLUGIN_SOURCE)], check=True)


def build_own_wheel(out: Path) -> Path:
    """Build the project's wheel as the only one in `out`, and return it."""
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.whl"):
        old.unlink()
    run_pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(out), str(ROOT))
    return next(out.glob("*.whl"))


def contents_hash(wheel: Path) -> str:
    """Return a hash of a wheel's members. The file's own hash includes build times."""
    with ZipFile(wheel) as archive:
        members = sorted((member.filename, member.CRC) for member in archive.infolist())
    return hashlib.sha256(repr(members).encode()).hexdigest()
