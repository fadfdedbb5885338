"""Home Assistant's own code takes the discovery messages: its schemas, its templates on states as they are published.

It needs a Python with the package homeassistant (3.13 or newer), which conflicts with ours: set FIRESEG_HA_PYTHON.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from edge.messages import WHOLE_FRAME, CameraProblem, Silence
from edge.run_status import DrillStatus, UpdateStatus
from edge.sinks.homeassistant import discovery
from edge.sinks.mqtt import _state
from tests.support.factories import MODEL_HASH, NOON, result, run_status

ZONES = (WHOLE_FRAME, "stove", 'Küche 🔥 "2"')
PYTHON = os.environ.get("FIRESEG_HA_PYTHON")

# Prints, for each topic, what Home Assistant renders from each state by each template.
PROGRAM = """
import asyncio, importlib, json, logging, sys
logging.disable(logging.CRITICAL)  # a missing libturbojpeg
from homeassistant.components.mqtt import discovery
from homeassistant.components.mqtt.schemas import MQTT_ORIGIN_INFO_SCHEMA
from homeassistant.core import HomeAssistant
from homeassistant.helpers.template import Template

async def check(messages, states):
    hass, rendered = HomeAssistant("config"), {}
    for topic, text in messages:
        payload = json.loads(text)
        discovery._replace_all_abbreviations(payload)
        MQTT_ORIGIN_INFO_SCHEMA(payload["origin"])
        kind = importlib.import_module("homeassistant.components.mqtt." + topic.split("/")[1])
        config = kind.DISCOVERY_SCHEMA(payload)
        ignored = payload.keys() - config.keys() - {"device", "origin"}
        assert not ignored, (topic, ignored)
        rendered[topic.split("/")[3]] = {
            key: [
                Template(payload[key], hass).async_render_with_possible_json_value(state, "ERROR", parse_result=False)
                for state in states
            ]
            for key in ("value_template", "json_attributes_template")
            if key in payload
        }
    print(json.dumps(rendered))

asyncio.run(check(**json.load(sys.stdin)))
"""


@pytest.fixture(scope="module")
def rendered() -> dict[str, dict[str, list[str]]]:
    """What each entity renders of three states: an alarm; a blind camera without a sensor; a silenced zone."""
    if not PYTHON:
        pytest.skip("set FIRESEG_HA_PYTHON to a Python with the package homeassistant")
    fire = replace(result(1.0, 0.25, on=True), shares=dict.fromkeys(ZONES, 0.25), alarms=dict.fromkeys(ZONES, True))
    status, drill = run_status(), DrillStatus(False, "stove", "", passed=True, last_passed=NOON.isoformat())
    bare = replace(status, machine=replace(status.machine, temperature_c=None))
    slow = UpdateStatus(problem="it is slow")
    states: list[dict[str, Any]] = [
        _state(fire, replace(status, drill=drill)),
        _state(replace(fire, camera_problem=CameraProblem.FROZEN), bare),
        _state(replace(fire, silences={"stove": Silence.DISARMED}), replace(status, update=slow)),
    ]
    messages = discovery(
        "homeassistant", "fireseg/kitchen", "kitchen", ZONES,
        version="1", model_sha256=MODEL_HASH, snapshots=True, has_commands=True, has_updates=True,
    )  # fmt: skip
    given = json.dumps({"messages": messages, "states": [json.dumps(state) for state in states]})
    done = subprocess.run(
        [PYTHON, "-c", PROGRAM], input=given, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_home_assistants_schemas_take_every_entity_with_all_its_keys(rendered: dict[str, dict[str, list[str]]]) -> None:
    assert len(rendered) == 2 * len(ZONES) + 7 + 1 + 4


def test_home_assistants_templates_render_states_as_they_are_published(
    rendered: dict[str, dict[str, list[str]]],
) -> None:
    values = {name: templates.get("value_template") for name, templates in rendered.items()}
    assert values["fire"] == ["ON", "ON", "ON"]
    assert values["fire_stove"] == ["ON", "ON", "OFF"]
    assert values["fire_share"] == ["25.0", "25.0", "25.0"]
    assert values["camera_problem"] == ["OFF", "ON", "OFF"]
    assert values["temperature"] == ["55.0", "None", "55.0"]  # "None" is unknown
    assert values["last_drill"] == [NOON.isoformat(), "None", "None"]
    assert values["update_problem"] == ["OFF", "OFF", "ON"]
    assert values["armed"] == ["ON", "ON", "ON"]
    assert not [name for name, templates in rendered.items() if "ERROR" in str(templates)]
    attributes = rendered["fire_stove"]["json_attributes_template"]
    assert [json.loads(text)["silence"] for text in attributes] == [None, None, "disarmed"]
    attributes_of_update = rendered["update_problem"]["json_attributes_template"]
    assert [json.loads(text).get("problem") for text in attributes_of_update] == [None, None, "it is slow"]
    assert [json.loads(text)["picture_current"] for text in attributes] == [True, False, True]
