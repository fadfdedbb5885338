"""The shipped files of a fleet: a broker with TLS and access rules, Prometheus, alerts and the dashboard."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client.parser import text_string_to_metric_families as parse

from benchmarks.fleet.queries import DASHBOARD, dashboard_queries
from benchmarks.fleet.site import DEPLOY, HOST, FleetBroker, Site, scrape
from benchmarks.soak.rig import Listener, free_port
from edge.errors import UserError
from edge.host.machine import HostStatus, Throttling
from edge.messages import FineView
from edge.run_status import DrillStatus, UpdateStatus
from edge.sinks.prometheus import Prometheus
from tests.support.edge_process import edge_process
from tests.support.factories import NOON, run_status
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

METRIC = re.compile(r"\b(?:fireseg_|process_)[a-z_]+")


@pytest.fixture(scope="module")
def fleet() -> Iterator[tuple[Site, FleetBroker]]:
    """A broker with the cameras kitchen and garage."""
    with tempfile.TemporaryDirectory(prefix="fireseg-fleet-") as folder:
        try:
            site = Site(Path(folder))
            site.add_camera("kitchen", free_port())
            site.add_camera("garage", free_port())
            broker = FleetBroker(site)
        except UserError as error:
            pytest.skip(error.lines[0])
        try:
            yield site, broker
        finally:
            broker.kill()


def may_publish(site: Site, user: str, topic: str, password: str | None = None) -> bool:
    """Return whether the broker accepts a message of this user."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"test-{user}", protocol=paho.MQTTv5)
    client.username_pw_set(user, site.password(user) if password is None else password)
    client.tls_set(ca_certs=site.ca_file)
    answers: list[bool] = []
    client.on_publish = lambda _client, _data, _id, reason, _properties: answers.append(not reason.is_failure)
    client.on_connect = lambda *arguments: answers.append(False) if arguments[3].is_failure else None
    client.connect(HOST, site.port)
    client.loop_start()
    try:
        client.publish(topic, "x", qos=1)
        return wait_for(lambda: answers)[0]
    finally:
        client.disconnect()
        client.loop_stop()


def listening(site: Site, user: str) -> closing[Listener]:
    login = user, site.password(user)
    return closing(Listener(site.port, name=f"listener-{user}", login=login, ca_file=site.ca_file, qos=1))


@pytest.mark.parametrize(
    ("user", "topic", "expected"),
    [
        ("kitchen", "fireseg/kitchen/event", True),
        ("kitchen", "homeassistant/sensor/fireseg_kitchen/fps/config", True),
        ("kitchen", "fireseg/garage/event", False),
        ("kitchen", "fireseg/garage/command", False),
        ("kitchen", "homeassistant/sensor/fireseg_garage/fps/config", False),
        ("kitchen", "homeassistant/status", False),
        ("kitchen", "anything", False),
        ("homeassistant", "fireseg/garage/command", True),
        ("homeassistant", "homeassistant/status", True),
        ("homeassistant", "fireseg/garage/event", False),
        ("dashboard", "fireseg/garage/command", False),
    ],
)
def test_who_may_publish_what(fleet: tuple[Site, FleetBroker], user: str, topic: str, expected: bool) -> None:
    assert may_publish(fleet[0], user, topic) is expected


def test_a_camera_reads_only_its_commands_and_a_dashboard_reads_all_cameras(fleet: tuple[Site, FleetBroker]) -> None:
    site, _ = fleet
    with listening(site, "kitchen") as kitchen, listening(site, "dashboard") as dashboard:
        for camera in ("garage", "kitchen"):
            assert may_publish(site, camera, f"fireseg/{camera}/event")
            assert may_publish(site, "homeassistant", f"fireseg/{camera}/command")
        expected = {f"fireseg/{camera}/{topic}" for camera in ("garage", "kitchen") for topic in ("event", "command")}
        wait_for(lambda: expected <= {topic for topic, _ in dashboard.messages})
        wait_for(lambda: kitchen.messages)
        assert {topic for topic, _ in kitchen.messages} == {"fireseg/kitchen/command"}


def test_a_wrong_password_and_an_unencrypted_connection_are_refused(fleet: tuple[Site, FleetBroker]) -> None:
    site, _ = fleet
    assert not may_publish(site, "kitchen", "fireseg/kitchen/event", password="wrong")
    plain = paho.Client(CallbackAPIVersion.VERSION2, client_id="plain", protocol=paho.MQTTv5)
    with suppress(OSError):  # the broker closes it
        plain.connect(HOST, site.port)
        deadline_s = time.monotonic() + 5
        while plain.loop(0.1) == paho.MQTT_ERR_SUCCESS and time.monotonic() < deadline_s:
            pass
    assert not plain.is_connected()


def test_the_certificate_passes_strict_verification(fleet: tuple[Site, FleetBroker]) -> None:
    site, _ = fleet
    context = ssl.create_default_context(cafile=site.ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert ssl.get_server_certificate((HOST, site.port), ca_certs=site.ca_file)


def test_a_removed_camera_is_refused_after_a_reload(fleet: tuple[Site, FleetBroker]) -> None:
    site, broker = fleet
    site.add_camera("attic", free_port())
    password = site.password("attic")
    broker.reload()
    wait_for(lambda: may_publish(site, "attic", "fireseg/attic/event", password))
    site.run_script("remove", "attic")
    broker.reload()
    wait_for(lambda: not may_publish(site, "attic", "fireseg/attic/event", password))
    assert "attic" not in (site.etc / "acl").read_text() + (site.etc / "passwords").read_text()
    assert not (site.etc / "cameras" / "attic.json").exists()
    assert may_publish(site, "kitchen", "fireseg/kitchen/event")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("add", "Kitchen", "a:1"), "is not a name"),
        (("add", "kitchen-", "a:1"), "is not a name"),
        (("add", "dashboard", "a:1"), "is kept for the broker's own users"),
        (("add", "dashboard-password", "a:1"), "is kept for the broker's own users"),
        (("add", "../attic", "a:1"), "is not a name"),
        (("add", "attic", "a:65536"), "has no port between 1 and 65535"),
        (("init", "-subj"), "is not a host"),
        (("add", "kitchen", "a:1"), "exists"),
        (("add", "attic", "no port"), "is not HOST:PORT"),
        (("remove", "attic"), "is not a camera"),
        ((), "expected init"),
    ],
)
def test_a_wrong_command_changes_nothing(
    fleet: tuple[Site, FleetBroker], arguments: tuple[str, ...], words: str
) -> None:
    site, _ = fleet
    before = {path: path.read_bytes() for path in site.etc.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=words):
        site.run_script(*arguments)
    assert {path: path.read_bytes() for path in site.etc.rglob("*") if path.is_file()} == before


