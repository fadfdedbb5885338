"""`fireseg-edge evaluate`: score the detector on recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edge.commands.options import MODEL_HELP, load_segmenter
from edge.config import Config, load_config
from edge.console import JsonOption, print_table, progress_bars
from edge.errors import UserErrors
from edge.evaluation.evaluate import ABLATIONS, ALL_RULES, STANDARD_FPS, Evaluation, Plan, evaluate
from edge.evaluation.recordings import LABELS_FILE, read_recordings
from edge.evaluation.tables import ablation_table, evaluation_json, recordings_table, scores_table
from edge.model.runtime import cores_for
from edge.model.shipped import find_model

RECORDINGS_HELP = (
    f"A CSV with the columns file and label (fire, none or any), a folder with {LABELS_FILE}, or videos without labels."
)


def evaluate_command(
    recordings: Annotated[Path, typer.Argument(help=RECORDINGS_HELP)],
    config: Annotated[Path | None, typer.Option(help="A file written by `fireseg-edge config init`.")] = None,
    model: Annotated[str | None, typer.Option(help=f"The model: {MODEL_HELP}.")] = None,
    fps: Annotated[
        list[float] | None,
        typer.Option(
            min=0.01, max=1000, help="Frames a second, as of a slow camera; repeat it. 10, 5 and 2 by default."
        ),
    ] = None,
    ablate: Annotated[bool, typer.Option(help="Also score the detector with each part switched off.")] = False,
    report: Annotated[Path | None, typer.Option(help="Folder for a timeline of each recording and stills.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; all cores by default.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Score the detector on recordings: alarms, delays and false alarms.

    The result does not depend on the speed of the machine. Recordings that cannot be read are named at the end; the
    exit code is then 2.
    """
    listed = read_recordings(recordings)
    configs: dict[str, Config] = {}
    for name, overrides in {ALL_RULES: {}, **(ABLATIONS if ablate else {})}.items():
        configs[name] = load_config(config, {"model": {"path": model}, **overrides})
    path = configs[ALL_RULES].model.path
    load_segmenter(path, threads=1)  # refuses a model before the work begins
    plan = Plan(configs, tuple(dict.fromkeys(fps or STANDARD_FPS)), report)
    with progress_bars() as on_step:
        on_done = on_step("evaluating", len(listed))
        evaluation = evaluate(listed, find_model(path), plan, jobs=jobs or cores_for(None), on_done=on_done)
    if as_json:
        print(json.dumps(evaluation_json(evaluation), indent=2))
    else:
        show(evaluation, find_model(path).name)
    if evaluation.errors:
        raise UserErrors(evaluation.errors)


def show(evaluation: Evaluation, model: str) -> None:
    """Print the tables of an evaluation."""
    print_table(recordings_table(evaluation, title=f"{model}: delay of the alarm, and false alarms"))
    print_table(scores_table({f"{fps:g} fps": evaluation.score(fps=fps) for fps in evaluation.plan.rates}, "score"))
    if groups := evaluation.groups():
        print_table(scores_table(groups, f"groups at {evaluation.plan.rates[0]:g} fps"))
    if len(evaluation.plan.variants) > 1:
        print_table(ablation_table(evaluation))
