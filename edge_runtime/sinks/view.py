"""A live view of the run in the terminal; elsewhere a line for each thing that happens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from edge_runtime.dialogue import answers
from edge_runtime.micro_turn import TURN_MS, Delegation, EventKind, Pcm, TurnRecord
from edge_runtime.remote_control import Mode
from edge_runtime.sinks.acts import MOST_HEARD, acts
from edge_runtime.sinks.transcript import FORGET_TURNS, TranscriptPrinter

BAR = 32
FLOOR_DB = -60.0
LINES = 9
"""Of the story, where the terminal has the rows; else as many as it has."""
FEWEST_LINES = 3
OTHER_ROWS = 11
"""The border, both levels, what is heard, the state, which may take two, and what parts them."""
COLOURS = {
    "listen": "white",
    "backchannel": "yellow",
    "speak": "green",
    "yield": "red",
    "hold": "cyan",
}


class LiveView:
    """`caption` names what is going on, if anybody knows (the demo's scene)."""

    def __init__(self, console: Console, caption: Callable[[], str] = lambda: "") -> None:
        self._console, self._caption = console, caption
        self._live: Live | None = None
        self._printer = TranscriptPrinter(console)
        self._story: deque[str] = deque(maxlen=LINES)
        self._heard, self._quiet_turns = "", 0
        self._compute_ms: deque[float] = deque(maxlen=300)
        self._missed = 0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def publish(self, record: TurnRecord) -> None:
        if self._live is None:
            self._printer.publish(record)
            return
        self._follow(record)
        self._live.update(self.draw(record), refresh=True)

    def _follow(self, record: TurnRecord) -> None:
        """Keep the last lines of the story."""
        decision, seconds = record.decision, (record.turn.index + 1) * TURN_MS / 1000
        self._compute_ms.append(record.timings.compute_ms)
        self._missed += record.timings.skipped
        self._quiet_turns = 0 if decision.heard else self._quiet_turns + 1
        if self._quiet_turns >= FORGET_TURNS:
            self._heard = ""
        self._heard = (self._heard + decision.heard)[-MOST_HEARD:]
        lines: list[str] = []
        for event in record.turn.events:
            if event.kind in (EventKind.RESULT, EventKind.FAILED):
                lines.append(f"[cyan]{event.kind.value}[/cyan] {escape(event.text)}")
        if decision.stop:
            lines.append("[red]yields[/red]")
        elif decision.hesitate != record.turn.voice.paused:
            lines.append(f"[yellow]{'hesitates' if decision.hesitate else 'goes on'}[/yellow]")
        if answers(record.said):
            if self._heard.strip():
                lines.append(f"[dim]heard[/dim] {escape(' '.join(self._heard.split()))}")
            self._heard = ""
        if record.said is not None:
            lines.append(f"[green]says[/green] {escape(record.said.text)}")
        lines += [
            f"[magenta]does[/magenta] {action.name}" for action, _ in acts(record, Mode.NORMAL)
        ]
        if decision.delegation is not Delegation.NONE:
            lines.append(f"[blue]{decision.delegation.value}s[/blue] the question")
        self._story += [f"{seconds:6.1f} s  {line}" for line in lines]

    def draw(self, record: TurnRecord) -> Panel:
        turn, decision = record.turn, record.decision
        seconds = (turn.index + 1) * TURN_MS / 1000
        grid = Table.grid(padding=(0, 2))
        grid.add_row("[bold]hears[/bold]", _meter(turn.audio[0], "green"), _decibel(turn.audio[0]))
        grid.add_row("[bold]plays[/bold]", _meter(turn.audio[1], "cyan"), _decibel(turn.audio[1]))
        grid.add_row("", "", "")
        floors = decision.probabilities.get("floor", {})
        for name, chance in floors.items():
            chosen = "bold " if name == decision.floor else "dim "
            bar = Text("█" * round(chance * BAR), style=chosen + COLOURS.get(name, "white"))
            grid.add_row(Text(name, style=chosen), bar, f"{chance:4.2f}")
        state = [
            "camera" if turn.frame is not None else "no picture",
            "link up" if turn.background.link_up else "on its own",
            "a question is out" if turn.background.pending else "nothing pending",
            f"compute {np.percentile(self._compute_ms or [0], 50):.1f} ms, "
            f"p99 {np.percentile(self._compute_ms or [0], 99):.1f} ms",
            f"{self._missed} missed",
        ]
        heard = Text("… " + " ".join(self._heard.split())[-70:], style="italic dim")
        others = len(floors) + OTHER_ROWS
        lines = min(max(self._console.height - 1 - others, FEWEST_LINES), LINES)
        story = Group(*map(_line, list(self._story)[-lines:]))
        caption = self._caption()
        title = f"edge_runtime  {seconds:5.1f} s" + (f"  ·  {caption}" if caption else "")
        body: list[Any] = [grid, Text(""), heard, Text(""), story, Text("")]
        body.append(Text(" · ".join(state), style="dim"))
        return Panel(Group(*body), title=title, border_style="blue", height=lines + others)


def _line(markup: str) -> Text:
    """In one row: what wraps would push the newest out."""
    text = Text.from_markup(markup)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _level_db(pcm: Pcm) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(pcm * pcm)) + 1e-6))


def _decibel(pcm: Pcm) -> str:
    return f"{max(_level_db(pcm), -99):4.0f} dBFS"


def _meter(pcm: Pcm, colour: str) -> Text:
    share = min(max(1 - _level_db(pcm) / FLOOR_DB, 0.0), 1.0)
    filled = round(share * BAR)
    return Text("▮" * filled, style=colour) + Text("▯" * (BAR - filled), style="dim")
