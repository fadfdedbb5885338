"""`fireseg-export self-test`: add to cards of older exports what newer ones have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def self_test_command(
    models: Annotated[list[Path], typer.Argument(help=".tflite models with a card, from `all` or `convert`.")],
) -> None:
    """Write the network's SHA-256 and the self-test into the cards of models; their networks stay the same.

    An older export without a SHA-256 is taken as it is: renew only a model that works.
    """
    from export.self_test import renew_card

    for model in models:
        renew_card(model)
        print(f"{model}  {model.stat().st_size / 1e6:.2f} MB")
