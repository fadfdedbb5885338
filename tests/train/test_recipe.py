"""The recipe: one definition gives the flags and the keys of a file, flags override the file, errors name the fix."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import typer

from edge.errors import UserError
from train.commands.options import take_recipe, with_recipe_flags
from train.model.config import UNetConfig
from train.recipe import SHIPPED_DIR, Phase, Recipe, read_recipe


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


def parse(*arguments: str) -> Recipe:
    """Return the recipe of a command line with `fit`'s flags."""
    recipes: list[Recipe] = []
    app = typer.Typer()

    @app.command()
    @with_recipe_flags
    def command(recipe: str | None = typer.Option(None, is_eager=True, callback=take_recipe), **settings: Any) -> None:
        recipes.append(Recipe(**settings))

    app(list(arguments), standalone_mode=False)
    return recipes[0]


def test_without_flags_the_defaults_are_the_recipes() -> None:
    assert parse() == Recipe()
    assert Recipe().model == UNetConfig()


@pytest.mark.parametrize(("name", "width"), [("base", 1.0), ("small", 0.35), ("finetune", 1.0), ("adapt", 1.0)])
def test_shipped_recipes_set_every_field_and_are_found_by_name(name: str, width: float) -> None:
    settings = read_recipe(name)
    keys = {field.name.replace("_", "-") for field in fields(Recipe)}
    assert settings.keys() == keys, "a shipped recipe leaves nothing to defaults that may change"
    assert settings == read_recipe(str(SHIPPED_DIR / f"{name}.toml"))
    recipe = parse("--recipe", name)
    assert recipe == Recipe(**{key.replace("-", "_"): value for key, value in settings.items()})
    assert recipe.width == width
    recipe.check()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], {}),
        (["--finetune-epochs", "5"], {"finetune_epochs": 5}),
        (["--augment", "plain", "--no-finetune-batchnorm"], {"augment": "plain", "finetune_batchnorm": False}),
    ],
)
@pytest.mark.parametrize("recipe_last", [False, True])
def test_a_flag_overrides_the_file_and_the_file_the_default(
    tmp_path: Path, flags: list[str], expected: dict[str, Any], recipe_last: bool
) -> None:
    text = 'size = 192\nfinetune-epochs = 3\naugment = "strong"\nfinetune-batchnorm = true\n'
    option = ["--recipe", write(tmp_path, text)]
    of_file = Recipe(size="192", finetune_epochs=3, augment="strong", finetune_batchnorm=True)
    assert parse(*(flags + option if recipe_last else option + flags)) == replace(of_file, **expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("finetune-epoch = 3", "has no key finetune-epoch: did you mean finetune-epochs?"),
        ("finetune_lr = 1e-3", "did you mean finetune-lr?"),
        ('out = "runs"', "has no key out: expected width, size"),
        ("finetune-epochs = true", "has finetune-epochs = True: expected a whole number"),
        ("finetune-epochs = 2.5", "has finetune-epochs = 2.5: expected a whole number"),
        ("patience = 0", "has patience = 0: expected a whole number of at least 1"),
        ('finetune-lr = "low"', "has finetune-lr = 'low': expected a number"),
        ("finetune-batchnorm = 1", "has finetune-batchnorm = 1: expected true or false"),
        ("augment = 3", 'has augment = 3: expected one of "plain", "strong"'),
        ("augment = ", "could not be read (Invalid value (at end of document)): expected TOML"),
        ("[model]\nwidth = 1.0", "has no key model"),
        pytest.param("x=" + "[" * 20_000, "could not be read", id="nested without end"),
    ],
)
def test_an_error_in_a_recipe_is_named_with_the_fix(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        read_recipe(write(tmp_path, text))
    assert message in str(error.value)
    assert "mine.toml" in str(error.value) and "\n" not in str(error.value)


def test_a_recipe_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert read_recipe(write(tmp_path, "\ufeffseed = 3\r\n")) == {"seed": 3}


def test_a_missing_recipe_is_refused_with_the_shipped_ones(tmp_path: Path) -> None:
    for name in ("bass", str(tmp_path / "mine.toml")):
        with pytest.raises(UserError, match=r"does not exist: expected a \.toml file, or one of adapt, base, fine"):
            read_recipe(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0: expected a whole number of at least 1"),
        ({"frozen_epochs": 0, "finetune_epochs": 0, "bn_frozen_epochs": 2}, "are both 0: expected 1 or more in all"),
        ({"validation": 0.9}, "validation is 0.9: expected a number from 0 to 0.5"),
        ({"frozen_lr": 0.0}, "frozen_lr is 0.0: expected a number from"),
        ({"finetune_lr": float("nan")}, "finetune_lr is nan"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"augment": "weak"}, 'augment is \'weak\': expected one of "plain", "strong"'),
        ({"size": "big"}, "size is 'big': expected pixels such as 224, or HEIGHTxWIDTH"),
        ({"size": "100"}, "input height 100 px does not fit the encoder: expected a multiple of 32"),
        ({"size": "64x100"}, "input width 100 px"),
        ({"size": "0"}, r"input height 0 px .* for example 32"),
        ({"width": 0.6}, r"MobileNetV2 has no width 0\.6: expected one of \(0\.35, 0\.5"),
    ],
)
def test_a_recipe_that_cannot_be_run_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(Recipe(), **change).check()


def test_phases_without_epochs_are_left_out() -> None:
    recipe = Recipe(frozen_epochs=0, finetune_epochs=2, finetune_batchnorm=True, bn_frozen_epochs=1)
    assert recipe.phases() == [
        Phase("finetune", 2, 1e-4, encoder=True, batchnorm=True, cosine=True, patience=None),
        Phase("bn_frozen", 1, 1e-4, encoder=True, batchnorm=False, cosine=True, patience=None),
    ]
    assert Recipe().phases()[0] == Phase("frozen", 25, 1e-3, encoder=False, batchnorm=True, cosine=False, patience=6)


def test_a_rectangular_size_is_height_by_width() -> None:
    model = Recipe(size="192x320").model
    assert (model.height, model.width_px) == (192, 320)
