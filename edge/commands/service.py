"""`fireseg-edge install-service`: run as a systemd service, sandboxed as far as a camera allows.

The service runs for months: systemd restarts it after any exit, and when no frame is processed for too long. It can
use cameras and the network, write to its own folders only, and has no privileges.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from edge.commands.options import CAMERA_GROUP, STATE, check_config
from edge.config import Config, load_config
from edge.errors import UserError
from edge.files import write_text
from edge.host.machine import output_of
from edge.reload import prepare
from edge.retry import LONGEST_WAIT_S

NAME = "fireseg-edge"
UNIT = Path(f"/etc/systemd/system/{NAME}.service")
PACKAGED_UNIT = Path(f"/usr/lib/systemd/system/{NAME}.service")  # the Debian package's
TEMPLATE = Path(__file__).with_name(f"{NAME}.service.in")
DESCRIPTION = "FireSeg Edge: fire detection with a camera"
NOBODY = 65534
MIN_WATCHDOG_S = 120
MAX_MEMORY_MB = 1024  # a run takes 150 MB, and a model that is proven as much again
MEMORY_SHARE = 0.75  # on a small machine
RESTART_STEPS, STEPS_SINCE = 5, 254  # version of systemd that knows them
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
ACCESS_PROBE = """
import os, sys
for request in sys.argv[1:]:
    if not os.access(request[1:], {"R": os.R_OK, "W": os.W_OK}[request[0]]):
        print(request)
"""
"""Prints which of its arguments, R or W and a path, the user may not access."""


@dataclass(frozen=True)
class Service:
    """What a unit is rendered from. Paths are absolute."""

    program: Path
    config: Path | None
    user: str | None
    """An existing user; None for one that systemd creates while the service runs."""
    reads: tuple[Path, ...]
    """Files that it must be able to read."""
    writes: tuple[Path, ...]
    """Folders that it writes besides its state folder."""
    watchdog_s: int
    systemd_version: int
    memory_max_mb: int
    python: Path = Path(sys.executable)
    code: tuple[Path, ...] = (Path(sys.base_prefix), Path(__file__))
    """Where Python and this package are installed."""
    per_camera: bool = False
    """A template unit: %i in the path of the configuration is the camera, which gets its own state folder."""
    written_by: str = f"`{NAME} install-service`"


def install_service_command(
    config: Annotated[Path | None, typer.Option(help="The configuration that the service uses.")] = None,
    user: Annotated[
        str | None, typer.Option(help="User; default: the configuration's owner, or a dynamic user if that is root.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the unit and change nothing.")] = False,
) -> None:
    """Install a systemd service that starts at boot and restarts after any failure."""
    path = config and config.absolute()
    loaded = load_config(path)
    for name in [name for name in os.environ if name.startswith("FIRESEG_")]:
        del os.environ[name]  # the service sees those of its secrets file only
    check_config(loaded)
    prepare(loaded)  # refuses an invalid model before anything is written
    service = plan_service(loaded, path, user)
    text = render_unit(service)
    if dry_run:
        print(text, end="")
        return
    if os.geteuid():
        raise UserError(f"only root can write {UNIT}", "run this with sudo, or print the unit with --dry-run")
    if PACKAGED_UNIT.exists():
        remedy = f"edit /etc/{NAME}/fireseg.toml and run `sudo systemctl enable --now {NAME}`, or remove the package"
        raise UserError(f"the Debian package of {NAME} has a service already", remedy)
    check_access(service)
    make_folders(service)
    write_text(UNIT, text)
    UNIT.chmod(0o644)
    print(f"{UNIT} written; it runs as {service.user or 'a dynamic user'}. To start it now and at each boot:")
    print(f"  systemctl daemon-reload\n  systemctl enable --now {NAME}")
    if loaded.web.listen and path and path.resolve().parent not in service.writes:
        remedy = "put the configuration into a folder of that user with nothing else in it, such as ~/camera"
        print(f"Zones cannot be drawn on the page, since {path} stays read-only: {remedy}")


def plan_service(config: Config, path: Path | None, user: str | None) -> Service:
    """Return what the service needs. Raises `UserError`."""
    user = service_user(user, path)
    folders = [folder.absolute() for folder in config.files("written")]
    writes = tuple(folder for folder in folders if not folder.is_relative_to(STATE))
    if user is None and writes:
        problem = f"{writes[0]} would belong to a user that changes with each start"
        raise UserError(problem, f"choose a folder in {STATE}, or pass --user")
    program = find_program()
    if user and path and (folder := config_folder(path, user, program)):
        writes = (*writes, folder)
    reads = [*([path] if path else []), config.model.file, *config.files("required")]
    return Service(
        program=program,
        config=path,
        user=user,
        reads=tuple(file.absolute() for file in reads),
        writes=writes,
        watchdog_s=watchdog_s(config),
        systemd_version=systemd_version(),
        memory_max_mb=memory_max_mb(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")),
    )


def config_folder(path: Path, user: str, program: Path) -> Path | None:
    """Return the folder of the configuration if the service may write it, so that zones can be drawn on the page.

    None unless it belongs to the user, and neither programs nor the home directory lie in it: a service that could
    write those could change what runs outside its sandbox.
    """
    folder = path.resolve().parent
    try:
        owner, home = folder.owner(), Path(pwd.getpwnam(user).pw_dir)
    except (KeyError, OSError):  # an owner without a name, a folder that is hidden
        return None
    others = (home, program, Path(sys.executable), *Service.code)
    contains_others = any(other.resolve().is_relative_to(folder) or other.is_relative_to(folder) for other in others)
    return folder if owner == user and not contains_others else None


def watchdog_s(config: Config) -> int:
    """Return a watchdog timeout longer than any gap the loop recovers from: stall, wait, connect, three slow frames."""
    rates = [rate for rate in (config.loop.max_fps, config.source.fps) if rate]
    return max(MIN_WATCHDOG_S, round(LONGEST_WAIT_S + 3 * config.source.stall_s + 3 / min(rates)))


def memory_max_mb(machine_bytes: int) -> int:
    """Return the service's memory limit on a machine with this much memory."""
    return min(MAX_MEMORY_MB, round(MEMORY_SHARE * machine_bytes / (1 << 20)))


