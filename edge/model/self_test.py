"""The self-test in a model's card: what the model returned for eight synthetic frames when it was exported.

A run and `fireseg-edge doctor` segment the same frames again. XNNPACK computes int8 with the same bytes on x86 and Arm:
the card has the SHA-256 of each map. Built-in kernels and floats round differently by processor: for these, and for
later versions of XNNPACK, it has the means of 8x8 cells of each map, which are compared with a tolerance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import UserError
from edge.images import Frame
from edge.model.runtime import RUNTIMES
from edge.model.segmenter import BUILTIN, XNNPACK, Segmenter

SELF_TEST = "self_test"  # key of the card
SEED, FRAMES, CELLS = 0, 8, 8
DIGESTS = FRAMES * [hashlib.sha256().digest_size]  # in bytes
MAX_DIFFERENCE = 2.0
"""Mean difference of the cells from those at export, in steps of the map, up to which it is rounding.

Between kernels and processors it is below 0.6; for a model that detects nothing it is about 80.
"""
ROUNDED = f"self-test passed, {FRAMES} maps are those of the export within rounding"
BACKDROP_POINTS, HEAT_POINTS = 5, 17  # of the random grids, per side
MIN_HEAT, MAX_HEAT = 60, 800  # of flames

Cells = npt.NDArray[np.int16]


def make_frames(seed: int, height: int, width: int) -> Iterator[Frame]:
    """Yield eight frames with flames of growing size. The same bytes on every machine: cards depend on them."""
    y, x = np.arange(height)[:, None] * 256 // height, np.arange(width) * 512 // width
    heats = np.arange(MAX_HEAT + 1)[:, None]
    colours = np.clip(heats * (3, 2, 1) - (0, 128, 160), 0, 255).astype(np.uint8)  # red, yellow, white
    for number in range(FRAMES):
        split = 3 * BACKDROP_POINTS**2
        random = hashlib.shake_256(f"{seed} {number}".encode()).digest(split + HEAT_POINTS**2)
        data = np.frombuffer(random, np.uint8).astype(np.int16)
        backdrop = (_smooth(data[:split].reshape(BACKDROP_POINTS, -1, 3), height, width) >> 1).astype(np.uint8)
        heat = _smooth(data[split:].reshape(HEAT_POINTS, -1, 1), height, width)[..., 0]
        heat += (2 * y - 2 * np.abs(x - 64 - 48 * number) - 256 + 32 * number).astype(np.int16)
        flames = colours.take(heat, axis=0, mode="clip")
        yield np.where(heat[..., None] > MIN_HEAT, flames, backdrop)


def record(segmenter: Segmenter) -> dict[str, Any]:
    """Return the self-test for the card of a model, as this machine computes it."""
    digests, cells = _segment(segmenter, SEED)
    is_exact = segmenter.kernels == XNNPACK and segmenter.input_dtype.kind != "f"
    return {
        "seed": SEED,
        "xnnpack_sha256": digests if is_exact else None,
        "cells": [each.astype(np.uint8).tobytes().hex() for each in cells],
    }


def check_maps(segmenter: Segmenter) -> str:
    """Segment the frames of the card and return how the maps agree with those at export. Raises `UserError`.

    Example:
        >>> check_maps(Segmenter("small"))
        'self-test passed, all 8 maps are those of the export'
    """
    recorded = (segmenter.card or {}).get(SELF_TEST)
    if recorded is None:
        return "no self-test in its card"
    path, (seed, expected_digests, expected_cells) = segmenter.path, _parse(recorded, segmenter)
    digests, cells = _segment(segmenter, seed)
    is_exact = expected_digests is not None and segmenter.kernels == XNNPACK
    if is_exact and digests == expected_digests:
        return f"self-test passed, all {FRAMES} maps are those of the export"
    difference = float(np.abs(cells - expected_cells).mean())
    if (is_exact or difference > MAX_DIFFERENCE) and _segment(segmenter, seed)[0] != digests:
        remedy = "check power supply and cooling, undo overclocking, and test the memory"
        raise UserError(f"{path} returns different maps for the same frames: faulty memory or processor", remedy)
    if difference > MAX_DIFFERENCE:
        problem = f"{path} computes wrong maps under {segmenter.runtime} (self-test differs by {difference:.1f} of 255)"
        raise UserError(problem, f"restart; then reinstall {segmenter.runtime.name}; then test the memory")
    if is_exact:
        name = segmenter.runtime.name
        return f"{ROUNDED}, but not to the byte: normal with another {name}; with the same one, test the memory"
    return ROUNDED


def check_kernels(segmenter: Segmenter) -> None:
    """Raise `UserError` if LiteRT runs the model on its slow built-in kernels. tflite-runtime does so with int8."""
    if segmenter.kernels == BUILTIN and segmenter.runtime.name == RUNTIMES["litert"][1]:
        problem = f"{segmenter.runtime} runs {segmenter.path} without XNNPACK, several times slower"
        raise UserError(problem, f"reinstall {segmenter.runtime.name}, or export the model with `fireseg-export`")


def _segment(segmenter: Segmenter, seed: int) -> tuple[list[str], Cells]:
    """Return the SHA-256 of each frame's map, and its cells."""
    digests, cells = [], []
    for frame in make_frames(seed, segmenter.height, segmenter.width):
        probability = segmenter(frame)
        digests.append(hashlib.sha256(probability.tobytes()).hexdigest())
        cells.append(cv2.resize(probability, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.int16))
    return digests, np.stack(cells)


def _parse(recorded: Any, segmenter: Segmenter) -> tuple[int, list[str] | None, Cells]:
    """Return seed, SHA-256 of the maps, and cells. Raises `UserError`."""
    try:
        seed, digests = recorded["seed"], recorded["xnnpack_sha256"]
        if type(seed) is not int or not (digests is None or [len(bytes.fromhex(each)) for each in digests] == DIGESTS):
            raise ValueError
        data = np.frombuffer(bytes.fromhex("".join(recorded["cells"])), np.uint8)
        return seed, digests, data.reshape(FRAMES, CELLS, CELLS).astype(np.int16)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        problem = f"the self-test in the card of {segmenter.path} is invalid"
        raise UserError(problem, "export the model again") from error


def _smooth(grid: npt.NDArray[np.int16], height: int, width: int) -> npt.NDArray[np.int16]:
    """Return a square grid interpolated to a size, in integers: cv2 rounds differently on Arm."""
    for size in (height, width):
        at = np.arange(size) * ((len(grid) - 1) * 64) // size
        index, share = at >> 6, (at & 63).astype(np.int16)[:, None, None]
        grid = ((grid[index] * (64 - share) + grid[index + 1] * share) >> 6).swapaxes(0, 1)
    return grid
