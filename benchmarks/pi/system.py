"""A real arm64 Debian in a folder, with the project installed in it as on a Pi; made once, kept in build/pi.

debootstrap brings Debian's own packages; they are only unpacked, which takes seconds where configuring them under
emulation would take minutes. Programs run by `chroot` and an emulator that is copied in with its libraries, so that
nothing needs to be mounted or registered.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pi.cpus import CORES, CPUS, Cpu
from benchmarks.pi.wheels import build_own, contents_hash, download
from edge.errors import UserError
from edge.files import sha256

BUILD = Path("build/pi")
SUITES = {"bookworm": "3.11", "trixie": "3.13"}  # Debian's release, and so Raspberry Pi OS's -> its Python
# Command -> Debian package.
TOOLS = {
    "debootstrap": "debootstrap",
    "qemu-aarch64": "qemu-user",
    "dpkg": "dpkg",
    "gcc": "gcc",
    "setarch": "util-linux",
}
PLUGIN_SOURCE = Path(__file__).with_name("count_instructions.c")
REQUIREMENTS = Path(__file__).parents[2] / "requirements"
EMULATOR = ["/opt/qemu/lib/ld-linux-x86-64.so.2", "--library-path", "/opt/qemu/lib", "/opt/qemu/qemu-aarch64"]
COUNTS = "tmp/counts"
# Room set aside for the guest's memory, so that where it lies does not hang on what the emulator's own threads do.
RESERVED = "0x200000000"
HANDED_IN = "/srv/handed-in"
# What a run inside sees; nothing of this machine's. A fixed seed, so that sets and dictionaries fall the same way.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"}
TIME_LIMIT_S = 900


@dataclass(frozen=True)
class System:
    """An arm64 Debian in a folder."""

    suite: str
    root: Path

    @property
    def python(self) -> str:
        """The version of its Python, such as "3.11"."""
        return SUITES[self.suite]

    def run(
        self, cpu: Cpu, *command: str, counting: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside as on this processor; paths are those inside. Its exit status is the caller's to read.

        With `counting`, `counts` tells afterwards what the instructions came to.
        """
        (self.root / "proc/cpuinfo").write_text(cpu.cpuinfo)
        plugin = ["-plugin", f"/opt/qemu/count_instructions.so,to=/{COUNTS}"] if counting else []
        return subprocess.run(
            # Addresses that differ from run to run order Python's sets differently: some hundred instructions.
            [
                "setarch",
                "-R",
                _chroot(),
                str(self.root.resolve()),
                *EMULATOR,
                "-R",
                RESERVED,
                "-cpu",
                cpu.name,
                *plugin,
                *command,
            ],
            env=ENVIRONMENT | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIME_LIMIT_S,
        )

    def counts(self) -> list[int]:
        """What the counter stood at each time that the last counting run asked."""
        return [int(line.split()[1]) for line in (self.root / COUNTS).read_text().splitlines()]

    def environment(self, name: str) -> str:
        """Where the virtual environment of this name lies, inside."""
        return f"/opt/{name}"

    def install(self, name: str, lock: Path, own_wheel: Path | None = None) -> None:
        """Make a virtual environment inside with what a lock file names, unless it is there; and our wheel, as it is.

        Our wheel is installed as a person would, `pip install fireseg-edge`, dependencies and all: what it asks for
        must be there and be enough.
        """
        inside, stamp = self.environment(name), self.root / f"opt/{name}/.installed-from"
        wanted = f"{sha256(lock)} {contents_hash(own_wheel) if own_wheel else ''}"
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        folder = self.root / f"wheels/{name}"
        shutil.rmtree(self.root / f"opt/{name}", ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        download(lock, self.python, folder)
        what = [f"/wheels/{name}/{wheel.name}" for wheel in sorted(folder.glob("*.whl"))]
        if own_wheel:
            shutil.copy(own_wheel, folder)
            what = ["fireseg-edge"]
        cpu = next(iter(CPUS.values()))
        self.must(cpu, "/usr/bin/python3", "-m", "venv", "--without-pip", inside)
        pip = next((self.root / "usr/share/python-wheels").glob("pip-*.whl"))
        self.must(
            cpu, f"{inside}/bin/python", f"/usr/share/python-wheels/{pip.name}/pip", "install", "-q",
            "--no-index", "--find-links", f"/wheels/{name}", *what,
        )  # fmt: skip
        shutil.rmtree(folder)
        stamp.write_text(wanted)

    def hand_in(self, paths: Iterable[Path]) -> Path:
        """Copy files into an empty folder inside, HANDED_IN there; returns it as seen from here."""
        folder = self.root / HANDED_IN.lstrip("/")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for path in paths:
            shutil.copy(path, folder)
        return folder

    def must(self, cpu: Cpu, *command: str) -> None:
        """Run what makes the system. Raises `UserError` where it fails."""
        done = self.run(cpu, *command)
        if done.returncode:
            said = f"{' '.join(command[:4])} failed in {self.root} ({last_words(done)})"
            raise UserError(f"{said}", f"delete {self.root} and try again")


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that failed said last: of a traceback, the error."""
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def _chroot() -> str:
    return shutil.which("chroot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "chroot"


def check_machine() -> None:
    """Raise `UserError` where this machine cannot make or run such a system."""
    if os.uname().machine != "x86_64":
        raise UserError(f"this is a {os.uname().machine} machine, expected x86_64", "on a Pi itself run `make bench`")
    missing = [package for command, package in TOOLS.items() if shutil.which(command) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} not found", f"run `sudo apt-get install {' '.join(TOOLS.values())}`")
    if os.geteuid() != 0:
        raise UserError("an arm64 system is entered by chroot, which needs root", "run `sudo make bench-pi`")


def open_system(suite: str) -> System:
    """The system of a Debian release with its emulator and the project in it, made where it is not there yet."""
    check_machine()
    system = System(suite, BUILD / suite)
    if not system.root.is_dir():
        _unpack_debian(system)
    _copy_emulator(system)
    system.install("fireseg", REQUIREMENTS / "edge.lock", build_own(BUILD / "own-wheel"))
    return system


def _unpack_debian(system: System) -> None:
    making = system.root.with_name(f"{system.suite}.partial")
    shutil.rmtree(making, ignore_errors=True)
    making.parent.mkdir(parents=True, exist_ok=True)
    log = making.with_name(f"{system.suite}.log")
    command = ["debootstrap", "--arch=arm64", "--foreign", "--variant=minbase", "--include=python3,python3-venv"]
    with log.open("w") as out:
        done = subprocess.run([*command, system.suite, str(making)], stdout=out, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise UserError(f"debootstrap could not bring Debian {system.suite}", f"is there a network? its log is {log}")
    for package in (making / "var/cache/apt/archives").glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(making)], check=True)
    shutil.rmtree(making / "var/cache/apt/archives")
    # What configuring would have made, and Debian's pip reads when it starts, with or without a network.
    certificates = making / "etc/ssl/certs/ca-certificates.crt"
    certificates.parent.mkdir(parents=True, exist_ok=True)
    trusted = sorted((making / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    certificates.write_bytes(b"".join(path.read_bytes() for path in trusted))
    cpus = making / "sys/devices/system/cpu"
    cpus.mkdir(parents=True, exist_ok=True)
    for name in ("possible", "present"):
        (cpus / name).write_text(f"0-{CORES - 1}\n")
    making.rename(system.root)


def _copy_emulator(system: System) -> None:
    """The emulator is this machine's own program: it goes in with every library it is linked to."""
    emulator = shutil.which("qemu-aarch64") or ""
    libraries = system.root / "opt/qemu/lib"
    libraries.mkdir(parents=True, exist_ok=True)
    linked = subprocess.run(["ldd", emulator], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"(/\S+)", linked):
        shutil.copy(library, libraries)
    shutil.copy(emulator, system.root / "opt/qemu/qemu-aarch64")
    plugin = system.root / "opt/qemu/count_instructions.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(plugin), str(PLUGIN_SOURCE)], check=True)