def systemd_version() -> int:
    """Return the version of systemd; 0 if it is unknown."""
    version = re.match(r"systemd (\d+)", output_of("systemctl", "--version", timeout_s=5.0))
    return int(version[1]) if version else 0


def render_unit(service: Service) -> str:
    """Return the text of the unit; lines with an empty placeholder are left out. Raises `UserError` for a bad path."""
    if set(str(service.program)) & set("'\"\\"):
        raise UserError(f"systemd accepts no quote or backslash in {service.program}", "install it elsewhere")
    # The colon turns off variable expansion, so that dollar signs are literal.
    command = " ".join(map(quote, [f":{service.program}", "run"]))
    config = ""
    if service.config and service.per_camera:  # systemd fills in %i
        config = "%i".join(map(quote, str(service.config).split("%i")))
    elif service.config:
        config = quote(str(service.config))
    paths = [*service.reads, *service.writes, service.program, *service.code]
    at_home = any(path.is_relative_to(home) for path in paths for home in HOMES)
    knows_steps = service.systemd_version >= STEPS_SINCE
    values = {
        "written_by": service.written_by,
        "description": f"{DESCRIPTION}, camera %i" if service.per_camera else DESCRIPTION,
        "needed": config if service.per_camera else "",
        "state": f"{NAME}/cameras/%i" if service.per_camera else NAME,
        "command": f"{command} --config {config}" if config else command,
        "watchdog_s": str(service.watchdog_s),
        "restart_steps": str(RESTART_STEPS) if knows_steps else "",
        "restart_max_delay_s": f"{LONGEST_WAIT_S:.0f}" if knows_steps else "",
        "memory_max_mb": str(service.memory_max_mb),
        "dynamic_user": "" if service.user else "yes",
        "user": service.user or NAME,
        "protect_home": "read-only" if at_home else "yes",
        # The minus lets the service start without the folder; the run then reports the error itself.
        "writable": " ".join(quote(f"-{folder}") for folder in service.writes),
    }
    empty = "|".join(name for name, value in values.items() if not value)
    text = re.sub(f"(?m)^.*@({empty})@\n", "", TEMPLATE.read_text(encoding="utf-8"))
    return re.sub("@([a-z_]+)@", lambda placeholder: values[placeholder[1]], text)


