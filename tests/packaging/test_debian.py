"""The Debian package in a Debian with systemd: installed, running, upgraded during an alarm, removed, purged.

The tests build on each other, in this order.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.version import Version

from edge.model.shipped import SHIPPED
from release.debian import ROOT, debian_version
from tests.support.deb_packages import NEWER, old_and_new, signing
from tests.support.http_receiver import Receiver, serving
from tests.support.nspawn import Container, booted
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.system]

SUITE = "bookworm"
WAIT_S = 300.0
SERVICE = "fireseg-edge"
UPDATE = "fireseg-edge-update"
ORIGIN = 'Unattended-Upgrade::Origins-Pattern { "origin=fireseg-edge"; };'


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return old_and_new(tmp_path_factory.mktemp("packages"), "amd64", SUITE)


@pytest.fixture(scope="module")
def debian(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    with booted(SUITE, tmp_path_factory.mktemp("debian"), packages) as container:
        yield container


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with serving(Receiver()) as running:
        yield running


def test_debian_sorts_the_versions_of_this_project_as_it_does() -> None:
    versions = [debian_version(Version(text), "trixie") for text in ("1.0.0.dev1", "1.0.0rc1", "1.0.0", "1.0.1")]
    assert versions[1] == "1.0.0~rc1+deb13"
    versions.insert(2, debian_version(Version("1.0.0rc2"), "bookworm"))
    for older, newer in itertools.pairwise(versions):
        assert subprocess.run(["dpkg", "--compare-versions", older, "lt", newer]).returncode == 0, (older, newer)


def test_an_installation_without_a_camera_starts_nothing_and_says_how(debian: Container) -> None:
    said = debian.sh("apt-get install -y --no-install-recommends /srv/old.deb")
    assert "no Pi camera was found, so the service is not started" in said
    assert debian.sh(f"systemctl is-enabled {SERVICE}", code=None) == "disabled"
    assert debian.sh(f"systemctl is-active {SERVICE}", code=None) == "inactive"
    assert debian.sh("stat -c '%a %U %G' /etc/fireseg-edge/fireseg.toml") == "640 root fireseg-edge"
    assert debian.sh("id -nG fireseg-edge") == "fireseg-edge video"


def test_the_second_command_after_the_installation_detects_fire(debian: Container) -> None:
    out = debian.sh("fireseg-edge run --source test-pattern --replay every-frame --max-frames 70 --log json")
    kinds = [json.loads(line).get("kind") for line in out.splitlines() if line.startswith("{")]
    assert "start" in kinds


def test_the_units_are_valid_and_sandboxed(debian: Container) -> None:
    debian.sh("systemd-analyze verify /usr/lib/systemd/system/fireseg-edge.service")
    said = debian.sh("systemctl start fireseg-edge@garden", code=1)
    assert "Assertion failed on job for fireseg-edge@garden.service" in said  # no /etc/fireseg-edge/garden.toml
    assert "OK" in debian.sh("systemd-analyze security fireseg-edge.service | tail -n 1")


def test_the_configured_service_is_ready_and_watched(debian: Container, receiver: Receiver) -> None:
    config = f'[source]\naddress = "test-pattern"\n[webhook]\nurl = "{receiver.url}"\n[web]\nlisten = "127.0.0.1:0"\n'
    (debian.root / "etc/fireseg-edge/fireseg.toml").write_text(config)
    debian.sh(f"systemctl enable --now {SERVICE}")
    assert debian.show(SERVICE, "ActiveState") == "active"
    assert debian.show(SERVICE, "WatchdogUSec") == "2min"
    assert debian.sh(f"stat -c %U /proc/{debian.show(SERVICE, 'MainPID')}") == "fireseg-edge"
    wait_for(lambda: "start" in receiver.kinds, WAIT_S)


def test_a_reload_keeps_the_process(debian: Container) -> None:
    pid = debian.show(SERVICE, "MainPID")
    debian.sh("printf '[alarm]\\non_s = 1.5\\n' >> /etc/fireseg-edge/fireseg.toml; systemctl reload fireseg-edge")
    wait_for(lambda: "reload" in debian.sh(f"journalctl -u {SERVICE} -o cat"), WAIT_S)
    assert debian.show(SERVICE, "MainPID") == pid


def test_unattended_upgrades_takes_the_package_from_a_signed_repository(
    debian: Container, packages: Path, tmp_path: Path
) -> None:
    assert ORIGIN in (ROOT / "docs/installation.md").read_text()
    debian.sh("apt-get update && apt-get install -y --no-install-recommends unattended-upgrades", code=None)
    if not debian.sh("command -v unattended-upgrade", code=None):
        pytest.skip("unattended-upgrades cannot be installed: no network")
    with signing(tmp_path) as environment:
        (tmp_path / "dist").mkdir()
        os.link(packages / "new.deb", tmp_path / f"dist/fireseg-edge_{NEWER}+deb12_amd64.deb")
        subprocess.run([ROOT / "deploy/debian/repository.sh"], env=environment, check=True, capture_output=True)
    shutil.copytree(tmp_path / "dist/apt", debian.root / "opt/apt")
    (debian.root / "etc/apt/sources.list.d/fireseg-edge.list").write_text(
        f"deb [signed-by=/opt/apt/fireseg-edge.asc] file:/opt/apt {SUITE} main\n"
    )
    debian.sh("apt-get update")
    dry_run = "unattended-upgrade --dry-run -d"
    takes = "Packages that will be upgraded: fireseg-edge"
    assert takes not in debian.sh(dry_run)
    (debian.root / "etc/apt/apt.conf.d/52fireseg-edge").write_text(ORIGIN + "\n")
    assert takes in debian.sh(dry_run)
    debian.sh("rm -r /opt/apt /etc/apt/sources.list.d/fireseg-edge.list /etc/apt/apt.conf.d/52fireseg-edge")


def test_the_timer_of_updates_is_off_and_without_a_repository_its_service_fails_in_one_line(debian: Container) -> None:
    debian.sh(f"systemd-analyze verify /usr/lib/systemd/system/{UPDATE}.service")
    assert debian.sh(f"systemctl is-enabled {UPDATE}.timer", code=None) == "disabled"
    debian.sh(f"systemctl enable --now {UPDATE}.timer")
    assert f"{UPDATE}.timer" in debian.sh("systemctl list-timers")
    debian.sh(f"systemctl start {UPDATE}", code=1)
    assert debian.show(UPDATE, "ExecMainStatus") == "2"
    (line,) = said_by_update(debian)
    assert line.startswith("error: model updates are off")


def test_the_running_service_tries_and_adopts_the_model_that_the_service_of_the_timer_fetched(
    debian: Container, tmp_path: Path
) -> None:
    pytest.importorskip("tuf", reason="tuf is not installed: pip install '.[publish]'")
    from tests.support.model_repository import edited, serve

    path, before = debian.root / "etc/fireseg-edge/fireseg.toml", len(said_by_update(debian))
    with serve(tmp_path) as site:
        sha256 = site.repository().add(edited(SHIPPED["base"], tmp_path, "newer"), "base")
        shutil.copy(site.folder / "metadata/root.json", path.parent)
        table = (
            f'[update]\nurl = "{site.address}"\nroot = "/etc/fireseg-edge/root.json"\nwatch_s = 5\nmax_slower = 20\n'
        )
        path.write_text(path.read_text() + table)
        debian.sh(f"systemctl restart {SERVICE}")
        debian.sh(f"systemctl start {UPDATE}", code=None)
    assert "adopted" in "\n".join(said_by_update(debian)[before:])
    assert debian.show(UPDATE, "Result") == "success"
    assert debian.sh("readlink $(find /var/lib/fireseg-edge -name current.tflite)") == f"{sha256}.tflite"
    assert debian.sh("find /var/lib/fireseg-edge -not -user fireseg-edge") == ""


def said_by_update(debian: Container) -> list[str]:
    """Return what the updates have printed."""
    return debian.sh(f"journalctl -u {UPDATE} -t {SERVICE} -o cat --no-pager").splitlines()


def test_an_upgrade_during_an_alarm_loses_no_event(debian: Container, receiver: Receiver) -> None:
    pid, count = debian.show(SERVICE, "MainPID"), len(receiver.bodies)
    wait_for(lambda: "start" in receiver.kinds[count:] and receiver.kinds[-1] != "end", WAIT_S)
    debian.sh("apt-get install -y --no-install-recommends /srv/new.deb")
    assert debian.sh("dpkg-query -W -f '${Version}' fireseg-edge") == NEWER
    assert debian.sh("/opt/fireseg-edge/bin/python -c 'import edge; print(edge.NEWER)'") == "True"
    assert debian.show(SERVICE, "MainPID") != pid
    assert debian.sh(f"systemctl is-enabled {SERVICE}") == "enabled"
    count = len(receiver.bodies)
    wait_for(lambda: "start" in receiver.kinds[count:], WAIT_S)
    assert_no_event_is_missing(receiver)


def assert_no_event_is_missing(receiver: Receiver) -> None:
    fires: dict[str, list[int]] = defaultdict(list)
    for event in map(json.loads, list(receiver.bodies)):
        fires[event["id"]].append(event["number"])
    print(f"{len(receiver.bodies)} events of {len(fires)} fires")
    for numbers in fires.values():
        assert sorted(set(numbers)) == list(range(1, max(numbers) + 1)), fires
    ended = {event["id"] for event in map(json.loads, list(receiver.bodies)) if event["kind"] == "end"}
    assert len(set(fires) - ended) <= 1  # the fire that is in progress


def test_a_process_that_hangs_is_restarted_by_the_watchdog(debian: Container) -> None:
    debian.sh(f"mkdir -p /run/systemd/system/{SERVICE}.service.d")
    debian.sh(f"printf '[Service]\\nWatchdogSec=15\\n' > /run/systemd/system/{SERVICE}.service.d/quick.conf")
    debian.sh(f"systemctl daemon-reload; systemctl restart {SERVICE}")
    pid = debian.show(SERVICE, "MainPID")
    debian.sh(f"kill -STOP {pid}")
    wait_for(lambda: debian.show(SERVICE, "MainPID") not in (pid, "0"), WAIT_S)
    assert "Watchdog timeout" in debian.sh(f"journalctl -u {SERVICE} -o cat")
    debian.sh(f"rm -r /run/systemd/system/{SERVICE}.service.d; systemctl daemon-reload; systemctl restart {SERVICE}")


def test_a_second_camera_has_its_own_service_and_state(debian: Container, receiver: Receiver) -> None:
    config = f'[source]\naddress = "test-pattern"\n[webhook]\nurl = "{receiver.url}"\n'
    (debian.root / "etc/fireseg-edge/garden.toml").write_text(config)
    debian.sh("systemctl enable --now fireseg-edge@garden")
    assert debian.show("fireseg-edge@garden", "ActiveState") == "active"
    assert debian.sh("stat -c '%a %U' /var/lib/fireseg-edge/cameras/garden") == "700 fireseg-edge"
    wait_for(lambda: debian.sh("ls /var/lib/fireseg-edge/cameras/garden"), WAIT_S)


def test_services_start_at_boot(debian: Container) -> None:
    debian.boot_again()
    for unit in (SERVICE, "fireseg-edge@garden"):
        wait_for(lambda unit=unit: debian.sh(f"systemctl is-active {unit}", code=None) == "active", WAIT_S)  # type: ignore[misc]


def test_a_downgrade_goes_back_and_the_services_run(debian: Container) -> None:
    debian.sh("apt-get install -y --no-install-recommends --allow-downgrades /srv/old.deb")
    debian.sh("! /opt/fireseg-edge/bin/python -c 'import edge; print(edge.NEWER)' 2>/dev/null")
    for unit in (SERVICE, "fireseg-edge@garden"):
        assert debian.sh(f"systemctl is-active {unit}") == "active"


def test_a_removal_stops_the_services_and_keeps_configuration_and_state(debian: Container) -> None:
    debian.sh("apt-get remove -y fireseg-edge")
    assert debian.sh("pgrep -u fireseg-edge", code=1) == ""
    assert debian.sh("ls -A /opt") == ""
    debian.sh("test -f /etc/fireseg-edge/fireseg.toml -a -d /var/lib/fireseg-edge/cameras/garden")


def test_a_purge_leaves_nothing(debian: Container) -> None:
    debian.sh("apt-get purge -y fireseg-edge")
    left = debian.sh("find / -xdev -name '*fireseg*' -not -regex '/\\(proc\\|srv\\|run\\|root\\)/.*'")
    assert left == ""
    assert debian.sh("grep -c fireseg /etc/passwd /etc/group", code=1) == "/etc/passwd:0\n/etc/group:0"
