"""The emulated Pi: what is installed in it, what is counted, and what is made of the counts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.pi.cpus import CPUS
from benchmarks.pi.footprint import installed, size_bytes
from benchmarks.pi.peers import FORMS, missing_peers, peers_of
from benchmarks.pi.wheels import contents_hash, pinned_for
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.models import Family, families
from benchmarks.pi import system
from benchmarks.pi.agreement import compare_masks, spread
from benchmarks.pi.counted import ASKING_DESCRIPTOR
from benchmarks.pi.instructions import MAX_GROWTH, Network, Shape, count, entry, prepare, regression, shape_of
from benchmarks.pi.system import PLUGIN_SOURCE, REQUIREMENTS, System, check_machine
from edge.errors import UserError
from train.data.fireseg import Pair

A76, A72 = CPUS["cortex-a76"], CPUS["cortex-a72"]
BOOKWORM = System("bookworm", Path("nowhere"))
SHAPE = Shape(224, 224, 400_000_000)

LOCK = """\
numpy==1.26.4 ; platform_machine == 'armv7l' \\
    --hash=sha256:aa
    # via fireseg-edge
numpy==2.4.6 ; python_full_version < '3.12' and platform_machine != 'armv7l' \\
    --hash=sha256:bb \\
    --hash=sha256:cc
numpy==2.5.5 ; python_full_version >= '3.12' and platform_machine != 'armv7l' \\
    --hash=sha256:dd
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:ee
rich==15.0.0 \\
    --hash=sha256:ff
