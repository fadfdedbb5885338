"""Bars on stderr, one a step, that outlive the silence around the converter."""

from __future__ import annotations

import pytest

from edge.console import progress_bars, quiet


def test_each_step_has_a_bar_that_counts_its_pieces(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as on_step:
        for description, total in (("reading", 3), ("converting to int8", 2)):
            done = on_step(description, total)
            for _ in range(total):
                done()
    captured = capfd.readouterr()
    lines = captured.err.splitlines()
    assert any("reading" in line and "3/3" in line for line in lines)
    assert any("converting to int8" in line and "2/2" in line for line in lines)
    assert captured.out == "", "stdout is for results"


def test_pieces_done_in_silence_are_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as on_step, quiet():
        on_step("calibrating", 1)()
    assert "1/1" in capfd.readouterr().err


def test_steps_that_run_beside_each_other_are_counted_apart(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as on_step:
        first, second = on_step("judging float32", 5), on_step("judging int8", 5)
        first()
        second()
        first()
    lines = capfd.readouterr().err.splitlines()
    assert any("judging float32" in line and "2/5" in line for line in lines)
    assert any("judging int8" in line and "1/5" in line for line in lines)


def test_an_error_inside_ends_the_bars_and_passes_through(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="refused"), progress_bars() as on_step:
        on_step("converting", 1)
        raise ValueError("refused")
    assert "0/1" in capfd.readouterr().err
