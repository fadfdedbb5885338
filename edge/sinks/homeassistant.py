"""Home Assistant's MQTT discovery: one retained message per entity of this camera.

Zones become "safety" sensors, not smoke alarms: Home Assistant reserves those for certified devices.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from edge.messages import WHOLE_FRAME
from edge.sinks.mqtt_client import slug

EXPIRE_AFTER_S = 60
"""Values become unavailable after this time without a message: a camera that hangs must not look like "no fire"."""
MANUFACTURER = "FireSeg Edge"


def discovery(
    prefix: str,
    base: str,
    name: str,
    zones: Iterable[str],
    *,
    version: str,
    model_sha256: str,
    snapshots: bool,
    has_commands: bool,
    has_updates: bool,
) -> list[tuple[str, str]]:
    """Return the topics and payloads of a camera's discovery messages.

    Args:
        prefix: Home Assistant's discovery prefix.
        base: of the camera's topics.
        name: of the device, for people.
        zones: names of the zones.
        snapshots: whether there is a snapshot topic.
        has_commands: whether there is a command topic.
        has_updates: whether the model is updated from a repository.
    """
    online = [{"topic": f"{base}/status"}]
    seeing = [*online, {"topic": f"{base}/camera"}]
    entities: list[tuple[str, str, dict[str, Any]]] = []
    for zone in zones:
        value = f"value_json.zones[{json.dumps(zone, ensure_ascii=False)}]"
        id_suffix, name_suffix = ("", "") if zone == WHOLE_FRAME else (f"_{slug(zone)}", f" {zone}")
        fire = {
            "name": f"Fire{name_suffix}",
            "device_class": "safety",
            "value_template": f"{{{{ 'ON' if {value}.alarm and not {value}.silence else 'OFF' }}}}",
            "json_attributes_topic": f"{base}/state",
            "json_attributes_template": "{{ {'picture_current': value_json.picture_current, "
            f"'detected': {value}.alarm, 'silence': {value}.silence}} | tojson }}}}",
        }
        fire_share = _measurement(f"Fire area{name_suffix}", "%", icon="mdi:fire", suggested_display_precision=2) | {
            "value_template": f"{{{{ 100 * {value}.share }}}}"
        }
        entities += [
            ("binary_sensor", f"fire{id_suffix}", fire | {"availability": seeing}),
            ("sensor", f"fire_share{id_suffix}", fire_share | {"availability": seeing}),
        ]
    problem = {
        "name": "Camera problem",
        "device_class": "problem",
        "entity_category": "diagnostic",
        "value_template": "{{ 'ON' if value_json.camera_problem else 'OFF' }}",
        "json_attributes_topic": f"{base}/state",
        "json_attributes_template": "{{ {'kind': value_json.camera_problem} | tojson }}",
    }
    entities.append(("binary_sensor", "camera_problem", problem | {"availability": seeing}))
    for object_id, key, availability, config in (
        ("fps", "fps", online, _measurement("Results per second", "1/s")),
        ("frame_age", "age_ms", seeing, _measurement("Frame age", "ms", device_class="duration")),
        ("temperature", "temperature_c", online, _measurement("Temperature", "°C", device_class="temperature")),
        ("camera", "camera_state", online, {"name": "Camera", "icon": "mdi:cctv"}),
    ):
        diagnostic = {"entity_category": "diagnostic", "value_template": f"{{{{ value_json.{key} }}}}"}
        entities.append(("sensor", object_id, config | diagnostic | {"availability": availability}))
    drill = {
        "name": "Last drill passed",
        "device_class": "timestamp",
        "entity_category": "diagnostic",
        "value_template": "{{ (value_json.drill or {}).last_passed or None }}",
        "json_attributes_topic": f"{base}/state",
        "json_attributes_template": "{{ (value_json.drill or {}) | tojson }}",
    }
    entities.append(("sensor", "last_drill", drill | {"availability": online}))
    if has_updates:
        update = "(value_json['update'] or {})"  # `value_json.update` is a method in Jinja
        failed = {
            "name": "Model update problem",
            "device_class": "problem",
            "entity_category": "diagnostic",
            "value_template": f"{{{{ 'ON' if {update}.problem else 'OFF' }}}}",
            "json_attributes_topic": f"{base}/state",
            "json_attributes_template": f"{{{{ {update} | tojson }}}}",
        }
        entities.append(("binary_sensor", "update_problem", failed | {"availability": online}))
    from_state = {"state_topic": f"{base}/state", "expire_after": EXPIRE_AFTER_S}
    entities = [(kind, object_id, config | from_state) for kind, object_id, config in entities]
    if has_commands:
        entities += _controls(base, online)
    if snapshots:
        snapshot = {"name": "Last fire", "topic": f"{base}/snapshot", "availability": online}
        entities.append(("camera", "snapshot", snapshot))
    id_ = device_id(name)
    device = {
        "identifiers": [id_],
        "name": name,
        "manufacturer": MANUFACTURER,
        "model": f"model {model_sha256[:12]}",
        "sw_version": version,
    }
    shared = {"availability_mode": "all", "device": device, "origin": {"name": MANUFACTURER, "sw": version}}
    messages = []
    for kind, object_id, config in entities:
        payload = {"unique_id": f"{id_}_{object_id}", **config, **shared}
        messages.append((f"{prefix}/{kind}/{id_}/{object_id}/config", json.dumps(payload, ensure_ascii=False)))
    return messages


def _controls(base: str, online: list[dict[str, str]]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return a switch and buttons to arm and silence the alarm, and for a fire drill."""
    shared = {"command_topic": f"{base}/command", "availability": online}
    switch = shared | {
        "name": "Armed",
        "icon": "mdi:shield-home",
        "payload_on": '{"action": "arm"}',
        "payload_off": '{"action": "disarm"}',
        "state_topic": f"{base}/state",
        "value_template": "{{ 'ON' if value_json.arming.armed else 'OFF' }}",
        "state_on": "ON",
        "state_off": "OFF",
        "json_attributes_topic": f"{base}/state",
        "json_attributes_template": "{{ value_json.arming | tojson }}",
    }
    snooze = shared | {
        "name": "Snooze 1 h",
        "icon": "mdi:alarm-snooze",
        "payload_press": '{"action": "snooze", "minutes": 60}',
    }
    acknowledge = shared | {
        "name": "Acknowledge",
        "icon": "mdi:check",
        "payload_press": '{"action": "acknowledge"}',
    }
    drill = shared | {"name": "Fire drill", "icon": "mdi:fire-alert", "payload_press": '{"action": "drill"}'}
    buttons = {"snooze": snooze, "acknowledge": acknowledge, "drill": drill}
    return [("switch", "armed", switch), *(("button", name, config) for name, config in buttons.items())]


def device_id(name: str) -> str:
    return f"fireseg_{slug(name)}"


def _measurement(name: str, unit: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "unit_of_measurement": unit, "state_class": "measurement", **config}
