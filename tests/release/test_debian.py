"""The Debian package's content, without building one."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

from release.unused import remove_unused
from release.wheels import run_pip

INFO = "tool-1.0.dist-info"
FILES = {
    "tool/__init__.py": "def main(): ...\n",
    "tool/__init__.pyi": "def main() -> None: ...\n",
    "tool/tests/test_tool.py": "",
    f"{INFO}/METADATA": "Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n",
    f"{INFO}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{INFO}/entry_points.txt": "[console_scripts]\ntool = tool:main\n",
}


def test_neither_what_no_command_uses_nor_the_building_machine_is_in_the_files_and_their_list(tmp_path: Path) -> None:
    wheel, site = tmp_path / "tool-1.0-py3-none-any.whl", tmp_path / "site"
    with ZipFile(wheel, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
        archive.writestr(f"{INFO}/RECORD", "".join(f"{name},,\n" for name in (*FILES, f"{INFO}/RECORD")))
    run_pip("install", "--no-index", "--no-deps", "--no-compile", "--target", str(site), str(wheel))
    record = site / INFO / "RECORD"
    assert "bin/tool" in record.read_text()  # with a hash that depends on the path of this Python
    remove_unused(site)
    recorded = [line.partition(",")[0] for line in record.read_text().splitlines()]
    assert "tool/__init__.py" in recorded
    assert [name for name in recorded if not (site / name).is_file()] == []
    left = sorted(str(path.relative_to(site)) for path in (*site.glob("*"), *site.glob("tool/*")))
    assert left == ["tool", INFO, "tool/__init__.py"]
