"""MQTT against a real broker: events once and in order whatever dies, states retained, Home Assistant's discovery."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.soak.broker import Broker, Key, Listener, key_of
from benchmarks.soak.camera import free_port
from edge.capture import State
from edge.errors import UserError
from edge.events import END, PEAK, START, Event
from edge.machine import State as MachineState
from edge.sections import MqttSection
from edge.sinks import courier, mqtt_link
from edge.sinks.mqtt import Mqtt
from edge.sinks.mqtt_link import Address, broker_address, slug
from edge.spool import Spool
from edge.status import Status
from tests.edge.sinks.cable import Cable, Cutter
from tests.edge.watching import MODEL_HASH, event, result

LARGE = 1e6
LONG_S = 20.0
BASE = "fireseg/kitchen"
STATUS = Status(
    source="test",
    source_state=State.STREAMING,
    openings=1,
    running_s=1.0,
    results=10,
    dropped=2,
    fps=9.5,
    quiet_s=0.1,
    machine=MachineState(None, 55.0, None, 0.1),
    model_sha256=MODEL_HASH,
)


@contextmanager
def mosquitto(folder: Path, **how: Any) -> Iterator[Broker]:
    try:
        broker = Broker(folder / "broker", **how)
    except UserError as error:
        pytest.skip(error.args[0])
    try:
        yield broker
    finally:
        broker.kill()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with mosquitto(tmp_path) as running:
        yield running


@contextmanager
def listening(broker: Broker, **how: Any) -> Iterator[Listener]:
    listener = Listener(broker.port, **how)
    try:
        yield listener
    finally:
        listener.close()


@contextmanager
def told(address: Address | int, spool: Path, **how: Any) -> Iterator[Mqtt]:
    if isinstance(address, int):
        address = Address("127.0.0.1", address)
    sink = Mqtt(address, Spool(spool, LARGE), name="kitchen", **how)
    try:
        yield sink
    finally:
        sink.close()


def wait_for(happened: Callable[[], object], what: str = "") -> None:
    gives_up_s = time.monotonic() + LONG_S
    while not happened():
        assert time.monotonic() < gives_up_s, what
        time.sleep(0.01)


def keep_telling(sink: Mqtt, happened: Callable[[], object]) -> None:
    """As the loop does, but faster."""

    def tell() -> object:
        sink.on_status(STATUS)
        return happened()

    wait_for(tell)


def listener_has(listener: Listener, count: int) -> Callable[[], bool]:
    return lambda: len(listener.events) >= count


def fire(number: int) -> list[Event]:
    return [event(kind, id_=f"fire-{number}", number=n) for n, kind in enumerate((START, PEAK, END), 1)]


def keys(events: list[Event]) -> list[Key]:
    return [key_of(one.as_json()) for one in events]


def test_events_come_once_in_order_as_json(broker: Broker, tmp_path: Path) -> None:
    with listening(broker) as listener, told(broker.port, tmp_path / "spool") as sink:
        for one in fire(1):
            sink.on_event(one)
        wait_for(lambda: len(listener.events) == 3)
    assert listener.events == keys(fire(1))
    assert json.loads(listener.of(f"{BASE}/event")[0]) == fire(1)[0].as_json()
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize("remembers", [True, False])
def test_a_broker_killed_in_the_middle_of_an_alarm_costs_no_event_and_doubles_none(
    tmp_path: Path, remembers: bool
) -> None:
    """Killed between start and end, away for a while, then back, with its memory or without."""
    emitted: list[Event] = []
    with (
        mosquitto(tmp_path, remembers=remembers) as broker,
        listening(broker) as listener,
        closing(Cable(broker.port)) as cable,
        told(cable.port, tmp_path / "spool") as sink,
    ):
        for number in range(4):
            start, peak, end = fire(number)
            sink.on_event(start)
            emitted += [start, peak, end]
            # What the broker has taken over and not passed on yet is lost with it, whatever we do.
            wait_for(listener_has(listener, len(emitted) - 2))
            time.sleep(0.5)  # mosquitto writes its sessions down a moment after they have changed, the listener's too
            broker.kill()
            listener.wait_until_cut_off()
            sink.on_event(peak)
            if not remembers:
                # To a broker that forgot its listener, the listener must come back before the camera does.
                cable.pull_out()
            broker.start()
            listener.wait_until_listening()
            cable.put_back()
            sink.on_event(end)
            wait_for(listener_has(listener, len(emitted)))
        time.sleep(0.5)
    assert listener.events == keys(emitted)


@pytest.mark.parametrize("at", [Cutter.PUBLISH, Cutter.PUBREL])
def test_a_cable_cut_in_the_middle_of_a_handshake_doubles_no_event(broker: Broker, tmp_path: Path, at: int) -> None:
    with (
        listening(broker) as listener,
        closing(Cutter(broker.port, at)) as cable,
        told(cable.port, tmp_path / "spool") as sink,
    ):
        for one in fire(1):
            sink.on_event(one)
        wait_for(lambda: len(set(listener.events)) == 3)
        time.sleep(0.3)
    assert cable.cuts == 1
    assert listener.events == keys(fire(1))


def test_events_of_a_run_that_ended_while_the_broker_was_away_come_with_the_next(
    tmp_path: Path, broker: Broker
) -> None:
    with listening(broker) as listener:
        broker.kill()
        listener.wait_until_cut_off()
        with told(broker.port, tmp_path / "spool") as sink:
            for one in fire(1):
                sink.on_event(one)
            wait_for(lambda: len(list((tmp_path / "spool").glob("*.json"))) == 3)
        broker.start()
        listener.wait_until_listening()
        with told(broker.port, tmp_path / "spool") as sink:
            sink.on_event(fire(2)[0])
            wait_for(lambda: len(listener.events) == 4)
    assert listener.events == keys([*fire(1), fire(2)[0]])


def test_an_event_right_before_the_end_is_brought_over_and_then_offline_is_said(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert courier.CLOSE_WAIT_S + mqtt_link.FAREWELL_S < 1.5
    monkeypatch.setattr(courier, "CLOSE_WAIT_S", LONG_S)  # it is over when the event is there, however slow the disk
    with listening(broker) as listener:
        with told(broker.port, tmp_path / "spool") as sink:
            wait_for(lambda: b"online" in listener.of("/status"))
            sink.on_event(fire(1)[0])
        wait_for(lambda: listener.of("/status")[-1:] == [b"offline"])
    assert listener.events == keys(fire(1)[:1])


def test_a_run_that_is_cut_off_is_offline_by_the_brokers_word(broker: Broker, tmp_path: Path) -> None:
    script = (
        "import time; from pathlib import Path; from edge.sinks.mqtt import Mqtt; from edge.spool import Spool\n"
        "from edge.sinks.mqtt_link import Address\n"
        f"Mqtt(Address('127.0.0.1', {broker.port}), Spool(Path({str(tmp_path / 'spool')!r}), 1e6), name='kitchen')\n"
        "time.sleep(60)"
    )
    with listening(broker) as listener:
        run = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[3])
        wait_for(lambda: b"online" in listener.of("/status"))
        run.kill()
        run.wait()
        wait_for(lambda: listener.of("/status")[-1:] == [b"offline"])


def told_states(listener: Listener) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in listener.of("/state")]


def alarms(listener: Listener) -> list[bool]:
    """One for each change: a state that was told while the link came up is told once more, as that is up."""
    return [alarm for alarm, _ in groupby(state["alarm"] for state in told_states(listener))]


def test_the_state_is_retained_and_told_at_once_when_an_alarm_comes_or_goes(broker: Broker, tmp_path: Path) -> None:
    with listening(broker) as listener, told(broker.port, tmp_path / "spool") as sink:
        sink.on_result(result(0, 0.0, on=False))
        keep_telling(sink, lambda: listener.of("/alarm"))
        sink.on_result(result(1, 0.25, on=True))
        wait_for(lambda: listener.of("/alarm")[-1:] == [b"ON"])
        sink.on_result(result(2, 0.0, on=False))
        wait_for(lambda: listener.of("/alarm")[-1:] == [b"OFF"])
        wait_for(lambda: alarms(listener)[-2:] == [True, False])
        assert alarms(listener) == [False, True, False]
        burning = next(state for state in told_states(listener) if state["alarm"])
        assert burning["zones"] == {"frame": {"share": 0.25, "alarm": True}}
        assert (burning["fps"], burning["temperature_c"]) == (9.5, 55.0)
        with listening(broker, name="late") as late:
            wait_for(lambda: late.of("/alarm") == [b"OFF"])
            assert late.of("/camera") == [b"online"]


def test_a_source_that_gives_nothing_is_not_called_calm(broker: Broker, tmp_path: Path) -> None:
    with listening(broker) as listener, told(broker.port, tmp_path / "spool") as sink:
        sink.on_result(result(0, 0.0, on=False))
        keep_telling(sink, lambda: listener.of("/camera"))
        sink.on_status(replace(STATUS, source_state=State.RECONNECTING))
        wait_for(lambda: listener.of("/camera")[-1:] == [b"offline"])
        sink.on_status(STATUS)
        wait_for(lambda: listener.of("/camera")[-1:] == [b"online"])
        sink.on_status(replace(STATUS, quiet_s=60))
        wait_for(lambda: listener.of("/camera")[-1:] == [b"offline"])


def test_home_assistant_finds_the_camera_and_finds_it_again_after_its_own_restart(
    broker: Broker, tmp_path: Path
) -> None:
    with listening(broker) as listener, told(broker.port, tmp_path / "spool") as sink:
        sink.on_result(result(0, 0.0, on=False, zone="the stove"))
        keep_telling(sink, lambda: len(listener.of("/config")) >= 7)
        found = dict(one for one in listener.heard if one[0].endswith("/config"))
        before = len(listener.of("/config"))
        listener.tell("homeassistant/status", "online")
        keep_telling(sink, lambda: len(listener.of("/config")) >= 2 * before)
    alarm = json.loads(found[f"homeassistant/binary_sensor/fireseg_kitchen/fire_{slug('the stove')}/config"])
    assert alarm["state_topic"] == f"{BASE}/state"
    assert {one["topic"] for one in alarm["availability"]} == {f"{BASE}/status", f"{BASE}/camera"}
    assert alarm["availability_mode"] == "all"
    assert alarm["device"]["name"] == "kitchen"
    assert 0 < alarm["expire_after"] <= 120
    kinds = {topic.split("/")[1] for topic in found}
    assert kinds == {"binary_sensor", "sensor", "camera"}
    ids = [json.loads(payload)["unique_id"] for payload in found.values()]
    assert len(set(ids)) == len(ids)


def test_a_zone_that_is_watched_no_longer_is_taken_back_from_home_assistant_even_after_a_restart(
    broker: Broker, tmp_path: Path
) -> None:
    def left() -> set[str]:
        """The last word on each of Home Assistant's topics, where that is not that it is gone."""
        last = {topic: payload for topic, payload in listener.heard if "/binary_sensor/" in topic}
        return {topic.split("/")[-2] for topic, payload in last.items() if payload}

    with listening(broker) as listener:
        with told(broker.port, tmp_path / "spool") as sink:
            sink.on_result(result(0, 0.0, on=False, zone="stove"))
            keep_telling(sink, lambda: left() == {"fire_stove"})
        with told(broker.port, tmp_path / "spool") as sink:
            sink.on_result(result(0, 0.0, on=False, zone="window"))
            keep_telling(sink, lambda: left() == {"fire_window"})
            sink.on_result(result(0, 0.0, on=False, zone="door"))
            keep_telling(sink, lambda: left() == {"fire_door"})


