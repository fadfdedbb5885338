"""Import of corrected labels: COCO of annotation tools, and masks, become pairs that training takes."""

from __future__ import annotations

import errno
import json
import unicodedata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.control.feedback_export import polygons
from edge.errors import UserError
from edge.images import write_image
from tests.support.run_cli import Here, refused
from train.data.coco import CocoImage, draw
from train.data.fireseg import load_dataset
from train.data.labels import import_labels

HEIGHT, WIDTH = 40, 60
FIRE = "20261122T120000Z-stove-abcd"
SQUARE = [10, 5, 30, 5, 30, 25, 10, 25]  # along the edges of pixels


def write_images(folder: Path, *stems: str) -> Path:
    for number, stem in enumerate(stems):
        write_image(folder / f"{stem}.png", np.full((HEIGHT, WIDTH, 3), 50 * number, np.uint8))
    return folder


def write_coco(path: Path, files: dict[str, list[Any]], **changes: Any) -> Path:
    """Write a COCO file of one category; `files` are the segmentations of each image."""
    images = [
        {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT} for number, name in enumerate(files, 7)
    ]
    annotations = [
        {"id": 1, "image_id": number, "category_id": 3, "segmentation": segmentation, "iscrowd": 0}
        for number, segmentations in enumerate(files.values(), 7)
        for segmentation in segmentations
    ]
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "fire"}]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(coco | changes))
    return path


def encode_rle(mask: np.ndarray[Any, Any]) -> list[int]:
    """Return the run lengths of a mask down its columns, the first of background."""
    flat = mask.T.ravel().astype(np.int64)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    return [int(length) for length in np.diff(np.concatenate([[0], edges, [flat.size]]))]


def compress(lengths: list[int]) -> str:
    """Return COCO's text of run lengths, as pycocotools writes it."""
    text = ""
    for index, length in enumerate(lengths):
        value, more = length - (lengths[index - 2] if index > 2 else 0), True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr((bits | 32 if more else bits) + 48)
    return text


def test_polygons_become_masks_and_an_image_without_any_has_no_fire(tmp_path: Path) -> None:
    write_images(tmp_path / "images", f"{FIRE}-frame-00", f"{FIRE}-frame-peak", "other")
    files = {f"images/{FIRE}-frame-00.png": [[SQUARE], [[50, 30, 58, 30, 58, 38]]]}
    coco = write_coco(tmp_path / "result.json", files | {f"images/{FIRE}-frame-peak.png": [], "other.png": []})
    assert import_labels(coco, None, tmp_path / "out") == 3
    pairs = {pair.name: pair for pair in load_dataset(tmp_path / "out").pairs}
    assert {name: pair.video for name, pair in pairs.items()} == {
        f"{FIRE}-frame-00": FIRE, f"{FIRE}-frame-peak": FIRE, "other": "other",
    }  # fmt: skip
    mask = pairs[f"{FIRE}-frame-00"].read()[1]
    assert mask[5:25, 10:30].all() and mask[31, 57]
    assert int(mask[:, :40].sum()) == 20 * 20
    assert not pairs["other"].read()[1].any()


def test_exports_of_cvat_and_label_studio_find_their_images(tmp_path: Path) -> None:
    write_images(tmp_path / "cvat/images/default", "a")
    cvat = write_coco(tmp_path / "cvat/annotations/instances_default.json", {"a.png": [[SQUARE]]})
    assert import_labels(cvat, None, tmp_path / "from-cvat") == 1
    write_images(tmp_path / "studio/images", f"1a2b3c4d-{FIRE}-frame-00")
    studio = write_coco(tmp_path / "studio/result.json", {f"images\\1a2b3c4d-{FIRE}-frame-00.png": [[SQUARE]]})
    assert import_labels(studio, None, tmp_path / "from-studio") == 1
    assert load_dataset(tmp_path / "from-studio").pairs[0].video == FIRE


def test_masks_are_imported_with_the_groups_of_their_images(tmp_path: Path) -> None:
    write_images(tmp_path / "set/images", "a", "b")
    (tmp_path / "set/groups.csv").write_text("stem,group\na,kitchen\nb,kitchen\n")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[3:9, 4:8] = 255
    write_image(tmp_path / "corrected/a.png", mask)
    assert import_labels(tmp_path / "corrected", tmp_path / "set/images", tmp_path / "out") == 1
    (pair,) = load_dataset(tmp_path / "out").pairs
    assert pair.video == "kitchen"
    assert np.array_equal(pair.read()[1], mask > 0)


