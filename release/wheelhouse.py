"""`make wheelhouse`: a folder from which FireSeg Edge is installed on a machine without a network.

It holds the project's wheel, the wheels of `requirements/edge.lock` for one kind of machine, and `requirements.txt`,
which pins them all by version and hash.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from packaging.utils import parse_wheel_filename

from edge.errors import UserError, run_app
from edge.files import sha256
from release.wheels import ARCHITECTURES, DEBIAN, debian, download_wheels

LOCK = Path(__file__).parents[1] / "requirements/edge.lock"
PYTHONS = ("3.11", "3.12", "3.13")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Example: `python -m release.wheelhouse dist/fireseg_edge-1.0.0rc1-py3-none-any.whl`")
def main(
    wheel: Annotated[Path, typer.Argument(help="The project's wheel.")],
    arch: Annotated[str, typer.Option(help="Processor, as `uname -m` says.")] = "aarch64",
    release: Annotated[str, typer.Option("--debian", help="Release of Debian or Raspberry Pi OS.")] = "trixie",
    python: Annotated[str, typer.Option(help="Python of that machine; the release's own by default.")] = "",
    out: Annotated[Path, typer.Option(help="Folder in which the wheelhouse is made.")] = Path("dist"),
) -> None:
    """Make a wheelhouse for one kind of machine, and print the command that installs from it."""
    check("ARCH", arch, ARCHITECTURES)
    check("DEBIAN", release, DEBIAN)
    if python:
        check("TARGET_PYTHON", python, PYTHONS)
    if not wheel.is_file():
        raise UserError(f"{wheel} does not exist", "expected the project's wheel: run `make dist`")
    target = debian(release, arch, python or None)
    folder = out / f"wheelhouse-{release}-{arch}-py{target.python.replace('.', '')}"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".wheelhouse-") as name:
        partial = Path(name) / folder.name
        pinned = download_wheels(LOCK, target, partial)
        shutil.copy(wheel, partial)
        _, version, _, _ = parse_wheel_filename(wheel.name)
        own = f"fireseg-edge=={version} --hash=sha256:{sha256(wheel)}\n"
        (partial / "requirements.txt").write_text(own + pinned)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    wheels = list(folder.glob("*.whl"))
    size_mb = sum(path.stat().st_size for path in wheels) / 1e6
    print(f"{folder}: {len(wheels)} wheels, {size_mb:.0f} MB. Copy it to the machine and run there, without a network:")
    print("  python3 -m venv --system-site-packages ~/fireseg")
    print(f"  ~/fireseg/bin/pip install -I --no-index --find-links {folder.name} -r {folder.name}/requirements.txt")


def check(name: str, value: str, possible: tuple[str, ...] | dict[str, tuple[str, int]]) -> None:
    """Raise `UserError` unless a value is one of the possible ones."""
    if value not in possible:
        raise UserError(f"{name}={value} is not possible", f"expected {' or '.join(possible)}")


if __name__ == "__main__":
    run_app(app)
