"""`fireseg-train` as a person types it: results on stdout, one line for each mistake, and no chatter beside."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import keras
import numpy as np
import pytest

from edge.files import sha256
from edge.images import read_gray_or_colour, read_rgb, write_picture
from train.cli import run
from train.models import KerasPredictor, load_keras

COMMANDS = ("check", "fetch", "synth", "fit", "eval", "predict")
CHATTER = re.compile(
    r"oneDNN|cuda|tensorflow|absl|XNNPACK|WARNING|I0000|E0000|W0000|UserWarning|Traceback", re.IGNORECASE
)


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def type_in(cwd: Path, *arguments: object) -> Done:
    """Run the command in a process of its own, as from a shell."""
    environment = {key: value for key, value in os.environ.items() if key != "FIRESEG_DIR"} | {"COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", "from train.cli import run; run()", *map(str, arguments)],
        check=False, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


Here = Callable[..., Done]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Here:
    """Run the command in this process, where Keras is loaded already: a tenth of the time, for the many mistakes."""

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["fireseg-train", *map(str, arguments)])
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("FIRESEG_DIR", raising=False)
        capfd.readouterr()
        with warnings.catch_warnings(), pytest.raises(SystemExit) as left:
            run()
        code = left.value.code
        return Done(code if isinstance(code, int) else 0, *capfd.readouterr())

    return call


def refused(done: Done) -> list[str]:
    """The lines of a refusal, without their beginning."""
    assert done.code == 2, done
    assert "Traceback" not in done.err
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert lines, done.err
    assert done.err.rstrip().splitlines()[-1].startswith("error: ")
    return [line.removeprefix("error: ") for line in lines]


def leftovers(folder: Path) -> list[str]:
    """Files of unfinished writing."""
    return [str(path) for path in folder.rglob(".*") if path.is_file()]


@pytest.fixture
def broken_dir(synthetic_dir: Path, tmp_path: Path) -> Path:
    """A set with a truncated JPEG and a mask of another size."""
    root = tmp_path / "broken"
    shutil.copytree(synthetic_dir, root)
    image = root / "images_prepped_train" / "img(2).jpg"
    image.write_bytes(image.read_bytes()[:2000])
    cv2.imwrite(str(root / "annotations_prepped_train" / "img(5).png"), np.zeros((9, 9), np.uint8))
    return root


@pytest.fixture(scope="module")
def trained(synthetic_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A folder in which `fit` has trained one epoch of each phase into `runs/tiny`. Read it, never write into it."""
    cwd = tmp_path_factory.mktemp("trained")
    done = type_in(
        cwd, "fit", "--data", synthetic_dir, "--out", "runs/tiny", "--size", "64", "--width", "0.35",
        "--backbone-weights", "none", "--frozen-epochs", "1", "--whole-epochs", "1",
    )  # fmt: skip
    return cwd, done


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_shows_an_example(here: Here, command: str) -> None:
    done = here(command, "--help")
    assert done.code == 0
    assert "Example:" in done.out
    assert f"fireseg-train {command}" in done.out


def test_without_a_command_all_of_them_are_listed(here: Here) -> None:
    done = here()
    assert all(command in done.out + done.err for command in COMMANDS)


def test_check_prints_a_table(synthetic_dir: Path, tmp_path: Path) -> None:
    done = type_in(tmp_path, "check", synthetic_dir)
    assert done.code == 0, done.err
    for word in ("train", "test", "448x252", "empty masks"):
        assert word in done.out
    assert not CHATTER.search(done.err)


def test_check_prints_json_alone_where_it_is_asked_to(synthetic_dir: Path, tmp_path: Path) -> None:
    done = type_in(tmp_path, "check", synthetic_dir, "--json")
    found = json.loads(done.out)
    assert sum(part["images"] for part in found["parts"].values()) == 40
    assert found["leaks"]["videos_in_train_and_test"] == []


def test_check_lists_everything_that_is_broken(here: Here, broken_dir: Path) -> None:
    first, second = refused(here("check", broken_dir))
    assert "img(2).jpg is cut short (2000 bytes): get the whole file again" in first
    assert "img(5).png is 9x9 but its image img(5).jpg is 448x252" in second


