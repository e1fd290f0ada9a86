"""What the echo canceller takes, what it leaves of a person, and what the model makes of it.

    python -m calibration.sensors.own_voice --clips 1600 --interruptions 800 --seed 11

First echo return loss alone; then scenario 6 of the evaluation (the device speaks, nobody else
does) by level and delay of the echo, with and without a loudspeaker that clips: with the canceller,
with the model's own reference channel, with both, and with neither; then people who interrupt the
device while its echo is in the microphone. Each clip begins with a canceller that knows nothing. It
is given the reference in time with the echo, the model as it was played; "searching" is both as the
runtime has just opened its devices, which told nothing of the delay: it searches for it. Ctrl-C
ends the clips, and the tables tell of those until then.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_runtime.app import decider_for, engine_for
from edge_runtime.config import Config
from edge_runtime.demo.room import Room
from edge_runtime.evaluation.clip import Clip, first
from edge_runtime.evaluation.material import SEEN, load_materials
from edge_runtime.evaluation.metrics import STOPPED_WITHIN, spells
from edge_runtime.evaluation.model_level import Model
from edge_runtime.evaluation.run import frame_px
from edge_runtime.evaluation.scenarios import Casting
from edge_runtime.evaluation.scenarios.speaking import (
    Echo,
    echo_clip,
    interruption_beside_echo,
)
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm, StereoPcm
from edge_runtime.sources.echo import EchoCanceller
from edge_runtime.sources.echo_delay import LEAD_SAMPLES, EchoDelay
from edge_runtime.voice.espeak import EspeakSynthesizer

LEVELS_DB = (0.0, -10.0, -20.0, -30.0)
DELAYS_S = (0.0, 0.1, 0.2, 0.4)
GRID = [
    Echo(level_db, delay_s, clips)
    for delay_s in DELAYS_S
    for clips in (False, True)
    for level_db in LEVELS_DB
]
OURS = "The museum opens at nine and closes at six. The cafe is on the second floor. " * 5
THEIRS = "Excuse me, where do I find the exhibition about early computers? I have an hour."
CONVERGED = 6 * SAMPLE_RATE_HZ
WAYS = ("neither", "canceller", "reference", "both", "searching")


def cancelled(microphone: Pcm, reference: Pcm) -> Pcm:
    with EchoCanceller(1) as canceller:
        return np.concatenate(
            [canceller.process(microphone[None, p], reference[p])[0] for p in parts_of(microphone)]
        )


def parts_of(sound: Pcm) -> list[slice]:
    """Its micro-turns."""
    count = len(sound) // TURN_SAMPLES
    return [slice(n * TURN_SAMPLES, (n + 1) * TURN_SAMPLES) for n in range(count)]


def say(voice: str, text: str) -> Pcm:
    spoken = np.concatenate(list(EspeakSynthesizer(voice, 165, 50).synthesize(text)))
    return spoken * np.float32(0.08 / spoken.std())


def db(part: Pcm, whole: Pcm) -> float:
    return float(10 * np.log10(np.mean(part**2) / np.mean(whole**2)))


def return_loss() -> None:
    """The first seconds, later, and beside a person; by level and with a loudspeaker that clips."""
    ours, theirs = say("en-us+f2", OURS), say("en-us+m3", THEIRS)
    turns = len(ours) // TURN_SAMPLES
    ours = ours[: turns * TURN_SAMPLES]
    person = np.zeros_like(ours)
    person[-len(theirs) - 1600 : -1600] = theirs * np.float32(0.5)
    start = len(ours) - len(theirs) - 1600
    print("| echo | loss, s 1 to 3 | from s 6 on | person beside it, likeness before | after |")
    print("|---|---|---|---|---|")
    for level in LEVELS_DB:
        for clips in (False, True):
            loud = np.clip(ours, -0.1, 0.1) if clips else ours
            echo = Room(1, echo_db=level, noise_db=-80).hear(np.zeros_like(ours), loud)
            microphone = np.clip(echo + person, -1, 1)
            out = cancelled(microphone, ours)
            early, late = slice(SAMPLE_RATE_HZ, 3 * SAMPLE_RATE_HZ), slice(CONVERGED, start)
            both = slice(start, start + len(theirs))
            alike = [float(np.corrcoef(x[both], person[both])[0, 1]) for x in (microphone, out)]
            name = f"{level:g} dB" + (", loudspeaker clips" if clips else "")
            losses = [-db(out[part], microphone[part]) for part in (early, late)]
            print(
                f"| {name} | {losses[0]:.1f} dB | {losses[1]:.1f} dB "
                f"| {alike[0]:.2f} | {alike[1]:.2f} |"
            )


def with_canceller(clip: Clip, delay: int) -> Pcm:
    """Its microphone, float32 (n,), with the echo cancelled."""
    late = np.concatenate([np.zeros(max(0, delay - LEAD_SAMPLES), np.float32), clip.audio[1]])
    return cancelled(clip.audio[0], late[: clip.audio.shape[1]])


@dataclass(frozen=True)
class Cast:
    """The shipped model, and who plays."""

    model: Model
    casting: Casting


@contextmanager
def cast(seed: int) -> Iterator[Cast]:
    config = Config()
    material = next(m for m in load_materials(None, 0.05, seed, print) if m.name == SEEN)
    with engine_for(config) as engine:
        model = Model(engine, decider_for(config, engine.manifest), engine.manifest)
        yield Cast(model, Casting(material, seed, frame_px(engine.manifest)))


def searched(clip: Clip) -> StereoPcm:
    """Its sound, float32 (2, n), as `MicrophoneSource` gives it from the moment it is opened."""
    microphone, played = clip.audio
    search, late, turns = EchoDelay(), 0, []
    with EchoCanceller(1) as canceller:
        for part in parts_of(microphone):
            behind = np.concatenate([np.zeros(late, np.float32), played])[part]
            late = max(0, late + (search.hear(microphone[part], behind) or 0))
            turns.append(np.stack([canceller.process(microphone[None, part], behind)[0], behind]))
    return np.concatenate(turns, axis=1)


def heard(clip: Clip, way: str, delay: int) -> Clip:
    """As the model is given it, by one of WAYS."""
    if way == "searching":
        return replace(clip, audio=searched(clip))
    audio = clip.audio.copy()
    if way in ("canceller", "both"):
        audio[0] = with_canceller(clip, delay)
    if way in ("neither", "canceller"):
        audio[1] = 0.0
    return replace(clip, audio=audio)


def own_echo(cast: Cast, count: int) -> None:
    """Scenario 6 over the whole grid."""
    faults = np.zeros((len(GRID), len(WAYS), 2), int)
    minutes = np.zeros(len(GRID))
    for index in until_interrupted(count):
        row, echo = index % len(GRID), GRID[index % len(GRID)]
        clip = echo_clip(cast.casting, index, echo=echo)
        cue = clip.of("echo")[0]
        for column, way in enumerate(WAYS):
            trace = cast.model.run(heard(clip, way, echo.delay))
            faults[row, column] += (
                spells(trace.stops, cue.start, cue.end),
                spells(trace.takes, cue.start, cue.end + 2 * SAMPLE_RATE_HZ),
            )
        minutes[row] += (cue.end - cue.start) / SAMPLE_RATE_HZ / 60
    print("\nself-interruptions / self-answers a minute, all delays together")
    rows = [(level, clips) for level in LEVELS_DB for clips in (False, True)]
    by_level = [
        (name_of(level, clips), [(e.level_db, e.clips) == (level, clips) for e in GRID])
        for level, clips in rows
    ]
    table("echo", by_level, WAYS, faults, minutes)
    for way in ("both", "searching"):
        print(f"\nthe same by delay, {way}")
        column = WAYS.index(way)
        print("| echo | " + " | ".join(f"{delay_s * 1000:.0f} ms" for delay_s in DELAYS_S) + " |")
        print("|---|" + "---|" * len(DELAYS_S))
        for level, clips in rows:
            at = [GRID.index(Echo(level, delay_s, clips)) for delay_s in DELAYS_S]
            cells = [rates(faults[one, column], minutes[one]) for one in at]
            print(f"| {name_of(level, clips)} | " + " | ".join(cells) + " |")
    below = np.array([echo.level_db <= -10 for echo in GRID])
    print(f"\nself-answers at -10 dB and below, in {minutes[below].sum():.0f} minutes:", end=" ")
    totals = faults[below, :, 1].sum(axis=0)
    print(", ".join(f"{way} {total}" for way, total in zip(WAYS, totals, strict=True)))


def until_interrupted(count: int) -> Iterator[int]:
    """Counts, and tells how far it is. Ctrl-C: after the clip under way there is no other."""
    told: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: told.append(number))
    try:
        for index in range(count):
            yield index
            if told or (index + 1) % 100 == 0:
                print(f"{index + 1} of {count} clips", file=sys.stderr, flush=True)
            if told:
                return
    finally:
        signal.signal(signal.SIGINT, before)


def name_of(level_db: float, clips: bool) -> str:
    return f"{level_db:g} dB" + (", loudspeaker clips" if clips else "")


def rates(faults: NDArray[np.int64], minutes: float) -> str:
    """Self-interruptions / self-answers (2,) a minute."""
    return " / ".join(f"{count / max(minutes, 1e-9):.2f}" for count in faults)


def table(
    first: str,
    rows: Sequence[tuple[str, Sequence[bool]]],
    ways: Sequence[str],
    faults: NDArray[np.int64],
    minutes: NDArray[np.float64],
) -> None:
    """Each of `rows` is its name and which of the grid's cells it is of."""
    print(f"| {first} | minutes | " + " | ".join(ways) + " |\n|---|---|" + "---|" * len(ways))
    for name, cells in rows:
        heard_min = minutes[list(cells)].sum()
        each = [rates(one, heard_min) for one in faults[list(cells)].sum(axis=0)]
        print(f"| {name} | {heard_min:.1f} | " + " | ".join(each) + " |")


