"""`fireseg-edge survey`: which flames would raise an alarm in each part of the camera's present view."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edge.assembly import camera_settings
from edge.camera import CAMERA_KINDS, build_camera
from edge.camera.capture import Capture, TimedFrame
from edge.camera.replay import Replay
from edge.commands.options import MODEL_HELP, load_segmenter
from edge.config import Config, load_config
from edge.console import JsonOption, print_table, progress_bars
from edge.errors import UserError
from edge.evaluation.flames import read_flame
from edge.evaluation.jobs import load_model
from edge.evaluation.replay import Thinning
from edge.evaluation.survey import COLUMNS, ROWS, SIZES, Survey, survey
from edge.evaluation.survey_picture import Measure, panel, read_surveys, side_by_side, size_text, write_surveys
from edge.evaluation.trials import Scene
from edge.files import check_writable, printable
from edge.images import Frame
from edge.model.runtime import cores_for
from edge.model.segmenter import Segmenter
from edge.secrets import redact

VIEW_S = 3.0
SETTLE_S = 1.0  # of a camera, for its exposure
WAIT_S = 15.0
MIN_PERCENT, MAX_PERCENT = 1.0, 50.0
MAX_SIDE = 32
SIZES_TEXT = ",".join(f"{100 * size:g}" for size in SIZES)


def survey_command(
    source: Annotated[str | None, typer.Option(help=f"Where frames come from: {CAMERA_KINDS}.")] = None,
    out: Annotated[Path, typer.Option(help="PNG to write; added beside an earlier survey in that file.")] = Path(
        "survey.png"
    ),
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace the picture, earlier surveys included.")] = False,
    config: Annotated[Path | None, typer.Option(help="The configuration of the run: zones, alarm, model.")] = None,
    model: Annotated[str | None, typer.Option(help=f"The model: {MODEL_HELP}.")] = None,
    grid: Annotated[str, typer.Option(help="Cells in a row and in a column.")] = f"{COLUMNS}x{ROWS}",
    sizes: Annotated[str, typer.Option(help="Heights of the flames, in % of the frame's height.")] = SIZES_TEXT,
    width_m: Annotated[float | None, typer.Option(help="Real width of what --line marks, in metres.")] = None,
    line: Annotated[
        str | None, typer.Option(help="Ends of the marked line, such as 0.2,0.7,0.9,0.7: x and y from 0 to 1.")
    ] = None,
    flame: Annotated[Path | None, typer.Option(help="A recording of flames on black; painted ones by default.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Threads; as many as cores by default.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the camera would see here: the smallest flame that raises an alarm in each part of its view.

    Painted flames are laid over a few seconds of the present view, and the run's detector processes them. Run it by
    day and again by night with the same `--out`: the second survey is drawn beside the first.
    """
    chosen_grid, chosen_sizes, measure = parse_grid(grid), parse_sizes(sizes), parse_line(line, width_m)
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {printable(out)} is not a .png", "expected a name such as survey.png")
    earlier = None if fresh else read_surveys(out)
    check_writable(out.parent)
    chosen = load_config(config, {"source": {"address": source}, "model": {"path": model}})
    first = load_segmenter(chosen.model.path, threads=1)  # refuses a wrong model before the work begins
    flames = read_flame(flame)
    name, frames = present_view(chosen, first)
    segmenters = [load_model(chosen.model.file) for _ in range(jobs or cores_for(None))]
    scene = Scene(frames, chosen, flames)
    with progress_bars() as on_step:
        result = survey(scene, segmenters, chosen_sizes, chosen_grid, on_step=on_step)
    title = [
        f"{datetime.now().astimezone():%Y-%m-%d %H:%M}  {name}",
        f"{chosen.model.file.name}, {config.name if config else 'default configuration'}, {scene.fps:g} fps",
    ]
    record = survey_json(result, title, frames[0], measure)
    picture = side_by_side(earlier and earlier[0], panel(frames, result, title, chosen, measure))
    write_surveys(out, picture, [*(earlier[1] if earlier else ()), record])
    if as_json:
        print(json.dumps({**record, "out": str(out)}, indent=2))
    else:
        show(result, title, frames[0], measure)
        print(f"drawn in {printable(out)}{', beside the earlier ones' if earlier else ''}")


