"""Start fireseg-edge as a Home Assistant app: write its configuration, then run it as its own user.

The app's options and the broker that Home Assistant offers replace their keys in /config/fireseg.toml. The other keys
and the comments of that file stay, such as zones that were drawn on the page.
"""

from __future__ import annotations

import json
import os
import pwd
import sys
import urllib.request
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from edge.errors import UserError
from edge.files import write_text

OPTIONS, CONFIG, CLIPS = Path("/data/options.json"), Path("/config/fireseg.toml"), Path("/media/fireseg-edge")
SUPERVISOR = "http://supervisor"
INGRESS_PROXY = "172.30.32.2"  # the supervisor: Home Assistant has signed its users in
LISTEN = "0.0.0.0:8099"
USER = "fireseg"
SECRETS = {
    "source_user": "FIRESEG_SOURCE_USER",
    "source_password": "FIRESEG_SOURCE_PASSWORD",
    "page_password": "FIRESEG_WEB_PASSWORD",
}


def main() -> None:
    """Prepare the run and replace this process by it."""
    os.umask(0o077)
    options = read_options()
    broker = find_broker(SUPERVISOR, os.environ.get("SUPERVISOR_TOKEN", ""))
    try:
        existing = CONFIG.read_text() if CONFIG.exists() else ""
        write_text(CONFIG, merge(existing, tables(options, broker)))
    except (TOMLKitError, UserError, OSError, ValueError, LookupError, TypeError) as error:
        report(f"{CONFIG} could not be updated ({error!r}), so the options are not applied: correct it, or delete it")
    folders = [CONFIG.parent, Path(os.environ["STATE_DIRECTORY"]), *([CLIPS] if options.get("clips") else [])]
    drop_root(USER, folders, cameras=Path("/dev").glob("video*"))
    environment = {key: value for key, value in os.environ.items() if key != "SUPERVISOR_TOKEN"}
    command = ["fireseg-edge", "run", "--config", str(CONFIG)]
    os.execvpe(command[0], command, environment | secrets(options, broker))


def read_options() -> dict[str, Any]:
    """Return the app's options; empty if their file is damaged, so that the run starts as configured before."""
    try:
        options = json.loads(OPTIONS.read_text())
    except (OSError, ValueError, RecursionError) as error:
        report(f"{OPTIONS} could not be read ({error}): save the app's options again")
        return {}
    return options if isinstance(options, dict) else {}


def report(line: str) -> None:
    """Write one line to the app's log."""
    print(line, file=sys.stderr, flush=True)


def find_broker(supervisor: str, token: str) -> dict[str, Any]:
    """Return host, port, ssl, username and password of Home Assistant's MQTT broker; empty without one."""
    request = urllib.request.Request(f"{supervisor}/services/mqtt", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            broker = json.load(response)["data"]
            return broker if isinstance(broker, dict) else {}
    except (OSError, ValueError, LookupError, TypeError) as error:  # 400: no broker is installed
        report(f"Home Assistant offers no MQTT broker ({error}): install the Mosquitto app, or set [mqtt] in {CONFIG}")
        return {}


def tables(options: Mapping[str, Any], broker: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the keys of the configuration that options and broker decide, by table."""
    decided: dict[str, dict[str, Any]] = {
        "source": {"address": options["source"]},
        "model": {"path": options["model"]},
        "clips": {"folder": str(CLIPS) if options["clips"] else ""},
        "web": {"listen": LISTEN, "trusted_proxy": INGRESS_PROXY},
        "mqtt": {},
    }
    if broker:
        decided["mqtt"] = {"host": broker["host"], "port": int(broker["port"]), "tls": bool(broker.get("ssl"))}
    if name := options.get("camera_name"):
        decided["mqtt"]["name"] = name
    return decided


def secrets(options: Mapping[str, Any], broker: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables of users and passwords, which no file holds."""
    values = {variable: options.get(key) for key, variable in SECRETS.items()}
    values |= {"FIRESEG_MQTT_USER": broker.get("username"), "FIRESEG_MQTT_PASSWORD": broker.get("password")}
    return {variable: str(value).replace("\0", "") for variable, value in values.items() if value}


def merge(text: str, decided: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a TOML text with some keys replaced, everything else as it was. Raises `TOMLKitError` or ValueError."""
    document = tomlkit.parse(text)
    for name, keys in decided.items():
        if not keys:
            continue
        table = document.setdefault(name, tomlkit.table())
        if not isinstance(table, MutableMapping):
            raise ValueError(f"{name} is not a table")
        table.update(keys)
    return tomlkit.dumps(document)


def drop_root(name: str, folders: Iterable[Path], cameras: Iterable[Path]) -> None:
    """Give the folders to a user and become that user, in the groups that own the cameras."""
    user = pwd.getpwnam(name)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder, *folder.rglob("*")):
            if path.lstat().st_uid != user.pw_uid:
                os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    os.setgroups([user.pw_gid, *{camera.stat().st_gid for camera in cameras}])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


if __name__ == "__main__":
    main()
