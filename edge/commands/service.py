"""`fireseg-edge install-service`: the run as a systemd service, locked in as far as a camera allows.

The service is for months: it is started again whatever ended it, and when no frame came through for too long. It sees
cameras and the network, writes in its own folders and nowhere else, and holds no rights.
"""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from edge.config import Config, load_config
from edge.errors import UserError
from edge.files import write_text
from edge.model.card import split_model
from edge.retry import LONGEST_WAIT_S

NAME = "fireseg-edge"
UNIT = Path(f"/etc/systemd/system/{NAME}.service")
STATE = Path("/var/lib") / NAME
SECRETS = Path("/etc") / NAME / "secrets.env"
CAMERA_GROUP = "video"
"""Owns cameras, the memory that they share with programs, and the Pi's firmware, on Raspberry Pi OS and Debian."""
NOBODY = 65534
LEAST_WATCHDOG_S = 120
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
LOOK = """
import os, sys
for wish in sys.argv[1:]:
    if not os.access(wish[1:], {"R": os.R_OK, "W": os.W_OK}[wish[0]]):
        print(wish)
"""

TEMPLATE = """\
# Written by `fireseg-edge install-service`.
[Unit]
Description=FireSeg Edge: watches a camera for fire
After=network.target
# Tried again for ever: nobody is there to start it when it gave up.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
{where}EnvironmentFile=-{secrets}
Restart=always
RestartSec=5
# Fed by frames that went all the way through alone; longer than the longest wait between two tries of the camera.
WatchdogSec={watchdog_s}
# Ends it in order, so that what it was about to tell is kept.
WatchdogSignal=SIGTERM
TimeoutStopSec=10
LimitCORE=0

# Who it is, and what it may write.
{who}
SupplementaryGroups={camera_group}
StateDirectory={name}
StateDirectoryMode=0700
UMask=0077
ProtectSystem=strict
ProtectHome={protect_home}
{writable}PrivateTmp=yes
PrivateMounts=yes

# Cameras by V4L2 and libcamera, and the Pi's firmware, which knows of heat and power.
DevicePolicy=closed
DeviceAllow=char-video4linux rw
DeviceAllow=char-media rw
DeviceAllow=char-dma_heap rw
DeviceAllow=/dev/vcio rw
DeviceAllow=/dev/vchiq rw

# libcamera and the resolver ask the kernel by netlink.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
# Of /proc, what is not a process stays in sight: the runtime reads there which instructions the processor has.
ProtectProc=invisible
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
KeyringMode=private
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Service:
    """What a unit is made from; all paths are absolute."""

    program: Path
    config: Path | None
    user: str | None
    """One that exists; None for one that systemd makes up while it runs."""
    reads: tuple[Path, ...]
    """What it must be able to read."""
    writes: tuple[Path, ...]
    """Folders that it writes beside its own."""
    folder: Path | None
    """Where it runs, if that matters."""
    watchdog_s: int


def install_service_command(
    config: Annotated[Path | None, typer.Option(help="The configuration that it is to run with.")] = None,
    user: Annotated[
        str | None,
        typer.Option(
            help="Who it is to run as; the configuration's owner by default, or where that is root, a user that "
            "systemd makes up."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the unit and change nothing.")] = False,
) -> None:
    """Make the run a systemd service that starts at boot and is started again whatever ends it."""
    service = plan(load_config(config and config.absolute()), config and config.absolute(), user)
    if dry_run:
        print(unit(service), end="")
        return
    if os.geteuid():
        raise UserError(f"{UNIT} can be written by root alone", "run this with sudo, or see the unit with --dry-run")
    check_access(service)
    for folder in service.writes:
        make_owned(folder, service)
    write_text(UNIT, unit(service))
    UNIT.chmod(0o644)
    print(f"{UNIT} is written; it runs as {service.user or 'a user of its own'}. To start it, now and at each boot:")
    print(f"  systemctl daemon-reload\n  systemctl enable --now {NAME}")


def plan(config: Config, path: Path | None, user: str | None) -> Service:
    """What the service needs. Raises `UserError`."""
    if user is not None:
        user_id(user)
    elif path is not None:
        user = owner(path)
    model = Path(config.model.path)
    split_model(model)  # what is no model is told now
    secrets = (config.web.password_file, config.mqtt.ca_file, config.mqtt.password_file, config.webhook.secret_file)
    wanted = [Path(folder).absolute() for folder in (config.clips.folder, config.spool.folder) if folder]
    writes = tuple(folder for folder in wanted if not folder.is_relative_to(STATE))
    if user is None and writes:
        raise UserError(
            f"{writes[0]} would belong to a user that is made up anew at each start",
            f"choose a folder in {STATE}, or name a --user",
        )
    reads = (model.absolute(), *(Path(file).absolute() for file in secrets if file))
    return Service(
        program=find_program(),
        config=path,
        user=user,
        reads=(path, *reads) if path else reads,
        writes=writes,
        # The default model is seen from where this command runs, and so it must be for the service.
        folder=None if model.is_absolute() else Path.cwd(),
        watchdog_s=watchdog_s(config),
    )


def watchdog_s(config: Config) -> int:
    """Longer than any silence that the loop mends by itself: a stall, the longest wait, an opening, and a slow rate."""
    rates = [rate for rate in (config.loop.max_fps, config.source.fps) if rate]
    return max(LEAST_WATCHDOG_S, round(LONGEST_WAIT_S + 3 * config.source.stall_s + 3 / min(rates)))


def unit(service: Service) -> str:
    """The unit's text. Raises `UserError` where a path cannot stand in one."""
    if set(str(service.program)) & set("'\"\\"):
        raise UserError("systemd takes no program with a quote or a backslash", f"install {service.program} elsewhere")
    # With a colon, dollar signs mean themselves.
    arguments = [f":{service.program}", "run", *(["--config", str(service.config)] if service.config else [])]
    seen = [*service.reads, *service.writes, service.program, Path(sys.base_prefix), Path(__file__)]
    at_home = any(path.is_relative_to(home) for path in (*seen, service.folder or STATE) for home in HOMES)
    where = f"WorkingDirectory={specifiers(str(service.folder))}\n" if service.folder else ""
    # A folder that is missing, such as that of a disk that is not there, is told by the run in its own words.
    writable = "".join(f"ReadWritePaths={quoted('-' + str(folder))}\n" for folder in service.writes)
    return TEMPLATE.format(
        name=NAME,
        command=" ".join(map(quoted, arguments)),
        where=where,
        secrets=SECRETS,
        watchdog_s=service.watchdog_s,
        who=f"User={service.user}" if service.user else f"DynamicUser=yes\nUser={NAME}",
        camera_group=CAMERA_GROUP,
        protect_home="read-only" if at_home else "yes",
        writable=writable,
    )


