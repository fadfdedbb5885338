"""`fireseg-train eval`: splits, extra sets, false alarms and videos in one run, for each kind of model."""

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

SHIPPED = Path(__file__).parents[3] / "models" / "fireseg-small-int8.tflite"
REPORT = {
    "precision-recall.json", "precision-recall.png", "reliability.json", "reliability.png",
    "boundary.json", "videos.json", "worst.png",
}  # fmt: skip


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Ten frames; the last four show a bright red block."""
    path = tmp_path / "barn.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(10):
        frame = np.full((48, 64, 3), 40, np.uint8)
        frame[10:30, 10:40] = (0, 0, 255) if number >= 6 else 40
        writer.write(frame)
    writer.release()
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keras", "tflite"])
def test_eval_scores_splits_extra_sets_negatives_and_videos_at_once(
    here: Here, synthetic_dir: Path, negatives: Path, video: Path, model: Path, tmp_path: Path, kind: str
) -> None:
    extra = tmp_path / "barns"
    for number in range(12):
        write_image(extra / "images" / f"sun{number}.png", np.full((40, 40, 3), (255, 0, 0), np.uint8))
        write_image(extra / "masks" / f"sun{number}.png", np.full((40, 40), 255, np.uint8))
    path = model if kind == "keras" else SHIPPED
    arguments = ["eval", path, "--data", synthetic_dir, "--split", "all", "--negatives", negatives, "--extra", extra]
    arguments += ["--video", video, "--frame-stride", "2"]
    done = here(*arguments, *(("--report-dir", "out") if kind == "keras" else ()), "--json")
    assert done.code == 0, done.err
    report: dict[str, Any] = json.loads(done.out)
    assert report["splits"].keys() == {"official", "official-clean", "barns"}
    assert (report["split"], report["sha256"]) == ("official", report["splits"]["official"]["sha256"])
    assert report["fire_iou"] == report["splits"]["official"]["fire_iou"]
    assert report["splits"]["barns"]["images"] == 2, "only the images held out"
    assert report["negatives"]["sunsets"]["images"] == 2
    assert report["videos"][str(video)]["frames"] == 5
    if kind == "keras":
        for split, metrics in report["splits"].items():
            assert {file.name for file in (tmp_path / "out" / split).iterdir()} == REPORT
            videos = json.loads((tmp_path / "out" / split / "videos.json").read_text())
            assert videos == metrics["error_analysis"]["videos"]
        barns = report["splits"]["barns"]
        assert barns["fire_iou"] == barns["boundary_iou"] == barns["fire_iou_without_boundary"] == 1
        assert report["negatives"]["sunsets"]["over_0.1_percent"] == 0
        assert report["videos"][str(video)]["over_0.2_percent"] == 0.4
    table = here(*arguments).out
    for words in ("official", "official-clean", "barns", "sunsets", "over 0.1 %", "barn.avi", "over 0.2 %"):
        assert words in table, table


@pytest.mark.slow
def test_eval_counts_false_alarms_in_tiles_as_a_share_of_the_tiles(
    here: Here, synthetic_dir: Path, negatives: Path, model: Path
) -> None:
    picture = np.full((40, 40, 3), 100, np.uint8)
    picture[:10, :10] = (255, 0, 0)  # the other tiles begin at pixel 18
    for path in negatives.iterdir():
        write_image(path, picture)
    arguments = ["eval", model, "--data", synthetic_dir, "--negatives", negatives, "--json"]
    whole, tiled = (json.loads(here(*arguments, "--tiles", tiles).out) for tiles in ("1", "2"))
    counts = [{key: value for key, value in report["negatives"]["sunsets"].items() if key != "sha256"}
              for report in (whole, tiled)]  # fmt: skip
    assert counts == [
        {"images": 2, "over_0.1_percent": 1, "over_0.5_percent": 1},
        {"tiles": 8, "over_0.1_percent": 0.25, "over_0.5_percent": 0.25},
    ]
    assert tiled["tiles"] == 2
    assert "fire_iou_per_image" in whole
    assert "fire_iou_per_tile" in tiled
    assert "fire_iou_per_image" not in tiled


@pytest.mark.slow
def test_eval_warns_if_the_model_was_trained_on_the_test_images(here: Here, model: Path, synthetic_dir: Path) -> None:
    source = find_data(synthetic_dir)
    split = make_split(source.dataset, "by-video", fold=1)
    sets = [{"title": source.title, "images": len(split.train), "sha256": content_hash(split.train)}]
    card = {"sha256": sha256(model), "data": {"split": split.name, "sets": sets}}
    unknown = here("eval", model, "--data", synthetic_dir, "--json")
    assert json.loads(unknown.out)["train_test_overlap"] is None
    model.with_suffix(".json").write_text(json.dumps(card))
    own = here("eval", model, "--data", synthetic_dir, "--split", "by-video", "--fold", "1", "--json")
    assert json.loads(own.out)["train_test_overlap"] == 0
    assert "was trained or validated on" not in own.err
    other = here("eval", model, "--data", synthetic_dir, "--split", "by-video", "--fold", "2", "--json")
    images = json.loads(other.out)["images"]
    assert json.loads(other.out)["train_test_overlap"] == images
    assert f"was trained or validated on {images} of the {images} test images of split by-video fold 2" in other.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--video", "none.avi"), "video none.avi does not exist"),
        (("--frame-stride", "0"), "--frame-stride 0: expected 1 for every frame"),
        (("--tiles", "2", "--report-dir", "out"), "--picture, --report-dir and --video use whole images"),
        (("--tiles", "2", "--video", "none.avi"), "--picture, --report-dir and --video use whole images"),
        (("--negatives", "few"), "few is too small to hold out 20 %"),
        (("--split", "all", "--negatives", "official-clean"), "an extra set has the name of the split official-clean"),
        (("--split", "all", "--fold", "1"), "--fold 1 needs --split by-video"),
        (("--picture", "a.pdf"), "--picture a.pdf is not an image file"),
        (("--picture", "a.bmp"), "--picture a.bmp is not an image file: expected .png, .jpg"),
        (("--picture", "red.keras/a.png"), "red.keras could not be written"),
        (("--report-dir", "red.keras"), "red.keras could not be written"),
        (("--split", "mine"), "there is no split 'mine'"),
        (("--data", "mine", "--split", "all"), "use --split by-video"),
    ],
)
def test_eval_refuses_invalid_options_in_one_line(
    here: Here, model: Path, synthetic_dir: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    black = np.zeros((9, 9, 3), np.uint8)
    for number in range(12):
        write_image(tmp_path / "official-clean" / f"sun{number}.png", black)
    for path in ("few/sun0.png", "mine/images/a.png"):
        write_image(tmp_path / path, black)
    write_image(tmp_path / "mine" / "masks" / "a.png", black[..., 0])
    (line,) = refused(here("eval", model, "--data", synthetic_dir, *arguments))
    assert message in line
