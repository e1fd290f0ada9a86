"""Who is before the device, as the micro-turns tell it: for screens and smart homes."""

from __future__ import annotations

from collections.abc import Mapping

from edge_runtime.micro_turn import TURN_MS, TurnRecord

ENGAGED_TURNS = 60_000 // TURN_MS
"""For a minute after the last word, somebody counts as talking to the device."""
PRESENT, GONE_TURNS = "present", 5_000 // TURN_MS
"""Who was not seen for so long has gone; shorter, and they have turned or were missed."""
PAUSE_TURNS = 2_000 // TURN_MS
"""What is heard after such a pause begins anew."""


class Company:
    """Note one micro-turn after the other, and ask. At most the last `longest` characters of what
    is heard are kept; 0: no word is."""

    def __init__(self, longest: int = 0) -> None:
        self._longest = longest
        self._absent_turns = GONE_TURNS
        """Micro-turns since somebody was seen."""
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
        turn, decision = record.turn, record.decision
        self.present = self._presence(
            None if turn.frame is None else decision.probabilities.get("seen")
        )
        if not decision.heard.strip():
            self._quiet_turns = min(self._quiet_turns + 1, ENGAGED_TURNS)
            return
        if self._longest:
            before = "" if self._quiet_turns >= PAUSE_TURNS else self.heard
            self.heard = (before + decision.heard)[-self._longest :]
        self._quiet_turns = 0

    def _presence(self, seen: Mapping[str, float] | None) -> bool | None:
        if seen is None or PRESENT not in seen:
            self._absent_turns = GONE_TURNS
            return None
        self._absent_turns = 0 if seen[PRESENT] >= 0.5 else self._absent_turns + 1
        return self._absent_turns < GONE_TURNS