def test_check_says_in_its_table_what_leaks(here: Here, tmp_path: Path) -> None:
    root = tmp_path / "leaky"
    for part in ("train", "test"):
        for folder, shape, suffix in (("images", (8, 8, 3), "jpg"), ("annotations", (8, 8), "png")):
            (root / f"{folder}_prepped_{part}").mkdir(parents=True)
            cv2.imwrite(str(root / f"{folder}_prepped_{part}" / f"img(1).{suffix}"), np.full(shape, 9, np.uint8))
    out = here("check", root).out
    assert "leak: video v01 is in train and in test" in out
    assert "identical images: train/img(1), test/img(1)" in out
    assert "holds 1 levels" not in out


def test_synth_paints_the_same_bytes_for_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("one", 5), ("two", 5), ("other", 6)):
        done = type_in(tmp_path, "synth", name, "--count", 6, "--seed", seed)
        assert done.code == 0, done.err
        assert "6 synthetic images and masks" in done.out
    one, two, other = (
        {path.relative_to(tmp_path / name): sha256(path) for path in (tmp_path / name).rglob("*.*") if path.is_file()}
        for name in ("one", "two", "other")
    )
    assert one == two
    assert one.keys() == other.keys() and one != other


@pytest.mark.slow
def test_fit_leaves_a_model_a_card_and_pictures(trained: tuple[Path, Done]) -> None:
    cwd, done = trained
    assert done.code == 0, done.err
    assert "SYNTHETIC data, not FireSeg, split official" in done.out
    assert "fire_iou_per_image" in done.out
    out = cwd / "runs" / "tiny"
    for file in ("best.json", "history.csv", "losses-training.png", "losses-fine-tuning.png", "predictions.png"):
        assert (out / file).is_file()
    assert load_keras(out / "best.keras").input_shape == (None, 64, 64, 3)
    card = json.loads((out / "best.json").read_text())
    assert card["sha256"] == sha256(out / "best.keras")
    assert card["recipe"]["model"]["width"] == 0.35
    assert not leftovers(out)


@pytest.mark.slow
def test_fit_and_eval_say_nothing_of_tensorflow(trained: tuple[Path, Done]) -> None:
    _, done = trained
    for text in (done.out, done.err):
        assert not CHATTER.search(text), text


@pytest.mark.slow
def test_eval_gives_the_metrics_of_the_card(trained: tuple[Path, Done], synthetic_dir: Path) -> None:
    cwd, _ = trained
    done = type_in(cwd, "eval", "runs/tiny/best.keras", "--data", synthetic_dir, "--json")
    assert done.code == 0, done.err
    assert not CHATTER.search(done.err), done.err
    facts: dict[str, Any] = json.loads(done.out)
    assert (facts["split"], facts["data"]) == ("official", "SYNTHETIC data, not FireSeg")
    on_card = json.loads((cwd / "runs/tiny/best.json").read_text())["metrics"]["official"]
    assert facts["sha256"] == on_card["sha256"] and facts["images"] == on_card["images"]
    for name, value in on_card.items():
        if isinstance(value, float):
            assert facts[name] == pytest.approx(value, abs=1e-4), name


@pytest.mark.slow
def test_fit_does_not_write_over_a_run_and_resumes_it(
    trained: tuple[Path, Done], synthetic_dir: Path, here: Here
) -> None:
    out = trained[0] / "runs" / "tiny"
    arguments: list[object] = ["fit", "--data", synthetic_dir, "--out", out, "--size", "64", "--width", "0.35"]
    arguments += ["--backbone-weights", "none", "--frozen-epochs", "1", "--whole-epochs", "1"]
    before = sha256(out / "best.keras")
    assert "already holds a training run: pass --resume" in refused(here(*arguments))[0]
    assert "another batch_size" in refused(here(*arguments, "--resume", "--batch-size", "4"))[0]
    assert sha256(out / "best.keras") == before


@pytest.fixture
def negatives(tmp_path: Path) -> Path:
    """A folder of pictures without flames."""
    for number in range(12):
        write_picture(tmp_path / "sunsets" / f"sun{number}.png", np.full((40, 40, 3), 100 + number, np.uint8))
    return tmp_path / "sunsets"


