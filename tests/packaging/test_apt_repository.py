"""`make apt-repo`: apt verifies the repository with its public key, and finds the newest package of a release."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deb_packages import KEY, signing

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy/debian/repository.sh"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """With a throw-away key, and a folder of small packages."""
    with signing(tmp_path) as environment:
        yield environment


def add_package(dist: Path, version: str, arch: str = "amd64") -> None:
    tree = dist / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    fields = {"Package": "fireseg-edge", "Version": version, "Architecture": arch, "Maintainer": f"me <{KEY}>"}
    fields["Description"] = "test"
    (tree / "DEBIAN/control").write_text("".join(f"{name}: {value}\n" for name, value in fields.items()))
    deb = dist / f"fireseg-edge_{version}_{arch}.deb"
    subprocess.run(["dpkg-deb", "-b", str(tree), str(deb)], check=True, capture_output=True)
    shutil.rmtree(tree)


def make(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)


def apt(folder: Path, suite: str, *command: str) -> str:
    """Return what an apt with nothing but this repository prints."""
    repository = folder / "dist/apt"
    for name in ("state/lists/partial", "cache/archives/partial", "etc"):
        (folder / "apt" / name).mkdir(parents=True, exist_ok=True)
    sources, status = folder / "apt/etc/sources.list", folder / "apt/status"
    key = repository / "fireseg-edge.asc"
    sources.write_text(f"deb [arch=amd64 signed-by={key}] file:{repository} {suite} main\n")
    status.touch()
    options = {
        "Dir::State": folder / "apt/state", "Dir::State::status": status, "Dir::Cache": folder / "apt/cache",
        "Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null", "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root",
    }  # fmt: skip
    flags = [f"-o{name}={value}" for name, value in options.items()]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not re.search("^[WE]:", done.stderr, re.MULTILINE), done.stderr
    return done.stdout


def test_apt_finds_the_newest_package_of_its_release(environment: dict[str, str], tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    for version in ("1.0.0~rc1+deb12", "1.0.0+deb12", "1.0.0+deb13"):
        add_package(dist, version)
    done = make(environment)
    assert done.returncode == 0, done.stderr
    for suite, version in (("bookworm", "1.0.0+deb12"), ("trixie", "1.0.0+deb13")):
        apt(tmp_path, suite, "apt-get", "update")
        assert f"Candidate: {version}" in apt(tmp_path, suite, "apt-cache", "policy", "fireseg-edge")
    release = (dist / "apt/dists/bookworm/Release").read_text()
    for line in ("Origin: fireseg-edge", "Codename: bookworm", "Suite: bookworm", "Acquire-By-Hash: yes"):
        assert line in release.splitlines(), release
    assert list((dist / "apt/dists/bookworm/main/binary-amd64/by-hash/SHA256").iterdir())


def test_an_earlier_version_stays_and_a_changed_index_is_refused(environment: dict[str, str], tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    add_package(dist, "1.0.0+deb12")
    assert make(environment).returncode == 0
    (dist / "fireseg-edge_1.0.0+deb12_amd64.deb").unlink()
    add_package(dist, "1.1.0+deb12")
    assert make(environment).returncode == 0
    apt(tmp_path, "bookworm", "apt-get", "update")
    assert re.findall(r"^ +(1\.\S+)", apt(tmp_path, "bookworm", "apt-cache", "policy", "fireseg-edge"), re.MULTILINE)
    release = dist / "apt/dists/bookworm/InRelease"
    release.write_text(release.read_text().replace("Origin: fireseg-edge", "Origin: someone-else"))
    with pytest.raises(AssertionError, match=r"BADSIG|not signed|signature"):
        apt(tmp_path, "bookworm", "apt-get", "update")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"APT_KEY": ""}, "error: APT_KEY is not set: "),
        ({"APT_KEY": "nobody@example.org"}, "error: GnuPG has no secret key nobody@example.org: "),
        ({}, "has no package: run `make deb` first"),
    ],
)
def test_what_is_missing_is_one_line(environment: dict[str, str], change: dict[str, str], expected: str) -> None:
    done = make(environment | change)
    assert done.returncode == 2
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) == 1
