"""A recipe as a file: every flag but the folders by its name, a typed flag wins, and mistakes name what was meant."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import typer

from edge.errors import UserError
from train.commands.fit import fit
from train.recipe_file import FLAGS, OURS, read_recipe, take_recipe

FOLDERS = {"data", "split", "fold", "extra", "negatives", "recipe", "out", "resume"}


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


def test_a_recipe_can_set_every_flag_of_fit_but_those_of_folders() -> None:
    names = {name.replace("_", "-") for name in inspect.signature(fit).parameters.keys() - FOLDERS}
    assert FLAGS.keys() == names


def test_a_flags_default_is_of_a_kind_that_a_recipe_may_give() -> None:
    for name, parameter in inspect.signature(fit).parameters.items():
        if name not in FOLDERS:
            assert type(parameter.default) in FLAGS[name.replace("_", "-")]


@pytest.mark.parametrize(("name", "width"), [("base", 1.0), ("small", 0.35)])
def test_ours_are_whole_and_found_by_name(name: str, width: float) -> None:
    found = read_recipe(name)
    assert found.keys() == FLAGS.keys(), "a recipe of ours leaves nothing to defaults that may change"
    assert found["width"] == width
    assert found == read_recipe(str(OURS / f"{name}.toml"))


@pytest.mark.parametrize(
    ("typed", "expected"),
    [([], (3, "strong")), (["--whole-epochs", "5"], (5, "strong")), (["--augment", "no"], (3, "no"))],
)
@pytest.mark.parametrize("last", [False, True])
def test_a_flag_that_is_typed_wins_over_the_file_and_the_file_over_the_default(
    tmp_path: Path, typed: list[str], expected: tuple[int, str], last: bool
) -> None:
    seen: list[Any] = []
    app = typer.Typer()

    @app.command()
    def command(
        whole_epochs: int = 10,
        augment: str = "plain",
        recipe: str | None = typer.Option(None, is_eager=True, callback=take_recipe),
    ) -> None:
        seen.append((whole_epochs, augment))

    flags = ["--recipe", write(tmp_path, 'whole-epochs = 3\naugment = "strong"\n')]
    app(typed + flags if last else flags + typed, standalone_mode=False)
    assert seen == [expected]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("whole-epoch = 3", "has 'whole-epoch', which is no flag that a recipe can set: did you mean whole-epochs?"),
        ("whole_rate = 1e-3", "did you mean whole-rate?"),
        ('out = "runs"', "has 'out', which is no flag that a recipe can set: expected one of encoder, decoder"),
        ("whole-epochs = true", "has whole-epochs = True: expected a whole number"),
        ("whole-epochs = 2.5", "has whole-epochs = 2.5: expected a whole number"),
        ('whole-rate = "low"', "has whole-rate = 'low': expected a number"),
        ("whole-batch-norm = 1", "has whole-batch-norm = 1: expected true or false"),
        ("encoder = 3", "has encoder = 3: expected a text in quotes"),
        ("encoder = ", "could not be read (Invalid value (at end of document)): expected TOML"),
        ("[model]\nwidth = 1.0", "has 'model', which is no flag"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        read_recipe(write(tmp_path, text))
    assert message in str(error.value)
    assert "mine.toml" in str(error.value) and "\n" not in str(error.value)


def test_a_recipe_that_does_not_exist_is_told_which_are_ours(tmp_path: Path) -> None:
    for name in ("bass", str(tmp_path / "mine.toml")):
        with pytest.raises(UserError, match=r"does not exist: expected a \.toml file, or one of base, small"):
            read_recipe(name)


def test_whole_numbers_do_where_a_number_is_expected_and_a_size_may_be_one(tmp_path: Path) -> None:
    assert read_recipe(write(tmp_path, "width = 1\nsize = 192\n")) == {"width": 1, "size": 192}
