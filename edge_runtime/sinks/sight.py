"""What the model makes of pictures, for those outside: who is there, and what is news of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_runtime.micro_turn import TURN_MS, TurnRecord

SEEN, PRESENT = "seen", "present"
"""The head, and the class that somebody is there, as a manifest names them."""
GONE_TURNS = 5_000 // TURN_MS
"""Who was not seen for so long has gone; shorter, and they have turned or were missed."""
TELL_TURNS = 1_000 // TURN_MS
LIKELY = 0.5


def seen_in(record: TurnRecord) -> Mapping[str, float] | None:
    """How likely each thing is to be seen; None where there is no picture to tell from."""
    if record.turn.frame is None:
        return None
    return record.decision.probabilities.get(SEEN)


class Presence:
    """Whether somebody is there, micro-turn by micro-turn."""

    def __init__(self) -> None:
        self._absent_turns = GONE_TURNS
        """Micro-turns since somebody was seen."""

    def follow(self, seen: Mapping[str, float] | None) -> bool | None:
        """None where nobody can tell: without a picture, or a model that knows."""
        if seen is None or PRESENT not in seen:
            self._absent_turns = GONE_TURNS
            return None
        self._absent_turns = 0 if seen[PRESENT] >= LIKELY else self._absent_turns + 1
        return self._absent_turns < GONE_TURNS


class Sight:
    """What is seen, when it has changed and once a second; nothing with a model that does not look
    at pictures."""

    def __init__(self) -> None:
        self._presence = Presence()
        self._told: object = None
        """What of it counts as a change."""
        self._told_at = 0
        """The index of that micro-turn."""

    def news(self, record: TurnRecord) -> Mapping[str, Any] | None:
        """All fields of Seen.msg but its header, if it is time to tell them."""
        if self._told is None and SEEN not in record.decision.probabilities:
            return None
        seen, index = seen_in(record), record.turn.index
        present = self._presence.follow(seen)
        chances = {} if seen is None else seen
        state = seen is not None, present, [chance >= LIKELY for chance in chances.values()]
        if state == self._told and index - self._told_at < TELL_TURNS:
            return None
        self._told, self._told_at = state, index
        return {
            "known": seen is not None,
            "present": bool(present),
            "names": list(chances),
            "chances": [float(chance) for chance in chances.values()],
        }
