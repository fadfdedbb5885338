"""A release: the same bytes everywhere, metadata that an index accepts, a bill of materials, a valid workflow."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
import tomllib
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.packaging.conftest import ENVIRONMENT, ROOT, checked

pytestmark = pytest.mark.slow

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def build_elsewhere(folder: Path, tools: Path, umask: int, zone: str) -> dict[str, bytes]:
    """Clone the repository into a folder, build there, and return the names and contents of what is built."""
    clone = f"git clone --quiet --no-hardlinks '{ROOT}' '{folder}' && '{folder}/release/build.sh' '{folder}/out'"
    environment = ENVIRONMENT | {"TZ": zone, "PYTHON": str(tools / "python")}
    subprocess.run(["bash", "-c", clone], check=True, umask=umask, env=environment)
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


def test_two_builds_of_a_commit_are_the_same_bytes(tools: Path, tmp_path: Path) -> None:
    first = build_elsewhere(tmp_path / "one", tools, 0o022, "UTC")
    second = build_elsewhere(tmp_path / "a folder with a longer name" / "two", tools, 0o077, "Pacific/Auckland")
    assert sorted(first) == sorted(second)
    assert [name for name, content in first.items() if second[name] != content] == []
    assert len(first) == 2


def test_the_source_archive_builds_the_same_wheel(built: Path, wheel: Path, tools: Path, tmp_path: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as members:
        members.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    epoch = checked("git", "log", "-1", "--format=%ct", cwd=ROOT).strip()
    command = (tools / "python", "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "again", source)
    checked(*command, SOURCE_DATE_EPOCH=epoch)
    assert (tmp_path / "again" / wheel.name).read_bytes() == wheel.read_bytes()


def test_the_metadata_are_complete_and_their_page_has_no_relative_links(built: Path, wheel: Path, tools: Path) -> None:
    checked(tools / "twine", "check", "--strict", *built.iterdir())
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
        assert {Path(name).parts[0] for name in archive.namelist()} == {"edge", "train", "export", Path(name).parts[0]}
    for field in ("Name", "Version", "Summary", "Keywords", "Author", "License-Expression", "Classifier"):
        assert metadata[field], field
    page = str(metadata.get_payload())
    assert page.startswith("# FireSeg Edge")
    assert [link for link in re.findall(r"\]\(([^)]*)\)", page) if not link.startswith("https://")] == []


def test_the_changelog_begins_with_this_version() -> None:
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first and first[1] == PROJECT["version"]


@pytest.mark.system  # builds the Debian packages, too
def test_a_release_has_a_bill_of_materials_and_checksums_of_every_file(tools: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    checked("git", "clone", "--quiet", ROOT, clone)
    (clone / "build").mkdir()
    (clone / "build/release").symlink_to(tools.parent)
    printed = checked(clone / "release/release.sh", cwd=tmp_path, PATH=f"{tools}:{ENVIRONMENT['PATH']}")
    dist = clone / "dist"
    bill = json.loads((dist / f"fireseg-edge-{PROJECT['version']}.cdx.json").read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["version"]) == ("CycloneDX", PROJECT["version"])
    locked = re.findall(r"^([a-z0-9-]+)==(\S+)", (clone / "requirements/edge.lock").read_text(), re.MULTILINE)
    assert sorted((part["name"], part["version"]) for part in bill["components"]) == sorted(locked)
    sums = (dist / "SHA256SUMS").read_text()
    assert {line.split("  ")[1] for line in sums.splitlines()} == {
        str(path.relative_to(dist)) for path in dist.rglob("*") if path.is_file() and path.name != "SHA256SUMS"
    }
    checked("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=dist)
    assert "What a person must still do" in printed


def test_the_workflow_is_valid(tools: Path) -> None:
    workflows = sorted((ROOT / ".github/workflows").glob("*.yml"))
    assert workflows
    checked(tools / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
