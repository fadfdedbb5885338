"""`fireseg-train fit`: a model with its card and plots, trained on one or more sets; one line for each error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.files import sha256
from edge.images import write_image
from tests.support.run_cli import Here, leftovers, refused
from tests.support.tiny_run import small_network
from train.data.fireseg import content_hash, load_dataset
from train.data.splits import make_split
from train.model.io import load_keras
from train.model.unet import UNetConfig

TINY_FLAGS = (
    "--size", "32", "--width", "0.35", "--backbone-weights", "none",
    "--frozen-epochs", "0", "--finetune-epochs", "1",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from train import fit

    monkeypatch.setattr(fit, "build_unet", small_network)


@pytest.mark.slow
def test_fit_leaves_a_model_a_card_and_plots_and_eval_gives_the_metrics_of_the_card(
    here: Here, synthetic_dir: Path, tmp_path: Path
) -> None:
    done = here("fit", "--data", synthetic_dir, "--out", "runs/tiny", *TINY_FLAGS)
    assert done.code == 0, done.err
    assert "SYNTHETIC data, not FireSeg, split official" in done.out
    assert "fire_iou_per_image" in done.out
    out = tmp_path / "runs" / "tiny"
    for file in ("history.csv", "losses-fine-tuning.png", "predictions.png"):
        assert (out / file).is_file()
    assert load_keras(out / "best.keras").input_shape == (None, 32, 32, 3)
    card = json.loads((out / "best.json").read_text())
    assert card["sha256"] == sha256(out / "best.keras")
    assert card["recipe"]["model"]["width"] == 0.35
    assert not leftovers(out)
    report: dict[str, Any] = json.loads(here("eval", "runs/tiny/best.keras", "--data", synthetic_dir, "--json").out)
    assert (report["split"], report["data"]) == ("official", "SYNTHETIC data, not FireSeg")
    for name, value in card["metrics"]["official"].items():
        assert report[name] == (pytest.approx(value, abs=1e-4) if isinstance(value, float) else value), name


@pytest.mark.slow
def test_fit_trains_on_extra_sets_by_a_recipe_file_and_its_card_names_them(
    here: Here, synthetic_dir: Path, negatives: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(
        'size = 32\nwidth = 0.35\nbackbone-weights = "none"\n'
        'frozen-epochs = 1\nfinetune-epochs = 9\nbn-frozen-epochs = 1\nbn-frozen-lr = 2e-4\naugment = "strong"\n'
    )
    arguments = ["fit", "--data", synthetic_dir, "--recipe", "mine.toml", "--finetune-epochs", "0", "--out", "run"]
    done = here(*arguments, "--negatives", negatives)
    assert done.code == 0, done.err
    assert "negatives sunsets: 10 training images, 2 held out" in done.out
    card = json.loads((tmp_path / "run" / "best.json").read_text())
    assert [(entry["title"], entry["images"]) for entry in card["data"]["sets"]][1:] == [("sunsets", 10)]
    assert card["data"]["train_images"] == card["data"]["sets"][0]["images"] + 10
    recipe = {"augment": "strong", "finetune_epochs": 0, "bn_frozen_epochs": 1, "bn_frozen_lr": 2e-4}
    assert recipe.items() <= card["recipe"].items()
    assert card["training"]["epochs"] == 2
    assert all((tmp_path / "run" / f"losses-{phase}.png").is_file() for phase in ("training", "bn-frozen"))
    assert card["metrics"].keys() == {"official", "official-clean"}
    assert here(*arguments, "--negatives", negatives, "--resume").code == 0
    (line,) = refused(here(*arguments, "--resume"))
    assert "was trained on other data: resume with the same --data, --split, --extra and --negatives" in line


@pytest.mark.slow
def test_fit_continues_from_a_trained_model_and_its_card_names_the_sets_of_both(
    here: Here, synthetic_dir: Path, negatives: Path, tmp_path: Path
) -> None:
    begin = ("fit", "--data", synthetic_dir, *TINY_FLAGS, "--validation", "0")
    first = here(*begin, "--negatives", negatives, "--out", "first")
    assert first.code == 0, first.err
    continued = (*begin, "--start", "first/best.keras", "--out", "second")
    second = here(*continued)
    assert second.code == 0, second.err
    before, after = (json.loads((tmp_path / run / "best.json").read_text()) for run in ("first", "second"))
    assert after["start"] == {"name": "best.keras", "sha256": before["sha256"], "metrics": before["metrics"]}
    assert after["data"]["sets"] == before["data"]["sets"]
    (line,) = refused(here(*begin, "--start", "second/best.keras", "--out", "second", "--resume"))
    assert "--start second/best.keras lies in --out, which this run overwrites" in line
    (line,) = refused(here(*begin, "--out", "second", "--resume"))
    assert "second was started from another model, or from none" in line


@pytest.mark.slow
def test_adapt_trains_on_all_feedback_however_few_fires_it_has(here: Here, synthetic_dir: Path, tmp_path: Path) -> None:
    begin = ("fit", "--data", synthetic_dir)
    assert here(*begin, *TINY_FLAGS, "--validation", "0", "--out", "first").code == 0
    feedback = tmp_path / "feedback/negatives"
    for number in range(3):
        write_image(feedback / f"images/fire-frame-0{number}.png", np.full((40, 40, 3), 90 + number, np.uint8))
    (feedback / "groups.csv").write_text("stem,group\n" + "".join(f"fire-frame-0{n},fire\n" for n in range(3)))
    flags = ("--start", "first/best.keras", "--size", "32", "--width", "0.35", "--finetune-epochs", "1")
    done = here(*begin, "--recipe", "adapt", *flags, "--negatives", feedback, "--out", "second")
    assert done.code == 0, done.err
    assert "negatives negatives: 3 training images, 0 held out\neach of their images " in done.out
    card = json.loads((tmp_path / "second/best.json").read_text())
    assert card["recipe"]["hold_out"] is False
    assert {"title": "negatives", "kind": "negatives", "images": 3, "held_out_images": 0}.items() <= (
        card["data"]["sets"][1].items()
    )


def test_fit_does_not_start_from_a_model_that_saw_the_test_images_or_does_not_say(
    here: Here, synthetic_dir: Path, tmp_path: Path
) -> None:
    arguments = ("fit", "--data", synthetic_dir, *TINY_FLAGS, "--start", "old.keras", "--out", "new")
    (line,) = refused(here(*arguments))
    assert "model old.keras does not exist" in line
    model = tmp_path / "old.keras"
    small_network(UNetConfig(32, 32, 0.35)).save(model)
    (line,) = refused(here(*arguments))
    assert "old.keras has no card that lists its training sets: copy old.json beside it" in line
    training = make_split(load_dataset(synthetic_dir), "official").train
    data = {"split": "official", "sets": [{"images": len(training), "sha256": content_hash(training)}]}
    model.with_suffix(".json").write_text(json.dumps({"sha256": sha256(model), "data": data}))
    (line,) = refused(here(*arguments, "--split", "by-video"))
    assert "of the test or validation images" in line and "pass the --split that it was trained on" in line
    assert not (tmp_path / "new").exists()


def test_fit_refuses_to_train_on_a_test_image(here: Here, synthetic_dir: Path, negatives: Path) -> None:
    for number in range(12):  # several: some are held out
        shutil.copy(sorted((synthetic_dir / "images_prepped_test").iterdir())[0], negatives / f"copy{number}.jpg")
    (line,) = refused(
        here("fit", "--data", synthetic_dir, "--size", "32", "--backbone-weights", "none", "--negatives", negatives)
    )
    assert "sunsets/copy" in line and "remove them" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "broken"), "img("),
        (("--size", "100"), "input height 100 px does not fit the encoder: expected a multiple of 32"),
        (("--augment", "weak"), "augment is 'weak': expected one of"),
        (("--width", "0.4"), "MobileNetV2 has no width 0.4"),
        (("--split", "lucky"), "there is no split 'lucky': expected one of official, official-clean, by-video"),
        (("--split", "by-video", "--fold", "9"), "there is no fold 9: expected 0 to 4"),
        (("--batch-size", "0"), "batch_size is 0: expected a whole number of at least 1"),
        (("--frozen-epochs", "0", "--finetune-epochs", "0"), "expected 1 or more in all"),
        (("--data", "nowhere"), "data folder nowhere does not exist"),
        (("--extra", "nowhere"), "data folder nowhere does not exist"),
        (("--negatives", "nowhere"), "negatives folder nowhere does not exist"),
        (("--recipe", "adapt"), "recipe adapt fine-tunes a trained model: pass it as --start"),
        (("--recipe", "finetune"), "recipe finetune fine-tunes a trained model: pass it as --start"),
        (
            ("--start-weight", "0.5", "--frozen-epochs", "0", "--validation", "0"),
            "--start-weight averages with a trained model: pass it as --start",
        ),
        (
            ("--recipe", "large"),
            "recipe large does not exist: expected a .toml file, or one of adapt, base, fine",
        ),
    ],
)
def test_fit_refuses_what_cannot_be_trained_in_one_line(
    here: Here, synthetic_dir: Path, broken_dir: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    line, *_ = refused(here("fit", "--data", synthetic_dir, "--out", "run", "--backbone-weights", "none", *arguments))
    assert message in line
    assert not (tmp_path / "run").exists()
