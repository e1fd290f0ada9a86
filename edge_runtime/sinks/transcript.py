"""Prints what happens, a line an event: for logs, and terminals that are not watched live."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from edge_runtime.interfaces import NothingHeld
from edge_runtime.micro_turn import TURN_MS, Delegation, EventKind, TurnRecord
from edge_runtime.remote_control import Mode
from edge_runtime.sinks.acts import BACKGROUND, MOST_HEARD, acts


class TranscriptPrinter(NothingHeld):
    """One line for each thing said, heard, done, handed on or told."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._heard = ""

    def publish(self, record: TurnRecord) -> None:
        decision = record.decision
        self._heard = (self._heard + decision.heard)[-MOST_HEARD:]
        for event in record.turn.events:
            if event.kind in (EventKind.RESULT, EventKind.FAILED):
                self._line(record, f"[cyan]{event.kind.value}[/cyan] {escape(event.text)}")
        if decision.stop:
            self._line(record, "[red]yields[/red]")
        elif decision.hesitate != record.turn.voice.paused:
            does = "hesitates" if decision.hesitate else "goes on"
            self._line(record, f"[yellow]{does}[/yellow]")
        if (record.said is not None or decision.stop) and self._heard.strip():
            self._line(record, f"[dim]heard[/dim] {escape(' '.join(self._heard.split()))}")
            self._heard = ""
        if record.said is not None:
            self._line(record, f"[green]{record.said.act}[/green] {escape(record.said.text)}")
        for action, source in acts(record, Mode.NORMAL):
            asked = " [dim]asked for by the background model[/dim]" * (source == BACKGROUND)
            self._line(record, f"[magenta]{action.name}[/magenta]{asked}")
        if decision.delegation is not Delegation.NONE:
            self._line(record, f"[blue]{decision.delegation.value}[/blue]")

    def _line(self, record: TurnRecord, text: str) -> None:
        seconds = (record.turn.index + 1) * TURN_MS / 1000
        self._console.print(f"{seconds:8.1f} s  {text}", soft_wrap=True)
