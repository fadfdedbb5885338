"""`fireseg-export publish`: a signed repository from which machines update their models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge import __version__
from edge.errors import UserError

if TYPE_CHECKING:
    from export.publish import ModelRepository

publish_app = typer.Typer(
    help="Publish models for `fireseg-edge update`: a signed folder that any web server can serve (docs/updates.md).",
    no_args_is_help=True,
    epilog="Example: `fireseg-export publish add models/fireseg-base-int8.tflite --name base --roll-out 10`",
)
RepositoryOption = Annotated[Path, typer.Option("--repository", help="The folder that a web server serves.")]
KeysOption = Annotated[Path, typer.Option("--keys", help="The folder of the private keys: never on that server.")]
REPOSITORY, KEYS = Path("repository"), Path("keys")


@publish_app.command(epilog="Example: `fireseg-export publish init --root-keys 3 --threshold 2`")
def init(
    repository: RepositoryOption = REPOSITORY,
    keys: KeysOption = KEYS,
    root_keys: Annotated[
        int, typer.Option(min=1, max=20, help="Number of root keys, such as one for each person.")
    ] = 1,
    threshold: Annotated[int, typer.Option(min=1, max=20, help="How many root keys must sign.")] = 1,
) -> None:
    """Generate keys and an empty repository. FIRESEG_PUBLISH_PASSWORD, if set, encrypts the keys."""
    root = _open(repository, keys).init(root_keys=root_keys, threshold=threshold)
    print(f"{root} written: copy it to each machine and name it in [update] root")
    print(f"{keys} holds the private keys: back them up, and keep root and targets offline")


@publish_app.command(epilog="Example: `fireseg-export publish add models/fireseg-base-int8.tflite --name base`")
def add(
    model: Annotated[Path, typer.Argument(help="The .tflite model, with a card.")],
    name: Annotated[str, typer.Option(help="What machines call it in [update] model, such as base or small.")],
    repository: RepositoryOption = REPOSITORY,
    keys: KeysOption = KEYS,
    roll_out: Annotated[int, typer.Option(min=0, max=100, help="Percentage of machines that take it.")] = 100,
    minimum_version: Annotated[str, typer.Option(help="The oldest fireseg-edge that can run it.")] = __version__,
) -> None:
    """Publish a model in place of the one of that name, or change the roll-out of the same one."""
    sha256 = _open(repository, keys).add(model, name, roll_out_percent=roll_out, minimum_version=minimum_version)
    print(f"{name} {sha256[:12]} published for {roll_out} % of the machines")


@publish_app.command(epilog="Example: `fireseg-export publish refresh`, once a week by a timer")
def refresh(repository: RepositoryOption = REPOSITORY, keys: KeysOption = KEYS) -> None:
    """Renew the signatures that expire after two weeks; needs only the online key."""
    for warning in _open(repository, keys).refresh():
        print(f"warning: {warning}: run `publish refresh` where its key is")
    print(f"{repository} is fresh for two weeks")


@publish_app.command(epilog="Example: `fireseg-export publish rotate online`")
def rotate(
    key: Annotated[str, typer.Argument(help="The key to replace: targets, online or root.")],
    repository: RepositoryOption = REPOSITORY,
    keys: KeysOption = KEYS,
) -> None:
    """Replace a lost or stolen key by a new one; needs the root keys. Machines follow by themselves."""
    print(f"{_open(repository, keys).rotate(key)} replaces the old key")


def _open(repository: Path, keys: Path) -> ModelRepository:
    try:
        from export.publish import ModelRepository
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in ("edge", "export"):
            raise
        problem = f"publishing needs further packages ({error.name} is missing)"
        raise UserError(problem, "pip install 'fireseg-edge[publish]', or '.[publish]' in a clone") from error
    return ModelRepository(repository, keys)
