"""Scenarios 1, 2, 9 and 11: a turn with its pauses, its end, and what it asks for; and turns that
nobody could understand."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.evaluation.clip import CUT, TORN, Clip
from edge_runtime.evaluation.material import Material, Segment, Spoken, speech_samples
from edge_runtime.evaluation.scenarios import Casting
from edge_runtime.evaluation.scenarios.speaking import noise_over
from edge_runtime.evaluation.stage import samples
from edge_runtime.micro_turn import SAMPLE_RATE_HZ

WATCHED_S = 3.6
"""After a turn's end: a smart turn detector may take 3 s by its own timeout."""
SILENT_S = 8.4
"""And somebody who waits for an answer may be silent for longer."""
BREAKS_OFF_EVERY = 6
CUT_SHARE = 0.6
"""Of the turns that could be cut in the middle of their flow are."""
CUT_LEAST_S = 1.2
FADE = 160
TRAILING_PAUSE_S = 2.5
LONG_TURN_S = 5.0
DROWNED_DB = 12.0
"""Of a noise against the speech that it drowns."""
STEADIEST_OF = 6
"""Stretches of noise: words are heard through gaps."""
HEARD_BEFORE = 0.4
"""Share of a drowned turn, at most, that is heard before the noise begins."""


@dataclass(frozen=True)
class Piece:
    pcm: NDArray[np.int16]
    text: str
    phones: Sequence[tuple[int, float, float]] = ()


@dataclass(frozen=True)
class Recut:
    """An utterance whose segments were cut anew."""

    segments: tuple[Segment, ...]
    kind: str
    intent: str
    room: NDArray[np.float32] | None
    gap_is_natural: bool
    voice: str = ""
    recording: str = ""


def cut_mid_flow(spoken: Spoken, rng: np.random.Generator) -> Spoken:
    """A synthesized utterance of one segment, cut between two sounds near its middle."""
    if len(spoken.segments) != 1 or not spoken.segments[0].phones:
        return spoken
    only = spoken.segments[0]
    length_s = len(only.pcm) / SAMPLE_RATE_HZ
    inside = [end for _, _, end in only.phones if 0.35 < end / length_s < 0.65]
    if length_s < CUT_LEAST_S or not inside:
        return spoken
    at = samples(inside[int(rng.integers(len(inside)))])
    parts = (Piece(_faded(only.pcm[:at]), only.text), Piece(_faded(only.pcm[at:]), ""))
    whose = spoken.voice, spoken.recording
    return Recut(parts, spoken.kind, spoken.intent, spoken.room, False, *whose)


