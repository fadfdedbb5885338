"""The arm64 package in an emulated arm64 Debian: installed, used, upgraded, downgraded, removed, purged.

The tests build on each other, in this order. There is no systemd: test_debian.py tests the service.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deb_packages import NEWER, old_and_new
from tests.support.nspawn import BUILD

pytestmark = [pytest.mark.slow, pytest.mark.system]

SUITE = "trixie"
EMULATOR = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
INCLUDE = "procps,python3,systemd-standalone-sysusers"
INSTALL = "apt-get install -y --no-install-recommends"
TIME_LIMIT_S = 1800  # configuring a package takes minutes under emulation


class Chroot:
    """An arm64 Debian in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def sh(self, script: str, *, code: int = 0) -> str:
        """Return what a shell script prints inside."""
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C.UTF-8",
        }
        began_s = time.monotonic()
        done = subprocess.run(
            ["chroot", str(self.root), "/bin/sh", "-c", script], env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIME_LIMIT_S,
        )  # fmt: skip
        print(f"{time.monotonic() - began_s:.0f} s: {script}")
        assert done.returncode == code, f"{script}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout.strip()


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chroot]:
    if os.geteuid():
        pytest.skip("only root can enter an arm64 system")
    if not EMULATOR.exists():
        pytest.skip("the kernel does not start arm64 programs: install qemu-user-static and binfmt-support")
    if shutil.which("debootstrap") is None:
        pytest.skip("debootstrap is missing: install debootstrap")
    pristine, root = BUILD / f"root-{SUITE}-arm64", tmp_path_factory.mktemp("debian") / "root"
    if not pristine.is_dir():
        partial = pristine.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        command = ["debootstrap", "--arch=arm64", "--variant=minbase", f"--include={INCLUDE}", SUITE, str(partial)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        partial.rename(pristine)
    subprocess.run(["cp", "-a", str(pristine), str(root)], check=True)
    packages = old_and_new(root / "srv", "arm64", SUITE)
    assert packages == root / "srv"
    yield Chroot(root)
    shutil.rmtree(root, ignore_errors=True)


def test_two_commands_lead_to_the_first_result(debian: Chroot) -> None:
    said = debian.sh(f"{INSTALL} /srv/old.deb")
    assert "no Pi camera was found, so the service is not started" in said
    run = "fireseg-edge run --source test-pattern --replay every-frame --max-frames 3 --log json"
    out = debian.sh(f"XDG_STATE_HOME=/srv {run}")  # a user's state stays when the package goes
    results = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert len([result for result in results if "fire_share" in result]) >= 3
    assert debian.sh("id -nG fireseg-edge") == "fireseg-edge video"


def test_an_upgrade_and_a_downgrade_keep_the_configuration(debian: Chroot) -> None:
    debian.sh("echo '# mine' >> /etc/fireseg-edge/fireseg.toml")
    debian.sh(f"{INSTALL} /srv/new.deb")
    version = "dpkg-query -W -f '${Version}' fireseg-edge"
    assert debian.sh(version) == NEWER
    debian.sh(f"{INSTALL} --allow-downgrades /srv/old.deb")
    assert debian.sh(version) != NEWER
    assert debian.sh("tail -n 1 /etc/fireseg-edge/fireseg.toml") == "# mine"


def test_a_removal_keeps_the_configuration_and_a_purge_leaves_nothing(debian: Chroot) -> None:
    debian.sh("apt-get remove -y fireseg-edge")
    debian.sh("test -f /etc/fireseg-edge/fireseg.toml -a ! -e /opt/fireseg-edge")
    debian.sh("apt-get purge -y fireseg-edge")
    assert debian.sh("find / -xdev -name '*fireseg*' -not -path '/srv/*' -not -path '/proc/*'") == ""
    debian.sh("grep fireseg /etc/passwd /etc/group", code=1)