@given(cells=st.lists(st.booleans(), min_size=1, max_size=120), height=st.integers(1, 12), is_compressed=st.booleans())
def test_rle_gives_the_mask_that_was_encoded(cells: list[bool], height: int, is_compressed: bool) -> None:
    width = -(-len(cells) // height)
    mask = np.array((cells + [False] * (height * width))[: height * width]).reshape(height, width)
    lengths = encode_rle(mask)
    rle = {"size": [height, width], "counts": compress(lengths) if is_compressed else lengths}
    assert np.array_equal(draw(CocoImage("a.png", None, [rle]), height, width), mask)


@given(cells=st.binary(min_size=35, max_size=35))
def test_the_polygons_of_a_mask_draw_exactly_the_mask_with_its_holes_filled(cells: bytes) -> None:
    mask = (np.frombuffer(cells, np.uint8) > 100).reshape(5, 7).astype(np.uint8)
    background = np.pad(mask, 1)
    cv2.floodFill(background, None, (0, 0), (2,))
    outlines = [polygon.ravel().tolist() for polygon in polygons(mask)]
    drawn = draw(CocoImage("a.png", None, [[outline] for outline in outlines]), 5, 7)
    assert np.array_equal(drawn, background[1:-1, 1:-1] != 2)
    assert all(len(outline) >= 8 for outline in outlines)


@given(
    corners=st.lists(st.tuples(st.floats(-9, 25), st.floats(-9, 25)), min_size=3, max_size=3),
    height=st.integers(1, 16),
    width=st.integers(1, 16),
)
def test_a_triangle_covers_the_pixels_whose_centres_it_contains(
    corners: list[tuple[float, float]], height: int, width: int
) -> None:
    drawn = draw(CocoImage("a.png", None, [[[value for corner in corners for value in corner]]]), height, width)
    y, x = np.mgrid[:height, :width] + 0.5
    sides: np.ndarray[Any, Any] = np.stack(
        [
            (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
            for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True)
        ]
    )
    is_inside = np.all(sides > 1e-6, axis=0) | np.all(sides < -1e-6, axis=0)
    is_unclear = np.any(np.abs(sides) <= 1e-6, axis=0)
    assert ((drawn == is_inside) | is_unclear).all()


@pytest.mark.parametrize(
    ("files", "changes", "message"),
    [
        ({"a.png": [[[1, 2, 3]]]}, {}, "a label of a.png cannot be drawn"),
        ({"a.png": [[[1, 2, 3, 4]]]}, {}, "a label of a.png cannot be drawn (a polygon without three corners)"),
        ({"a.png": [[[1, 2, 3, 4, 5, float("nan")]]]}, {}, "a label of a.png cannot be drawn"),
        ({"a.png": [["fire"]]}, {}, "a label of a.png cannot be drawn"),
        ({"a.png": [{"size": [40, 60], "counts": [5]}]}, {}, "the RLE has another size than the image"),
        ({"a.png": [{"size": [4, 6], "counts": [24]}]}, {}, "the RLE has another size than the image"),
        ({"a.png": [{"size": [40, 60], "counts": "\x7f\x7f"}]}, {}, "a label of a.png cannot be drawn"),
        ({"../../a.png": [], "b.png": []}, {}, "1 images of labels.json are not in images (first: b.png): pass their"),
        ({"a.png": [[]]}, {}, "labels fire by boxes: expected areas: label it with polygons or masks"),
        ({"a.png": [], "train/a.png": []}, {}, "labels.json lists a.png twice: remove one of its entries"),
        ({"a.png": []}, {"categories": []}, "has the categories none: expected one that is called fire"),
        ({"a.png": []}, {"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}, "has the categories a, b"),
        ({"a.png": []}, {"images": [{"id": 1}]}, "could not be read (KeyError: 'file_name'): expected COCO instance"),
        ({"a.png": []}, {"images": 5}, "expected COCO instance segmentation, as CVAT and Label Studio export it"),
        (
            {"a.png": []},
            {"images": [{"id": 1, "file_name": "a.png", "width": 3, "height": 4}]},
            "a.png has 60x40 px: expected 3x4, as in the labels",
        ),
        ({}, {}, "labels.json labels no images"),
    ],
)
def test_labels_that_cannot_be_used_are_refused_and_nothing_is_written(
    here: Here, tmp_path: Path, files: dict[str, list[Any]], changes: dict[str, Any], message: str
) -> None:
    write_images(tmp_path / "images", "a")
    write_coco(tmp_path / "labels.json", files, **changes)
    lines = refused(here("import-labels", "labels.json", "out"))
    assert message in lines[0]
    assert {path.name for path in tmp_path.iterdir()} == {"images", "labels.json"}


def test_two_masks_of_one_image_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a")
    for name in ("a.png", "a.bmp"):
        write_image(tmp_path / "masks" / name, np.zeros((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(UserError, match="masks holds two masks of a: remove one"):
        import_labels(tmp_path / "masks", tmp_path / "images", tmp_path / "out")


def test_images_keep_their_groups_although_macos_spells_their_names_otherwise(tmp_path: Path) -> None:
    decomposed = [unicodedata.normalize("NFD", f"küche_{number}") for number in (1, 2)]
    write_images(tmp_path / "set/images", *decomposed)
    (tmp_path / "set/groups.csv").write_text("stem,group\nküche_1,kitchen\nküche_2,kitchen\n")
    coco = write_coco(tmp_path / "labels.json", {f"{name}.png": [[SQUARE]] for name in decomposed})
    import_labels(coco, tmp_path / "set/images", tmp_path / "out")
    assert {pair.video for pair in load_dataset(tmp_path / "out").pairs} == {"kitchen"}


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "images", "a")
    coco = write_coco(tmp_path / "labels.json", {"a.png": [[SQUARE]]})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(UserError, match=r"out could not be written .*No space left.*free some space"):
        import_labels(coco, None, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"images", "labels.json"}


def test_a_wrong_source_or_target_is_refused(here: Here, tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a")
    (line,) = refused(here("import-labels", "nowhere.json", "out"))
    assert line == "nowhere.json does not exist: expected a COCO .json file, or a folder of masks"
    write_coco(tmp_path / "labels.json", {"a.png": []})
    (line,) = refused(here("import-labels", "labels.json", "images"))
    assert line == "images exists already: pass a new folder"
    (tmp_path / "text.json").write_text("{")
    (line,) = refused(here("import-labels", "text.json", "out"))
    assert "text.json could not be read" in line
    write_images(tmp_path / "masks", "b")
    with pytest.raises(UserError, match=r"b\.png has no image in .*images: pass the images' folder with --images"):
        import_labels(tmp_path / "masks", None, tmp_path / "out")
    done = here("import-labels", "labels.json", "out")
    assert (done.code, done.out) == (0, "out: 1 image with masks\n")
