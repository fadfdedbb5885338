"""A fire drill of a real run, from its frames to a broker, a webhook, the folder of clips and the page in Chromium."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.soak.rig import Listener
from edge.config import Config, load_config
from edge.control.client import get_state
from edge.images import read_rgb
from tests.support.browser import NEEDS_BROWSER, each, text, unfold
from tests.support.edge_process import EdgeProcess, edge_process
from tests.support.http_receiver import Receiver, serving
from tests.support.mqtt_fixtures import listening, mosquitto
from tests.support.recordings import pattern_recording, write_video
from tests.support.run_cli import Done, fireseg_edge
from tests.support.waiting import wait_for

PASSWORD = "a long password"
ROOM_S = 240.0  # of the recording: three drills, on a machine that is busy
CONFIG = """
[source]
address = "room.avi"
[model]
path = "small"
[clips]
folder = "clips"
after_s = 2
[web]
listen = "127.0.0.1:{port}"
password_file = "password"
[mqtt]
host = "127.0.0.1"
port = {mqtt_port}
name = "kitchen"
[webhook]
url = "{url}"
[spool]
folder = "spool"
"""

pytestmark = pytest.mark.slow


@dataclass
class Rig:
    """A run on a recording of the test pattern's room without flames, and what receives from it."""

    folder: Path
    run: EdgeProcess
    webhook: Receiver
    listener: Listener
    url: str

    @property
    def config(self) -> Config:
        return load_config(self.folder / "fireseg.toml")

    def drill(self, *options: str) -> Done:
        return fireseg_edge("drill", "--config", self.folder / "fireseg.toml", *options, cwd=self.folder)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("drill")
    rng = np.random.default_rng(1)
    (_, room), *_ = pattern_recording(0.1, flames=False)
    noisy = [(n / 10, np.clip(room + rng.normal(0, 4, room.shape), 0, 255).astype(np.uint8)) for n in range(20)]
    write_video(folder / "room.avi", [noisy[n % 20] for n in range(round(ROOM_S * 10))])
    (folder / "password").write_text(PASSWORD)
    with mosquitto(folder) as broker, serving(Receiver()) as webhook, listening(broker) as listener:
        path = folder / "fireseg.toml"
        path.write_text(CONFIG.format(port=0, mqtt_port=broker.port, url=webhook.url))
        with edge_process("--config", path) as run:
            url = run.wait_for_log("the live page is at").split()[-1]
            path.write_text(path.read_text().replace("127.0.0.1:0", url.split("/")[2]))
            run.wait_for_results(5)
            wait_for(lambda: b"online" in listener.payloads("/camera"))
            yield Rig(folder, run, webhook, listener, url)


def test_a_drill_reaches_every_receiver_and_each_says_that_it_is_one(rig: Rig) -> None:
    started_s = time.monotonic()
    done = rig.drill("--json")
    print(f"from the command to the table: {time.monotonic() - started_s:.1f} s")
    drill = json.loads(done.out)
    assert (done.code, drill["passed"], drill["zone"]) == (0, True, "frame"), done
    assert {step["name"] for step in drill["steps"]} == {"seen", "alarm", "clips", "page", "mqtt", "webhook"}
    assert all(step["after_ms"] > 0 and not step["problem"] for step in drill["steps"])

    def start_of(bodies: list[bytes]) -> dict[str, Any]:
        return next(event for event in map(json.loads, bodies) if event["kind"] == "start")

    start = start_of(rig.webhook.bodies)
    wait_for(lambda: rig.listener.events)
    assert start["drill"] and start == start_of(rig.listener.payloads("/event"))
    assert set(rig.listener.payloads("/alarm")) == {b"OFF"}
    wait_for(lambda: (json.loads(rig.listener.payloads("/state")[-1])["drill"] or {}).get("passed"))
    assert read_rgb(rig.folder / "clips" / f"{start['id']}-start.jpg")[:30, :90].max() > 200, "DRILL is written on it"
    wait_for(lambda: (rig.folder / "clips" / f"{start['id']}.mp4").is_file())
    assert not get_state(rig.config)["alarm"]
    assert not any(result["alarm"] for result in rig.run.results)
    rig.run.wait_for_log("fire drill passed: seen after")


def test_the_table_says_which_link_broke(rig: Rig) -> None:
    rig.webhook.codes += [503] * 20
    done = rig.drill()
    assert done.code == 1, done
    lines = done.out.splitlines()
    assert "FAIL   webhook: 503 Service Unavailable" in lines
    assert sum(line.startswith("OK ") for line in lines) == 5
    assert lines[-1] == "fire drill in frame: failed"
    rig.webhook.codes.clear()
    wait_for(lambda: not any(receiver["waiting"] for receiver in get_state(rig.config)["receivers"]))


@NEEDS_BROWSER[-1]
def test_the_button_of_the_page_starts_a_drill_and_shows_its_table(browser: Any, rig: Rig) -> None:
    login = base64.b64encode(f":{PASSWORD}".encode()).decode()
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {"Authorization": f"Basic {login}"}})
    browser.get(rig.url)
    wait_for(lambda: text(browser, "banner") == "No alarm")
    unfold(browser)
    before = text(browser, "drill-result")
    browser.find_element("id", "drill-start").send_keys(" ")  # a click misses what moves while the picture loads
    wait_for(lambda: text(browser, "drill-result") != before)
    assert "is running" in text(browser, "drill-result"), [text(browser, "drill-result"), *rig.run.log]
    wait_for(lambda: text(browser, "banner") == "Fire drill")
    wait_for(lambda: text(browser, "banner") == "No alarm")
    assert text(browser, "drill-result").startswith("Passed"), [*rig.run.log, text(browser, "drill-steps")]
    names = each(browser, "#drill-steps th", "innerText")
    assert sorted(names) == ["Alarm raised", "Pictures saved", "Seen by the model", "This page", "mqtt", "webhook"]
    assert all(value.endswith((" s", " ms")) for value in each(browser, "#drill-steps td", "innerText"))
    wait_for(lambda: "Fire drill, " in text(browser, "events"))
    assert browser.find_element("id", "drill-start").is_enabled()
