"""An evaluation as tables and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from edge.evaluation.evaluate import ALL_RULES, Evaluation
from edge.evaluation.recordings import Label
from edge.evaluation.score import Outcome, Score, frame_rate_term, memory_term
from edge.evaluation.sensitivity import CENTRES, LIMIT_S, SIZES, Sensitivity

NOTHING = "–"


def recordings_table(evaluation: Evaluation, title: str) -> Table:
    """Return one row per recording: its label, and what came of it at each frame rate."""
    table = Table("recording", "label", "s", *(f"{fps:g} fps" for fps in evaluation.plan.rates), title=title)
    for each in evaluation.replayed:
        cells = (verdict(each.outcomes[ALL_RULES, fps]) for fps in evaluation.plan.rates)
        duration_s = next(iter(each.outcomes.values())).duration_s
        table.add_row(escape(each.recording.name), each.recording.label.value, f"{duration_s:.0f}", *cells)
    return table


def verdict(outcome: Outcome) -> str:
    """Return what came of one recording, such as "alarm after 0.8 s, 1 false at 2.0 s"."""
    if outcome.recording.label == Label.ANY:
        return f"alarm at {outcome.alarms_s[0]:.1f} s" if outcome.alarms_s else NOTHING
    parts = []
    if outcome.has_fire:
        parts.append("MISSED" if outcome.delay_s is None else f"{outcome.delay_s:.1f} s")
    if false := outcome.false_alarms_s:
        parts.append(f"{len(false)} FALSE at {', '.join(f'{t_s:.1f}' for t_s in false)} s")
    return ", ".join(parts) or NOTHING


def scores_table(scores: Mapping[str, Score], title: str) -> Table:
    """Return one row per figure, one column per score."""
    table = Table("", *map(escape, scores), title=title)
    rows = {name: score_cells(score) for name, score in scores.items()}
    for figure in next(iter(rows.values())):
        table.add_row(figure, *(cells[figure] for cells in rows.values()))
    return table


def score_cells(score: Score) -> dict[str, str]:
    """Return the figures of a score as text, by name."""
    within = score.recall_within or {}
    interval = score.false_alarms_interval
    return {
        "fires detected": f"{score.detected} of {score.fires}",
        **{f"recall within {window_s:g} s": _ratio(recall) for window_s, recall in within.items()},
        "recall": _ratio(score.recall),
        "precision": _ratio(score.precision),
        "median delay": NOTHING if score.median_delay_s is None else f"{score.median_delay_s:.1f} s",
        "mean delay": NOTHING if score.mean_delay_s is None else f"{score.mean_delay_s:.1f} s",
        "FDS": _ratio(score.fds),
        "false alarms": f"{score.false_alarms} in {score.watched_hours * 60:.1f} min",
        "false alarms an hour": NOTHING
        if interval is None
        else f"{score.false_alarms_per_hour:.1f} ({interval[0]:.1f} to {interval[1]:.1f})",
    }


def ablation_table(evaluation: Evaluation) -> Table:
    """Return one row per variant, at the first frame rate."""
    cells = {name: score_cells(evaluation.score(name)) for name in evaluation.plan.variants}
    figures = [figure for figure in next(iter(cells.values())) if figure not in ("fires detected", "mean delay")]
    table = Table("variant", *figures, title=f"ablation at {evaluation.plan.rates[0]:g} fps")
    for name, row in cells.items():
        table.add_row(name, *(row[figure] for figure in figures))
    return table


def sensitivity_table(sensitivity: Sensitivity, title: str) -> Table:
    """Return one row per scene, one column per size of the flame: the places at which it raised an alarm."""
    table = Table("scene", *(f"{100 * size:g} %" for size in SIZES), "smallest", title=title)
    for scene in sensitivity.scenes:
        if scene.has_false_alarm:
            table.add_row(escape(scene.scene), *[NOTHING] * len(SIZES), "raises an alarm without a flame")
            continue
        cells = (f"{round(scene.share(size) * len(CENTRES))} of {len(CENTRES)}" for size in SIZES)
        table.add_row(escape(scene.scene), *cells, size_text(scene.smallest))
    if sensitivity.shares:
        cells = (f"{100 * share:.0f} %" for share in sensitivity.shares.values())
        table.add_section()
        table.add_row("all", *cells, size_text(sensitivity.smallest))
    return table


def size_text(size: float | None) -> str:
    return f"over {100 * SIZES[-1]:g} %" if size is None else f"{100 * size:g} %"


def sensitivity_json(sensitivity: Sensitivity) -> dict[str, Any]:
    """Return the sensitivity as JSON; sizes are fractions of the frame's height, null for more than the largest."""
    return {
        "fps": sensitivity.fps,
        "limit_s": LIMIT_S,
        "sizes": list(SIZES),
        "smallest": sensitivity.smallest,
        "shares": [round(share, 5) for share in sensitivity.shares.values()],
        "scenes": [
            {
                "file": scene.scene,
                "has_false_alarm": scene.has_false_alarm,
                "smallest": scene.smallest,
                "delays_s": [[_rounded(delay_s, 3) for delay_s in delays_s] for delays_s in scene.delays_s.values()],
            }
            for scene in sensitivity.scenes
        ],
        "errors": list(sensitivity.errors),
    }


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return everything as JSON. Only `peak_gb` depends on the machine."""
    rates = evaluation.plan.rates
    return {
        "recordings": [
            {
                "file": each.recording.name,
                "label": each.recording.label.value,
                "group": each.recording.group,
                "note": each.recording.note,
                "duration_s": round(next(iter(each.outcomes.values())).duration_s, 3),
                "results": [
                    {"variant": variant, "fps": fps, **outcome_json(outcome)}
                    for (variant, fps), outcome in each.outcomes.items()
                ],
            }
            for each in evaluation.replayed
        ],
        "scores": [
            {"variant": variant, "fps": fps, **score_json(evaluation.score(variant, fps))}
            | {"frame_rate_term": frame_rate_term(fps)}
            for variant in evaluation.plan.variants
            for fps in rates
        ],
        "groups": [
            {"group": group, "fps": fps, **score_json(score)}
            for fps in rates
            for group, score in evaluation.groups(fps).items()
        ],
        "peak_gb": round(evaluation.peak_gb, 2),
        "memory_term": memory_term(evaluation.peak_gb),
        "errors": list(evaluation.errors),
    }


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "alarms_s": [round(t_s, 3) for t_s in outcome.alarms_s],
        "delay_s": _rounded(outcome.delay_s, 3),
        "false_alarms_s": [round(t_s, 3) for t_s in outcome.false_alarms_s],
    }


def score_json(score: Score) -> dict[str, Any]:
    """Return the fields of a score, rounded; recall within 5 s is `recall_within_5s`."""
    fields = dict(vars(score))
    within = fields.pop("recall_within") or {}
    interval = fields.pop("false_alarms_interval")
    return {
        **{name: _rounded(value) for name, value in fields.items()},
        **{f"recall_within_{window_s:g}s": _rounded(recall) for window_s, recall in within.items()},
        "false_alarms_interval": interval and [_rounded(bound) for bound in interval],
    }


def _rounded(value: float | None, digits: int = 5) -> float | None:
    return value if value is None or isinstance(value, int) else round(value, digits)


def _ratio(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"
