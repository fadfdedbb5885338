"""`make deb`: the Debian package, built for any processor without an emulator.

A virtual environment is a configuration file, a link to the system's Python and a folder of packages, so it can be
made for another machine. It sees Debian's own packages (picamera2), but its locked ones come first.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Annotated

import typer
from packaging.utils import parse_wheel_filename
from packaging.version import Version

from edge.commands.config import documented_config
from edge.commands.service import MAX_MEMORY_MB, Service, render_unit, watchdog_s
from edge.config import Config
from edge.errors import UserError, run_app
from edge.files import sha256
from release.manpage import manual_page
from release.unused import PACKAGES, remove_unused
from release.wheels import Target, debian, download_wheels, pinned_for, run_pip

NAME = "fireseg-edge"
ROOT = Path(__file__).parents[1]
WHEELS = ROOT / "build/deb"
SOURCES = ROOT / "deploy/debian"
LOCK = ROOT / "requirements/edge.lock"
ARCHITECTURES = {"arm64": "aarch64", "amd64": "x86_64"}  # Debian's name -> that of wheels
SUITES = {"bookworm": (12, 252), "trixie": (13, 257)}  # release -> its number, its version of systemd
HOME = Path("/opt") / NAME
MAX_DEB_MB, MAX_INSTALLED_MB = 110, 260
COMPRESSIONS = {"xz": ("-Zxz", "--threads-max=1"), "gzip": ("-Zgzip", "-z1")}  # xz's bytes depend on its threads
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Package:
    """What the files of a package are filled in with."""

    arch: str
    suite: str
    version: str
    maintainer: str
    epoch_s: int

    @property
    def target(self) -> Target:
        return debian(self.suite, ARCHITECTURES[self.arch])

    @property
    def site(self) -> Path:
        """Where the Python packages are installed."""
        return HOME / f"lib/python{self.target.python}/site-packages"

    def fill(self, name: str, **values: object) -> str:
        """Return a file of deploy/debian with its placeholders replaced."""
        major, minor = self.target.python.split(".")
        values |= {
            "arch": self.arch, "version": self.version, "maintainer": self.maintainer, "site": self.site,
            "python": self.target.python, "next_python": f"{major}.{int(minor) + 1}",
            "libc": f"2.{self.target.glibc_minor}", "system": f"Debian {SUITES[self.suite][0]} ({self.suite})",
        }  # fmt: skip
        text = (SOURCES / name).read_text(encoding="utf-8")
        return re.sub("@([a-z_]+)@", lambda match: str(values[match[1]]), text)


@app.command(epilog="Example: `python -m release.debian --arch arm64 --suite trixie`")
def main(
    arch: Annotated[str, typer.Option(help="Processor, by Debian's name.")] = "arm64",
    suite: Annotated[str, typer.Option(help="Release of Debian or Raspberry Pi OS.")] = "trixie",
    wheel: Annotated[Path | None, typer.Option(help="The project's wheel; built by default.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the package.")] = Path("dist"),
    compression: Annotated[str, typer.Option(help="xz, or gzip, which is faster and larger.")] = "xz",
) -> None:
    """Build the Debian package, and print its size and the size that it takes installed."""
    for name, value, possible in (
        ("ARCH", arch, ARCHITECTURES), ("SUITE", suite, SUITES), ("--compression", compression, COMPRESSIONS),
    ):  # fmt: skip
        if value not in possible:
            raise UserError(f"{name}={value} is not possible", f"expected {' or '.join(possible)}")
    if shutil.which("dpkg-deb") is None:
        raise UserError("dpkg-deb is missing", "run `sudo apt-get install dpkg`, or build on Debian")
    if wheel is not None and not wheel.is_file():
        raise UserError(f"{wheel} does not exist", "expected the project's wheel")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fireseg-deb-") as folder:
        work = Path(folder)
        wheel = wheel or build_wheel(work)
        package = Package(
            arch, suite, debian_version(parse_wheel_filename(wheel.name)[1], suite), maintainer(), epoch_s()
        )
        install_packages(package, wheel, work)
        tree = work / "tree"
        add_files(package, tree)
        installed_kib = add_control(package, tree)
        deb = out / f"{NAME}_{package.version}_{arch}.deb"
        pack(package, tree, deb, compression)
    deb_mb, installed_mb = deb.stat().st_size / 1e6, installed_kib * 1024 / 1e6
    print(f"{deb}: {deb_mb:.0f} MB, installed {installed_mb:.0f} MB")
    if deb_mb > MAX_DEB_MB or installed_mb > MAX_INSTALLED_MB:
        deb.unlink()
        remedy = f"expected at most {MAX_DEB_MB} MB, and {MAX_INSTALLED_MB} MB installed"
        raise UserError("the package is too large", remedy)


def debian_version(version: Version, suite: str) -> str:
    """Return Debian's spelling, in which 1.0.0~rc1 is older than 1.0.0, and a newer release's build is newer."""
    text = re.sub(r"\.?(dev|a|b|rc)(\d+)", r"~\1\2", version.public).replace(".post", "+post")
    return f"{text}+deb{SUITES[suite][0]}"


def maintainer() -> str:
    """Return who builds the package, from the variables that Debian's tools use."""
    name, address = os.environ.get("DEBFULLNAME"), os.environ.get("DEBEMAIL")
    return f"{name or 'FireSeg Edge maintainers'} <{address or 'maintainers@fireseg-edge.org'}>"


