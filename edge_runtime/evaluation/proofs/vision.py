"""Proof 3: it looks. Blank, frozen, shuffled and late pictures of the same clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edge_runtime.evaluation import figures
from edge_runtime.evaluation.clip import SCORED_AFTER, Clip, first, score_at
from edge_runtime.evaluation.figures import Figure
from edge_runtime.evaluation.material import speech_samples
from edge_runtime.evaluation.metrics import reaction, spells
from edge_runtime.evaluation.proofs import Bench, high, low, proof
from edge_runtime.evaluation.scenarios import Casting, clips
from edge_runtime.evaluation.scenarios.others import side_talk
from edge_runtime.evaluation.scenarios.seen import seen
from edge_runtime.evaluation.stage import samples
from edge_runtime.micro_turn import TURN_MS, TURN_SAMPLES, Frame

LATE_TURNS = 5
LATE_MS = LATE_TURNS * TURN_MS
TOLERANCE_MS = 300
Frames = Sequence[Frame]


def _blank(frames: Frames, rng: np.random.Generator) -> Frames:
    return [np.zeros_like(frame) for frame in frames]


def _frozen(frames: Frames, rng: np.random.Generator) -> Frames:
    return [frames[0]] * len(frames)


def _shuffled(frames: Frames, rng: np.random.Generator) -> Frames:
    return [frames[int(at)] for at in rng.permutation(len(frames))]


def _late(frames: Frames, rng: np.random.Generator) -> Frames:
    return [frames[0]] * LATE_TURNS + list(frames[:-LATE_TURNS])


CHANGES: dict[str, Callable[[Frames, np.random.Generator], Frames]] = {
    "blank": _blank,
    "frozen": _frozen,
    "shuffled": _shuffled,
}


def vision(bench: Bench) -> dict[str, Any]:
    casting = bench.casts[0]
    recall, shift = _recall(bench, casting)
    answers = _side_talk(bench, casting)
    spoken_to = _who_is_spoken_to(bench, casting)
    found = {
        "recall": recall,
        f"shift_of_reactions_ms_with_{LATE_MS}_ms_late_video": shift,
        "side_talk_answers_per_min": answers,
        "who_is_spoken_to": spoken_to,
    }
    holds = (
        all(low(recall["real"]) > high(recall[name]) for name in CHANGES)
        and shift["value"] is not None
        and abs(shift["value"] - LATE_MS) <= TOLERANCE_MS
        and low(answers["blank_minus_real"]) > 0
        and low(spoken_to["auc_real"]) > 0.5 >= low(spoken_to["auc_blank"])
        and low(spoken_to["taken_with_sound"]) > high(spoken_to["taken_without"])
    )
    return proof(
        "with blank, frozen or shuffled pictures it reacts to less of what is seen and answers "
        "more side talk; with late ones it reacts later by as much; who is spoken to needs sound "
        "and picture",
        found,
        holds,
    )


def _recall(bench: Bench, casting: Casting) -> tuple[dict[str, Figure], Figure]:
    """Recall by kind of picture, and by how much later it reacts to late ones."""
    hits: dict[str, list[bool]] = {name: [] for name in ("real", *CHANGES)}
    shifts: list[float] = []
    for index, clip in enumerate(clips(seen, casting, bench.count(60))):
        cues = clip.of("arrival", "wave", "hand")
        if not cues or clip.frames is None:
            continue
        cue = cues[0]
        real = reaction(cue, bench.model.run(clip))
        hits["real"].append(real is not None)
        for name, change in CHANGES.items():
            changed = clip.with_frames(change(clip.frames, casting.rng(name, index)))
            hits[name].append(reaction(cue, bench.model.run(changed)) is not None)
        if real is not None:
            late = clip.with_frames(_late(clip.frames, casting.rng("late", index)))
            longer = replace(cue, end=cue.end + LATE_TURNS * TURN_SAMPLES)
            found = reaction(longer, bench.model.run(late))
            shifts += [] if found is None else [(found - real) * TURN_MS / TURN_SAMPLES]
    recall = {name: figures.share(sum(found), len(found)) for name, found in hits.items()}
    return recall, figures.percentile(shifts, 50, bench.seed)


def _side_talk(bench: Bench, casting: Casting) -> dict[str, Figure]:
    """Answers to people who have turned away, with and without pictures."""
    counts: list[tuple[int, int]] = []
    minutes = 0.0
    for index, clip in enumerate(clips(side_talk, casting, bench.count(40))):
        cue = clip.of("side talk")[0]
        if cue.detail != "away" or clip.frames is None:
            continue
        blank = clip.with_frames(_blank(clip.frames, casting.rng("blank", index)))
        answers = (
            spells(bench.model.run(shown).takes, cue.start, cue.end) for shown in (clip, blank)
        )
        counts.append((next(answers), next(answers)))
        minutes += (cue.end - cue.start) / samples(60)
    table = np.array(counts, np.float64).reshape(-1, 2)
    a_clip = minutes / max(1, len(table))
    return {
        "real": figures.rate(int(table[:, 0].sum()), minutes),
        "blank": figures.rate(int(table[:, 1].sum()), minutes),
        "blank_minus_real": figures.difference(
            lambda items: float((table[items, 1] - table[items, 0]).mean() / a_clip),
            len(table),
            bench.seed,
        ),
    }


def _addressed(casting: Casting, index: int, facing: bool) -> tuple[Clip, int]:
    """One turn, said with the face to the device or away from it; all else is the same."""
    material, rng = casting.material, casting.rng("who is spoken to", index)
    spoken = material.deal("turn", index)
    pauses = [samples(0.4)] * (len(spoken.segments) - 1)
    length = speech_samples(spoken) + sum(pauses)
    stage = casting.stage(rng, 1.6 + length / samples(1.0) + 2.4)
    end = stage.say(spoken, samples(1.5), pauses, tail=samples(2.0))[-1][1]
    stage.pose(0, len(stage.near), facing=facing)
    return stage.finish("addressed"), end


def _who_is_spoken_to(bench: Bench, casting: Casting) -> dict[str, Figure]:
    scores: dict[str, tuple[list[float], list[float]]] = {"real": ([], []), "blank": ([], [])}
    taken: dict[str, list[bool]] = {"sound": [], "none": []}
    for index in range(bench.count(60)):
        for side, facing in enumerate((True, False)):
            clip, end = _addressed(casting, index, facing)
            assert clip.frames is not None
            blank = clip.with_frames(_blank(clip.frames, casting.rng("blank", index)))
            for name, shown in (("real", clip), ("blank", blank)):
                trace = bench.model.run(shown)
                scores[name][side].append(score_at(trace.times, trace.speak, end + SCORED_AFTER))
                if name == "real" and facing:
                    taken["sound"].append(first(trace.takes, end, end + samples(2.0)) is not None)
            if facing:
                mute = bench.model.run(clip.with_microphone(np.zeros_like(clip.audio[0])))
                taken["none"].append(first(mute.takes, end, end + samples(2.0)) is not None)
    return {
        **{
            f"auc_{name}": figures.auc_figure(np.array(to), np.array(away), seed=bench.seed)
            for name, (to, away) in scores.items()
        },
        "taken_with_sound": figures.share(sum(taken["sound"]), len(taken["sound"])),
        "taken_without": figures.share(sum(taken["none"]), len(taken["none"])),
    }
