"""What the echo canceller takes, what it leaves of a person, and what the model makes of it.

    python -m calibration.sensors.own_voice --clips 1600 --interruptions 800 --seed 11

First echo return loss alone; then scenario 6 of the evaluation (the device speaks, nobody else
does) with the canceller, with the model's own reference channel, with both, and with neither; then
people who interrupt the device while its echo is in the microphone. The canceller is given the
reference in time with the echo, as the runtime's search for it does; each clip begins with a
canceller that knows nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

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
    ECHO_DB,
    ECHO_DELAY_S,
    echo_clip,
    echo_of,
    interruption_beside_echo,
)
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm
from edge_runtime.sources.echo import EchoCanceller
from edge_runtime.sources.echo_delay import LEAD_SAMPLES
from edge_runtime.voice.espeak import EspeakSynthesizer

LEVELS_DB = (0.0, -10.0, -20.0, -30.0)
OURS = "The museum opens at nine and closes at six. The cafe is on the second floor. " * 5
THEIRS = "Excuse me, where do I find the exhibition about early computers? I have an hour."
CONVERGED = 6 * SAMPLE_RATE_HZ
WAYS = ("neither", "canceller", "reference", "both")


def cancelled(microphone: Pcm, reference: Pcm) -> Pcm:
    canceller, turns = EchoCanceller(1), len(microphone) // TURN_SAMPLES
    parts = [slice(n * TURN_SAMPLES, (n + 1) * TURN_SAMPLES) for n in range(turns)]
    return np.concatenate([canceller.process(microphone[None, p], reference[p])[0] for p in parts])


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


def heard(clip: Clip, way: str, delay: int) -> Clip:
    """As the model is given it, by one of WAYS."""
    audio = clip.audio.copy()
    if way in ("canceller", "both"):
        audio[0] = with_canceller(clip, delay)
    if way in ("neither", "canceller"):
        audio[1] = 0.0
    return replace(clip, audio=audio)


def own_echo(cast: Cast, count: int) -> None:
    """Scenario 6."""
    faults = {way: np.zeros((len(ECHO_DB), 2), int) for way in WAYS}
    minutes = np.zeros(len(ECHO_DB))
    for index in range(count):
        row, (_, delay) = index % len(ECHO_DB), echo_of(index)
        clip = echo_clip(cast.casting, index)
        cue = clip.of("echo")[0]
        for way in WAYS:
            trace = cast.model.run(heard(clip, way, delay))
            faults[way][row] += (
                spells(trace.stops, cue.start, cue.end),
                spells(trace.takes, cue.start, cue.end + 2 * SAMPLE_RATE_HZ),
            )
        minutes[row] += (cue.end - cue.start) / SAMPLE_RATE_HZ / 60
    print("\n| echo | minutes | " + " | ".join(WAYS) + " |\n|---|---|" + "---|" * len(WAYS))
    for row, level in enumerate(ECHO_DB):
        cells = [f"{faults[way][row][0]} / {faults[way][row][1]}" for way in WAYS]
        print(f"| {level:g} dB | {minutes[row]:.1f} | " + " | ".join(cells) + " |")
    print(f"\nself-interruptions / self-answers; {count} clips, delays {ECHO_DELAY_S} s in turn")


def interrupted(cast: Cast, count: int) -> None:
    """Somebody interrupts: who is not heard, and who comes too late, as it had stopped already."""
    ways = ("reference", "both")
    faults = {way: np.zeros((len(ECHO_DB), 2), int) for way in ways}
    for index in range(count):
        row, (_, delay) = index % len(ECHO_DB), echo_of(index)
        clip = interruption_beside_echo(cast.casting, index)
        at = clip.of("interruption")[0].start
        for way in ways:
            stops = cast.model.run(heard(clip, way, delay)).stops
            missed = first(stops, at, at + STOPPED_WITHIN) is None
            faults[way][row] += (missed, first(stops, 0, at) is not None)
    print("\n| echo | interruptions | " + " | ".join(ways) + " |\n|---|---|" + "---|" * len(ways))
    for row, level in enumerate(ECHO_DB):
        cells = [f"{faults[way][row][0]} / {faults[way][row][1]}" for way in ways]
        clips = len(range(row, count, len(ECHO_DB)))
        print(f"| {level:g} dB | {clips} | " + " | ".join(cells) + " |")
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
