"""Does loading keep up with training? Both, in images a second, on the batches that `fit` of our recipes takes.

    python -m benchmarks.training

A batch is made, then trained on, then the next one, each with all cores to itself. `fit` does both at once and shares
them: what loading takes must stay well below what training takes.
"""

from __future__ import annotations

import json
import statistics
import time
import warnings
from typing import Annotated, Any

import typer
from rich.table import Table

from edge.console import JsonOption, OnStep, no_steps, print_table, progress_bars, show_warning
from edge.errors import UserError, run_app
from edge.host.machine import cpu_name
from train.backend import load_keras_backend
from train.commands.options import DataOption
from train.data.splits import Split
from train.recipe import SHIPPED_DIR, read_recipe

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

WARM_UP = 3


@app.command(epilog="Example: `python -m benchmarks.training --batches 60`")
def main(
    data: DataOption = None,
    batches: Annotated[int, typer.Option(help="How many batches are timed.")] = 40,
    as_json: JsonOption = False,
) -> None:
    """Time loading and training on the same batches, with the whole network learning."""
    warnings.showwarning = show_warning
    if batches < 1:
        raise UserError(f"--batches {batches}", "expected 1 or more")
    recipes = {file.stem: read_recipe(file.stem) for file in sorted(SHIPPED_DIR.glob("*.toml"))}
    load_keras_backend()
    import keras

    from train.data.sources import open_split

    backend = keras.backend.backend()
    with progress_bars() as on_step:
        source, split = open_split(data, None, 0, on_step)
        rows = [rates(name, flags, split, batches, on_step) for name, flags in recipes.items()]
    facts = {"machine": cpu_name(), "backend": backend, "data": source.title, "recipes": rows}
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    headings = ("recipe", "batch", "loaded a second", "trained a second", "times as fast")
    table = Table(*headings, title=f"images of {source.title}, {cpu_name()}, Keras on {backend}")
    for row in rows:
        figures = (row["loaded_per_s"], row["trained_per_s"])
        table.add_row(row["recipe"], str(row["batch"]), *(f"{rate:.0f}" for rate in figures), f"{row['ratio']:.1f}")
    print_table(table)


def rates(name: str, flags: dict[str, Any], split: Split, count: int, on_step: OnStep = no_steps) -> dict[str, Any]:
    """Images a second of loading and of training, by the medians over `count` batches.

    Args:
        name: what to call the row.
        flags: one of our recipes, as `train.recipe` reads it.
        split: whose training images are used.
    """
    from train.data.batches import Batches, decode
    from train.fit import compile_phase
    from train.model.fused_batchnorm import fuse_batchnorm
    from train.model.unet import UNetConfig, build_unet
    from train.recipe import Phase

    side, batch = int(flags["size"]), flags["batch-size"]
    config = UNetConfig(side, side, flags["encoder"], flags["decoder"], flags["width"])
    examples = decode(split.train, side, side, on_step(f"reading images for {name}", len(split.train)))
    if len(examples) < batch:
        raise UserError(
            f"{name} takes batches of {batch}, but there are {len(examples)} training images", "expected more"
        )
    source = Batches(examples, batch, seed=flags["seed"], strong=flags["augment"] == "strong")
    model = fuse_batchnorm(
        build_unet(config, weights=None), "mixed_bfloat16" if flags["mixed-precision"] else "float32"
    )
    whole = Phase("whole", 1, 1e-4, encoder=True, batchnorm=True, cosine=True, patience=None)
    compile_phase(model, whole, steps=count)
    done = on_step(f"training {name}", WARM_UP + count)
    loading_s, training_s = [], []
    for index in range(WARM_UP + count):
        began = time.perf_counter()
        given = source[index % (len(examples) // batch)]  # whole batches alone
        loaded = time.perf_counter()
        model.train_on_batch(*given)
        ended = time.perf_counter()
        if index >= WARM_UP:
            loading_s.append(loaded - began)
            training_s.append(ended - loaded)
        done()
    loading, training = statistics.median(loading_s), statistics.median(training_s)
    return {
        "recipe": name,
        "batch": batch,
        "batches": count,
        "loaded_per_s": round(batch / loading, 1),
        "trained_per_s": round(batch / training, 1),
        "ratio": round(training / loading, 2),
    }


if __name__ == "__main__":
    run_app(app)
