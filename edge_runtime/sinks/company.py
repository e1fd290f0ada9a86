"""Who is before the device, as the micro-turns tell it: for screens and smart homes."""

from __future__ import annotations

from edge_runtime.micro_turn import TURN_MS, TurnRecord
from edge_runtime.sinks.sight import Presence, seen_in

ENGAGED_TURNS = 60_000 // TURN_MS
"""For a minute after the last word, somebody counts as talking to the device."""
PAUSE_TURNS = 2_000 // TURN_MS
"""What is heard after such a pause begins anew."""


class Company:
    """Note one micro-turn after the other, and ask. At most the last `longest` characters of what
    is heard are kept; 0: no word is."""

    def __init__(self, longest: int = 0) -> None:
        self._longest = longest
        self._presence = Presence()
        self._quiet_turns = ENGAGED_TURNS
        """Micro-turns since a word was heard."""
        self.heard = ""
        self.present: bool | None = None
        """None where there is no picture to tell from, or a model that does not."""

    @property
    def engaged(self) -> bool:
        """Somebody talks to the device."""
        return self._quiet_turns < ENGAGED_TURNS

    def note(self, record: TurnRecord) -> None:
        decision = record.decision
        self.present = self._presence.follow(seen_in(record))
        if not decision.heard.strip():
            self._quiet_turns = min(self._quiet_turns + 1, ENGAGED_TURNS)
            return
        if self._longest:
            before = "" if self._quiet_turns >= PAUSE_TURNS else self.heard
            self.heard = (before + decision.heard)[-self._longest :]
        self._quiet_turns = 0
