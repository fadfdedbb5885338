"""Pictures of one recording: its timeline, and stills of what went wrong. Drawn with OpenCV, which the Pi has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from edge.evaluation.replay import Run, Sample
from edge.evaluation.score import WINDOWS_S, Outcome
from edge.images import Frame, Mask, overlay, shrink, write_image

WIDTH, PLOT_HEIGHT, ROW, MARGIN, TEXT = 1000, 180, 12, 70, 22  # pixels
MAX_TRACKS = 12
"""Rows of tracks, those longest in view."""
MAX_STILL_PX = 1280
MIN_SHARE = 0.005  # full height of the plot at least

INK, PALE, GREY = (40, 40, 40), (225, 225, 225), (150, 150, 150)
FIRE, ALARM, SHARE = (255, 236, 205), (215, 40, 30), (30, 90, 170)


def write_pictures(folder: Path, run: Run, outcome: Outcome) -> None:
    """Write NAME.png, the timeline, and a still of a missed fire and of false alarms. Raises `UserError`."""
    recording = outcome.recording
    stem = recording.path.stem
    write_image(folder / f"{stem}.png", timeline(run.samples, outcome))
    is_missed = outcome.has_fire and (outcome.delay_s is None or outcome.delay_s > WINDOWS_S[-1])
    if is_missed and run.best is not None:
        write_image(folder / f"{stem}-missed-{run.best.t_s:.1f}s.jpg", _still(run.best.rgb, run.best.mask))
    false_alarms_s = set(outcome.false_alarms_s)
    for alarm in run.alarms:
        if alarm.t_s in false_alarms_s:
            write_image(folder / f"{stem}-false-{alarm.t_s:.1f}s.jpg", _still(alarm.rgb, alarm.mask))


def timeline(samples: Sequence[Sample], outcome: Outcome) -> Frame:
    """Return a picture (H, 1000, 3) of fire area, tracks and alarm over time, with the labelled fire."""
    tracks = _longest_tracks(samples)
    height = TEXT + PLOT_HEIGHT + ROW * (len(tracks) + 2) + 2 * TEXT
    image = np.full((height, WIDTH, 3), 255, np.uint8)
    end_s = max(outcome.duration_s, 0.1)

    def column(t_s: float) -> int:
        return MARGIN + round((WIDTH - MARGIN - 20) * min(max(t_s, 0.0), end_s) / end_s)

    bottom = TEXT + PLOT_HEIGHT
    recording = outcome.recording
    if outcome.has_fire:
        corners = (column(recording.fire_from_s), TEXT), (column(recording.fire_to_s), bottom)
        cv2.rectangle(image, *corners, FIRE, cv2.FILLED)
    _draw_axes(image, end_s, bottom, height, column)
    largest = max([MIN_SHARE, *(sample.share for sample in samples)])
    points = [(column(sample.t_s), bottom - round(PLOT_HEIGHT * sample.share / largest)) for sample in samples]
    if points:
        cv2.polylines(image, [np.array(points, np.int32)], False, SHARE, 1, cv2.LINE_AA)
    _write(image, f"{100 * largest:.3g} %", 4, TEXT + 12)
    _write(image, "0 %", 4, bottom)
    top = bottom + ROW // 2
    _write(image, "alarm", 4, top + ROW - 2)
    for sample, next_s in _with_ends(samples, end_s):
        if sample.alarm:
            cv2.rectangle(image, (column(sample.t_s), top), (column(next_s), top + ROW - 3), ALARM, cv2.FILLED)
        for track in sample.tracks:
            if track.id in tracks:
                row = top + ROW * (1 + tracks.index(track.id))
                colour = SHARE if track.confirmed else GREY
                cv2.rectangle(image, (column(sample.t_s), row), (column(next_s), row + ROW - 5), colour, cv2.FILLED)
    for index, number in enumerate(tracks):
        _write(image, f"track {number}", 4, top + ROW * (2 + index) - 2)
    false_alarms_s = set(outcome.false_alarms_s)
    for t_s in outcome.alarms_s:
        is_false = t_s in false_alarms_s
        cv2.line(image, (column(t_s), TEXT), (column(t_s), bottom), ALARM if is_false else INK, 1)
        _write(
            image, f"{'false ' if is_false else ''}{t_s:.1f} s", column(t_s) + 3, TEXT + 12, ALARM if is_false else INK
        )
    title = recording.path.name.encode("ascii", "replace").decode()
    missed = ", missed" if outcome.has_fire and outcome.delay_s is None else ""
    _write(image, f"{title}: {recording.label.value}{missed}", MARGIN, 15)
    return image


def _draw_axes(image: Frame, end_s: float, bottom: int, height: int, column: Callable[[float], int]) -> None:
    step_s = next(step for step in (0.5, 1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600, math.inf) if end_s / step <= 15)
    for number in range(int(end_s / step_s) + 1):
        x = column(number * step_s if number else 0.0)
        cv2.line(image, (x, TEXT), (x, height - TEXT), PALE, 1)
        _write(image, f"{number * step_s if number else 0:g} s", x - 8, height - 6)
    cv2.line(image, (MARGIN, bottom), (WIDTH - 20, bottom), INK, 1)


def _longest_tracks(samples: Sequence[Sample]) -> list[int]:
    """Return the numbers of the tracks that were seen most often, in order of their number."""
    counts: dict[int, int] = {}
    for sample in samples:
        for track in sample.tracks:
            counts[track.id] = counts.get(track.id, 0) + 1
    return sorted(sorted(counts, key=lambda number: (-counts[number], number))[:MAX_TRACKS])


def _with_ends(samples: Sequence[Sample], end_s: float) -> list[tuple[Sample, float]]:
    """Return each sample with the time of the next one."""
    return list(zip(samples, [*(sample.t_s for sample in samples[1:]), end_s], strict=False))


def _write(image: Frame, text: str, x: int, y: int, colour: tuple[int, int, int] = INK) -> None:
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)


def _still(rgb: Frame, mask: Mask) -> Frame:
    return shrink(overlay(rgb, mask), MAX_STILL_PX)