def _faded(pcm: NDArray[np.int16]) -> NDArray[np.int16]:
    """Without a click at the cut."""
    soft = pcm.astype(np.float32)
    ramp = np.linspace(0, 1, min(FADE, len(pcm) // 2), dtype=np.float32)
    soft[: len(ramp)] *= ramp
    soft[len(soft) - len(ramp) :] *= ramp[::-1]
    return soft.astype(np.int16)


def pause_samples(rng: np.random.Generator) -> int:
    """0.3 to 2.5 s, two in five of them a second and more."""
    long = rng.random() < 0.4
    return samples(rng.uniform(1.0, 2.5) if long else rng.uniform(0.3, 1.0))


def kind_of_pause(material: Material, spoken: Spoken, index: int) -> str:
    """What goes before the pause after segment `index`, or comes after it. Where nobody would
    pause, one sound is cut in the middle of its flow, or a sentence was torn into parts that a
    synthesizer said each by itself, ending its last word as it ends a sentence."""
    if not spoken.gap_is_natural:
        return CUT if isinstance(spoken, Recut) or spoken.recording else TORN
    before = spoken.segments[index].text
    if any(before == filler or before.endswith(f" {filler}") for filler in material.fillers):
        return "filler"
    if index + 1 == len(spoken.segments):
        return "trailing off"
    after = spoken.segments[index + 1].text
    return "correction" if after.startswith(material.corrections) else "clause"


def facts(labels: Any) -> Mapping[str, str]:
    known = {"act": labels.act, "action": labels.action, "delegate": labels.delegate}
    return {name: value for name, value in known.items() if value is not None}


def turn(casting: Casting, index: int) -> Clip | None:
    """A turn of the person; every sixth breaks off, where the material has such."""
    material, rng = casting.material, casting.rng("turns", index)
    breaks_off = material.has("incomplete") and index % BREAKS_OFF_EVERY == BREAKS_OFF_EVERY - 1
    kind = "incomplete" if breaks_off else "turn"
    number = index // BREAKS_OFF_EVERY if breaks_off else index
    spoken = material.deal(kind, number)
    if kind == "turn" and rng.random() < CUT_SHARE:
        spoken = cut_mid_flow(spoken, rng)
    pauses = [pause_samples(rng) for _ in spoken.segments[1:]]
    start = samples(rng.uniform(1.0, 2.0))
    speech = speech_samples(spoken)
    total = start + speech + sum(pauses) + samples(SILENT_S)
    stage = casting.stage(rng, total / SAMPLE_RATE_HZ)
    spans = stage.say(spoken, start, pauses, tail=samples(SILENT_S))
    for at, (_, end) in enumerate(spans[:-1]):
        detail = kind_of_pause(material, spoken, at)
        stage.cue("pause", end, spans[at + 1][0], detail, end - start)
    end = spans[-1][1]
    if breaks_off:
        detail = kind_of_pause(material, spoken, len(spans) - 1)
        stage.cue("pause", end, end + samples(TRAILING_PAUSE_S), detail, end - start)
    else:
        wanted = facts(material.labels(spoken.intent))
        stage.cue("end", end, end + samples(WATCHED_S), spoken.intent, end - start, wanted)
    return stage.finish("turns")


def long_turn(casting: Casting, index: int) -> Clip | None:
    """Scenario 7: somebody takes 5 s and more to say one thing, with breaths in between."""
    material, rng = casting.material, casting.rng("long turns", index)
    if not material.has_long_turns:
        return None
    told = material.deal_long(index)
    speech = speech_samples(told)
    pauses = [samples(rng.uniform(0.4, 1.3)) for _ in told.segments[1:]]
    pauses[0] += max(0, samples(LONG_TURN_S) - speech - sum(pauses))
    start = samples(rng.uniform(1.0, 2.0))
    total = start + speech + sum(pauses) + samples(0.4)
    stage = casting.stage(rng, total / SAMPLE_RATE_HZ)
    spans = stage.say(told, start, pauses, tail=samples(0.4))
    for (_, end), (begin, _) in itertools.pairwise(spans):
        stage.cue("breath", end, begin)
    stage.cue("long turn", start, spans[-1][1])
    return stage.finish("long turns")


def drowned(casting: Casting, index: int) -> Clip | None:
    """A turn to the device, most of it under something louder, which ends soon after it."""
    material, rng = casting.material, casting.rng("drowned", index)
    spoken = material.deal("turn", index)
    pauses = [samples(0.3)] * (len(spoken.segments) - 1)
    start, after = samples(rng.uniform(1.0, 2.0)), samples(rng.uniform(0.1, 0.4))
    total = start + speech_samples(spoken) + sum(pauses) + after + samples(WATCHED_S)
    stage = casting.stage(rng, total / SAMPLE_RATE_HZ)
    end = stage.say(spoken, start, pauses, tail=samples(WATCHED_S))[-1][1]
    at = start + int(rng.uniform(0, HEARD_BEFORE) * (end - start))
    covered = stage.near[at : end + after]
    stage.add_noise(noise_over(rng, material.noises, covered, DROWNED_DB, STEADIEST_OF), at)
    stage.cue("drowned", end, end + after + samples(2.0))
    return stage.finish("drowned")