def quote(word: str) -> str:
    """Return one word in systemd's quoting. Raises `UserError` for characters that a unit cannot contain."""
    if not word.isprintable():
        raise UserError(f"the path {word!r} contains a character that cannot be printed", "rename it")
    if not re.fullmatch(r"[\w/.+=:@-]+", word):
        word = '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'
    return word.replace("%", "%%")


def find_program() -> Path:
    """Return the `fireseg-edge` of this Python. Raises `UserError`."""
    installed = Path(sysconfig.get_path("scripts")) / NAME
    for program in (Path(sys.argv[0]).absolute(), installed):
        if program.name == NAME and os.access(program, os.X_OK):
            return program
    raise UserError(f"{installed} is missing", "install fireseg-edge with `pip install .` first")


def service_user(user: str | None, config: Path | None) -> str | None:
    """Return `user`, else the owner of `config`; None for root, for whom systemd creates a user. Raises `UserError`."""
    if user is None:
        with suppress(KeyError):  # an owner without a name
            return config.owner() if config and config.owner() != "root" else None
        return None
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        remedy = f"create it with `useradd --system --groups {CAMERA_GROUP} {user}`, or omit --user"
        raise UserError(f"user {user!r} does not exist", remedy) from None
    if not uid:
        raise UserError("the service must not run as root", "pass another --user, or omit it")
    return user


def check_access(service: Service) -> None:
    """Raise `UserError` if the service's user cannot run the program, read its files or write its folders."""
    user = service.user or "a dynamic user"
    requests = [f"R{path}" for path in (service.program, service.code[-1], *service.reads)]
    requests += [f"W{folder}" for folder in service.writes if folder.exists()]
    try:
        refused = run_as(service.user, [str(service.python), "-c", ACCESS_PROBE, *requests])
    except OSError as error:
        remedy = f"pass a --user who can, or install fireseg-edge where every user can run it, such as /opt/{NAME}"
        raise UserError(f"{user} cannot run {service.python} ({error.strerror})", remedy) from error
    for line in refused.splitlines():
        verb, right = ("read", "r") if line[0] == "R" else ("write", "w")
        permit = f"`sudo chgrp {CAMERA_GROUP} {line[1:]} && sudo chmod g+{right} {line[1:]}`"
        raise UserError(f"{user} cannot {verb} {line[1:]}", f"pass a --user who can, or run {permit}")


def run_as(user: str | None, command: Sequence[str]) -> str:
    """Return what a command prints when run with the rights of the service. Raises OSError."""
    groups = [group.gr_gid for group in grp.getgrall() if group.gr_name == CAMERA_GROUP or user in group.gr_mem]
    done = subprocess.run(
        command,
        user=user or NOBODY,
        group=pwd.getpwnam(user).pw_gid if user else NOBODY,
        extra_groups=groups,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OSError(0, (done.stderr.strip().splitlines() or ["it fails"])[-1])
    return done.stdout


def make_folders(service: Service) -> None:
    """Create missing folders, owned by the service's user. Raises `UserError`."""
    for folder in service.writes:
        try:
            if service.user and not folder.is_dir():
                folder.mkdir(parents=True, mode=0o700)
                shutil.chown(folder, service.user)
        except OSError as error:
            raise UserError(f"{folder} could not be created ({error.strerror})", "choose another folder") from error
