"""Prints what happens, a line an event: for logs, and terminals that are not watched live."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from rich.console import Console
from rich.markup import escape

from edge_runtime.dialogue import answers
from edge_runtime.interfaces import NothingHeld
from edge_runtime.micro_turn import TURN_MS, Delegation, EventKind, MicroTurn, TurnRecord
from edge_runtime.remote_control import Mode
from edge_runtime.sinks.acts import BACKGROUND, MOST_HEARD, acts

PAUSE_TURNS = 2_000 // TURN_MS
"""What is heard after such a pause is another line."""
FORGET_TURNS = 6_000 // TURN_MS
"""After such a pause it is not what is answered next."""


class TranscriptPrinter(NothingHeld):
    """One line for each thing said, heard, done, handed on or told.

    With `all_heard` also for what is not answered, all of it, where it began: after a pause, and
    at the end (`finish`). `time_of_day` gives it for a `deadline_ns`, where it is known.
    """

    def __init__(
        self,
        console: Console,
        all_heard: bool = False,
        time_of_day: Callable[[int], datetime] | None = None,
    ) -> None:
        self._console, self._all_heard, self._time_of_day = console, all_heard, time_of_day
        self._heard = ""
        self._began: MicroTurn | None = None
        """The first micro-turn in which it was heard."""
        self._quiet_turns = 0
        """How many came without any since."""

    def publish(self, record: TurnRecord) -> None:
        decision = record.decision
        self._listen(record)
        for event in record.turn.events:
            if event.kind in (EventKind.RESULT, EventKind.FAILED):
                self._line(record, f"[cyan]{event.kind.value}[/cyan] {escape(event.text)}")
        if decision.stop:
            self._line(record, "[red]yields[/red]")
        elif decision.hesitate != record.turn.voice.paused:
            does = "hesitates" if decision.hesitate else "goes on"
            self._line(record, f"[yellow]{does}[/yellow]")
        if answers(record.said) or decision.stop:
            self._tell_heard(record.turn)
        if record.said is not None:
            self._line(record, f"[green]{record.said.act}[/green] {escape(record.said.text)}")
        for action, source in acts(record, Mode.NORMAL):
            asked = " [dim]asked for by the background model[/dim]" * (source == BACKGROUND)
            self._line(record, f"[magenta]{action.name}[/magenta]{asked}")
        if decision.delegation is not Delegation.NONE:
            self._line(record, f"[blue]{decision.delegation.value}[/blue]")

    def finish(self) -> None:
        if self._all_heard:
            self._tell_heard()

    def _listen(self, record: TurnRecord) -> None:
        heard = record.decision.heard
        self._quiet_turns = 0 if heard else self._quiet_turns + 1
        if self._all_heard and self._quiet_turns == PAUSE_TURNS:
            self._tell_heard()
        elif self._quiet_turns == FORGET_TURNS:
            self._heard = ""
        if heard and not self._heard.strip():
            self._began = record.turn
        self._heard += heard
        if not self._all_heard:
            self._heard = self._heard[-MOST_HEARD:]

    def _tell_heard(self, now: MicroTurn | None = None) -> None:
        text = " ".join(self._heard.split())
        turn = self._began if self._all_heard else now
        if text and turn is not None:
            self._print(turn, f"[dim]heard[/dim] {escape(text)}")
        self._heard = ""

    def _line(self, record: TurnRecord, text: str) -> None:
        self._print(record.turn, text)

    def _print(self, turn: MicroTurn, text: str) -> None:
        if self._time_of_day is not None:
            at = self._time_of_day(turn.deadline_ns - TURN_MS * 1_000_000)
            text = f"{at:%Y-%m-%d %H:%M:%S}  {text}"
        self._console.print(f"{(turn.index + 1) * TURN_MS / 1000:8.1f} s  {text}", soft_wrap=True)
