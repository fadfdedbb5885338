"""Tasks run in order or in processes; what a person can mend does not end the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge.errors import UserError
from edge.evaluation.jobs import run_tasks
from edge.evaluation.replay import MemoSegmenter


def half(segmenter: MemoSegmenter, number: int) -> tuple[int, int]:
    """Return half of an even number, and the height of the model."""
    if number % 2:
        raise UserError(f"{number} is odd", "expected an even number")
    return number // 2, segmenter.height


def end(_segmenter: MemoSegmenter, _task: int) -> None:
    os._exit(9)  # as the kernel ends a process when memory runs out


def check(models: dict[str, Path], jobs: int) -> None:
    steps: list[int] = []
    results = run_tasks(half, [4, 3, 2], models["int8"], jobs=jobs, on_done=lambda: steps.append(1))
    height = MemoSegmenter(models["int8"]).height
    assert [str(result) if isinstance(result, UserError) else result for result in results] == [
        (2, height),
        "3 is odd: expected an even number",
        (1, height),
    ]
    assert len(steps) == 3


def test_tasks_give_results_and_errors_in_their_order(models: dict[str, Path]) -> None:
    check(models, jobs=1)


@pytest.mark.slow
def test_processes_give_the_same_results_in_the_same_order(models: dict[str, Path]) -> None:
    check(models, jobs=2)


@pytest.mark.slow
def test_a_process_that_is_killed_is_one_line_with_a_remedy(models: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"a process ended unexpectedly: memory may be short; use fewer --jobs"):
        run_tasks(end, [1, 2], models["int8"], jobs=2)
