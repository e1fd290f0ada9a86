"""Proofs 1, 2 and 6: it is the words that count, and they are heard while the device speaks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_runtime.evaluation import figures
from edge_runtime.evaluation.baselines import chunk_ends
from edge_runtime.evaluation.clip import SCORED_AFTER, Clip, score_at
from edge_runtime.evaluation.figures import Figure, Floats
from edge_runtime.evaluation.material import Material, Spoken, words
from edge_runtime.evaluation.proofs import Bench, high, low, proof
from edge_runtime.evaluation.proofs.envelopes import loudness, noise_like, share_envelope
from edge_runtime.evaluation.scenarios import Casting, clips
from edge_runtime.evaluation.scenarios.speaking import backchannel, interruption
from edge_runtime.evaluation.scenarios.turns import Piece, Recut, turn
from edge_runtime.evaluation.stage import samples
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES

HEARD_S = 1.2
"""After a word has begun, so long its effect on stopping is looked for."""
FAINT_DB = -40.0
CHANGE = 0.05
"""Total variation between two distributions over the floor states that counts as a change."""
ALIKE_RATIO = 1.2
"""Of the lengths of a pair; only where fewer than half of those wanted are so alike, the next
nearest make up for it."""
Samples = NDArray[np.float32]


# -- pairs ---------------------------------------------------------------------------------------


class Pair(NamedTuple):
    sounds: tuple[Samples, Samples]
    alike: bool
    """Before they were cut to one length, the lengths were nearly the same."""
    of: tuple[Spoken, Spoken]


def joined(spoken: Spoken) -> Samples:
    return np.concatenate([segment.pcm for segment in spoken.segments]).astype(np.float32)


def alike(first: Sequence[Samples], second: Sequence[Samples], count: int) -> list[tuple[int, int]]:
    """`count` pairs of indices, one-to-one; who are nearest in length find each other first."""
    lengths = [np.log([len(pcm) for pcm in side]) for side in (first, second)]
    ratio = np.abs(lengths[0][:, None] - lengths[1][None])
    found: dict[int, int] = {}
    for flat in np.argsort(ratio, axis=None, kind="stable"):
        one, other = divmod(int(flat), len(second))
        if len(found) < count and one not in found and other not in found.values():
            found[one] = other
    return list(found.items())


def pairs(material: Material, kinds: tuple[str, str], count: int) -> Iterator[Pair]:
    """Utterances of two kinds and about one length, with one envelope. What is said while the
    device speaks begins together, what ends a turn ends together: what would be cut off there says
    which of the two it is."""
    people = [whole(material, kind) for kind in kinds]
    first, second = ([joined(spoken) for spoken in said_so] for said_so in people)
    ends = kinds[0] == "turn"
    for number, (one, other) in enumerate(alike(first, second, count)):
        ratio = abs(math.log(len(first[one]) / len(second[other])))
        near = ratio < math.log(ALIKE_RATIO)
        if near or number < count / 2:
            sounds = share_envelope(first[one], second[other], ends)
            yield Pair(sounds, near, (people[0][one], people[1][other]))


def whole(material: Material, kind: str) -> list[Spoken]:
    """Of the turns, those that are said in one go; of the rest all."""
    spoken = material.spoken[kind]
    return [one for one in spoken if kind != "turn" or len(one.segments) == 1]


def while_speaking(casting: Casting, index: int, pcm: Samples) -> tuple[Clip, int]:
    """The device speaks, and from a sample on `pcm` (int16 scale) is said by the person.

    All else follows from the index alone, so that two clips of one index differ in `pcm` only.
    """
    rng = casting.rng("word pairs", index)
    start, at = samples(0.8), samples(rng.uniform(2.0, 3.5))
    stage = casting.stage(rng, at / SAMPLE_RATE_HZ + 3.0)
    stage.device(stage.long_utterance(at / SAMPLE_RATE_HZ + 2.6), start)
    stage.say(said(pcm), at, visible=True)
    return stage.finish("pairs"), at


def said(pcm: Samples) -> Spoken:
    piece = Piece(np.clip(pcm, -32000, 32000).astype(np.int16), "")
    return Recut((piece,), "pair", "open", None, True)


def after_a_turn(casting: Casting, index: int, pcm: Samples) -> tuple[Clip, int]:
    """`pcm` is said, then there is silence; returns the sample where it begins."""
    rng = casting.rng("turn pairs", index)
    stage = casting.stage(rng, 1.5 + len(pcm) / SAMPLE_RATE_HZ + 1.0)
    end = stage.say(said(pcm), samples(rng.uniform(1.0, 1.4)), visible=True)[-1][1]
    return stage.finish("pairs"), end


# -- 1 -------------------------------------------------------------------------------------------


def energy_matched_pairs(bench: Bench) -> dict[str, Any]:
    """Same envelope, other words: a model hears the difference, a detector cannot. Of words that it
    may know; what it makes of new ones, whose meaning it would have to know, stands beside it."""
    count = bench.count(60)
    known = "known_interruption", "known_backchannel"
    found = {
        "stop_against_mhm": _contrast(bench, known, count),
        "statement_against_trailing_off": _contrast(bench, ("turn", "incomplete"), count),
    }
    holds = all(_hears_words(scores) for scores in found.values())
    new = _contrast(bench, ("interruption", "backchannel"), count)
    return proof(
        "same envelope, other words, lengths within 20 % where there are enough, cut to one length "
        "(while the device speaks beginnings are kept, after a turn ends): the model's AUC lies "
        "above chance, and no detector's is as far from it; words of the training in voices that "
        "are new, those that are new beside it",
        found | {"stop_against_mhm_in_new_words": new},
        holds,
    )


def _hears_words(scores: Mapping[str, Figure]) -> bool:
    """Whether the model's AUC is surely above chance, and above what each detector's would be with
    its better sign."""
    least = low(scores.get("model", figures.nothing()))
    return least > 0.5 and all(
        low(scores[name]) <= 0.5 <= high(scores[name])
        or max(scores[name]["value"], 1 - scores[name]["value"]) < least
        for name in ("energy", "silero")
        if name in scores
    )


def _contrast(bench: Bench, kinds: tuple[str, str], count: int) -> dict[str, Figure]:
    """AUC of the first kind against the second, by model and detectors, over all materials that
    have both."""
    scores: dict[str, tuple[list[float], list[float]]] = {}
    near: list[bool] = []
    texts: tuple[list[str], list[str]] = ([], [])
    voices: tuple[list[str], list[str]] = ([], [])
    for casting in bench.casts:
        if not all(casting.material.has(kind) for kind in kinds):
            continue
        for index, pair in enumerate(pairs(casting.material, kinds, count)):
            near.append(pair.alike)
            for side, pcm in enumerate(pair.sounds):
                texts[side].append(words(pair.of[side]))
                voices[side].append(pair.of[side].voice)
                for name, value in _pair_scores(bench, casting, index, pcm, kinds[0]).items():
                    scores.setdefault(name, ([], []))[side].append(value)
    found = {
        name: figures.auc_figure(
            np.array(one), np.array(other), seed=bench.seed, alike=(texts, voices)
        )
        for name, (one, other) in scores.items()
    }
    return found | {"pairs_alike_in_length": figures.share(sum(near), len(near))}


def _pair_scores(
    bench: Bench, casting: Casting, index: int, pcm: Samples, kind: str
) -> dict[str, float]:
    if kind.endswith("interruption"):
        clip, at = while_speaking(casting, index, pcm)
        span = (at, at + samples(HEARD_S))
        found = {"model": bench.model.run(clip).strongest_stop(*span)}
        found["energy"] = loudness(clip.audio[0], *span)
        sign = 1.0
    else:
        clip, at = after_a_turn(casting, index, pcm)
        span = (at, at + SCORED_AFTER)
        found = {"model": _speak_score(bench, clip, at)}
        found["energy"] = -loudness(clip.audio[0], *span)
        sign = -1.0
    if bench.ears is not None:
        confidence = bench.ears.listen(clip).confidence
        ends = chunk_ends(len(confidence))
        inside = (ends > span[0]) & (ends <= span[1])
        found["silero"] = sign * float(confidence[inside].mean())
    return found


def _speak_score(bench: Bench, clip: Clip, gap: int) -> float:
    trace = bench.model.run(clip)
    return score_at(trace.times, trace.speak, gap + SCORED_AFTER)


# -- 2 -------------------------------------------------------------------------------------------


def envelope_ablation(bench: Bench) -> dict[str, Any]:
    """Noise in the shape of the speech: what is left is what a detector would know."""
    count = bench.count(100)
    found: dict[str, Any] = {}
    verdicts = []
    for casting in bench.casts[:2]:
        ends = _gap_table(bench, casting, count)
        stops = _stop_table(bench, casting, count // 2)
        found[casting.material.name] = {"turn": ends, "stop": stops}
        for table in (ends, stops):
            fell = low(table["intact_minus_noise"]) > 0
            verdicts.append(fell and low(table["noise"]) <= max(0.5, high(table["energy"])))
    return proof(
        "with noise of the same envelope the scores fall, and fall to a detector's",
        found,
        all(verdicts) and bool(verdicts),
    )


def _gap_table(bench: Bench, casting: Casting, count: int) -> dict[str, Figure]:
    """Turn AUC, matched on length, of the same gaps: intact, as noise, and by loudness."""
    rows: list[tuple[bool, float, float, float, float]] = []
    for index, clip in enumerate(clips(turn, casting, count)):
        noisy = _as_noise(casting, clip, index)
        intact, ablated = bench.model.run(clip), bench.model.run(noisy)
        for cue in clip.of("end", "pause"):
            if cue.end - cue.start < SCORED_AFTER:
                continue
            energy = -loudness(clip.audio[0], cue.start, cue.start + SCORED_AFTER)
            scores = intact.gap_scores[cue.start], ablated.gap_scores[cue.start], energy
            rows.append((cue.kind == "end", float(cue.speech), *scores))
    return _table(np.array(rows, np.float64), bench.seed, matched=True)


def _stop_table(bench: Bench, casting: Casting, count: int) -> dict[str, Figure]:
    """AUC of real interruptions against backchannels, the same three ways."""
    rows: list[tuple[bool, float, float, float, float]] = []
    for wanted, render in ((True, interruption), (False, backchannel)):
        for index, clip in enumerate(clips(render, casting, count)):
            at = clip.of("interruption", "backchannel")[0].start
            span = (at, at + samples(HEARD_S))
            noisy = _as_noise(casting, clip, index)
            scores = (
                bench.model.run(clip).strongest_stop(*span),
                bench.model.run(noisy).strongest_stop(*span),
                loudness(clip.audio[0], *span),
            )
            rows.append((wanted, 1.0, *scores))
    return _table(np.array(rows, np.float64), bench.seed, matched=False)


def _as_noise(casting: Casting, clip: Clip, index: int) -> Clip:
    rng = casting.rng("envelopes", index)
    return clip.with_microphone(noise_like(clip.audio[0], rng))


def _table(rows: Floats, seed: int, matched: bool) -> dict[str, Figure]:
    """Columns: whether the event was real, length, score intact, score as noise, loudness."""
    if not len(rows):
        return {name: figures.nothing() for name in ("intact", "noise", "energy")} | {
            "intact_minus_noise": figures.nothing()
        }

    def auc_of(column: int, items: NDArray[np.int64]) -> float:
        real, length, score = rows[items, 0] > 0, rows[items, 1], rows[items, column]
        if not real.any() or real.all():
            return float("nan")
        if matched:
            return figures.matched_auc(score[real], score[~real], length[real], length[~real])
        return figures.auc(score[real], score[~real])

    names = {"intact": 2, "noise": 3, "energy": 4}
    found = {
        name: figures.difference(lambda items, c=column: auc_of(c, items), len(rows), seed)  # type: ignore[misc]
        for name, column in names.items()
    }
    found["intact_minus_noise"] = figures.difference(
        lambda items: auc_of(2, items) - auc_of(3, items), len(rows), seed
    )
    return found


# -- 6 -------------------------------------------------------------------------------------------


def listening_while_speaking(bench: Bench) -> dict[str, Any]:
    """Another thing said in the middle of our utterance changes the outputs within two turns. That
    it is heard at all is what this shows, as a detector would show it; the first proof is about
    what it was."""
    word: list[float] = []
    faint: list[float] = []
    heard: list[figures.Item] = []
    for casting in bench.casts[:2]:
        count = min(bench.count(60), casting.material.count("interruption"))
        for index in range(count):
            spoken = casting.material.deal("interruption", index)
            pcm = joined(spoken)
            rng = casting.rng("faint noise", index)
            hiss = noise_like(pcm, rng) * np.float32(10 ** (FAINT_DB / 20))
            silent, at = while_speaking(casting, index, np.zeros_like(pcm))
            outputs = bench.model.run(silent)
            for other, distances in ((pcm, word), (hiss, faint)):
                changed = bench.model.run(while_speaking(casting, index, other)[0])
                distances.append(_distance(outputs.stop, changed.stop, at))
            heard.append(figures.Item(int(word[-1] > CHANGE), 1, words(spoken), spoken.voice))
    share = figures.ratio(heard, bench.seed)
    beyond = np.array([word, faint])
    more = figures.difference(
        lambda items: float(np.subtract(*np.median(beyond[:, items], axis=1))),
        len(word),
        bench.seed,
    )
    found = {
        "changed_within_two_turns": share,
        "total_variation_word_p50": figures.percentile(word, 50, bench.seed),
        "total_variation_faint_noise_p50": figures.percentile(faint, 50, bench.seed),
        "word_minus_faint_noise_p50": more,
    }
    return proof(
        "a word said while the device speaks changes the distribution over the floor within two "
        f"turns, at the median by more than {CHANGE:g} beyond what faint noise does",
        found,
        low(share) > 0.5 and low(more) > CHANGE,
    )


def _distance(before: Floats, after: Floats, at: int) -> float:
    """The largest change of P(yield) in the turn that contains `at` and the two after it: while
    speaking there are two states, so this is the total variation."""
    first = at // TURN_SAMPLES
    return float(np.abs(before[first : first + 3] - after[first : first + 3]).max())
