"""The container image, built from this tree and run as docs/installation.md says: read-only, without capabilities."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge.camera.pattern import PatternCamera
from edge.images import encode_jpeg
from tests.support.containers import NEEDS_PODMAN, ROOT, build_image, configure_podman, container, make_base, podman
from tests.support.mjpeg_server import part, serve_camera, stream

pytestmark = [*NEEDS_PODMAN, pytest.mark.system]

IMAGE = "localhost/fireseg-edge-test"
START = ROOT / "deploy/homeassistant/fireseg_edge/start.py"
UID = 10001
STATE = "/var/lib/fireseg-edge"
LOCKED_DOWN = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges")
PASSWORD = ("--env", "FIRESEG_WEB_PASSWORD=a long password")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("image")
    with pytest.MonkeyPatch.context() as patch:
        configure_podman(folder, patch)
        make_base(folder)
        environment = os.environ | {"PYTHON": sys.executable}
        subprocess.run([ROOT / "deploy/container/collect.sh", "image"], check=True, env=environment)
        build_image(ROOT / "build/image", IMAGE, folder)
    return IMAGE


@pytest.fixture(autouse=True)
def podman_works_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure_podman(tmp_path, monkeypatch)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder of the container's user."""
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, UID, UID)
    return folder


def settings(folder: Path, text: str) -> tuple[str, str]:
    """Return the options that mount a configuration."""
    path = folder / "fireseg.toml"
    path.write_text(text)
    path.chmod(0o644)
    return "--volume", f"{path}:/etc/fireseg-edge/fireseg.toml:ro"


def test_it_detects_fire_keeps_events_is_healthy_and_stops_in_order(image: str, state: Path, tmp_path: Path) -> None:
    config = settings(tmp_path, f'[source]\naddress = "test-pattern"\n[clips]\nfolder = "{STATE}/events"\n')
    options = (*LOCKED_DOWN, *PASSWORD, *config, "--network", "none", "--volume", f"{state}:{STATE}")
    with container(image, *options) as run:
        run.wait_for(run.is_healthy)
        run.wait_for(lambda: any((state / "events").glob("*.jpg")))
        assert run.execute("id", "-u").stdout.strip() == str(UID)
        assert run.execute("sh", "-c", "command -v pip gcc", check=False).stdout == ""
        assert "the live page is at" in run.log
        began_s = time.monotonic()
        podman("stop", "--time", "60", run.id)
        print(f"stopped after {time.monotonic() - began_s:.1f} s")
        assert run.state()["ExitCode"] == 0, run.log
    owners = {path.stat().st_uid for path in state.rglob("*")}
    assert owners == {UID}


def test_it_is_unhealthy_when_the_camera_is_gone(image: str, state: Path, tmp_path: Path) -> None:
    frames = [part(encode_jpeg(PatternCamera(fps=10).frame(number / 10))) for number in range(300)]
    with ExitStack() as camera:
        address = camera.enter_context(serve_camera(stream(*frames)))
        config = settings(tmp_path, f'[source]\naddress = "http://{address}"\nstall_s = 2\n')
        options = (*LOCKED_DOWN, *PASSWORD, *config, "--network", "host", "--volume", f"{state}:{STATE}")
        with container(image, *options) as run:
            run.wait_for(run.is_healthy)
            camera.close()
            run.wait_for(lambda: not run.is_healthy())


def test_a_wrong_configuration_is_one_line(image: str, state: Path, tmp_path: Path) -> None:
    config = settings(tmp_path, "[source]\nadress = 1\n")
    done = podman("run", "--rm", *LOCKED_DOWN, *PASSWORD, *config, "--volume", f"{state}:{STATE}", image, check=False)
    problems = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (done.returncode, len(problems)) == (2, 1), done.stderr
    assert "adress" in problems[0]
    assert "Traceback" not in done.stderr


def test_a_page_without_a_password_is_refused(image: str) -> None:
    done = podman(
        "run", "--rm", *LOCKED_DOWN, image, "run", "--source", "test-pattern", "--web", "0.0.0.0:8080", check=False
    )
    assert done.returncode == 2
    assert "FIRESEG_WEB_PASSWORD" in done.stderr


def test_a_volume_of_another_user_is_named_with_the_remedy(image: str, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir(mode=0o755)
    config = settings(tmp_path, f'[source]\naddress = "test-pattern"\n[clips]\nfolder = "{STATE}/events"\n')
    options = (*LOCKED_DOWN, *PASSWORD, *config, "--network", "none", "--volume", f"{tmp_path}/foreign:{STATE}")
    with container(image, *options) as run:
        run.wait_for(run.is_healthy)  # fire is detected all the same
        assert f"choose a writable folder, or give it to this user: chown -R {UID}:{UID}" in run.log


def test_the_home_assistant_app_starts_as_root_and_runs_as_its_own_user(image: str, tmp_path: Path) -> None:
    for name in ("data", "config", "media"):
        (tmp_path / name).mkdir()
    (tmp_path / "data/options.json").write_text('{"source": "test-pattern", "model": "base", "clips": true}')
    (tmp_path / "config/fireseg.toml").write_text("# mine\n[alarm]\noff_after_s = 2.0\n")
    health = "FIRESEG_HEALTH_URL=http://127.0.0.1:8099/healthz"
    options = ["--user", "root", "--network", "none", "--entrypoint", "python3", "--env", health]
    options += ["--env", "STATE_DIRECTORY=/data/state", "--volume", f"{START}:/start.py:ro"]
    for name in ("data", "config", "media"):
        options += ["--volume", f"{tmp_path / name}:/{name}"]
    with container(image, *options, command=("/start.py",)) as run:
        run.wait_for(run.is_healthy)
        run.wait_for(lambda: any((tmp_path / "media/fireseg-edge").glob("*.jpg")))
        assert "offers no MQTT broker" in run.log
        status = run.execute("cat", "/proc/1/status").stdout
        assert f"Uid:\t{UID}\t{UID}\t{UID}\t{UID}\n" in status
        assert "CapEff:\t0000000000000000\n" in status
    assert (tmp_path / "config/fireseg.toml").read_text().startswith("# mine\n[alarm]\noff_after_s = 2.0\n")
