"""Quiet places and suggested areas, as the page and MQTT ask for them."""

from __future__ import annotations

import pytest

from edge.control.actions import Actions
from edge.control.quiet_actions import register_quiet_actions
from edge.detection.memory import PlaceMemory
from edge.detection.suggestions import Suggestions
from edge.detection.tracks import Sighting, Track
from edge.errors import UserError
from edge.messages import START
from tests.support.factories import NOON, event, region


def test_a_place_is_remembered_and_forgotten_and_an_unknown_id_is_one_sentence() -> None:
    memory, actions = PlaceMemory(now=lambda: NOON), Actions()
    register_quiet_actions(actions, memory, Suggestions(now=lambda: NOON))
    track = Track(1, (Sighting(1.0, region()),), 0.0, 1.0, region(), 1.0, zones={"frame": 1.0})
    memory.observe([track], 1.0, [event(START, id_="fire")])

    def ask(name: str, id_: str) -> object:
        answer = actions.submit(name, {"id": id_}, origin="test")
        actions.poll()
        return answer.result()

    expires = "2026-11-22T13:00:00+00:00"
    assert ask("remember", "fire") == {"id": "fire", "zone": "frame", "repeats": 1, "expires": expires}
    assert [place.id for place in memory.statuses()] == ["fire"]
    assert ask("forget", "fire") == {}
    assert memory.statuses() == ()
    for name in ("remember", "forget", "dismiss"):
        with pytest.raises(UserError, match="'gone'"):
            ask(name, "gone")
