"""The broker and Prometheus of a fleet on loopback, started with the files of `deploy/fleet`."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.soak.rig import MOSQUITTO_PATHS, ROOT, Broker, free_port, wait_for_port
from edge.errors import UserError

DEPLOY = ROOT / "deploy" / "fleet"
HOST = "127.0.0.1"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
QUERY_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Usage:
    """What a process has used since it started."""

    cpu_s: float = 0.0
    peak_rss_bytes: int = 0
    written_bytes: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Return the use of two processes, one after the other."""
        peak = max(self.peak_rss_bytes, other.peak_rss_bytes)
        return Usage(self.cpu_s + other.cpu_s, peak, self.written_bytes + other.written_bytes)


def usage_of(pid: int) -> Usage:
    """Return what a running process has used."""
    proc = Path("/proc") / str(pid)
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    peak_kb = int((proc / "status").read_text().partition("VmHWM:")[2].split()[0])
    written = dict(line.split(": ") for line in (proc / "io").read_text().splitlines())["write_bytes"]
    return Usage((int(fields[11]) + int(fields[12])) / TICKS_PER_S, 1024 * peak_kb, int(written))


class Site:
    """The files that `fleet.sh` writes, for a broker on a free port of loopback.

    Raises `UserError` if mosquitto or openssl is not installed.
    """

    def __init__(self, folder: Path) -> None:
        for program in ("mosquitto", "mosquitto_passwd", "openssl"):
            find_program(program)
        self.folder, self.etc = folder, folder / "etc"
        self.port, self.prometheus_port = free_port(), free_port()
        folder.chmod(0o755)  # started as root, mosquitto changes to its own user
        self.run_script("init", HOST)

    def run_script(self, *arguments: str) -> None:
        """Run `fleet.sh`. Raises `UserError` with its error."""
        command = [str(DEPLOY / "fleet.sh"), *arguments]
        environment = os.environ | {"FLEET_DIR": str(self.etc)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(done.stderr.strip().removeprefix("error: ") or f"fleet.sh ended with {done.returncode}")

    def add_camera(self, name: str, port: int) -> None:
        self.run_script("add", name, f"{HOST}:{port}")

    def handover(self, name: str) -> Path:
        """Return the folder with a camera's files."""
        return self.etc / "handover" / name

    def password(self, user: str) -> str:
        """Return the broker's password of a camera, `homeassistant` or `dashboard`."""
        paths = (self.handover(user) / "mqtt-password", self.etc / "handover" / f"{user}-password")
        return next(path for path in paths if path.exists()).read_text().strip()

    @property
    def ca_file(self) -> str:
        return str(self.etc / "ca.crt")

    def shipped(self, name: str, **changes: str) -> Path:
        """Return a copy of a shipped file for this folder. Raise AssertionError if a text to change is not in it."""
        text = (DEPLOY / name).read_text().replace("/etc/fireseg-fleet", str(self.etc))
        for old, new in changes.items():
            assert old in text, f"{name} has no {old!r}"
            text = text.replace(old, new)
        path = self.folder / name
        path.write_text(text)
        return path


class FleetBroker(Broker):
    """mosquitto with the shipped configuration, which can be killed and started again."""

    def __init__(self, site: Site) -> None:
        data = site.folder / "mosquitto"
        data.mkdir(exist_ok=True)
        data.chmod(0o777)
        changes = {"listener 8883": f"listener {site.port} {HOST}", "/var/lib/mosquitto/": f"{data}/"}
        config = site.shipped("mosquitto.conf", **changes)
        self.port = site.port
        self.used = Usage()  # by those that were killed
        self._command = [find_program("mosquitto"), "-c", str(config)]
        self._process = None
        self.start()

    def kill(self) -> None:
        self.used = self.usage()
        super().kill()

    def usage(self) -> Usage:
        """Return what all brokers of this rig have used."""
        return self.used + usage_of(self._process.pid) if self._process else self.used

    def reload(self) -> None:
        """Read passwords and access rules again."""
        assert self._process
        self._process.send_signal(1)


class PrometheusServer:
    """Prometheus with the shipped configuration and alert rules, and its answers to queries."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self._address, self._process = f"http://{HOST}:{port}", process

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of an instant query."""
        address = f"{self._address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(address, timeout=QUERY_TIMEOUT_S) as answer:
            result = json.load(answer)["data"]["result"]
        return result if isinstance(result, list) else []

    def value(self, expression: str) -> float:
        """Return the value of a query with one result; 0 without any."""
        result = self.query(expression)
        return float(result[0]["value"][1]) if result else 0.0

    def usage(self) -> Usage:
        return usage_of(self._process.pid)


@contextmanager
def prometheus(site: Site) -> Iterator[PrometheusServer]:
    """Start Prometheus. Raises `UserError` if it is not installed."""
    program = find_program("prometheus")
    site.shipped("alerts.yml")
    config = site.shipped("prometheus.yml", **{"localhost:9090": f"{HOST}:{site.prometheus_port}"})
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={site.folder / 'prometheus'}",
        f"--web.listen-address={HOST}:{site.prometheus_port}",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(site.prometheus_port)
        yield PrometheusServer(site.prometheus_port, process)
    finally:
        process.kill()
        process.wait()


def scrape(port: int, password: str) -> bytes:
    """Return the metrics that a camera's page serves."""
    login = base64.b64encode(f"prometheus:{password}".encode()).decode()
    request = urllib.request.Request(f"http://{HOST}:{port}/metrics", headers={"Authorization": f"Basic {login}"})
    with urllib.request.urlopen(request, timeout=QUERY_TIMEOUT_S) as answer:
        return answer.read()


def find_program(name: str) -> str:
    """Return the path of a program. Raises `UserError` if it is not installed."""
    for path in MOSQUITTO_PATHS:
        if program := shutil.which(name, path=path):
            return program
    package = name.partition("_")[0]
    raise UserError(f"{name} is not installed", f"run apt-get install {package}")
