"""The commands as a person runs them: what they print and write, and one line and exit code 2 for a mistake."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edge.files import sha256, write_json
from edge.images import write_image
from edge.model.card import Card, attach, split_model
from export import cli
from export.int8.graph import Graph
from tests.export.interpreting import SHIPPED
from tests.support.run_export import Run
from train.data.fireseg import content_hash, load_dataset
from train.data.splits import make_split, split_held_out


@pytest.fixture(scope="session")
def toy_files(toy_float32: bytes, toy_int8: bytes, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The toy in float32 and int8, without cards."""
    folder = tmp_path_factory.mktemp("toys")
    for name, flatbuffer in (("float32", toy_float32), ("int8", toy_int8)):
        (folder / f"{name}.tflite").write_bytes(flatbuffer)
    return folder / "float32.tflite", folder / "int8.tflite"


def assert_refused(ran: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2, and one error line with these words, after any progress."""
    assert ran.returncode == 2, ran.stderr
    assert "Traceback" not in ran.stderr
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, ran.stderr
    assert ran.stderr.rstrip().endswith(errors[0])
    for word in words:
        assert word in errors[0]
    assert ran.stdout == ""


def assert_quiet(ran: subprocess.CompletedProcess[str]) -> None:
    """Nothing from TensorFlow, the converter or the delegate reached the terminal."""
    for noise in ("WARNING", "oneDNN", "XNNPACK", "Saved artifact", "TensorSpec", "I0000", "E0000", "Warning"):
        assert noise not in ran.stderr + ran.stdout


@pytest.mark.parametrize("command", ["all", "convert", "drift", "inspect", "layers", "self-test"])
def test_help_shows_an_example(command: str) -> None:
    ran = CliRunner().invoke(cli.app, [command, "--help"])
    assert ran.exit_code == 0
    assert "Example: " in ran.output
    assert "fireseg-export" in ran.output


@pytest.mark.slow
def test_a_whole_export_writes_models_and_report_and_passes_its_gate(
    run: Run, toy_keras: Path, synthetic_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ran = run(
        "all", "--out", out, "--calibration-count", "8", "--max-drop", "100", "--min-agreement", "0", "--threads", "1",
        MODEL=str(toy_keras), FIRESEG_DIR=str(synthetic_dir),
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert_quiet(ran)
    assert "SYNTHETIC data, not FireSeg" in ran.stdout
    written = json.loads((out / "report.json").read_text())
    assert written["gate"]["passed"] is True
    assert written["calibration"]["images"] == 8
    assert len(list(out.iterdir())) == 7


@pytest.mark.slow
def test_a_failed_gate_is_exit_1_with_every_file_written(
    run: Run, toy_keras: Path, synthetic_dir: Path, tmp_path: Path
) -> None:
    out, model = tmp_path / "out", tmp_path / "tuned.keras"
    shutil.copy(toy_keras, model)
    official = {"official": {"sha256": make_split(load_dataset(synthetic_dir), "official").sha256, "fire_iou": 0.9999}}
    start = {"name": "base.keras", "sha256": "ab", "metrics": official}
    write_json(model.with_suffix(".json"), {"sha256": sha256(model), "start": start})
    ran = run(
        "all", "--model", model, "--data", synthetic_dir, "--out", out, "--calibration-count", "4",
        "--max-drop", "0", "--min-agreement", "1", "--json",
    )  # fmt: skip
    assert ran.returncode == 1, ran.stderr
    failed = ran.stderr.rstrip().splitlines()[-1]
    assert re.match(r"FAILED: keras: fire_iou on the official test is \d+\.\d+ points below base\.keras", failed)
    assert "; int8: " in failed
    assert_quiet(ran)
    printed = json.loads(ran.stdout)
    assert printed["gate"]["passed"] is False
    assert printed["gate"]["reasons"]
    assert json.loads((out / "report.json").read_text()) == printed
    assert "**FAILED: " in (out / "report.md").read_text()
    for kind in ("float32", "float16", "int8"):
        _, card = split_model(out / f"fireseg-{kind}.tflite")
        assert card is not None and card["measured"] is not None


@pytest.mark.slow
def test_float_kinds_convert_without_any_data(run: Run, toy_keras: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = run("convert", toy_keras, "--to", "float16", "--out", out)
    assert ran.returncode == 0, ran.stderr
    assert_quiet(ran)
    assert [path.name for path in out.iterdir()] == ["fireseg-float16.tflite"]
    assert ran.stdout.startswith(f"{out / 'fireseg-float16.tflite'}  0.0")
    assert not (tmp_path / "cwd" / "build").exists()  # no synthetic set was made


@pytest.mark.slow
def test_int8_converts_with_pictures_from_a_folder(
    run_here: Run, toy_keras: Path, synthetic_dir: Path, tmp_path: Path
) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    pictures.mkdir()
    for path in sorted((synthetic_dir / "images_prepped_train").iterdir())[:5]:
        shutil.copy(path, pictures)
    ran = run_here("convert", toy_keras, "--to", "int8", "--calibration-folder", pictures, "--out", out)
    assert ran.returncode == 0, ran.stderr
    assert {path.name for path in out.iterdir()} == {"fireseg-int8.tflite", "calibration.json"}
    manifest = json.loads((out / "calibration.json").read_text())
    assert manifest["images"] == 5
    assert manifest["coverage"]["fire_share"]["unknown"] == 5
    assert not (tmp_path / "cwd" / "build").exists()


@pytest.mark.slow
def test_drift_is_json_and_a_keras_model_can_be_the_reference(
    run_here: Run, toy_files: tuple[Path, Path], toy_keras: Path, synthetic_dir: Path
) -> None:
    ran = run_here("drift", toy_keras, toy_files[0], "--data", synthetic_dir, "--json")
    assert ran.returncode == 0, ran.stderr
    printed = json.loads(ran.stdout)
    assert (printed["a"], printed["b"]) == (str(toy_keras), str(toy_files[0]))
    assert printed["data"] == "SYNTHETIC data, not FireSeg"
    assert printed["agreement"] > 0.99
    assert abs(printed["drift"]["fire_iou"]) < 0.01
    assert len(printed["images"]) == len(list((synthetic_dir / "images_prepped_test").iterdir()))
    assert set(printed["images"][0]) == {"image", "fire_iou_difference", "agreement"}
    same = json.loads(run_here("drift", toy_files[1], toy_files[1], "--data", synthetic_dir, "--json").stdout)
    assert same["agreement"] == 1
    assert set(same["drift"].values()) == {0}


@pytest.mark.slow
def test_drift_on_the_held_out_fifth_of_an_extra_set_is_shown_beside_the_split(
    run_here: Run, toy_files: tuple[Path, Path], synthetic_dir: Path, tmp_path: Path
) -> None:
    barns = tmp_path / "barns"
    for folder, source in (("images", "images_prepped_test"), ("masks", "annotations_prepped_test")):
        (barns / folder).mkdir(parents=True)
        for number, path in enumerate(sorted((synthetic_dir / source).iterdir())):
            shutil.copy(path, barns / folder / f"sun{number}{path.suffix}")
    held_out = split_held_out(load_dataset(barns).pairs)[1]
    arguments = ("drift", *toy_files, "--data", synthetic_dir, "--extra", barns)
    ran = run_here(*arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    with_extra = json.loads(ran.stdout)
    alone = json.loads(run_here(*arguments[:-2], "--json").stdout)
    extra = with_extra["extra"].pop("barns")
    assert alone == with_extra
    assert [row["image"] for row in extra["images"]] == [pair.name for pair in held_out] != []
    assert extra["sha256"] == content_hash(held_out)
    table = run_here(*arguments).stdout
    for words in ("SYNTHETIC data, not FireSeg", "split official", "fire_iou", "float32.tflite", "95 % bootstrap"):
        assert words in table
    assert table.count("\nagreement: ") == 2
    assert f"barns, {len(held_out)} images" in table


def test_inspect_is_a_table_for_people_and_json_for_programs(run_here: Run) -> None:
    model = SHIPPED / "fireseg-small-int8.tflite"
    table, as_json = run_here("inspect", model), run_here("inspect", model, "--json")
    assert (table.returncode, as_json.returncode) == (0, 0)
    description = json.loads(as_json.stdout)
    assert description["partitions"] == 1
    for words in (model.name, f"{description['multiply_adds'] / 1e6:.1f} million", "DEPTHWISE_CONV_2D", "partitions"):
        assert words in table.stdout


@pytest.mark.slow
def test_layers_shows_the_lowest_sqnr_first(
    run_here: Run, toy_files: tuple[Path, Path], synthetic_dir: Path, tmp_path: Path
) -> None:
    float32, int8 = toy_files
    arguments = ("layers", int8, float32, "--data", synthetic_dir, "--count", "3")
    layers = json.loads(run_here(*arguments, "--json").stdout)
    assert len(layers) == len(Graph(int8.read_bytes()).convolutions)
    assert set(layers[0]) == {"layer", "operator", "isolated_sqnr_db", "in_model_sqnr_db"}
    assert [layer["isolated_sqnr_db"] for layer in layers] == sorted(layer["isolated_sqnr_db"] for layer in layers)
    assert f"{layers[0]['isolated_sqnr_db']:.1f}" in run_here(*arguments).stdout
    assert_refused(
        run_here("layers", float32, int8), f"{float32} takes float32, expected uint8", "the int8 model, then"
    )
    ran = run_here("layers", tmp_path / "missing.tflite", float32, "--data", synthetic_dir)
    assert_refused(ran, "missing.tflite could not be read")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"keras_sha256": "ab"}, id="another model"),
        pytest.param({"calibration": {"equalization": True, "sha256": "ab"}}, id="equalized on other images"),
        pytest.param({"calibration": {"equalization": False, "sha256": "cd"}}, id="not equalized"),
    ],
)
def test_layers_refuses_a_float32_of_another_export(
    run_here: Run, synthetic_dir: Path, tmp_path: Path, other: Card
) -> None:
    flatbuffer, shipped = split_model(SHIPPED / "fireseg-small-int8.tflite")
    assert shipped is not None
    card: Card = shipped | {"keras_sha256": "cd", "calibration": {"equalization": True, "sha256": "cd"}}
    paths = tmp_path / "int8.tflite", tmp_path / "float32.tflite"
    for path, written in zip(paths, (card, card | other), strict=True):
        path.write_bytes(attach(flatbuffer, written))
    ran = run_here("layers", *paths, "--data", synthetic_dir)
    assert_refused(ran, "come from different exports", "export both with one command")


@pytest.mark.slow
def test_missing_or_damaged_input_is_refused_before_anything_is_written(
    run_here: Run, toy_keras: Path, tmp_path: Path, synthetic_dir: Path
) -> None:
    out, cut, other = (tmp_path / name for name in ("out", "cut.keras", "notes.txt"))
    cut.write_bytes(toy_keras.read_bytes()[:-3000])
    other.touch()
    for model, data, refusal in (
        (tmp_path / "nothing.keras", synthetic_dir, "nothing.keras does not exist"),
        (other, synthetic_dir, "is not a Keras model"),
        (cut, synthetic_dir, "cut.keras is cut short"),
        (toy_keras, tmp_path / "nowhere", "nowhere does not exist"),
    ):
        assert_refused(run_here("convert", model, "--data", data, "--out", out), refusal)
        assert_refused(run_here("all", "--model", model, "--data", data, "--out", out), refusal)
    assert not out.exists()
    assert_refused(run_here("inspect", tmp_path / "nothing.tflite"), "nothing.tflite could not be read")


def test_models_of_different_input_sizes_are_not_compared(run_here: Run, toy_keras: Path, synthetic_dir: Path) -> None:
    ran = run_here("drift", toy_keras, SHIPPED / "fireseg-small-int8.tflite", "--data", synthetic_dir)
    assert_refused(ran, "different input sizes", "fireseg-small-int8.tflite")


def test_no_calibration_images_are_refused(run_here: Run, toy_keras: Path, synthetic_dir: Path, tmp_path: Path) -> None:
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()
    arguments = ("convert", toy_keras, "--to", "int8", "--out", out)
    ran = run_here(*arguments, "--data", synthetic_dir, "--calibration-count", "0")
    assert_refused(ran, "0 calibration images: int8 needs at least 1")
    assert_refused(run_here(*arguments, "--calibration-folder", empty), "holds no images")
    assert list(out.iterdir()) == []


def test_test_images_may_not_calibrate(run_here: Run, toy_keras: Path, synthetic_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = run_here(
        "all", "--model", toy_keras, "--data", synthetic_dir, "--out", out,
        "--calibration-folder", synthetic_dir / "images_prepped_test",
    )  # fmt: skip
    assert_refused(ran, "calibration images are among the test images", "calibrate on training images")
    assert list(out.iterdir()) == []


def test_a_broken_calibration_picture_is_named(run_here: Run, toy_keras: Path, tmp_path: Path) -> None:
    out, pictures = tmp_path / "out", tmp_path / "pictures"
    write_image(pictures / "whole.png", np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8))
    (pictures / "cut.png").write_bytes((pictures / "whole.png").read_bytes()[:500])
    ran = run_here("convert", toy_keras, "--to", "int8", "--out", out, "--calibration-folder", pictures)
    assert_refused(ran, "cut.png is cut short")
    assert list(out.iterdir()) == []


def test_an_unwritable_folder_is_refused(run_here: Run, toy_keras: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")  # root can write anywhere, but not below a file
    ran = run_here("convert", toy_keras, "--to", "float32", "--out", tmp_path / "file" / "out")
    assert_refused(ran, "could not be written")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_missing_data_folder_is_refused(run_here: Run, toy_keras: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert_refused(run_here("drift", toy_keras, toy_keras, "--data", nowhere), "nowhere does not exist")
    ran = run_here("all", "--model", toy_keras, "--out", tmp_path / "out", FIRESEG_DIR=str(nowhere))
    assert_refused(ran, "nowhere does not exist")


def test_a_gate_out_of_range_is_refused() -> None:
    for option, value in (("--max-drop", "-1"), ("--min-agreement", "1.5")):
        ran = CliRunner().invoke(cli.app, ["all", option, value])
        assert ran.exit_code == 2 and option in ran.output