def present_view(config: Config, segmenter: Segmenter) -> tuple[str, list[Frame]]:
    """Return the name of the camera and frames of three seconds, of one size. Raises `UserError` without any."""
    address, settings = config.source.address_with_login(), camera_settings(config, segmenter)
    camera = build_camera(address, settings)
    frames: list[Frame] = []
    thinning, start_s, deadline_s = Thinning(config.source.fps), None, time.monotonic() + WAIT_S
    with Capture(lambda: build_camera(address, settings), reconnect_limit=0, replay=Replay.EVERY_FRAME) as capture:
        while (left_s := deadline_s - time.monotonic()) > 0:
            frame: TimedFrame | None = capture.newest(left_s)
            if frame is None:
                break
            if start_s is None:
                start_s = frame.t_s + SETTLE_S * camera.live
            if frame.t_s > start_s + VIEW_S:
                break
            if (
                frame.t_s >= start_s
                and thinning.selects(frame.t_s)
                and frame.rgb.shape == (frames or [frame.rgb])[0].shape
            ):
                frames.append(frame.rgb)
        if not frames:
            capture.check()
    if not frames:
        remedy = "check that it is on and that no other program uses it"
        raise UserError(f"{redact(camera.name)} sent no frame in {WAIT_S:.0f} s", remedy)
    return redact(camera.name), frames


def parse_grid(text: str) -> tuple[int, int]:
    """Return columns and rows. Raises `UserError`."""
    columns, _, rows = text.partition("x")
    if columns.isdecimal() and rows.isdecimal() and 1 <= int(columns) <= MAX_SIDE and 1 <= int(rows) <= MAX_SIDE:
        return int(columns), int(rows)
    raise UserError(f"--grid {text!r}", f"expected columns and rows, at most {MAX_SIDE} of each, such as 12x8")


def parse_numbers(text: str) -> list[float]:
    """Return numbers separated by commas; an empty list if they are not."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return []


def parse_sizes(text: str) -> tuple[float, ...]:
    """Return the sizes as ascending fractions of the frame's height. Raises `UserError`."""
    percent = sorted(set(parse_numbers(text)))
    if percent and all(MIN_PERCENT <= size <= MAX_PERCENT for size in percent):
        return tuple(size / 100 for size in percent)
    remedy = f"expected heights from {MIN_PERCENT:g} to {MAX_PERCENT:g} % of the frame's, such as {SIZES_TEXT}"
    raise UserError(f"--sizes {text!r}", remedy)


def parse_line(text: str | None, width_m: float | None) -> Measure | None:
    """Return the marked line, if there is one. Raises `UserError`."""
    if text is None and width_m is None:
        return None
    if text is None or width_m is None:
        raise UserError("--line and --width-m go together", "expected both, such as --width-m 4 --line 0.2,0.7,0.9,0.7")
    ends = parse_numbers(text)
    if len(ends) != 4 or not all(0 <= end <= 1 for end in ends) or ends[:2] == ends[2:]:
        raise UserError(f"--line {text!r}", "expected x,y,x,y of two points in the frame, from 0 to 1")
    if not 0 < width_m <= 10_000:
        raise UserError(f"--width-m {width_m:g}", "expected the real width of the line in metres, above 0")
    return Measure((ends[0], ends[1]), (ends[2], ends[3]), width_m)


def survey_json(result: Survey, title: list[str], frame: Frame, measure: Measure | None) -> dict[str, Any]:
    """Return the results; sizes are fractions of the frame's height, null where none raises an alarm."""
    heights = {"heights_m": [round(measure.height_m(size, frame), 3) for size in result.sizes]} if measure else {}
    return {
        "title": title,
        "sizes": list(result.sizes),
        **heights,
        "smallest": [[cell.smallest for cell in row] for row in result.cells],
        "states": [[cell.state.value for cell in row] for row in result.cells],
        "watched": len(result.watched),
        "blind": result.blind,
        "median": result.median,
        "passes": result.passes,
    }


def show(result: Survey, title: list[str], frame: Frame, measure: Measure | None) -> None:
    """Print the cells as they lie in the view, and a summary."""
    print(*title, sep="\n")
    table = Table(show_header=False, show_lines=True)
    for row in result.cells:
        table.add_row(*(size_text(cell) for cell in row))
    print_table(table)
    print(summary(result, frame, measure))


def summary(result: Survey, frame: Frame, measure: Measure | None) -> str:
    """Return one line on the watched cells."""
    count = len(result.watched)
    if not count:
        return "no cell was tried: all are ignored, outside the zones, or raise an alarm without a flame"
    typical = "over the largest size"
    if result.median is not None:
        real = f" ({100 * measure.height_m(result.median, frame):.0f} cm at the line)" if measure else ""
        typical = f"{100 * result.median:g} % of the frame's height{real}"
    return f"smallest flame in half of {count} cells: {typical}; {result.blind} cells raise no alarm at any size"