def quoted(word: str) -> str:
    """One word as systemd reads words."""
    plain = word and all(sign.isalnum() or sign in "/._-+=:@" for sign in word)
    return specifiers(word if plain else '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"')


def specifiers(text: str) -> str:
    """With percent signs that mean themselves. Raises `UserError` for what no unit can hold."""
    if not text.isprintable():
        raise UserError(f"the path {text!r} holds a sign that cannot be printed", "rename it")
    return text.replace("%", "%%")


def find_program() -> Path:
    """The `fireseg-edge` of this very Python. Raises `UserError`."""
    program = Path(sysconfig.get_path("scripts")) / NAME
    for path in (Path(sys.argv[0]).absolute(), program):
        if path.name == NAME and os.access(path, os.X_OK):
            return path
    raise UserError(f"there is no {program}", "install fireseg-edge with `pip install .` first")


def owner(path: Path) -> str | None:
    """Who owns a file; None for root."""
    uid = path.stat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name if uid else None
    except KeyError:
        return None


def user_id(user: str) -> int:
    """Raises `UserError` where there is no such user, or it is root."""
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        raise UserError(
            f"there is no user {user!r}",
            f"create it with `useradd --system --groups {CAMERA_GROUP} {user}`, or leave --user away",
        ) from None
    if not uid:
        raise UserError("the service needs no rights of root", "name another --user, or none")
    return uid


def check_access(service: Service) -> None:
    """Raise `UserError` where the service's user could not run the program, read what it must, or write its folders."""
    called = service.user or "a user of its own"
    wanted = [f"R{path}" for path in (service.program, Path(__file__), *service.reads)]
    wanted += [f"W{folder}" for folder in service.writes if folder.exists()]
    try:
        refused = run_as(service.user, [sys.executable, "-c", LOOK, *wanted])
    except OSError as error:
        raise UserError(
            f"{sys.executable} cannot be run by {called} ({error.strerror})",
            f"name a --user who can, or install fireseg-edge where all can, such as /opt/{NAME}",
        ) from error
    for line in refused.splitlines():
        verb, path = "read" if line[0] == "R" else "written", line[1:]
        raise UserError(
            f"{path} cannot be {verb} by {called}",
            f"name a --user who can, or let the group {CAMERA_GROUP} by `chgrp` and `chmod`",
        )


def run_as(user: str | None, command: Sequence[str]) -> str:
    """What a command prints, run with the rights of the service. Raises OSError."""
    gid = pwd.getpwnam(user).pw_gid if user else NOBODY
    groups = [group.gr_gid for group in grp.getgrall() if group.gr_name == CAMERA_GROUP or user in group.gr_mem]
    done = subprocess.run(
        command,
        user=user_id(user) if user else NOBODY,
        group=gid,
        extra_groups=groups,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OSError(0, (done.stderr.strip().splitlines() or ["it fails"])[-1])
    return done.stdout


def make_owned(folder: Path, service: Service) -> None:
    """Make a folder that the service's user may write, if it is not there. Raises `UserError`."""
    if folder.is_dir() or service.user is None:
        return
    try:
        folder.mkdir(parents=True, mode=0o700)
        os.chown(folder, user_id(service.user), -1)
    except OSError as error:
        raise UserError(f"{folder} could not be made ({error.strerror})", "choose another folder") from error
