"""`fireseg-train check`, `fetch` and `synth`: commands that verify, download and generate data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from edge.console import JsonOption, progress_bars
from train.backend import load_modules


def check_command(
    folder: Annotated[Path, typer.Argument(help="FireSeg's folder, or one with images/ and masks/.")],
    as_json: JsonOption = False,
) -> None:
    """Open every image and mask of a data set; report its contents, leaks and errors."""
    from train.data.check import check
    from train.data.fireseg import load_dataset

    dataset = load_dataset(folder)
    with progress_bars() as on_step:
        report = check(dataset, on_step("opening pairs", len(dataset.pairs)))
    if as_json:
        print(json.dumps(report, indent=2))
        return
    Console().print(_table(report["parts"], str(folder)))
    for video in report["leaks"]["videos_in_train_and_test"]:
        print(f"leak: video {video} is in train and in test; split official-clean leaves it out of the test")
    for names in report["leaks"]["identical_images"]:
        print(f"identical images: {', '.join(names)}")
    for text in report["warnings"]:
        print(f"warning: {text}")


def _table(parts: dict[str, Any], title: str) -> Table:
    table = Table("part", "images", "videos", "sizes", "fire, % of pixels", "empty masks", title=title)
    for name, part in parts.items():
        sizes = [f"{count} of {size}" for size, count in list(part["sizes"].items())[:3]]
        if (more := len(part["sizes"]) - len(sizes)) > 0:
            sizes[-1] += f" and {more} more"
        fire_percent = f"{part['fire_share'] * 100:.1f}"
        empty = ", ".join(part["empty_masks"]) or "none"
        table.add_row(name, str(part["images"]), str(len(part["videos"])), ", ".join(sizes), fire_percent, empty)
    return table


def fetch_command(
    out: Annotated[Path, typer.Option(help="Where to put the set.")] = Path("data/fireseg"),
    source: Annotated[str, typer.Option("--from", help="mirror, drive, or a folder, archive or URL.")] = "mirror",
    accept_digests: Annotated[
        bool, typer.Option("--accept-digests", help="Exit with 0 for a copy whose bytes are not the published ones.")
    ] = False,
) -> None:
    """Download FireSeg and verify every file against its published checksum; interrupted downloads resume.

    A copy with other bytes, such as resized images, is kept, but the exit code is 1.
    """
    load_modules("requests", "gdown")
    from train.download.fetch import fetch, progress_bar

    with progress_bar() as progress:
        fetched = fetch(out, source, progress=progress)
    print(fetched)
    if fetched.is_published:
        return
    problem = "usable, but metrics on this copy do not compare with those on the published set"
    if accept_digests:
        typer.echo(f"warning: {problem}", err=True)
    else:
        typer.echo(f"FAILED: {problem}; pass --accept-digests to accept it, or choose another --from", err=True)
        raise typer.Exit(1)


def synth_command(
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    count: Annotated[int, typer.Option(help="Number of images.")] = 240,
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = 0,
) -> None:
    """Generate a synthetic set in FireSeg's layout, for tests and first runs; it does not replace FireSeg."""
    from train.synthetic.generate import generate

    with progress_bars() as on_step:
        generate(out, count, seed, on_progress=on_step("generating images", count))
    print(f"{out}: {count} synthetic images and masks, seed {seed}")
