"""How Home Assistant finds this camera by itself: one retained message for each thing it shows.

Zones become smoke-free "safety" sensors on purpose: Home Assistant's own smoke alarms stand for devices that were
approved as such, and this is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from edge.messages import WHOLE_FRAME
from edge.sinks.mqtt_client import slug

STALE_S = 60
"""What was not told for so long is unknown: a camera that hangs must not look as if nothing burned."""
MAKER = "FireSeg Edge"

Message = tuple[str, str]  # topic and payload


def discovery(
    prefix: str, base: str, name: str, zones: Iterable[str], *, version: str, model_sha256: str, pictures: bool
) -> list[Message]:
    """The messages of a camera.

    Args:
        prefix: Home Assistant's own, by which it listens.
        base: of this camera's topics.
        name: as a person reads it.
    """
    id_ = f"fireseg_{slug(name)}"
    state = f"{base}/state"
    shared: dict[str, Any] = {
        "availability_mode": "all",
        "device": {
            "identifiers": [id_],
            "name": name,
            "manufacturer": MAKER,
            "model": f"model {model_sha256[:12]}",
            "sw_version": version,
        },
        "origin": {"name": MAKER, "sw": version},
    }
    alive = [{"topic": f"{base}/status"}]
    seeing = [*alive, {"topic": f"{base}/camera"}]
    made: list[tuple[str, str, dict[str, Any]]] = []
    for zone in zones:
        known = f"value_json.zones[{json.dumps(zone, ensure_ascii=False)}]"
        suffix = "" if zone == WHOLE_FRAME else f"_{slug(zone)}"
        called = "" if zone == WHOLE_FRAME else f" {zone}"
        made += [
            (
                "binary_sensor",
                f"fire{suffix}",
                {
                    "name": f"Fire{called}",
                    "device_class": "safety",
                    "value_template": f"{{{{ 'ON' if {known}.alarm else 'OFF' }}}}",
                    "availability": seeing,
                },
            ),
            (
                "sensor",
                f"area{suffix}",
                {
                    "name": f"Burning area{called}",
                    "icon": "mdi:fire",
                    "unit_of_measurement": "%",
                    "state_class": "measurement",
                    "suggested_display_precision": 2,
                    "value_template": f"{{{{ 100 * {known}.share }}}}",
                    "availability": seeing,
                },
            ),
        ]
    made += [
        ("sensor", "fps", _diagnostic("Results per second", "fps", "1/s", alive)),
        ("sensor", "frame_age", _diagnostic("Frame age", "age_ms", "ms", seeing, device_class="duration")),
        (
            "sensor",
            "temperature",
            _diagnostic("Temperature", "temperature_c", "°C", alive, device_class="temperature"),
        ),
        ("sensor", "source", {**_diagnostic("Source", "source_state", None, alive), "icon": "mdi:cctv"}),
    ]
    messages = [
        (
            f"{prefix}/{kind}/{id_}/{object_}/config",
            json.dumps(
                {
                    "unique_id": f"{id_}_{object_}",
                    "state_topic": state,
                    "expire_after": STALE_S,
                    **shared,
                    **one,
                },
                ensure_ascii=False,
            ),
        )
        for kind, object_, one in made
    ]
    if pictures:
        picture = {
            "name": "Last fire",
            "unique_id": f"{id_}_snapshot",
            "topic": f"{base}/snapshot",
            "availability": alive,
            **shared,
        }
        messages.append((f"{prefix}/camera/{id_}/snapshot/config", json.dumps(picture, ensure_ascii=False)))
    return messages


def _diagnostic(
    name: str, key: str, unit: str | None, availability: list[dict[str, str]], device_class: str | None = None
) -> dict[str, Any]:
    one: dict[str, Any] = {
        "name": name,
        "entity_category": "diagnostic",
        "value_template": f"{{{{ value_json.{key} }}}}",
        "availability": availability,
    }
    if unit:
        one |= {"unit_of_measurement": unit, "state_class": "measurement"}
    if device_class:
        one["device_class"] = device_class
    return one