def test_a_zones_name_stands_in_the_templates_as_it_is(broker: Broker, tmp_path: Path) -> None:
    with listening(broker) as listener, told(broker.port, tmp_path / "spool") as sink:
        sink.on_result(result(0, 0.0, on=False, zone='Küche 🔥 "2"'))
        keep_telling(sink, lambda: listener.of("/config"))
        template = json.loads(listener.of("/config")[0])["value_template"]
    assert 'value_json.zones["Küche 🔥 \\"2\\""].alarm' in template


def test_a_message_of_the_client_before_is_not_taken_for_one_of_the_next(broker: Broker, tmp_path: Path) -> None:
    """Both count from 1: an acknowledgement of the old one's first must not stand for the new one's first."""
    with told(broker.port, tmp_path / "spool") as sink:
        wait_for(lambda: sink._link.up)
        for one in fire(1):
            sink.on_event(one)
        wait_for(lambda: not list((tmp_path / "spool").iterdir()))
        sink._link._arrived.append(last := 9999)
        sink._link._begin_anew()
        assert last not in sink._link._arrived


def test_two_runs_of_one_name_are_told_so_and_do_not_fight_without_end(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.sinks.mqtt_link.MANY_DROPS", 2)
    with told(broker.port, tmp_path / "first"), told(broker.port, tmp_path / "second"):
        wait_for(lambda: "give each run its own [mqtt] name" in caplog.text)
        time.sleep(2.5)
    assert caplog.text.count("connected") < 12


def test_a_picture_comes_with_an_event_unless_it_is_switched_off(broker: Broker, tmp_path: Path) -> None:
    with listening(broker) as listener:
        with told(broker.port, tmp_path / "spool") as sink:
            wait_for(lambda: b"online" in listener.of("/status"))
            sink.on_event(fire(1)[0])
            wait_for(lambda: listener.of("/snapshot"))
            picture = cv2.imdecode(np.frombuffer(listener.of("/snapshot")[0], np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None and picture.shape == (48, 64, 3)
        with told(broker.port, tmp_path / "spool", pictures=False) as sink:
            sink.on_event(fire(2)[0])
            wait_for(lambda: len(listener.events) == 2)
    assert len(listener.of("/snapshot")) == 1


def test_user_and_password_let_in_and_a_wrong_one_is_said_and_costs_no_event(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if not (program := next((p for p in ("/usr/bin/mosquitto_passwd",) if Path(p).exists()), None)):
        pytest.skip("mosquitto_passwd is not installed")
    passwords = tmp_path / "passwords"
    passwords.touch()
    subprocess.run([program, "-b", passwords, "camera", "right"], check=True, capture_output=True)
    passwords.chmod(0o644)
    tmp_path.chmod(0o755)
    settings = f"allow_anonymous false\npassword_file {passwords}\nuser root"
    with mosquitto(tmp_path, settings=settings) as broker:
        right = Address("127.0.0.1", broker.port, user="camera", password="right")
        with told(replace(right, password="wrong"), tmp_path / "spool") as sink:
            sink.on_event(fire(1)[0])
            wait_for(lambda: "refuses" in caplog.text)
        assert "check [mqtt] user and password" in caplog.text
        assert "wrong" not in caplog.text
        with listening(broker, login=("camera", "right")) as listener, told(right, tmp_path / "spool"):
            wait_for(lambda: listener.events == keys(fire(1)[:1]))


def test_tls_is_checked_by_the_authority_that_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificate, other = (certify(tmp_path, name) for name in ("broker", "other"))
    settings = f"allow_anonymous true\ncertfile {certificate}\nkeyfile {certificate.with_suffix('.key')}\nuser root"
    with mosquitto(tmp_path, settings=settings) as broker:
        right = Address("127.0.0.1", broker.port, tls=True, ca_file=str(certificate))
        with listening(broker, ca_file=str(certificate)) as listener:
            with told(replace(right, ca_file=str(other)), tmp_path / "spool") as sink:
                sink.on_event(fire(1)[0])
                wait_for(lambda: "cannot be reached" in caplog.text or "certificate" in caplog.text)
            assert listener.events == []
            with told(right, tmp_path / "spool"):
                wait_for(lambda: listener.events == keys(fire(1)[:1]))


def test_certificates_that_are_none_are_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(UserError, match="ca_file"):
            Mqtt(Address("127.0.0.1", free_port(), tls=True, ca_file=str(tmp_path / name)), Spool(tmp_path, LARGE))


def test_user_and_password_come_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("from file\n")
    section = MqttSection(host="broker", user="camera", password_file=str(tmp_path / "password"))
    address = broker_address(section)
    assert (address.user, address.password, str(address)) == ("camera", "from file", "broker:1883")
    monkeypatch.setenv("FIRESEG_MQTT_USER", "other")
    monkeypatch.setenv("FIRESEG_MQTT_PASSWORD", "from environment")
    address = broker_address(replace(section, tls=True))
    assert (address.user, address.password, str(address)) == ("other", "from environment", "broker:8883")


@pytest.mark.parametrize("wrong", ["", None])
def test_a_password_file_that_holds_none_is_said(tmp_path: Path, wrong: str | None) -> None:
    if wrong is not None:
        (tmp_path / "password").write_text(wrong)
    with pytest.raises(UserError, match="expected a file with a secret"):
        broker_address(MqttSection(host="broker", password_file=str(tmp_path / "password")))


def test_names_become_topics_and_two_names_never_become_one() -> None:
    def mark(name: str) -> str:
        return hashlib.sha256(name.encode()).hexdigest()[:6]

    assert [slug(name) for name in ("kitchen", "Küche 2/#", "+")] == [
        "kitchen",
        "k-che-2-" + mark("Küche 2/#"),
        "name-" + mark("+"),
    ]
    assert len({slug(name) for name in ("Кухня", "Гараж", "Stove", "stove", "K che", "Küche", "k-che")}) == 7


def certify(folder: Path, name: str) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    folder.chmod(0o755)
    path = folder / f"{name}.pem"
    with suppress(FileNotFoundError):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path.with_suffix(".key"), "-out", path],
            check=True, capture_output=True,
        )  # fmt: skip
        path.with_suffix(".key").chmod(0o644)
        return path
    pytest.skip("openssl is not installed")
