"""The actions "remember" and "forget" of quiet places, and "dismiss" of suggested ignored areas."""

from __future__ import annotations

from edge.control.actions import Actions, Answer, Arguments, text_argument
from edge.detection.memory import PlaceMemory
from edge.detection.suggestions import Suggestions

REMEMBER, FORGET, DISMISS = "remember", "forget", "dismiss"


def register_quiet_actions(actions: Actions, memory: PlaceMemory, suggestions: Suggestions) -> None:
    """Offer the actions. Each takes the `id` of a fire or of an area."""

    def remember(arguments: Arguments) -> Answer:
        place = memory.remember(text_argument(arguments, "id"))
        return {"id": place.id, "zone": place.zone, "repeats": place.repeats, "expires": place.expires}

    def forget(arguments: Arguments) -> Answer:
        memory.forget(text_argument(arguments, "id"))
        return {}

    def dismiss(arguments: Arguments) -> Answer:
        suggestions.dismiss(text_argument(arguments, "id"))
        return {}

    actions.register(REMEMBER, remember)
    actions.register(FORGET, forget)
    actions.register(DISMISS, dismiss)
