"""Alarms where nothing burns, and in videos: a share of pixels counts from a bound on, frames are taken in turn."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import UserError
from edge.images import Frame, Map
from train.evaluation.false_alarms import (
    FRAME_SHARE,
    PICTURE_SHARES,
    alarms,
    count_frames,
    frames,
    over,
    picture_alarms,
    video_alarms,
)

shares = st.lists(st.floats(0, 1), min_size=1, max_size=30)


class Red:
    """Takes for fire what is red, at the size of the frame."""

    height, width, threshold_u8 = 48, 64, 128

    def __call__(self, frame: Frame) -> Map:
        return np.where(frame[..., 0] > 150, 255, 0).astype(np.uint8)


def write_video(path: Path, burning: list[bool]) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for fire in burning:
        frame = np.full((48, 64, 3), 30, np.uint8)
        frame[8:40, 8:40] = (20, 20, 250) if fire else 30  # OpenCV's red
        writer.write(frame)
    writer.release()
    return path


@given(shares, st.floats(0, 1), st.floats(0, 1))
def test_fewer_pictures_lie_over_a_higher_bound(found: list[float], one: float, other: float) -> None:
    low, high = sorted((one, other))
    result = list(alarms(found, [low, high]).values())
    assert 0 <= result[-1] <= result[0] <= 1


def test_a_picture_counts_when_more_than_the_bound_of_it_is_called_fire() -> None:
    assert alarms([0.0, 0.001, 0.0011, 0.5], [0.001]) == {"over_0.1_percent": 0.5}


def test_shares_are_named_in_percent() -> None:
    assert [over(bound) for bound in (*PICTURE_SHARES, FRAME_SHARE)] == [
        "over_0.1_percent",
        "over_0.5_percent",
        "over_0.2_percent",
    ]


def test_pictures_without_flames_are_counted_by_how_much_of_them_is_called_fire() -> None:
    masks = np.zeros((4, 100, 100), np.bool_)
    masks[1].flat[:5] = True  # 0.05 %, a speck
    masks[2].flat[:30] = True
    masks[3].flat[:900] = True
    assert picture_alarms(masks) == {"images": 4, "over_0.1_percent": 0.5, "over_0.5_percent": 0.25}


@pytest.mark.parametrize(("every", "judged", "burning"), [(1, 9, 3 / 9), (2, 5, 2 / 5), (4, 3, 1 / 3), (100, 1, 0)])
def test_every_so_many_frames_of_a_video_are_judged_from_the_first_on(
    tmp_path: Path, every: int, judged: int, burning: float
) -> None:
    video = write_video(tmp_path / "barn.avi", [False] * 6 + [True] * 3)
    steps: list[None] = []
    found = video_alarms(Red(), video, every, on_progress=lambda: steps.append(None))
    assert found == {"frames": judged, "over_0.2_percent": pytest.approx(burning)}
    assert len(steps) == judged == count_frames(video, every)


def test_frames_come_in_rgb(tmp_path: Path) -> None:
    (frame,) = frames(write_video(tmp_path / "barn.avi", [True]), 1)
    assert frame.shape == (48, 64, 3) and frame.dtype == np.uint8
    assert frame[20, 20, 0] > 200 and frame[20, 20, 2] < 80


def test_what_is_no_video_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "notes.avi").write_text("no video")
    for look in (lambda path: count_frames(path, 1), lambda path: list(frames(path, 1))):
        with pytest.raises(UserError, match=r"video .*none\.avi does not exist"):
            look(tmp_path / "none.avi")
        with pytest.raises(UserError, match=r"notes\.avi is not a video that can be read"):
            look(tmp_path / "notes.avi")


def test_a_video_that_is_cut_short_is_told(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", [True] * 20)
    short = tmp_path / "short.avi"
    data = whole.read_bytes()
    assert len(list(frames(whole, 1))) == 20
    short.write_bytes(data[: len(data) * 2 // 3])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = len(list(frames(short, 1)))
        except UserError as error:
            assert "short.avi" in str(error)
        else:
            assert found < 20 and "it is cut short or damaged" in str(caught[0].message)