def epoch_s() -> int:
    """Return the time that all files get: SOURCE_DATE_EPOCH, or that of the last commit."""
    if text := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(text)
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError("the time of the last commit is unknown", "set SOURCE_DATE_EPOCH to seconds since 1970")
    return int(done.stdout)


def build_wheel(work: Path) -> Path:
    """Build the project's wheel from a copy, so that no older build's files get into it."""
    source = work / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.keras")
    for name in ("edge", "train", "export", "models"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored, symlinks=True)
    for path in (*ROOT.glob("*.toml"), *ROOT.glob("*.in"), ROOT / "README.md", ROOT / "LICENSE"):
        shutil.copy(path, source)
    run_pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(work / "own"), str(source))
    return next((work / "own").glob("*.whl"))


def install_packages(package: Package, wheel: Path, work: Path) -> None:
    """Unpack the wheels of the lock, hashes checked, and the project's own into the tree's virtual environment."""
    wheels = WHEELS / f"{package.suite}-{package.arch}"
    complete = wheels / f"complete-{sha256(LOCK)[:16]}"
    if not complete.is_file():
        shutil.rmtree(wheels, ignore_errors=True)
        download_wheels(LOCK, package.target, wheels)
        complete.touch()
    lines = pinned_for(LOCK.read_text(encoding="utf-8"), package.target).splitlines()
    pinned = "\n".join(line for line in lines if line.partition("==")[0] not in PACKAGES)
    name, version, _, _ = parse_wheel_filename(wheel.name)
    requirements = work / "requirements.txt"
    requirements.write_text(f"{name}=={version} --hash=sha256:{sha256(wheel)}\n{pinned}\n")
    home = work / "tree" / HOME.relative_to("/")
    site = work / "tree" / package.site.relative_to("/")
    run_pip(
        # pip would compare what a package requires with its own Python.
        "install", "--ignore-requires-python", "--no-index", "--no-deps", "--no-compile", "--only-binary=:all:",
        "--find-links", str(wheels), "--find-links", str(wheel.parent), "--require-hashes", "-r", str(requirements),
        "--target", str(site), "--python-version", package.target.python,
        *(f"--platform={platform}" for platform in package.target.platforms),
    )  # fmt: skip
    remove_unused(site)
    python = package.target.python
    settings = f"home = /usr/bin\ninclude-system-site-packages = true\nversion = {python}\n"
    write(home / "pyvenv.cfg", settings)
    write(home / f"bin/{NAME}", package.fill("python-command.in"), 0o755)
    for link, aim in (("python", f"/usr/bin/python{python}"), ("python3", "python"), (f"python{python}", "python")):
        (home / "bin" / link).symlink_to(aim)