"""


def test_a_lock_file_is_read_as_on_a_64_bit_pi_whatever_machine_reads_it() -> None:
    assert pinned_for(LOCK, "3.11").splitlines() == [
        "numpy==2.4.6 --hash=sha256:bb --hash=sha256:cc",
        "rich==15.0.0 --hash=sha256:ff",
    ]
    assert pinned_for(LOCK, "3.13").splitlines()[0] == "numpy==2.5.5 --hash=sha256:dd"


def test_the_real_lock_file_gives_a_pi_what_segments_and_no_tensorflow() -> None:
    for python in system.SUITES.values():
        names = {
            line.split("==")[0] for line in pinned_for((REQUIREMENTS / "edge.lock").read_text(), python).split("\n")
        }
        assert {"numpy", "opencv-python-headless", "ai-edge-litert", "typer"} <= names
        assert not names & {"tensorflow", "keras", "tflite-runtime", "pytest"}


def test_a_wheel_built_again_is_the_same_and_one_with_other_code_is_not(tmp_path: Path) -> None:
    def wheel(name: str, code: str, year: int) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(zipfile.ZipInfo("edge/a.py", (year, 1, 1, 0, 0, 0)), code)
        return tmp_path / name

    first, again, changed = wheel("1.whl", "x = 1", 2025), wheel("2.whl", "x = 1", 2026), wheel("3.whl", "x = 2", 2025)
    assert first.read_bytes() != again.read_bytes()
    assert contents_hash(first) == contents_hash(again) != contents_hash(changed)


def test_only_a_pi_5_says_that_it_has_dot_products() -> None:
    assert "asimddp" in A76.cpuinfo and "asimddp" not in A72.cpuinfo
    assert A76.cpuinfo.count("processor\t:") == 4
    assert A76.multiply_adds["int8"] == 16 > A72.multiply_adds["int8"] > A72.multiply_adds["float32"]


def test_the_plugin_and_those_who_ask_it_mean_the_same_descriptor() -> None:
    assert f"ASKING_DESCRIPTOR = {ASKING_DESCRIPTOR}" in PLUGIN_SOURCE.read_text()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_the_plugin_compiles_without_a_warning(tmp_path: Path) -> None:
    command = ["gcc", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", str(tmp_path / "plugin.so"), str(PLUGIN_SOURCE)], check=True)


def line(tmp_path: Path, instructions: int, **changed: Any) -> dict[str, Any]:
    path = tmp_path / "fireseg-base-int8.tflite"
    path.write_bytes(b"a model")
    found = entry(BOOKWORM, A76, Network(path.stem, path, "int8"), SHAPE, "ai-edge-litert 2.3.0", instructions)
    return found | changed


def test_the_floor_is_one_dot_product_for_16_multiply_adds(tmp_path: Path) -> None:
    found = line(tmp_path, 50_000_000)
    assert (found["floor"], found["ratio"]) == (25_000_000, 2.0)
    assert (found["kind"], found["machine"], found["cpu"]) == ("instructions", "aarch64-qemu", "cortex-a76")


def test_more_than_two_percent_more_instructions_is_a_regression_and_less_is_none(tmp_path: Path) -> None:
    before = [line(tmp_path, 50_000_000)]
    assert MAX_GROWTH == 0.02
    assert regression(line(tmp_path, 51_000_000), before) is None
    said = regression(line(tmp_path, 51_000_001), before)
    assert said and "fireseg-base-int8 on cortex-a76" in said and "51,000,001" in said
    assert regression(line(tmp_path, 30_000_000), before) is None


def test_a_new_version_of_the_runtime_is_held_against_the_old_and_another_processor_is_not(tmp_path: Path) -> None:
    before = [line(tmp_path, 50_000_000)]
    assert regression(line(tmp_path, 60_000_000, runtime="ai-edge-litert 2.4.0"), before)
    assert regression(line(tmp_path, 60_000_000, cpu="cortex-a72"), before) is None
    assert regression(line(tmp_path, 60_000_000, runtime="ncnn 1.0"), before) is None
    assert regression(line(tmp_path, 60_000_000), []) is None


def test_another_network_under_the_same_name_is_held_against_itself_alone(tmp_path: Path) -> None:
    small, large = line(tmp_path, 50_000_000), {**line(tmp_path, 70_000_000), "multiply_adds": 500_000_000}
    slower = {**large, "instructions_per_frame": 80_000_000}
    assert regression(large, [small]) is None
    assert regression(slower, [large, small]), "whatever came between"


def test_what_differs_between_two_places_is_counted_by_image_and_by_pixel() -> None:
    one = np.zeros((3, 4, 4), np.bool_)
    other = one.copy()
    assert str(compare_masks(one, other)) == "the same bytes in all 3 masks"
    other[1, :2, 0] = True
    found = compare_masks(one, other)
    assert (found.differing_images, found.differing_pixels, found.pixels) == (1, 2, 48)
    assert str(found) == "2 of 48 pixels differ, in 1 of 3 masks"
    with pytest.raises(ValueError, match="cannot be compared"):
        compare_masks(one, other[:2])


@given(total=st.integers(1, 300), wanted=st.integers(1, 80))
def test_pictures_are_taken_evenly_over_the_whole_test_set_and_none_twice(total: int, wanted: int) -> None:
    pairs = [Pair(str(n), Path(f"{n}.jpg"), None, "test", "v") for n in range(total)]
    chosen = [int(pair.name) for pair in spread(pairs, wanted)]
    assert len(chosen) == min(total, wanted) == len(set(chosen))
    gaps = np.diff([*chosen, total])
    assert gaps.max(initial=1) - gaps.min(initial=gaps.max(initial=1)) <= 1


def test_the_size_of_an_environment_is_that_of_its_files_and_links_take_nothing(tmp_path: Path) -> None:
    packages = tmp_path / "lib/python3.11/site-packages"
    (packages / "ai_edge_litert-2.3.0.dist-info").mkdir(parents=True)
    (packages / "a.so").write_bytes(b"0" * 1000)
    (packages / "b.so").symlink_to(packages / "a.so")
    assert size_bytes(tmp_path) == 1000
    assert installed(tmp_path) == ["ai_edge_litert 2.3.0"]


def test_peers_are_those_whose_models_were_converted_and_the_others_are_named(tmp_path: Path) -> None:
    family = Family("fireseg-base", tmp_path / "fireseg-base.keras", {})
    assert peers_of(family, tmp_path) == []
    (missing,) = missing_peers(family, tmp_path)
    assert "fireseg-base-float32.onnx" in missing and "make bench-peers" in missing
    (tmp_path / "fireseg-base-float32.ncnn.param").touch()
    labels = [(network.adapter, network.label) for network, _ in peers_of(family, tmp_path)]
    assert labels == [("ncnn", "fireseg-base-float32"), ("ncnn", "fireseg-base-float16")]
    for suffix, *_ in FORMS:
        (tmp_path / f"fireseg-base{suffix}").touch()
    assert len(peers_of(family, tmp_path)) == len(FORMS)
    assert missing_peers(family, tmp_path) == []


def test_a_machine_without_the_tools_or_without_root_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda command, **_: None if command == "debootstrap" else command)
    with pytest.raises(UserError, match=r"debootstrap not found: run `sudo apt-get install .*qemu-user"):
        check_machine()
    monkeypatch.setattr(shutil, "which", lambda command, **_: command)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UserError, match="needs root: run `sudo make bench-pi`"):
        check_machine()


@pytest.mark.slow
def test_a_shipped_model_costs_the_same_instructions_each_time_and_no_more_than_the_ledger_says() -> None:
    cached = System("bookworm", system.BUILD / "bookworm")
    if not (cached.root / "opt/fireseg/.installed-from").is_file():
        pytest.skip("there is no arm64 system in build/pi: run `make bench-pi` once")
    try:
        check_machine()
    except UserError as error:
        pytest.skip(str(error))
    prepare(cached)
    model = families()[0].shrunk["int8"]
    network, shape = Network(model.stem, model, "int8"), shape_of(model)
    first, again = (count(cached, A76, network, shape)["instructions_per_frame"] for _ in range(2))
    assert first == again
    assert 1 < first / (shape.multiply_adds / 16) < 4


def test_a_run_that_fails_inside_names_the_model_the_processor_and_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root").mkdir()
    model = tmp_path / "odd.param"
    model.write_bytes(b"")
    failed = subprocess.CompletedProcess([], 1, "", "Traceback …\nRuntimeError: ncnn could not load odd.param\n")
    monkeypatch.setattr(System, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match=re.escape("odd does not run on cortex-a76: RuntimeError: ncnn could not load")):
        count(System("bookworm", tmp_path / "root"), A76, Network("odd", model, "float32", "ncnn"), SHAPE)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the emulator is for x86-64 machines")
def test_every_lock_file_of_a_peer_is_there_and_names_no_index() -> None:
    for environment in {environment for *_, environment in FORMS if environment}:
        text = environment.lock.read_text()
        assert "--hash=sha256:" in text and "://" not in text
