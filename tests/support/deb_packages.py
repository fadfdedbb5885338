"""The Debian package in two versions."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from release.debian import main

NEWER = "9.0.0"
KEY = "packages@example.org"


def built_package(folder: Path, arch: str, suite: str) -> Path:
    """Return the package, built in `folder`, or that of the folder FIRESEG_DEBS if it has one."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is missing: this is not Debian")
    number = {"bookworm": 12, "trixie": 13}[suite]
    built = list(Path(os.environ.get("FIRESEG_DEBS", "/nonexistent")).glob(f"fireseg-edge_*+deb{number}_{arch}.deb"))
    if not built:
        main(arch, suite, None, folder, "gzip")
        built = list(folder.glob("fireseg-edge_*.deb"))
    return built[0]


def old_and_new(folder: Path, arch: str, suite: str) -> Path:
    """Return `folder` with the package as old.deb, and as new.deb with the version NEWER and `edge.NEWER`."""
    shutil.copy(built_package(folder, arch, suite), folder / "old.deb")
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "-R", str(folder / "old.deb"), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    lines = control.read_text().splitlines()
    control.write_text("\n".join(f"Version: {NEWER}" if "Version: " in line else line for line in lines) + "\n")
    changed = next(tree.glob("opt/fireseg-edge/lib/*/site-packages/edge/__init__.py"))
    changed.write_text(changed.read_text() + "\nNEWER = True\n")
    command = ["dpkg-deb", "--root-owner-group", "-b", "-Zgzip", "-z1", str(tree), str(folder / "new.deb")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return folder


@contextmanager
def signing(folder: Path) -> Iterator[dict[str, str]]:
    """Yield what deploy/debian/repository.sh needs: a throw-away key, and `folder`/dist for its packages."""
    for program, package in (("apt-ftparchive", "apt-utils"), ("gpg", "gnupg"), ("apt-get", "apt")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing: install {package}")
    home = folder / "gnupg"
    home.mkdir(mode=0o700)
    environment = os.environ | {"GNUPGHOME": str(home), "APT_KEY": KEY, "DIST": str(folder / "dist")}
    command = ["gpg", "--batch", "--passphrase", "", "--quick-generate-key", KEY, "rsa3072", "sign", "never"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    try:
        yield environment
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)
