"""The proofs can fail: each is given somebody who is a detector, or who knows too much."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import yaml
from tiny_model import checked_manifest

pytest.importorskip("scipy", reason="the corpus needs scipy: pip install 'edge-runtime[evaluate]'")

from edge_runtime.decide import FloorDecider
from edge_runtime.errors import InputError
from edge_runtime.evaluation.clip import GAPS, SCORED_AFTER, Clip, Trace, score_at
from edge_runtime.evaluation.figures import Figure, figure
from edge_runtime.evaluation.material import load_materials, words
from edge_runtime.evaluation.model_level import Model
from edge_runtime.evaluation.proofs import Bench
from edge_runtime.evaluation.proofs.causality import causality
from edge_runtime.evaluation.proofs.envelopes import envelope, noise_like, share_envelope
from edge_runtime.evaluation.proofs.own_channel import own_channel
from edge_runtime.evaluation.proofs.ticks import pays, ticks
from edge_runtime.evaluation.proofs.vision import vision
from edge_runtime.evaluation.proofs.words import (
    _hears_words,
    alike,
    energy_matched_pairs,
    envelope_ablation,
    joined,
    listening_while_speaking,
    pairs,
    while_speaking,
)
from edge_runtime.evaluation.scenarios import Casting
from edge_runtime.micro_turn import TURN_SAMPLES, EngineOutput, MicroTurn
from engines.reference.corpus.bank import GRAMMAR
from engines.reference.corpus.text import KNOWN, Grammar, normalise

S = 16_000


@pytest.fixture(scope="module")
def casting() -> Casting:
    try:
        material = load_materials(None, 0.01, 1, lambda text: None)[0]
    except InputError as error:
        pytest.skip(f"nobody can speak here: {error}")
    return Casting(material, seed=1, frame_px=32)


class EnergyDetector:
    """Wants the floor when it is quiet, falls silent when it is loud, and sees nothing."""

    name = "model"
    deaf = False
    gain = 300.0

    def run(self, clip: Clip) -> Trace:
        power = (clip.audio[0].reshape(clip.turns, TURN_SAMPLES) ** 2).mean(1)
        loud = np.zeros(clip.turns) if self.deaf else np.minimum(1.0, power * self.gain)
        ends = (np.arange(clip.turns) + 1) * TURN_SAMPLES
        speaking = np.array([state.speaking for state in clip.voice])
        speak, stop = np.where(speaking, 0, 1 - loud), np.where(speaking, loud, 0)
        gaps = [cue.start for cue in clip.of(*GAPS)]
        return Trace(
            times=ends,
            speak=speak,
            stop=stop,
            takes=tuple(int(end) for end in ends[speak > 0.95]),
            stops=tuple(int(end) for end in ends[stop > 0.5]),
            gap_scores={gap: score_at(ends, speak, gap + SCORED_AFTER) for gap in gaps},
        )

    def outputs(self, clip: Clip) -> list[EngineOutput]:
        trace = self.run(clip)
        tensors = np.stack([trace.speak, trace.stop], 1).astype(np.float32)
        return [EngineOutput(index, {"floor": row[None]}) for index, row in enumerate(tensors)]

    def asked_every(self, turns: int) -> EnergyDetector:
        return self

    @property
    def graph(self) -> str:
        raise ValueError("a detector has no graph")


class KeenEars(EnergyDetector):
    gain = 3000.0


class Deaf(EnergyDetector):
    deaf = True


class Startled(EnergyDetector):
    """Falls silent for whatever the person does; for a word by a hair more."""

    def run(self, clip: Clip) -> Trace:
        power = (clip.near.reshape(clip.turns, TURN_SAMPLES) ** 2).mean(1)
        return replace(super().run(clip), stop=np.where(power > 0, 0.5 + 0.1 * power, 0.0))


class Clairvoyant(EnergyDetector):
    """Its outputs depend on sound that has not been heard yet."""

    def outputs(self, clip: Clip) -> list[EngineOutput]:
        ahead = clip.with_microphone(np.roll(clip.audio[0], -2 * TURN_SAMPLES))
        return super().outputs(ahead)


def bench(model: Any, casting: Casting, share: float = 0.1) -> Bench:
    return Bench(model, [casting], None, None, share, seed=1)


def test_one_envelope_for_two_sounds() -> None:
    rng = np.random.default_rng(0)
    swelling = (rng.standard_normal(S) * np.linspace(100, 4000, S)).astype(np.float32)
    fading = (np.sin(np.arange(20_000)) * np.linspace(4000, 100, 20_000)).astype(np.float32)
    one, other = share_envelope(swelling, fading)
    assert len(one) == len(other) == S
    assert np.corrcoef(envelope(swelling), envelope(fading[:S]))[0, 1] < 0
    assert np.corrcoef(envelope(one), envelope(other))[0, 1] > 0.8
    assert np.abs(np.log(envelope(one).mean() / envelope(other).mean())) < 0.05


def test_a_word_keeps_its_beginning_and_a_turn_its_end() -> None:
    long, short = np.zeros(S, np.float32), np.full(S // 2, 9000, np.float32)
    long[0], long[-1] = 9000, -9000
    beginnings, _ = share_envelope(long, short)
    ends, _ = share_envelope(long, short, ends=True)
    assert len(beginnings) == len(ends) == S // 2
    assert beginnings[0] > 0 and not beginnings[1:].any()
    assert ends[-1] < 0 and not ends[:-1].any()


def test_pairs_are_of_one_length_and_nobody_is_in_two() -> None:
    lengths = ([1000, 2000, 3000, 8000], [2100, 1050, 100, 3050])
    first, second = ([np.zeros(n, np.float32) for n in side] for side in lengths)
    assert sorted(alike(first, second, 9)) == [(0, 1), (1, 0), (2, 3), (3, 2)]
    assert sorted(alike(first, second, 3)) == [(0, 1), (1, 0), (2, 3)], "the nearest"
    assert alike([], second, 3) == []


@pytest.mark.parametrize(
    ("kinds", "ends"), [(("interruption", "backchannel"), False), (("turn", "incomplete"), True)]
)
def test_what_is_cut_off_is_not_what_tells_the_two_apart(
    casting: Casting, kinds: tuple[str, str], ends: bool
) -> None:
    whole = [joined(spoken) for spoken in casting.material.spoken[kinds[0]]]
    for (sound, _), *_ in pairs(casting.material, kinds, 4):
        n = len(sound)
        kept = [pcm[-n:] if ends else pcm[:n] for pcm in whole if len(pcm) >= n]
        assert any((np.sign(pcm) == np.sign(sound)).all() for pcm in kept)


def test_noise_keeps_the_envelope_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    tone = (np.sin(np.arange(S) * 0.3) * np.abs(np.sin(np.arange(S) / 2000))).astype(np.float32)
    noise = noise_like(tone, rng)
    assert np.corrcoef(envelope(tone), envelope(noise))[0, 1] > 0.95
    assert abs(np.corrcoef(tone, noise)[0, 1]) < 0.1


def test_a_detector_does_not_tell_words_apart(casting: Casting) -> None:
    found = energy_matched_pairs(bench(EnergyDetector(), casting))
    assert found["holds"] is False
    for kinds in ("stop_against_mhm", "stop_against_mhm_in_new_words"):
        assert {"model", "energy", "pairs_alike_in_length"} <= found["figures"][kinds].keys()


def test_the_words_of_the_first_proof_may_be_known_and_its_voices_not(casting: Casting) -> None:
    lists, rng = yaml.safe_load(GRAMMAR.read_text(encoding="utf-8")), np.random.default_rng(0)
    grammar = Grammar.load(GRAMMAR)
    for kind in ("interruption", "backchannel"):
        spoken = casting.material.spoken[f"known_{kind}"]
        in_tests = {normalise(text) for text in lists[kind]["test"]}
        assert spoken and not in_tests & {words(one) for one in spoken}
        drawn = {grammar._phrase(rng, kind, KNOWN) for _ in range(200)}
        assert ("stop" if kind == "interruption" else "mhm") in drawn
        assert {one.intent for one in spoken} == {"stop" if kind == "interruption" else "open"}


@pytest.mark.parametrize(
    ("model", "detector", "hears"),
    [
        ((0.9, 0.8), (0.5, 0.4, 0.6), True),
        ((0.9, 0.8), (0.7, 0.6, 0.79), True),
        ((0.9, 0.8), (0.85, 0.75, 0.9), False),
        ((0.9, 0.8), (0.1, 0.05, 0.2), False),  # as far from chance, the other way round
        ((0.6, 0.49), (0.5, 0.4, 0.6), False),
    ],
)
def test_a_detector_may_not_come_near_the_model(
    model: tuple[float, float], detector: tuple[float, float, float], hears: bool
) -> None:
    scores = {
        "model": figure(model[0], 100, model[1], 0.99),
        "energy": figure(detector[0], 100, *detector[1:]),
    }
    assert _hears_words(scores) is hears


def test_who_is_asked_less_often_does_not_doubt_in_between(casting: Casting) -> None:
    """The same chance whenever it is asked: then it is torn, and then it yields."""
    clip, _ = while_speaking(casting, 0, np.zeros(S, np.float32))
    manifest = checked_manifest({"decoding": {"yield": 0.5, "hesitate": 0.2}})
    names = manifest.vocabularies.floor
    floor = np.array([[np.log(0.3 / 0.7) if name == "yield" else 0.0 for name in names]])

    class Torn:
        def reset(self) -> None: ...

        def step(self, turn: MicroTurn) -> EngineOutput:
            outputs = {one.name: np.zeros(one.shape, np.float32) for one in manifest.outputs}
            return EngineOutput(turn.index, outputs | {"floor": floor.astype(np.float32)})

    for every in (1, 2, 5):
        decisions = Model(Torn(), FloorDecider(manifest), manifest, every).decide(clip)
        spoken = [one.floor for one in decisions if clip.voice[one.index].speaking]
        assert [one.index % every for one in decisions] == [every - 1] * len(decisions)
        assert spoken[:4] == ["hesitate", "yield", "hesitate", "yield"]


def test_a_detector_scores_the_same_on_noise(casting: Casting) -> None:
    found = envelope_ablation(bench(EnergyDetector(), casting))
    assert found["holds"] is False
    stop = found["figures"]["generated_seen"]["stop"]
    assert stop["intact"]["value"] == pytest.approx(stop["noise"]["value"], abs=0.1)


def test_who_sees_nothing_does_not_pass_for_one_who_looks(casting: Casting) -> None:
    found = vision(bench(EnergyDetector(), casting))
    assert found["holds"] is False
    assert found["figures"]["who_is_spoken_to"]["auc_real"]["value"] == 0.5


def test_who_does_not_use_the_reference_is_not_made_worse_by_its_loss(casting: Casting) -> None:
    found = own_channel(bench(EnergyDetector(), casting))
    assert found["holds"] is False
    assert found["figures"]["muted_minus_reference"]["value"] == 0
    assert found["figures"]["reference_per_min"]["value"] > 0


def test_a_look_into_the_future_is_noticed(casting: Casting) -> None:
    honest = causality(bench(EnergyDetector(), casting))
    assert honest["figures"]["turns_that_differ"] == 0
    assert honest["holds"] is None and "not compared" in honest["reason"]
    seer = causality(bench(Clairvoyant(), casting))
    assert seer["holds"] is False and seer["figures"]["turns_that_differ"] > 0


def test_listening_while_speaking_needs_ears(casting: Casting) -> None:
    assert listening_while_speaking(bench(KeenEars(), casting, 0.4))["holds"] is True
    assert listening_while_speaking(bench(Deaf(), casting))["holds"] is False
    startled = listening_while_speaking(bench(Startled(), casting, 0.4))
    assert startled["figures"]["changed_within_two_turns"]["value"] == 1
    assert startled["holds"] is False, "it jumps at faint noise as it does at words"


def test_ticks_are_not_compared_without_the_other_models(casting: Casting) -> None:
    found = ticks(bench(EnergyDetector(), casting))
    assert found["holds"] is None and "--ticks" in found["reason"]
    assert set(found["figures"]["this_model_asked_less_often"]) == {"200", "400", "1000"}


def test_a_tick_pays_by_the_answer_at_equal_cut_offs_and_by_the_stop(casting: Casting) -> None:
    by_tick = ticks(bench(EnergyDetector(), casting, 0.2))["figures"]["this_model_asked_less_often"]
    asked = [by_tick[tick]["latency_ms_at_5pct_cutoffs"]["n"] for tick in ("200", "400", "1000")]
    assert asked[0] > 10 and set(asked) == {asked[0]}

    def tick(answers_ms: float | None, stops_ms: float, misses: float) -> dict[str, Figure]:
        return {
            "latency_ms_at_5pct_cutoffs": {"value": answers_ms, "n": 80, "ci95": [None, None]},
            "stop_latency_ms_p50": {"value": stops_ms, "n": 60, "ci95": [None, None]},
            "stop_miss_rate": {"value": misses, "n": 60, "ci95": [None, None]},
            "false_takeover_rate": {"value": 1.0, "n": 80, "ci95": [None, None]},
        }

    slower = {"400": tick(700, 700, 0.05), "1000": tick(None, 1000, 0.05)}
    assert pays({"200": tick(500, 500, 0.05), **slower})
    assert not pays({"200": tick(700, 500, 0.05), **slower}), "answers no sooner"
    assert not pays({"200": tick(None, 500, 0.05), **slower}), "never answers that patiently"
    assert not pays({"200": tick(500, 700, 0.05), **slower}), "stops no sooner"
    assert not pays({"200": tick(500, 500, 0.11), **slower}), "misses more"