@pytest.mark.slow
def test_fit_learns_from_further_sets_by_a_recipe_file_and_its_card_names_them(
    here: Here, synthetic_dir: Path, negatives: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(
        'size = 32\nwidth = 0.35\nbackbone-weights = "none"\nfrozen-epochs = 1\nwhole-epochs = 9\naugment = "strong"\n'
    )
    arguments = ["fit", "--data", synthetic_dir, "--recipe", "mine.toml", "--whole-epochs", "0", "--out", "run"]
    done = here(*arguments, "--negatives", negatives)
    assert done.code == 0, done.err
    assert "negatives sunsets: 10 of them to learn from, 2 held out" in done.out
    card = json.loads((tmp_path / "run" / "best.json").read_text())
    assert [(one["title"], one["images"]) for one in card["data"]["sets"]][1:] == [("sunsets", 10)]
    assert card["data"]["train_images"] == card["data"]["sets"][0]["images"] + 10
    assert (card["recipe"]["augment"], card["recipe"]["whole_epochs"]) == ("strong", 0)
    assert card["metrics"].keys() == {"official", "official-clean"}
    assert here(*arguments, "--negatives", negatives, "--resume").code == 0
    (line,) = refused(here(*arguments, "--resume"))
    assert "was trained on other data: resume with the same --data, --split, --extra and --negatives" in line


def test_fit_refuses_to_learn_from_a_test_image(here: Here, synthetic_dir: Path, negatives: Path) -> None:
    for number in range(12):  # of which some are held out and may be anything
        shutil.copy(sorted((synthetic_dir / "images_prepped_test").iterdir())[0], negatives / f"copy{number}.jpg")
    (line,) = refused(
        here("fit", "--data", synthetic_dir, "--size", "32", "--backbone-weights", "none", "--negatives", negatives)
    )
    assert "further images are among those that judge (sunsets/copy" in line
    assert "take them out" in line


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that takes bright red for fire."""
    frame = keras.Input((32, 48, 3))
    seen = keras.layers.Conv2D(1, 1, activation="sigmoid", name="red")(keras.layers.Rescaling(1 / 255)(frame))
    network = keras.Model(frame, seen)
    network.get_layer("red").set_weights(
        [np.array([20, -10, -10], np.float32).reshape(1, 1, 3, 1), np.array([-8], np.float32)]
    )
    network.save(tmp_path / "red.keras")
    return tmp_path / "red.keras"


def test_predict_writes_a_mask_and_an_overlay_of_each_picture(model: Path, tmp_path: Path) -> None:
    frame = np.full((60, 90, 3), 40, np.uint8)
    frame[20:40, 30:60] = (0, 0, 255)  # OpenCV's red
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), frame)
    done = type_in(tmp_path, "predict", model, "a.png", "b.png", "--out", "masks")
    assert done.code == 0, done.err
    assert not CHATTER.search(done.err), done.err
    assert {path.name for path in (tmp_path / "masks").iterdir()} == {
        "a-mask.png", "a-overlay.jpg", "b-mask.png", "b-overlay.jpg",
    }  # fmt: skip
    mask = read_gray_or_colour(tmp_path / "masks" / "a-mask.png")
    predictor = KerasPredictor(load_keras(model))
    expected = predictor(read_rgb(tmp_path / "a.png")) >= predictor.threshold_u8
    assert ((mask == 255) == expected).all() and set(np.unique(mask)) == {0, 255}
    assert 0.08 < (mask == 255).mean() < 0.15
    assert read_rgb(tmp_path / "masks" / "a-overlay.jpg").shape == (60, 90, 3)
    assert done.out.count("% fire") == 2


def test_predict_refuses_what_is_no_picture(here: Here, model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no picture")
    (line,) = refused(here("predict", model, tmp_path / "notes.jpg", "--out", tmp_path / "masks"))
    assert "notes.jpg is not a picture that can be read" in line
    assert list((tmp_path / "masks").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "100"), "input height 100 px does not fit the mobilenetv2 encoder: expected a multiple of 32"),
        (("--size", "64x100"), "input width 100 px"),
        (("--size", "big"), "--size 'big': expected pixels such as 224, or HEIGHTxWIDTH"),
        (("--size", "64x64x3"), "--size '64x64x3': expected pixels"),
        (("--encoder", "resnet"), "there is no encoder 'resnet': expected one of mobilenetv2, original"),
        (("--decoder", "fpn"), "there is no decoder 'fpn': expected one of separable, transposed"),
        (("--width", "0.4"), "MobileNetV2 has no width 0.4"),
        (("--split", "random"), "there is no split 'random': expected one of official, official-clean, by-video"),
        (("--split", "by-video", "--fold", "9"), "there is no fold 9: expected 0 to 4"),
        (("--batch-size", "0"), "batch_size is 0: expected at least 1"),
        (("--frozen-epochs", "0", "--whole-epochs", "0"), "expected 1 or more in all"),
        (("--seed", "-1"), "seed is -1: expected 0 to"),
        (("--data", "nowhere"), "data folder nowhere does not exist"),
        (("--extra", "nowhere"), "data folder nowhere does not exist"),
        (("--negatives", "nowhere"), "negatives folder nowhere does not exist"),
        (("--augment", "stronger"), "there is no augmentation 'stronger': expected one of plain, strong"),
        (("--recipe", "large"), "recipe large does not exist: expected a .toml file, or one of base, small"),
    ],
)
def test_fit_refuses_what_cannot_be_trained_in_one_line(
    here: Here, synthetic_dir: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (line,) = refused(here("fit", "--data", synthetic_dir, "--out", "run", "--backbone-weights", "none", *arguments))
    assert message in line
    assert not (tmp_path / "run").exists()


def test_fit_refuses_a_set_with_a_broken_file(here: Here, broken_dir: Path, tmp_path: Path) -> None:
    line = refused(here("fit", "--data", broken_dir, "--out", "run", "--size", "32", "--backbone-weights", "none"))[0]
    assert "img(" in line
    assert not (tmp_path / "run").exists()


def test_fit_refuses_weights_that_are_not_there(here: Here, synthetic_dir: Path) -> None:
    (line,) = refused(here("fit", "--data", synthetic_dir, "--size", "32", "--backbone-weights", "none.h5"))
    assert "MobileNetV2 weights none.h5 for width 1.0 could not be loaded" in line


@pytest.mark.parametrize("command", ["fit", "synth", "predict"])
def test_an_out_folder_that_cannot_be_written_is_refused(
    here: Here, command: str, synthetic_dir: Path, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "below"
    picture = next((synthetic_dir / "images_prepped_test").iterdir())
    arguments: dict[str, tuple[object, ...]] = {
        "fit": ("--data", synthetic_dir, "--size", "32", "--backbone-weights", "none", "--out", out),
        "synth": (out, "--count", "6"),
        "predict": (model, picture, "--out", out),
    }
    (line,) = refused(here(command, *arguments[command]))
    assert "choose a folder that you may write to" in line
    assert (tmp_path / "file").read_text() == "in the way"
    assert not leftovers(tmp_path)


def test_eval_refuses_models_that_are_none(here: Here, model: Path, synthetic_dir: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.keras"
    short.write_bytes(model.read_bytes()[:-100])
    for path, message in (
        (short, "cut short or not a Keras 3 model"),
        (tmp_path / "missing.keras", "does not exist"),
        (tmp_path / "missing.tflite", "missing.tflite"),
        (tmp_path / "model.onnx", "expected .keras or .tflite"),
    ):
        (line,) = refused(here("eval", path, "--data", synthetic_dir))
        assert message in line
    (line,) = refused(here("eval", model, "--data", synthetic_dir, "--split", "mine"))
    assert "there is no split 'mine'" in line


def test_a_missing_data_folder_is_one_line_from_a_shell_too(tmp_path: Path) -> None:
    for command in (("check", "nowhere"), ("fit", "--data", "nowhere")):
        done = type_in(tmp_path, *command)
        (line,) = refused(done)
        assert line.startswith("data folder nowhere does not exist: expected FireSeg's folders")
        assert done.err.count("\n") == 1
        assert done.out == ""
    assert list(tmp_path.iterdir()) == []
