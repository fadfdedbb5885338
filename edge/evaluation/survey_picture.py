"""The picture of a survey: the view under its cells, each with the smallest flame that raises an alarm.

Several surveys of one camera, such as by day and by night, are side by side in one PNG. Its text chunk holds their
results, by which the next survey recognises the picture.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.config import Config
from edge.detection.zones import Point
from edge.errors import UserError
from edge.evaluation.survey import Cell, State, Survey
from edge.files import printable, read_limited, write_bytes
from edge.images import Frame, decode_rgb

WIDTH, TEXT, MARGIN, SWATCH = 960, 20, 8, 14  # pixels
MAX_PANELS = 4
MAX_FILE_BYTES = 64 << 20
DIM = 0.6
CELL_OPACITY = 0.5
MEAN_OF = 10  # frames
STEP = 8  # grey levels; fewer of them make a PNG of a third of the size
INK, PAPER, ZONE, LINE = (30, 30, 30), (255, 255, 255), (90, 200, 255), (255, 255, 255)
SMALL, LARGE = np.array([0, 140, 150]), np.array([255, 160, 20])
STATE_COLOURS = {State.NONE: (200, 20, 50), State.NOT_WATCHED: (120, 120, 120), State.BY_ITSELF: (150, 70, 200)}
STATE_LETTERS = {State.NONE: "none", State.NOT_WATCHED: "", State.BY_ITSELF: "!"}

PNG_START = b"\x89PNG\r\n\x1a\n"
HEADER_BYTES = 33  # the start and the chunk IHDR
KEYWORD = b"fireseg-survey"

Colour = tuple[int, ...]


@dataclass(frozen=True)
class Measure:
    """A line in the view whose real width is known."""

    start: Point
    end: Point
    width_m: float

    def height_m(self, size: float, frame: Frame) -> float:
        """Return the real height of a flame of this size in the depth of the line."""
        height, width = frame.shape[:2]
        length_px = np.hypot((self.end[0] - self.start[0]) * width, (self.end[1] - self.start[1]) * height)
        return float(self.width_m * size * height / length_px)


def size_text(cell: Cell) -> str:
    """Return "3 %", "none" or "!"; empty if the cell is not watched."""
    return STATE_LETTERS[cell.state] if cell.smallest is None else f"{100 * cell.smallest:g} %"


def panel(
    frames: Sequence[Frame], result: Survey, title: Sequence[str], config: Config, measure: Measure | None = None
) -> Frame:
    """Return the picture of one survey, 960 px wide.

    Args:
        title: lines above the view.
    """
    frame = np.mean(frames[:MEAN_OF], axis=0).astype(np.uint8)  # without the noise, which makes a PNG large
    height = round(WIDTH * frame.shape[0] / frame.shape[1])
    method = cv2.INTER_AREA if frame.shape[1] > WIDTH else cv2.INTER_LINEAR
    view = (cv2.resize(frame, (WIDTH, height), interpolation=method) * DIM).astype(np.uint8) // STEP * STEP
    rows, columns = len(result.cells), len(result.cells[0])
    for row, cells in enumerate(result.cells):
        for column, cell in enumerate(cells):
            left, right = (WIDTH * edge // columns for edge in (column, column + 1))
            top, bottom = (height * edge // rows for edge in (row, row + 1))
            part = view[top + 1 : bottom - 1, left + 1 : right - 1]
            colour = np.array(_colour(cell, result.sizes))
            part[:] = (1 - CELL_OPACITY) * part + CELL_OPACITY * colour
            _write_centred(view, size_text(cell), (left + right) // 2, (top + bottom) // 2)
    for zone in config.zones:
        _outline(view, zone.polygon, ZONE)
        x, y = _pixel(zone.polygon[0], view)
        _write(view, zone.name, x + MARGIN, y + TEXT, ZONE)
    for polygon in config.ignored:
        _outline(view, polygon, STATE_COLOURS[State.NOT_WATCHED])
    if measure:
        cv2.line(view, _pixel(measure.start, view), _pixel(measure.end, view), LINE, 2, cv2.LINE_AA)
        x, y = _pixel(measure.start, view)
        _write(view, f"{measure.width_m:g} m", x, y + TEXT, LINE)
    header = np.full((TEXT * len(title) + MARGIN, WIDTH, 3), 255, np.uint8)
    for number, line in enumerate(title, start=1):
        _write(header, line, MARGIN, TEXT * number - 4)
    return np.vstack([header, view, _legend(frame, result, measure)])


def _legend(frame: Frame, result: Survey, measure: Measure | None) -> Frame:
    """Return the legend: the colour of each size, in per cent of the frame's height."""
    entries: list[tuple[Colour, str]] = []
    for size in result.sizes:
        real = f" = {100 * measure.height_m(size, frame):.0f} cm" if measure else ""
        entries.append((_colour(Cell(State.ALARMS, size), result.sizes), f"{100 * size:g} %{real}"))
    states = {cell.state for row in result.cells for cell in row}
    labels = {State.NONE: "none: no alarm up to the largest"}
    entries += [(colour, labels.get(state, state.value)) for state, colour in STATE_COLOURS.items() if state in states]
    image = np.full((3 * TEXT + MARGIN, WIDTH, 3), 255, np.uint8)
    where = " and in the depth of the line" if measure else ""
    _write(image, f"smallest flame that raises an alarm, in % of the frame's height{where}", MARGIN, TEXT - 4)
    x, y = MARGIN, TEXT
    for colour, text in entries:
        width = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0] + SWATCH + 3 * MARGIN
        if x + width > WIDTH:
            x, y = MARGIN, y + TEXT
        cv2.rectangle(image, (x, y + 3), (x + SWATCH, y + 3 + SWATCH), colour, cv2.FILLED)
        _write(image, text, x + SWATCH + MARGIN, y + TEXT - 4)
        x += width
    return image


