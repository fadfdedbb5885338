"""False alarms in images and videos: an area fraction counts above its threshold, frames by their stride."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import UserError
from edge.images import Frame, Map
from train.evaluation.evaluate import Masks
from train.evaluation.false_alarms import alarm_rates, count_frames, image_alarms, read_frames, video_alarms


class RedPredictor:
    """Predicts fire where the frame is red."""

    height, width, threshold_u8 = 48, 64, 128

    def __call__(self, frame: Frame) -> Map:
        return np.where(self.mask(frame), 255, 0).astype(np.uint8)

    def mask(self, frame: Frame) -> Masks:
        return np.asarray(frame[..., 0] > 150)


def write_video(path: Path, fire: list[bool]) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for has_fire in fire:
        frame = np.full((48, 64, 3), 30, np.uint8)
        frame[8:40, 8:40] = (20, 20, 250) if has_fire else 30  # red in OpenCV's order
        writer.write(frame)
    writer.release()
    return path


def test_an_image_counts_above_the_threshold_only() -> None:
    assert alarm_rates([0.0, 0.001, 0.0011, 0.5], [0.001]) == {"over_0.1_percent": 0.5}


def test_images_are_counted_by_their_area_fraction_of_fire() -> None:
    masks = np.zeros((4, 100, 100), np.bool_)
    masks[1].flat[:5] = True  # 0.05 %, a speck
    masks[2].flat[:30] = True
    masks[3].flat[:900] = True
    assert image_alarms(masks) == {"over_0.1_percent": 0.5, "over_0.5_percent": 0.25}


@pytest.mark.parametrize(("stride", "frames", "rate"), [(1, 9, 3 / 9), (2, 5, 2 / 5), (4, 3, 1 / 3), (100, 1, 0)])
def test_frames_are_evaluated_by_their_stride_from_the_first(
    tmp_path: Path, stride: int, frames: int, rate: float
) -> None:
    video = write_video(tmp_path / "barn.avi", [False] * 6 + [True] * 3)
    steps: list[None] = []
    alarms = video_alarms(RedPredictor(), video, stride, on_progress=lambda: steps.append(None))
    assert alarms == {"frames": frames, "over_0.2_percent": pytest.approx(rate)}
    assert len(steps) == frames == count_frames(video, stride)


def test_frames_are_rgb(tmp_path: Path) -> None:
    (frame,) = read_frames(write_video(tmp_path / "barn.avi", [True]), 1)
    assert frame.shape == (48, 64, 3) and frame.dtype == np.uint8
    assert frame[20, 20, 0] > 200 and frame[20, 20, 2] < 80


def test_a_file_that_is_not_a_video_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "notes.avi").write_text("text")
    for read in (lambda path: count_frames(path, 1), lambda path: list(read_frames(path, 1))):
        with pytest.raises(UserError, match=r"video .*none\.avi does not exist"):
            read(tmp_path / "none.avi")
        with pytest.raises(UserError, match=r"notes\.avi is not a readable video"):
            read(tmp_path / "notes.avi")


def test_a_truncated_video_is_reported(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", [True] * 20)
    short = tmp_path / "short.avi"
    data = whole.read_bytes()
    assert len(list(read_frames(whole, 1))) == 20
    short.write_bytes(data[: len(data) * 2 // 3])
    with pytest.warns(UserWarning, match="it is cut short or damaged"):
        assert 0 < len(list(read_frames(short, 1))) < 20


def test_a_video_may_have_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    video = write_video(tmp_path / "barn.avi", [True] * 3).rename(tmp_path / os.fsdecode(b"sch\xfcr.avi"))
    assert len(list(read_frames(video, 1))) == count_frames(video, 1) == 3
