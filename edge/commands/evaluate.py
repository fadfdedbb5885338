"""`fireseg-edge evaluate`: score the detector on recordings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edge.commands.options import MODEL_HELP, load_segmenter
from edge.config import Overrides, load_config
from edge.console import JsonOption, print_table, progress_bars
from edge.errors import UserError, UserErrors
from edge.evaluation.evaluate import ABLATIONS, ALL_RULES, STANDARD_FPS, Evaluation, Plan, evaluate
from edge.evaluation.recordings import LABELS_FILE, Recording, read_recordings
from edge.evaluation.replay import PASSES_PER_FRAME
from edge.evaluation.sensitivity import Sensitivity, measure_sensitivity
from edge.evaluation.tables import (
    ablation_table,
    evaluation_json,
    recordings_table,
    scores_table,
    sensitivity_json,
    sensitivity_table,
    size_text,
)  # fmt: skip
from edge.files import make_folder
from edge.model.runtime import cores_for

RECORDINGS_HELP = (
    f"A CSV with the columns file and label (fire, none or any), a folder with {LABELS_FILE}, or videos without labels."
)


def evaluate_command(
    recordings: Annotated[Path, typer.Argument(help=RECORDINGS_HELP)],
    config: Annotated[Path | None, typer.Option(help="A file written by `fireseg-edge config init`.")] = None,
    model: Annotated[str | None, typer.Option(help=f"The model: {MODEL_HELP}.")] = None,
    fps: Annotated[
        list[float] | None,
        typer.Option(min=0.01, max=1000, help="Frames per second; repeat for several rates. Default: 10, 5 and 2."),
    ] = None,
    passes: Annotated[
        float,
        typer.Option(min=1, max=10, help="Runs of the model per frame: the whole frame, then tiles."),
    ] = PASSES_PER_FRAME,
    ablate: Annotated[bool, typer.Option(help="Also score the detector with each part switched off.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a timeline of each recording, and stills of what went wrong.")
    ] = None,
    sensitivity: Annotated[
        bool, typer.Option(help="Instead, find the smallest flame that raises an alarm over recordings without fire.")
    ] = False,
    flame: Annotated[
        Path | None, typer.Option(help="For --sensitivity, a recording of flames on black; painted ones by default.")
    ] = None,
    scenes: Annotated[
        int | None, typer.Option(min=1, help="For --sensitivity, use this many recordings; all by default.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; all cores by default.")] = None,
    dask: Annotated[
        str | None,
        typer.Option(help="Use the workers of this Dask scheduler, such as tcp://10.0.0.5:8786, instead of --jobs."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score the detector on recordings: alarms, delays and false alarms.

    The result does not depend on the speed of the machine. `--sensitivity` uses only the first `--fps`. Recordings
    that cannot be read are named at the end; the exit code is then 2.
    """
    listed = read_recordings(recordings)
    check_options(sensitivity=sensitivity, other=bool(ablate or report or dask), detail=bool(flame or scenes))
    if dask and jobs:
        raise UserError("--jobs does nothing with --dask", "leave one of them out")
    if report:
        check_stems(listed)
    variants: dict[str, Overrides] = {ALL_RULES: {}, **(ABLATIONS if ablate else {})}
    configs = {name: load_config(config, {"model": {"path": model}, **changes}) for name, changes in variants.items()}
    chosen = configs[ALL_RULES]
    load_segmenter(chosen.model.path, threads=1)  # refuses a wrong model before the work begins
    plan = Plan(configs, tuple(dict.fromkeys(fps or STANDARD_FPS)), report and make_folder(report).absolute(), passes)
    file, jobs = chosen.model.file, jobs or cores_for(None)
    result: Evaluation | Sensitivity
    with progress_bars() as on_step:
        if sensitivity:
            result = measure_sensitivity(
                listed, file, chosen, fps=plan.rates[0], flame=flame, max_scenes=scenes, passes_per_frame=passes,
                jobs=jobs, on_step=on_step,
            )  # fmt: skip
        else:
            result = evaluate(listed, file, plan, jobs=jobs, dask=dask, on_step=on_step)
    if result.errors and not (result.scenes if isinstance(result, Sensitivity) else result.replayed):
        raise UserErrors(result.errors)  # nothing to show
    if isinstance(result, Sensitivity):
        show_sensitivity(result, file.name, as_json=as_json)
    else:
        show_evaluation(result, file.name, as_json=as_json)
    if result.errors:
        raise UserErrors(result.errors)


def check_options(*, sensitivity: bool, other: bool, detail: bool) -> None:
    """Raise `UserError` for options that would do nothing."""
    if sensitivity and other:
        raise UserError("--sensitivity does not go with --ablate, --report and --dask", "run it by itself")
    if detail and not sensitivity:
        raise UserError("--flame and --scenes are for --sensitivity", "add --sensitivity")


def check_stems(recordings: Sequence[Recording]) -> None:
    """Raise `UserError` for recordings whose pictures would have the same name."""
    stems: dict[str, Recording] = {}
    for recording in recordings:
        first = stems.setdefault(recording.path.stem, recording)
        if first is not recording:
            raise UserError(f"the pictures of {first.name} and {recording.name} would have one name", "rename one")


def show_evaluation(evaluation: Evaluation, model: str, *, as_json: bool) -> None:
    """Print the outcome of each recording and the scores."""
    if as_json:
        print(json.dumps(evaluation_json(evaluation), indent=2))
        return
    rates = evaluation.plan.rates
    print_table(recordings_table(evaluation, f"{model}: delay of the alarm, and false alarms"))
    print_table(scores_table({f"{fps:g} fps": evaluation.score(fps=fps) for fps in rates}, "score"))
    if groups := evaluation.groups():
        print_table(scores_table(groups, f"groups at {rates[0]:g} fps"))
    if len(evaluation.plan.variants) > 1:
        print_table(ablation_table(evaluation))


def show_sensitivity(sensitivity: Sensitivity, model: str, *, as_json: bool) -> None:
    """Print which sizes of flame raise an alarm in each scene."""
    if as_json:
        print(json.dumps(sensitivity_json(sensitivity), indent=2))
        return
    title = f"{model} at {sensitivity.fps:g} fps: flames by height, in % of the frame's height, that raise an alarm"
    print_table(sensitivity_table(sensitivity, title))
    smallest = size_text(sensitivity.smallest) if sensitivity.measured else "not measured, see above"
    print(f"smallest flame that raises an alarm within 10 s in nine of ten tries: {smallest}")