def add_files(package: Package, tree: Path) -> None:
    """Write the units, user, configuration, completion and documents."""
    usr, doc = tree / "usr", tree / "usr/share/doc" / NAME
    (tree / "etc" / NAME).mkdir(parents=True)
    (usr / "bin").mkdir(parents=True)
    (usr / "bin" / NAME).symlink_to(HOME / "bin" / NAME)
    service = Service(
        program=HOME / "bin" / NAME,
        config=Path(f"/etc/{NAME}/fireseg.toml"),
        user=NAME,
        reads=(),
        writes=(),
        watchdog_s=watchdog_s(Config()),
        systemd_version=SUITES[package.suite][1],
        memory_max_mb=MAX_MEMORY_MB,
        code=(Path("/usr"), HOME),
        written_by=f"the Debian package; `sudo systemctl edit {NAME}` changes it",
    )
    per_camera = Service(**vars(service) | {"config": Path(f"/etc/{NAME}/%i.toml"), "per_camera": True})
    write(usr / f"lib/systemd/system/{NAME}.service", render_unit(service))
    write(usr / f"lib/systemd/system/{NAME}@.service", render_unit(per_camera))
    for kind in ("service", "timer"):
        write(usr / f"lib/systemd/system/{NAME}-update.{kind}", package.fill(f"{NAME}-update.{kind}"))
    write(usr / f"lib/sysusers.d/{NAME}.conf", package.fill("sysusers.conf"))
    write(usr / f"share/{NAME}/fireseg.toml", documented_config())
    write(usr / f"share/bash-completion/completions/{NAME}", package.fill("bash-completion"))
    write(usr / f"share/lintian/overrides/{NAME}", package.fill("lintian-overrides"))
    compress(usr / f"share/man/man1/{NAME}.1.gz", manual_page(package.version))
    compress(doc / "changelog.gz", changelog(package))
    compress(doc / "NEWS.gz", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    write(doc / "copyright", package.fill("copyright.in", packages=licences(tree / package.site.relative_to("/"))))


def changelog(package: Package) -> str:
    """Return Debian's changelog of this version; the project's own is beside it."""
    date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(package.epoch_s))
    change = f"  * The changes are in /usr/share/doc/{NAME}/NEWS.gz."
    head = f"{NAME} ({package.version}) {package.suite}; urgency=medium"
    return f"{head}\n\n{change}\n\n -- {package.maintainer}  {date}\n"


def licences(site: Path) -> str:
    """Return one line for each installed Python package: name, version and licence."""
    lines = []
    for path in sorted(site.glob("*.dist-info/METADATA")):
        data = HeaderParser().parsestr(path.read_text(encoding="utf-8"))
        short = (data["License"] or "").strip().splitlines()
        named = [line.rpartition(" :: ")[2] for line in data.get_all("Classifier", []) if line.startswith("License ::")]
        licence = data["License-Expression"] or ", ".join(named) or (short or ["see its folder"])[0]
        lines.append(f" {data['Name']} {data['Version']}: {licence}")
    return "\n".join(lines)


def add_control(package: Package, tree: Path) -> int:
    """Write DEBIAN/ and return the size installed, with bytecode, in KiB."""
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    # In blocks of a disk; the bytecode of a file takes about as much as the file.
    blocks = [((path.stat().st_size + 4095) // 4096, path.suffix == ".py") for path in files]
    installed_kib = sum(4 * count * (2 if compiled else 1) for count, compiled in blocks)
    sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n" for path in files]
    write(tree / "DEBIAN/md5sums", "".join(sums))
    write(tree / "DEBIAN/control", package.fill("control.in", installed_kib=installed_kib))
    for name in SCRIPTS:
        write(tree / "DEBIAN" / name, package.fill(name, needed_kib=installed_kib), 0o755)
    return installed_kib


def pack(package: Package, tree: Path, deb: Path, compression: str) -> None:
    """Set modes and times, and build the package."""
    programs = {tree / HOME.relative_to("/") / "bin" / NAME, *(tree / "DEBIAN" / name for name in SCRIPTS)}
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path in programs
            path.chmod(0o755 if executable else 0o644)
        os.utime(path, (package.epoch_s, package.epoch_s), follow_symlinks=False)
    command = ["dpkg-deb", "--build", "--root-owner-group", *COMPRESSIONS[compression], str(tree), str(deb)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(package.epoch_s)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError("dpkg-deb failed", (done.stderr.strip().splitlines() or ["no output"])[-1])


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def compress(path: Path, text: str) -> None:
    """Write a gzip file without name and time in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))


if __name__ == "__main__":
    run_app(app)
