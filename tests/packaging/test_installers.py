"""pipx and uv install the wheel, and a wheelhouse installs it without a network. `test_wheel.py` covers pip."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

import pytest

from edge.camera.pattern import PatternCamera
from edge.images import write_image
from tests.packaging.conftest import ROOT, checked, execute
from tests.support.run_cli import refused

pytestmark = pytest.mark.slow

FLAMES_S = 6.0  # when the test pattern shows flames
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def tried(program: Path, folder: Path, *before: str) -> None:
    """Run what a person tries first with an installed program, from an empty folder."""
    write_image(folder / "photo.jpg", PatternCamera(fps=10).frame(FLAMES_S))
    done = execute(*before, program, "run", "--source", "test-pattern", "--max-frames", 50, cwd=folder)
    assert done.code == 0, done.err
    assert "50 frames" in done.out + done.err
    checked(*before, program, "segment", "photo.jpg", "--out", "masks", cwd=folder)
    assert (folder / "masks/photo-mask.png").is_file()
    done = execute(*before, program, "doctor", "--source", "test-pattern", cwd=folder)
    results = {line.split()[1]: line.split()[0] for line in done.out.splitlines() if line.strip()}
    assert [results[name] for name in ("model", "runtime", "camera")] == ["OK"] * 3, done


def test_pipx_installs_and_removes_the_command(wheel: Path, tools: Path, tmp_path: Path) -> None:
    places = {"PIPX_HOME": str(tmp_path / "home"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    program = tmp_path / "bin/fireseg-edge"
    checked(tools / "pipx", "install", "--python", sys.executable, wheel, cwd=tmp_path, **places)
    (tmp_path / "empty").mkdir()
    tried(program, tmp_path / "empty")
    checked(tools / "pipx", "uninstall", "fireseg-edge", cwd=tmp_path, **places)
    assert not program.exists()


def test_uv_installs_and_removes_the_command(wheel: Path, tools: Path, tmp_path: Path) -> None:
    places = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin"), "UV_LINK_MODE": "copy"}
    program = tmp_path / "bin/fireseg-edge"
    checked(tools / "uv", "tool", "install", "--python", sys.executable, wheel, cwd=tmp_path, **places)
    (tmp_path / "empty").mkdir()
    tried(program, tmp_path / "empty")
    checked(tools / "uv", "tool", "uninstall", "fireseg-edge", cwd=tmp_path, **places)
    assert not program.exists()


def wheelhouse(tools: Path, *arguments: object) -> tuple[object, ...]:
    return (tools / "python", "-m", "release.wheelhouse", *arguments)


def test_a_wheelhouse_installs_without_a_network(wheel: Path, tools: Path, tmp_path: Path) -> None:
    offline = ("unshare", "--map-root-user", "--net")
    if not shutil.which("unshare") or execute(*offline, "true").code:
        pytest.skip("this machine cannot take the network from a process (unshare --net)")
    made = wheelhouse(tools, "--arch", platform.machine(), "--python", PYTHON, "--out", tmp_path, wheel)
    printed = checked(*made, cwd=ROOT)
    (folder,) = tmp_path.glob("wheelhouse-*")
    assert f"{folder}: {len(list(folder.glob('*.whl')))} wheels" in printed
    python = tmp_path / "fireseg/bin/python"
    checked(sys.executable, "-m", "venv", python.parents[1])
    clean = {"PIP_CONFIG_FILE": "/dev/null", "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1"}
    wheels: list[object] = ["--no-index", "--find-links", folder, "-r", folder / "requirements.txt"]
    install = ["-m", "pip", "install", "-q", "-I", *wheels]
    checked(*offline, python, *install, cwd=tmp_path, **clean)
    (tmp_path / "empty").mkdir()
    tried(python.with_name("fireseg-edge"), tmp_path / "empty", *offline)

    changed = folder / wheel.name
    changed.write_bytes(changed.read_bytes() + b"\0")
    done = execute(*offline, python, *install, "--force-reinstall", cwd=tmp_path, **clean)
    assert done.code and "DO NOT MATCH THE HASHES" in done.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--arch", "armv7l"), "ARCH=armv7l is not possible: expected aarch64 or x86_64"),
        (("--debian", "buster"), "DEBIAN=buster is not possible: expected bookworm or trixie"),
        (("--python", "3.14"), "TARGET_PYTHON=3.14 is not possible: expected 3.11 or 3.12 or 3.13"),
    ],
)
def test_an_impossible_wheelhouse_is_one_line_that_names_the_possible(
    tools: Path, wheel: Path, arguments: tuple[str, ...], expected: str
) -> None:
    assert refused(execute(*wheelhouse(tools, *arguments, wheel), cwd=ROOT)) == [expected]


def test_the_other_machines_python_is_not_taken_for_this_ones() -> None:
    alone = ("env", "-u", "MAKELEVEL", "-u", "MAKEFLAGS")  # not as part of the `make` that runs the tests
    done = execute(*alone, "make", "wheelhouse", "PYTHON=3.13", cwd=ROOT)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert "write TARGET_PYTHON=3.13" in done.err