def interrupted(cast: Cast, count: int) -> None:
    """Somebody interrupts: who is not heard, and who comes too late, as it had stopped already."""
    ways = ("reference", "both", "searching")
    faults = np.zeros((len(GRID), len(ways), 2), int)
    clips = np.zeros(len(GRID), int)
    for index in until_interrupted(count):
        row, echo = index % len(GRID), GRID[index % len(GRID)]
        clip = interruption_beside_echo(cast.casting, index, echo)
        at = clip.of("interruption")[0].start
        clips[row] += 1
        for column, way in enumerate(ways):
            stops = cast.model.run(heard(clip, way, echo.delay)).stops
            missed = first(stops, at, at + STOPPED_WITHIN) is None
            faults[row, column] += (missed, first(stops, 0, at) is not None)
    print("\n| echo | interruptions | " + " | ".join(ways) + " |\n|---|---|" + "---|" * len(ways))
    for level in LEVELS_DB:
        for clipping in (False, True):
            cells = [(e.level_db, e.clips) == (level, clipping) for e in GRID]
            each = [" / ".join(map(str, one)) for one in faults[cells].sum(axis=0)]
            print(f"| {name_of(level, clipping)} | {clips[cells].sum()} | {' | '.join(each)} |")
    print("\nnot heard within 2 s / the device had already stopped by itself")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=20, help="of scenario 6")
    parser.add_argument("--interruptions", type=int, default=20, help="clips with one")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    return_loss()
    with cast(given.seed) as who:
        own_echo(who, given.clips)
        interrupted(who, given.interruptions)


if __name__ == "__main__":
    main()
