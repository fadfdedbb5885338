"""The files of the Debian package: the commands find all they need among them, although much of the wheels is left out.

Every test of the wheel runs here, too.
"""

from __future__ import annotations

import ast
import csv
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from release.debian import ARCHITECTURES
from release.wheels import DEBIAN
from tests.packaging.conftest import checked
from tests.packaging.test_wheel import *  # noqa: F403
from tests.packaging.test_wheel import Command
from tests.support.deb_packages import built_package

pytestmark = pytest.mark.slow

OPTIONAL = ("picamera2", "libcamera", "apprise", "distributed")
"""What the package recommends or suggests."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python packages in the package for this machine's processor and a Debian whose Python is here."""
    arch = {name: arch for arch, name in ARCHITECTURES.items()}.get(platform.machine(), "")
    suites = [suite for suite, (python, _) in DEBIAN.items() if os.access(f"/usr/bin/python{python}", os.X_OK)]
    if not arch or not suites:
        pytest.skip("no Debian's Python is in /usr/bin")
    tree = tmp_path_factory.mktemp("tree")
    package = built_package(tree / "built", arch, suites[0])
    subprocess.run(["dpkg-deb", "-x", str(package), str(tree)], check=True)
    return next((tree / "opt/fireseg-edge").glob("lib/*/site-packages"))


@pytest.fixture(scope="module")  # type: ignore[no-redef]
def installed(site: Path) -> Iterator[Path]:
    """The folder of its programs; they name the Python of this folder instead of that in /opt."""
    programs = site.parents[2] / "bin"
    program = programs / "fireseg-edge"
    program.write_text(program.read_text().replace("#!/opt/fireseg-edge/bin", f"#!{programs}"))
    yield programs
    shutil.rmtree(site.parents[4])


def test_whatever_the_program_imports_is_there(installed: Path, site: Path) -> None:
    nodes = [node for path in site.glob("edge/**/*.py") for node in ast.walk(ast.parse(path.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    names = {name for name in names if name.partition(".")[0] not in OPTIONAL}
    assert {"cv2", "numpy", "tuf.ngclient", "edge.update.comparison"} <= names
    lines = "\n".join(f"importlib.import_module({name!r})" for name in sorted(names))
    checked(installed / "python", "-P", "-c", f"import importlib\n{lines}")


def test_the_help_of_every_command_is_shown(installed: Path, fireseg_edge: Command) -> None:
    listing = "from typer.main import get_command; from edge.cli import app; print(*get_command(app).commands)"
    commands = checked(installed / "python", "-P", "-c", listing).split()
    assert {"run", "update", "doctor", "survey"} <= set(commands)
    for command in commands:
        assert "Usage: fireseg-edge" in fireseg_edge(command, "--help").out


def test_no_library_misses_another(installed: Path, site: Path) -> None:
    libraries = {path.name: path for path in site.rglob("*.so*")}
    lines = [line for path in libraries.values() for line in checked("ldd", path).splitlines()]
    missing = {line.split()[0] for line in lines if "not found" in line}
    assert libraries
    assert not missing - set(libraries), "a library finds others by the search path of the one that loads it"


def test_the_lists_of_files_name_those_that_are_there(installed: Path, site: Path) -> None:
    for record in site.glob("*.dist-info/RECORD"):
        for path, *_ in csv.reader(record.read_text().splitlines()):
            assert (site / path).exists(), f"{record}: {path}"
