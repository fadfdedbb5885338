"""The import law: which module may import which, no circles, and a light `edge` without TensorFlow."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {
    "edge": (),
    "train": ("edge",),
    "export": ("edge", "train"),
    "release": ("edge",),
    "benchmarks": ("edge", "train", "export", "release"),
}
"""Each may import itself and those named."""
HEAVY = {"tensorflow", "keras", "matplotlib", "jax", "flatbuffers"}
SLOW_TO_LOAD = {
    "ai_edge_litert",
    "apprise",
    "paho",
    "prometheus_client",
    "rich",
    "starlette",
    "tomlkit",
    "typer",
    "uvicorn",
}
"""Dependencies of `edge` that the segmenter does without, or loads on demand."""

GROUND = (
    "edge",
    "edge.child",
    "edge.errors",
    "edge.event_files",
    "edge.files",
    "edge.http_deadline",
    "edge.image_header",
    "edge.images",
    "edge.secrets",
    "edge.retry",
    "edge.console",
    "edge.quiet",
    "edge.threads",
)
"""What any module of `edge` may import; `edge` itself is for the version."""
SINKS_MAY_IMPORT = (
    *GROUND,
    "edge.control.actions",
    "edge.messages",
    "edge.run_status",
    "edge.config",
    "edge.config_tables",
    "edge.sinks",
)
EVALUATION_MAY_IMPORT = (
    *GROUND,
    "edge.flames",
    "edge.assembly",
    "edge.config",
    "edge.config_tables",
    "edge.messages",
    "edge.run_status",
)
"""And what lies in `edge.camera`, `edge.detection` and `edge.model`."""
FORBIDDEN = (
    *((f"edge.{room}", "edge.sinks") for room in ("camera", "model", "detection", "host", "evaluation")),
    *((f"edge.{room}", "edge.loop") for room in ("camera", "model", "detection", "host", "sinks", "evaluation")),
    *(("edge.control", f"edge.{module}") for module in ("sinks", "assembly", "loop", "status", "evaluation")),
    *(("edge.update", f"edge.{module}") for module in ("control", "detection", "loop", "assembly", "commands")),
    ("train.data", "train.model"),
)
"""Packages, and what their modules never import."""
CONTROL_USERS = {
    "benchmarks.fleet": "edge.control.actions",
    "edge.assembly": "edge.control",
    "edge.commands": "edge.control",
    "edge.config_tables": "edge.control.schedule",
    "edge.loop": "edge.control",
    "edge.sinks": "edge.control.actions",
    "edge.status": "edge.control.drill",
}
"""Who imports `edge.control`, and which part of it."""
RELEASE_IMPORTS = {
    ("release.debian", "edge.commands.config"),
    ("release.debian", "edge.commands.service"),
    ("release.manpage", "edge.cli"),
}
"""The Debian package contains what commands print or install: the documented configuration, the units, the help."""

IMPORT_EVERY_MODULE = """
import importlib, json, pkgutil, sys
import edge
names = ["edge", *(module.name for module in pkgutil.walk_packages(edge.__path__, "edge."))]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(json.dumps([names, sorted({name.partition(".")[0] for name in sys.modules})]))
"""

Graph = Mapping[str, set[str]]


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_name(path): path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))}


def imported_names(source: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each module named by an import, inside functions too, with the names taken from it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield node.module or "", [alias.name for alias in node.names]


def imported_modules(source: str, modules: Mapping[str, object]) -> set[str]:
    """Return what a source imports: modules of ours by their full name, others by the name of their package."""
    found: set[str] = set()
    for module, names in imported_names(source):
        submodules = {f"{module}.{name}" for name in names} & modules.keys()
        found |= submodules
        if len(submodules) < len(names) or not names:
            found.add(module if module in modules else module.partition(".")[0])
    return found


@pytest.fixture(scope="module")
def graph() -> Graph:
    """What each module imports."""
    return {name: imported_modules(path.read_text(encoding="utf-8"), PATHS) for name, path in PATHS.items()}


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def arrows(graph: Graph) -> Iterator[tuple[str, str]]:
    return ((module, target) for module, targets in sorted(graph.items()) for target in sorted(targets))


def circle(graph: Graph) -> list[str]:
    """Return the modules of one circle of imports; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        modules: list[str] = error.args[1]
        return modules
    return []


def extra(name: str) -> set[str]:
    """Return what `pip install .[NAME]` adds; for each package the import name is the package's."""
    required = importlib.metadata.requires("fireseg-edge") or []
    pattern = rf"extra == ['\"]{name}['\"]"
    return {re.split(r"[^A-Za-z0-9_-]", line)[0] for line in required if re.search(pattern, line)}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_itself_and_the_rooms_below_it(graph: Graph, room: str) -> None:
    forbidden = {*ROOMS, "tests"} - {room, *ROOMS[room]}
    assert [arrow for arrow in arrows(graph) if is_in(arrow[0], room) and arrow[1].partition(".")[0] in forbidden] == []