def _colour(cell: Cell, sizes: Sequence[float]) -> Colour:
    if cell.smallest is None:
        return STATE_COLOURS[cell.state]
    share = sizes.index(cell.smallest) / max(len(sizes) - 1, 1)
    return tuple(int(level) for level in SMALL + share * (LARGE - SMALL))


def _pixel(point: Point, view: Frame) -> tuple[int, int]:
    return round(point[0] * (view.shape[1] - 1)), round(point[1] * (view.shape[0] - 1))


def _outline(view: Frame, polygon: Sequence[Point], colour: Colour) -> None:
    cv2.polylines(view, [np.array([_pixel(point, view) for point in polygon])], True, colour, 2, cv2.LINE_AA)


def _write_centred(image: Frame, text: str, x: int, y: int) -> None:
    width, height = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0]
    _write(image, text, x - width // 2, y + height // 2, PAPER)


def _write(image: Frame, text: str, x: int, y: int, colour: Colour = INK) -> None:
    """Write text; OpenCV's fonts have ASCII only."""
    ascii_text = text.encode("ascii", "replace").decode()
    cv2.putText(image, ascii_text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)


def read_surveys(path: Path) -> tuple[Frame, list[Mapping[str, Any]]] | None:
    """Return the picture of earlier surveys and their results; None if the file does not exist.

    Raises `UserError` for a file that is anything else, or full.
    """
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises for a name that is too long
        return None
    remedy = "choose another --out, or replace it with --fresh"
    data = read_limited(path, MAX_FILE_BYTES, remedy)
    text = _read_text(data)
    try:
        records = json.loads(text) if text is not None else None
    except ValueError:
        records = None
    if not isinstance(records, list):
        raise UserError(f"{printable(path)} is not the picture of a survey", remedy)
    if len(records) >= MAX_PANELS:
        raise UserError(f"{printable(path)} shows {len(records)} surveys already", remedy)
    return decode_rgb(data, printable(path)), records


def write_surveys(path: Path, image: Frame, records: Sequence[Mapping[str, Any]]) -> None:
    """Write a picture with the results of its surveys. Raises `UserError`."""
    settings = [cv2.IMWRITE_PNG_COMPRESSION, 9]
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)
    data, text = encoded.tobytes(), KEYWORD + b"\0" + json.dumps(records).encode("ascii")
    chunk = b"tEXt" + text
    chunk = struct.pack(">I", len(text)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    write_bytes(path, data[:HEADER_BYTES] + chunk + data[HEADER_BYTES:])


def _read_text(data: bytes) -> bytes | None:
    """Return the text that `write_surveys` put behind the header of a PNG; None without it."""
    if not data.startswith(PNG_START) or len(data) < HEADER_BYTES + 8:
        return None
    size_bytes = int.from_bytes(data[HEADER_BYTES : HEADER_BYTES + 4])
    kind_and_text = data[HEADER_BYTES + 4 : HEADER_BYTES + 8 + size_bytes]
    kind, _, text = kind_and_text.partition(KEYWORD + b"\0")
    return text if kind == b"tEXt" else None


def side_by_side(left: Frame | None, right: Frame) -> Frame:
    """Return two pictures side by side, with white below the shorter one; without a left one, the right one."""
    if left is None:
        return right
    height = max(left.shape[0], right.shape[0])
    gap = np.full((height, MARGIN, 3), 255, np.uint8)
    padded = (
        cv2.copyMakeBorder(each, 0, height - each.shape[0], 0, 0, cv2.BORDER_CONSTANT, value=PAPER)
        for each in (left, right)
    )
    first, second = padded
    return np.hstack([first, gap, second]).astype(np.uint8, copy=False)
