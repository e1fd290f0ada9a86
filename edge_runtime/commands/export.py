"""`edge-runtime export`: a recording as files that people can listen to and read."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from edge_runtime.commands.common import console
from edge_runtime.errors import RecordingError
from edge_runtime.micro_turn import TURN_MS, Timings, TurnRecord
from edge_runtime.whole_file import write_whole

if TYPE_CHECKING:
    from edge_runtime.replay import RecordedTurn

SOUND, TRANSCRIPT = "conversation.wav", "transcript.txt"


def export(
    recording: Annotated[Path, typer.Argument(help="A recording.mcap, of a service too.")],
    out: Annotated[Path, typer.Option(help="Where the files go.")],
) -> None:
    """Write a recording's sound (left the person, right the device), and what was heard, said and
    done by the model with the time in it, and the time of day where the recording tells it. Needs
    no model."""
    from edge_runtime.recording_format import times_of_day
    from edge_runtime.replay import metadata, read
    from edge_runtime.sinks.conversation import ConversationFile
    from edge_runtime.sinks.transcript import TranscriptPrinter

    time_of_day = times_of_day(metadata(recording))
    turns = read(recording)
    first = next(turns, None)
    if first is None:
        raise RecordingError(f"{recording} holds no whole micro-turn. Give a longer recording.")
    lines = io.StringIO()
    plain = Console(file=lines, color_system=None, emoji=False)
    printer = TranscriptPrinter(plain, True, time_of_day)
    count = 0
    with ConversationFile(out / SOUND) as sound:
        for record in records(chain([first], turns)):
            sound.publish(record)
            printer.publish(record)
            count += 1
    printer.finish()
    try:
        write_whole(out / TRANSCRIPT, lines.getvalue())
    except OSError as error:
        raise RecordingError(
            f"{out / TRANSCRIPT} cannot be written: {error.strerror}. Give another folder with "
            "--out, or make room."
        ) from error
    began_ns = first.turn.deadline_ns - 2 * TURN_MS * 1_000_000
    begins = f"; it begins at {time_of_day(began_ns):%Y-%m-%d %H:%M:%S %z}" if time_of_day else ""
    names = ", ".join([*(path.name for path in sound.paths), TRANSCRIPT])
    console.print(
        f"{count * TURN_MS / 1000:.1f} s in {escape(str(out))}: {names}{begins}",
        soft_wrap=True,
    )


def records(turns: Iterable[RecordedTurn]) -> Iterator[TurnRecord]:
    """As sinks see them. Their indices are places in the recording, as the sound and corrections
    count: a service's file may begin anywhere in its run."""
    hesitated = False
    for index, one in enumerate(turns):
        # A recording does not keep that the voice paused: it does after a turn of hesitation.
        voice = replace(one.turn.voice, paused=hesitated and one.turn.voice.speaking)
        turn = replace(one.turn, index=index, voice=voice)
        yield TurnRecord(turn, one.output, one.decision, Timings(), one.said)
        hesitated = one.decision.hesitate