def exposed(text: str) -> set[str]:
    """Return the names of the metrics in a scrape."""
    return {sample.name for family in parse(text) for sample in family.samples}


def scraped(port: int, password: str) -> str:
    """Return the metrics of a page; empty before it is served."""
    with suppress(OSError):
        return scrape(port, password).decode()
    return ""


def of_rarer_parts() -> set[str]:
    """Return the metrics that only a Pi's firmware, a fire drill, tiles or model updates add."""
    machine = HostStatus(governor=None, temperature_c=50.0, throttling=Throttling(0), load=None)
    drill = DrillStatus(False, "frame", NOON.isoformat(), passed=True, last_passed=NOON.isoformat())
    metrics = Prometheus()
    update = UpdateStatus(trial=False, problem="", checked=NOON.isoformat())
    metrics.on_status(run_status(machine=machine, drill=drill, fine_view=FineView(3, 0.5), update=update))
    return exposed(metrics.scrape()[0].decode())


def test_a_real_run_with_the_handed_over_files_exposes_each_metric_of_alerts_and_dashboard(
    fleet: tuple[Site, FleetBroker], tmp_path: Path
) -> None:
    site, _ = fleet
    handover, port = site.handover("garage"), free_port()
    config = (handover / "fleet.toml").read_text().replace("/etc/fireseg-edge/fleet", str(handover))
    config, changes = re.subn(r'listen = ".*"', f'listen = "{HOST}:{port}"', config)
    assert changes == 1
    config = config.replace("tls = true", f"tls = true\nport = {site.port}")
    path = tmp_path / "fireseg.toml"
    path.write_text(f'{config}\n[spool]\nfolder = "{tmp_path}"\n[source]\naddress = "test-pattern"\n')
    with listening(site, "dashboard") as dashboard, edge_process("--config", path):
        wait_for(lambda: any(b'"type"' in payload for payload in dashboard.payloads("garage/event")), limit_s=120)
        password = (handover / "page-password").read_text().strip()
        names = exposed(wait_for(lambda: scraped(port, password)))
        wait_for(lambda: ("fireseg/garage/status", b"online") in dashboard.messages)
    rules, queries = (DEPLOY / "alerts.yml").read_text(), "\n".join(dashboard_queries().values())
    named = set(METRIC.findall(re.sub(r"docs/\S+", "", rules))) | set(METRIC.findall(queries))
    assert len(named) > 20
    assert named - names - of_rarer_parts() == set()


def promtool(*arguments: str | Path, folder: Path = DEPLOY) -> subprocess.CompletedProcess[str]:
    if not (program := shutil.which("promtool")):
        pytest.skip("install prometheus to run this test: promtool is missing")
    return subprocess.run([program, *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False)


def test_promtool_accepts_the_configuration_and_the_unit_tests_of_the_alerts_pass(tmp_path: Path) -> None:
    for arguments in (("config", "--syntax-only", "prometheus.yml"), ("rules", "alerts.yml")):
        done = promtool("check", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    done = promtool("test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tested_and_has_a_section_in_the_documentation() -> None:
    rules = (DEPLOY / "alerts.yml").read_text()
    alerts = re.findall(r"- alert: (\w+)", rules)
    assert alerts
    assert not [
        alert for alert in alerts if alert.removeprefix("Fireseg") not in (DEPLOY / "alerts_test.yml").read_text()
    ]
    headings = re.findall(r"^#+ (.+)$", (DEPLOY.parents[1] / "docs" / "fleet.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    linked = re.findall(r"runbook: docs/fleet\.md#(\S+)", rules)
    assert len(linked) == len(alerts)
    assert set(linked) <= anchors


def test_each_query_of_the_dashboard_parses(tmp_path: Path) -> None:
    rules = [{"record": f"query{number}", "expr": query} for number, query in enumerate(dashboard_queries().values())]
    assert len(rules) > 20
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_the_one_that_its_script_builds(tmp_path: Path) -> None:
    sdk = DEPLOY.parents[1] / "build" / "dashboard" / "bin" / "python"
    if not sdk.exists():
        pytest.skip("run make dashboard once: Grafana's Foundation SDK is missing")
    for name in ("make_dashboard.py", "dashboard.json"):
        shutil.copy(DEPLOY / name, tmp_path)
    subprocess.run([sdk, tmp_path / "make_dashboard.py"], check=True)
    assert (tmp_path / "dashboard.json").read_text() == DASHBOARD.read_text()


def test_alertmanager_accepts_its_configuration() -> None:
    if not (program := shutil.which("amtool")):
        pytest.skip("install prometheus-alertmanager to run this test: amtool is missing")
    subprocess.run([program, "check-config", DEPLOY / "alertmanager.yml"], check=True, capture_output=True)
