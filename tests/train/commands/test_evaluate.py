"""`fireseg-train eval`: every split, further sets, false alarms and videos, in one go, for any kind of model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.files import sha256
from edge.images import write_image
from tests.support.run_cli import Here, refused
from train.data.fireseg import content_hash
from train.data.sources import find_data
from train.data.splits import make_split

SHIPPED = Path(__file__).parents[3] / "models" / "fireseg-base-int8.tflite"
DETAILS = {
    "precision-recall.json", "precision-recall.png", "reliability.json", "reliability.png",
    "outlines.json", "outlines.md", "videos.json", "videos.md", "worst.png",
}  # fmt: skip


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Ten frames, of which the last four show something bright red."""
    path = tmp_path / "barn.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(10):
        frame = np.full((48, 64, 3), 40, np.uint8)
        frame[10:30, 10:40] = (0, 0, 255) if number >= 6 else 40
        writer.write(frame)
    writer.release()
    return path


@pytest.mark.parametrize("kind", ["keras", "tflite"])
def test_eval_judges_by_everything_it_is_given_at_once(
    here: Here, synthetic_dir: Path, negatives: Path, video: Path, model: Path, tmp_path: Path, kind: str
) -> None:
    extra = tmp_path / "barns"
    for number in range(12):
        write_image(extra / "images" / f"sun{number}.png", np.full((40, 40, 3), (255, 0, 0), np.uint8))
        write_image(extra / "masks" / f"sun{number}.png", np.full((40, 40), 255, np.uint8))
    path = model if kind == "keras" else SHIPPED
    arguments = ["eval", path, "--data", synthetic_dir, "--split", "all", "--negatives", negatives, "--extra", extra]
    arguments += ["--video", video, "--every", "2"]
    done = here(*arguments, "--details", "out", "--json")
    assert done.code == 0, done.err
    facts: dict[str, Any] = json.loads(done.out)
    assert facts["splits"].keys() == {"official", "official-clean", "barns"}
    assert (facts["split"], facts["sha256"]) == ("official", facts["splits"]["official"]["sha256"])
    assert facts["fire_iou"] == facts["splits"]["official"]["fire_iou"]
    assert facts["splits"]["barns"]["images"] == 2, "the held-out fifth alone"
    assert facts["negatives"]["sunsets"]["images"] == 2
    assert facts["videos"][str(video)]["frames"] == 5
    for split, found in facts["splits"].items():
        assert {file.name for file in (tmp_path / "out" / split).iterdir()} == DETAILS
        assert json.loads((tmp_path / "out" / split / "videos.json").read_text()) == found["details"]["videos"]
    if kind == "keras":
        assert facts["splits"]["barns"]["fire_iou"] == 1
        assert facts["negatives"]["sunsets"]["over_0.1_percent"] == 0
        assert facts["videos"][str(video)]["over_0.2_percent"] == 0.4
    table = here(*arguments).out
    for words in ("official", "official-clean", "barns", "sunsets", "over 0.1 %", "barn.avi", "over 0.2 %"):
        assert words in table, table


def test_images_that_the_model_learnt_from_do_not_pass_for_a_test_of_it(
    here: Here, model: Path, synthetic_dir: Path
) -> None:
    source = find_data(synthetic_dir)
    learnt = make_split(source.dataset, "by-video", fold=1)
    sets = [{"title": source.title, "images": len(learnt.train), "sha256": content_hash(learnt.train)}]
    card = {"sha256": sha256(model), "data": {"split": learnt.name, "sets": sets}}
    unknown = here("eval", model, "--data", synthetic_dir, "--json")
    assert json.loads(unknown.out)["seen_in_training"] is None
    model.with_suffix(".json").write_text(json.dumps(card))
    own = here("eval", model, "--data", synthetic_dir, "--split", "by-video", "--fold", "1", "--json")
    assert json.loads(own.out)["seen_in_training"] == 0
    assert "learnt from" not in own.err
    other = here("eval", model, "--data", synthetic_dir, "--split", "by-video", "--fold", "2", "--json")
    facts = json.loads(other.out)
    assert facts["seen_in_training"] == facts["images"]
    assert f"learnt from {facts['images']} of the {facts['images']} images of split by-video fold 2" in other.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--video", "none.avi"), "video none.avi does not exist"),
        (("--video", "red.keras"), "red.keras is not a video that can be read"),
        (("--every", "0"), "--every 0: expected 1 for every frame"),
        (("--negatives", "few"), "few is too small to hold out 20 %"),
        (("--split", "all", "--negatives", "official-clean"), "an extra set has the name of the split official-clean"),
        (("--split", "all", "--fold", "1"), "--fold 1 needs --split by-video"),
        (("--picture", "a.pdf"), "--picture a.pdf has no picture format's suffix"),
        (("--picture", "red.keras/a.png"), "red.keras could not be written"),
        (("--details", "red.keras"), "red.keras could not be written"),
    ],
)
def test_eval_refuses_what_it_cannot_judge_by(
    here: Here, model: Path, synthetic_dir: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    for number in range(12):
        write_image(tmp_path / "official-clean" / f"sun{number}.png", np.zeros((9, 9, 3), np.uint8))
    write_image(tmp_path / "few" / "sun0.png", np.zeros((9, 9, 3), np.uint8))
    (line,) = refused(here("eval", model, "--data", synthetic_dir, *arguments))
    assert message in line


def test_all_splits_of_a_set_without_published_ones_are_refused(here: Here, model: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "mine" / "images" / "a.png", np.zeros((9, 9, 3), np.uint8))
    write_image(tmp_path / "mine" / "masks" / "a.png", np.zeros((9, 9), np.uint8))
    (line,) = refused(here("eval", model, "--data", tmp_path / "mine", "--split", "all"))
    assert "use --split by-video" in line


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
