"""What several commands share: options, loading a model, and checking a configuration as a run would."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from edge.camera import CameraSettings, build_camera
from edge.config import Config, load_config
from edge.config_tables import parse_listen
from edge.errors import UserError, UserErrors
from edge.files import check_writable
from edge.model.card import read_model
from edge.model.proof import prove_in_fork
from edge.model.segmenter import Segmenter
from edge.model.shipped import SHIPPED, find_model
from edge.secrets import WEBHOOK_SECRET, load_service_secrets, read_secret

MODEL_HELP = "base (default) or small, which are installed with fireseg-edge, or a .tflite file"
ModelOption = Annotated[str, typer.Option(help=f"The model: {MODEL_HELP}.", show_default=False)]
RuntimeOption = Annotated[str | None, typer.Option(help="litert or tflite-runtime; the fastest installed by default.")]

STATE = Path("/var/lib/fireseg-edge")
"""The service's state folder, which only the service may see."""
CAMERA_GROUP = "video"  # owns cameras, and may read a configuration that root wrote


def load_segmenter(model: str, *, threads: int | None = None, runtime: str | None = None) -> Segmenter:
    """Return a model, tried in a fork first unless it ships: a damaged one may crash the interpreter.

    Raises `UserError`.
    """
    path, data = find_model(model), None
    if model not in SHIPPED:
        data = read_model(path)
        prove_in_fork(path, data, runtime=runtime)
    return Segmenter(path, threads=threads, runtime=runtime, data=data)


def check_config(config: Config) -> None:
    """Raise `UserErrors` with each reason, its model apart, for which a run would refuse this configuration.

    Secrets that only the service has are taken into account, or believed if this user may not read them.
    """
    errors: list[str] = []
    for check in (check_source_file, check_folders, check_page, check_broker_login, check_webhook, check_notify):
        try:
            check(config)
        except UserError as error:
            errors += error.lines
    if errors:
        raise UserErrors(errors)


def check_source_file(config: Config) -> None:
    """Raise `UserError` for a source that does not exist; the camera library may be on another machine."""
    if config.source.address != "picamera2":
        build_camera(config.source.address, CameraSettings())
    if _readable(config.source.password_file):
        config.source.address_with_login()


def check_folders(config: Config) -> str:
    """Return which folders a run can write. Raises `UserError`."""
    folders = config.files("written")
    check_writable(*(folder for folder in folders if not folder.is_relative_to(STATE)))
    return f"{', '.join(map(str, folders))} can be written"


def check_page(config: Config) -> str:
    """Return who can open the page. Raises `UserError` if other machines could without a password."""
    listen, file = config.web.listen, config.web.password_file
    if not listen:
        return "no page"
    if not load_service_secrets() or not _readable(file):
        return f"{listen}; this user may not read its password"
    from edge.sinks.web.sink import find_password

    proxy = config.web.trusted_proxy
    has_password = find_password(parse_listen(listen), file, proxy) is not None
    reader = f"the proxy {proxy}" if proxy else "this machine"
    return f"{listen} has {'a password' if has_password else f'no password, only {reader} can open it'}"


def check_broker_login(config: Config) -> None:
    """Raise `UserError` if the broker's password or certificates cannot be used."""
    load_service_secrets()
    if config.mqtt.host and _readable(config.mqtt.password_file, config.mqtt.ca_file):
        from edge.sinks.mqtt_login import make_client

        make_client(config.mqtt, "")


def check_webhook(config: Config) -> str:
    """Return the state of the webhook's secrets. Raises `UserError`."""
    load_service_secrets()
    if not _readable(config.webhook.password_file, config.webhook.secret_file):
        return "this user may not read its secrets"
    read_secret(WEBHOOK_SECRET, config.webhook.secret_file)
    config.webhook.url_with_login()
    return "its secrets can be used; nothing was posted"


def check_notify(config: Config) -> str:
    """Return how many services are notified. Raises `UserError` if one of their URLs is wrong."""
    file = config.notify.urls_file
    if not file:
        return "no notifications"
    if not _readable(file):
        return f"this user may not read {file}"
    from edge.sinks.notify import read_services

    names = ", ".join(service.name for service in read_services(Path(file)))
    return f"{names}; nothing was sent: try `fireseg-edge notify test`"


def _readable(*files: str) -> bool:
    return all(not file or os.access(file, os.R_OK) for file in files)


RunConfigOption = Annotated[Path | None, typer.Option(help="The configuration of the run.")]
RunWebOption = Annotated[str | None, typer.Option(help="Where the run serves its page, if not in --config.")]


def load_run_config(config: Path | None, web: str | None) -> Config:
    """Return the configuration of a run that a command asks through its page. Raises `UserError`."""
    if config is None and web is None:
        raise UserError(
            "no run is named", "pass --config with its configuration, or --web with the address of its page"
        )
    load_service_secrets()  # the page's password
    return load_config(config, {"web": {"listen": web}})