def test_edge_imports_nothing_that_only_training_installs(graph: Graph) -> None:
    training = HEAVY | extra("train") - extra("update") - extra("notify")
    assert "tensorflow" in training
    assert [arrow for arrow in arrows(graph) if is_in(arrow[0], "edge") and arrow[1] in training] == []


@pytest.mark.parametrize(("package", "forbidden"), FORBIDDEN)
def test_a_package_does_not_import_what_is_forbidden(graph: Graph, package: str, forbidden: str) -> None:
    assert [arrow for arrow in arrows(graph) if is_in(arrow[0], package) and is_in(arrow[1], forbidden)] == []


def test_sinks_import_messages_configuration_and_the_ground_floor_alone(graph: Graph) -> None:
    allowed = {name for name in PATHS if is_in(name, "edge.sinks")} | set(SINKS_MAY_IMPORT)
    used = {arrow for arrow in arrows(graph) if is_in(arrow[0], "edge.sinks") and is_in(arrow[1], "edge")}
    assert {arrow for arrow in used if arrow[1] not in allowed} == set()


def test_control_is_imported_by_what_runs_it_and_sinks_see_its_actions_alone(graph: Graph) -> None:
    used = {arrow for arrow in arrows(graph) if is_in(arrow[1], "edge.control")}
    used -= {arrow for arrow in used if is_in(arrow[0], "edge.control")}
    for user, part in CONTROL_USERS.items():
        allowed = {arrow for arrow in used if is_in(arrow[0], user) and is_in(arrow[1], part)}
        assert allowed, f"{user} uses nothing of {part}: forbid it"
        used -= allowed
    assert used == set()


def test_the_evaluation_imports_what_makes_an_alarm_and_is_imported_by_its_commands_alone(graph: Graph) -> None:
    rooms = ("edge.camera", "edge.detection", "edge.model", "edge.evaluation")
    allowed = {name for name in PATHS if any(is_in(name, room) for room in rooms)} | set(EVALUATION_MAY_IMPORT)
    used = {arrow for arrow in arrows(graph) if is_in(arrow[0], "edge.evaluation") and is_in(arrow[1], "edge")}
    assert {arrow for arrow in used if arrow[1] not in allowed} == set()
    users = {arrow[0] for arrow in arrows(graph) if is_in(arrow[1], "edge.evaluation")}
    assert {user for user in users if not is_in(user, "edge.evaluation") and not is_in(user, "benchmarks")} == {
        "edge.commands.evaluate",
        "edge.commands.survey",
    }


@pytest.mark.parametrize("room", ["edge", "train", "export"])
def test_commands_are_imported_by_the_command_line_alone(graph: Graph, room: str) -> None:
    imports = {arrow for arrow in arrows(graph) if is_in(arrow[1], f"{room}.commands") and arrow[0] != f"{room}.cli"}
    imports -= RELEASE_IMPORTS
    # Options are for the commands of every room, and for the benchmarks, which are commands themselves.
    commands = {name for name in PATHS if ".commands." in name or is_in(name, "benchmarks")}
    assert {arrow for arrow in imports if arrow[1] != f"{room}.commands.options" or arrow[0] not in commands} == set()


def test_a_command_line_is_imported_by_nobody(graph: Graph) -> None:
    users = {arrow for arrow in arrows(graph) if arrow[1].endswith(".cli") and arrow[1] in PATHS}
    assert users - RELEASE_IMPORTS == set()


def test_no_imports_form_a_circle(graph: Graph) -> None:
    assert circle(graph) == []
    assert circle({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": {"os"}}) == []
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == {"b", "c"}


def test_imports_inside_functions_and_of_submodules_are_seen() -> None:
    source = (
        "import numpy.typing as npt\ndef f():\n    from edge import files, __version__\n    import keras, edge.files\n"
    )
    assert imported_modules(source, {"edge": 0, "edge.files": 0}) == {"numpy", "edge", "edge.files", "keras"}
    assert imported_modules("from edge import files", {"edge": 0, "edge.files": 0}) == {"edge.files"}


def test_importing_every_module_of_edge_loads_no_other_room() -> None:
    names, loaded = json.loads(run_python(IMPORT_EVERY_MODULE))
    assert {"edge", "edge.model.segmenter", "edge.cli"} <= set(names)
    assert "cv2" in loaded
    assert not set(loaded) & (HEAVY | (ROOMS.keys() - {"edge"}))


def test_importing_the_segmenter_loads_no_library_of_commands_and_sinks() -> None:
    loaded = {
        name.partition(".")[0] for name in run_python("import edge.model.segmenter, sys; print(*sys.modules)").split()
    }
    assert "cv2" in loaded
    assert loaded & (HEAVY | SLOW_TO_LOAD) == set()


def test_the_public_names_are_importable_from_the_package() -> None:
    code = "import edge; print(edge.Segmenter.__name__, edge.Detector.__name__, bool(edge.__version__))"
    assert run_python(code).split() == ["Segmenter", "Detector", "True"]
