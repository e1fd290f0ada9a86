"""The corpus: banks, labels and composed conversations."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

pytest.importorskip("torch", reason="the factory needs torch (make train)")
pytest.importorskip("scipy", reason="the factory needs scipy (make train)")

from edge_runtime.evaluation import material
from engines.reference.corpus import bank as bank_module
from engines.reference.corpus import pico as pico_module
from engines.reference.corpus.acoustics import Acoustics, generated_beds
from engines.reference.corpus.bank import RATE_HZ, Bank, Segment, Spoken, aloud, at_pace
from engines.reference.corpus.choices import WAITING, Moment, Point, made
from engines.reference.corpus.conversation import (
    LAGS,
    LATE,
    LATEST,
    MOST_WEIGHT,
    MOST_WEIGHT_LATE,
    OVERLAPS,
    PAUSE_WEIGHT,
    SHORT_OVERLAPS,
    Composer,
)
from engines.reference.corpus.dense import DenseComposer
from engines.reference.corpus.draft import IGNORE, Conversation, Draft
from engines.reference.corpus.factory import GRAMMAR, build_composers
from engines.reference.corpus.pico import Pico
from engines.reference.corpus.text import (
    OPEN,
    PHRASED,
    PHRASINGS,
    TUNE_PHRASED,
    Grammar,
    _sentences,
    load_prose,
    load_words,
)
from engines.reference.losses import joined
from engines.reference.model import TURN_SAMPLES, VISION
from engines.reference.train import Settings
from engines.reference.vocabulary import (
    ACTIONS,
    ACTS,
    DELEGATE,
    EVENTS,
    FLOOR,
    INTENTS,
    PHONES,
    STATUS,
    SYMBOLS,
)

TURNS = 100


@pytest.fixture(scope="module")
def bank() -> Bank:
    try:
        return Bank.build(seed=3, scale=0.01, human_dir=None)
    except RuntimeError as error:
        pytest.skip(f"no synthesizer: {error}")


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return Grammar.load(GRAMMAR)


@pytest.fixture(scope="module")
def composer(bank: Bank, grammar: Grammar) -> Composer:
    voices = [segment.pcm for spoken in bank["turn"] for segment in spoken.segments]
    acoustics = Acoustics(generated_beds(np.random.default_rng(0), voices), [])
    return Composer(bank, grammar.labels, acoustics, turns=TURNS)


@pytest.fixture(scope="module")
def conversations(composer: Composer) -> list[Conversation]:
    return [composer.compose(seed) for seed in range(60)]


def test_the_bank_has_every_kind_and_plain_text(bank: Bank) -> None:
    kinds = {"turn", "incomplete", "backchannel", "interruption", "cancel", "device"}
    assert kinds <= bank.keys()
    for kind, spoken in bank.items():
        assert len(spoken) >= 4, kind
        for segment in (s for one in spoken for s in one.segments):
            assert set(segment.text) <= set(SYMBOLS), segment.text
            seconds = len(segment.pcm) / 16_000
            level = np.sqrt(np.mean(segment.pcm.astype(np.float64) ** 2))
            assert 1500 < level < 2300
            for phone, start_s, end_s in segment.phones:
                assert phone == IGNORE or 0 <= phone < len(PHONES)
                assert -0.01 <= start_s <= end_s
                assert start_s < seconds + 0.6


def test_pico_speaks_high_and_low_fast_and_slow_and_never_clips() -> None:
    pytest.importorskip("ttspico", reason="Pico is missing: pip install ttspico")
    pico = Pico()
    try:
        for voice in pico_module.VOICES:
            slow, phones, rate_hz = pico.say("put out the light", voice, 55, 80)
            quick, _, _ = pico.say("put out the light", voice, 160, 125)
            assert rate_hz == 16_000 and phones == ()
            assert len(slow) > 1.3 * len(quick) > 0.3 * rate_hz
            assert all(3_000 < np.abs(pcm).max() < 32_000 for pcm in (slow, quick))
    finally:
        pico.close()


def test_pico_ends_with_who_started_it(tmp_path: Path) -> None:
    pytest.importorskip("ttspico", reason="Pico is missing: pip install ttspico")
    script = """
import os, signal
from engines.reference.corpus.pico import Pico
if __name__ == "__main__":
    pico = Pico()
    pico.say("hello", "en-US", 100, 100)
    print(*pico._process._processes, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    program = tmp_path / "killed.py"
    program.write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(program)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    child = Path("/proc") / done.stdout.strip()
    assert done.stdout.strip()
    deadline = time.monotonic() + 20
    while child.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.exists()


def test_another_grammar_makes_another_bank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank_module, "_synthesize", lambda *_: {"turn": []})
    first = Bank.into_cache(1, 0.5, tmp_path)
    assert Bank.into_cache(1, 0.5, tmp_path) == first
    changed = tmp_path / "grammar.yaml"
    changed.write_text(GRAMMAR.read_text() + "# with my own phrases\n")
    changed.with_name(PHRASINGS).write_bytes(GRAMMAR.with_name(PHRASINGS).read_bytes())
    monkeypatch.setattr(bank_module, "GRAMMAR", changed)
    assert Bank.into_cache(1, 0.5, tmp_path) != first


def test_pico_is_trained_with_and_never_measured_with(bank: Bank) -> None:
    pytest.importorskip("ttspico", reason="Pico is missing: pip install ttspico")
    voices = {spoken.voice for spoken in bank["turn"] if spoken.source == "pico"}
    assert voices == set(pico_module.VOICES)
    held_out = Bank.build(seed=3, scale=0.001, human_dir=None, split="test_seen")
    assert "pico" not in {spoken.source for kind in held_out.values() for spoken in kind}


def test_every_label_of_the_grammar_is_in_the_vocabulary(grammar: Grammar) -> None:
    rng = np.random.default_rng(0)
    for _ in range(400):
        line = grammar.turn(rng, "train")
        labels = grammar.labels(line.intent)
        assert labels.act in ACTS and labels.action in ACTIONS and labels.delegate in DELEGATE
        assert "{" not in " ".join(line.segments)


def test_in_training_anything_may_be_said_for_mhm(grammar: Grammar) -> None:
    rng = np.random.default_rng(0)
    trained = [grammar.phrase(rng, "backchannel", "train").segments[0] for _ in range(2000)]
    tested = {grammar.phrase(rng, "backchannel", "test_seen").segments[0] for _ in range(200)}
    assert "{" not in " ".join(trained) and len(set(trained)) > 400
    listed = yaml.safe_load(GRAMMAR.read_text(encoding="utf-8"))["backchannel"]["test"]
    assert "mhm" in trained and tested <= set(listed), "the tests have those that are listed"


@pytest.mark.parametrize("kind", ["backchannel", "interruption", "cancel"])
def test_phrases_for_tests_are_not_trained_on(grammar: Grammar, kind: str) -> None:
    rng = np.random.default_rng(0)
    trained = {grammar.phrase(rng, kind, "train").segments for _ in range(300)}
    tested = {grammar.phrase(rng, kind, "test_seen").segments for _ in range(300)}
    assert trained and tested and not trained & tested


def test_prose_for_tests_is_not_trained_on() -> None:
    trained, tested = load_prose("train"), load_prose("test")
    assert len(trained) > 3000, "too few sentences to hear words instead of knowing them by heart"
    assert len(tested) > 25
    assert "the precise rules are as follows" not in tested, "that is no end"
    assert not set(trained) & set(tested)
    assert len({line[0] for line in tested}) > 8, "of all kinds, not those that begin alike"
    assert all(set(line) <= set(SYMBOLS) and 4 <= len(line.split()) <= 14 for line in trained)


def test_another_pace_is_another_pitch_and_its_phones_move_along(bank: Bank) -> None:
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.int16)
    spoken = replace(bank["turn"][0], segments=(Segment(tone, "a", ((3, 0.2, 0.6),)),))
    (slower,) = at_pace(spoken, 10, 9).segments
    assert len(slower.pcm) == pytest.approx(16_000 * 10 / 9, abs=1)
    assert np.argmax(np.abs(np.fft.rfft(slower.pcm, 16_000 * 10))) / 10 == pytest.approx(396, abs=1)
    ((phone, begin_s, end_s),) = slower.phones
    assert (phone, slower.text) == (3, "a")
    assert (begin_s, end_s) == pytest.approx((0.2 * 10 / 9, 0.6 * 10 / 9))


def test_paces_differ_in_training_alone(tmp_path: Path) -> None:
    for split, differs in (("train", True), ("test_seen", False)):
        settings = Settings(folder=tmp_path, scale=0.004, moved=0.0, turns=TURNS, seed=3)
        composer = build_composers(settings, split=split)["duplex"]
        lengths = {sum(len(s.pcm) for s in one.segments) for one in composer.bank["turn"]}
        draft = Draft(TURNS, np.random.default_rng(1))
        picked = [composer._pick(draft, "turn") for _ in range(60)]
        assert differs is any(sum(len(s.pcm) for s in p.segments) not in lengths for p in picked)


def test_shapes_and_ranges(conversations: list[Conversation]) -> None:
    for one in conversations:
        assert one.audio.shape == (2, TURNS * TURN_SAMPLES) and one.audio.dtype == np.float32
        assert np.abs(one.audio).max() <= 1
        assert one.frames.shape == (TURNS, 96, 96, 3) and one.frames.dtype == np.uint8
        assert one.events.shape == (TURNS, len(EVENTS))
        assert one.status.shape == (TURNS, len(STATUS))
        assert one.phones.shape == (TURNS * 10,)
        assert one.status.min() >= 0 and one.status.max() <= 1


def test_one_seed_one_conversation(composer: Composer, conversations: list[Conversation]) -> None:
    again = composer.compose(5)
    np.testing.assert_array_equal(again.audio, conversations[5].audio)
    np.testing.assert_array_equal(again.frames, conversations[5].frames)
    np.testing.assert_array_equal(again.floor, conversations[5].floor)


def test_floor_labels_fit_what_the_mouth_does(conversations: list[Conversation]) -> None:
    silent_only = [FLOOR.index(name) for name in ("listen", "backchannel", "speak")]
    speaking_only = [FLOOR.index(name) for name in ("yield", "hold")]
    seen: set[int] = set()
    for one in conversations:
        speaking = one.status[:, STATUS.index("speaking")] > 0
        assert not np.isin(one.floor[speaking], silent_only).any()
        assert not np.isin(one.floor[~speaking], speaking_only).any()
        seen |= set(one.floor.tolist())
    assert seen >= set(range(len(FLOOR))) - {FLOOR.index("backchannel")}


def test_who_tells_a_story_hears_that_they_are_heard(bank: Bank, composer: Composer) -> None:
    stories = {**bank, "turn": [one for one in bank["turn"] if one.intent == "story"]}
    told = Composer(stories, composer.labels, composer.acoustics, TURNS)
    places = heard = 0
    for one in (told.compose(seed) for seed in range(12)):
        places += sum(mark.kind == "backchannel_place" for mark in one.marks)
        for turn in np.flatnonzero(one.floor == FLOOR.index("backchannel")):
            heard += 1
            assert np.abs(one.audio[1, (turn + 1) * TURN_SAMPLES :][: 2 * TURN_SAMPLES]).max() > 0
    assert places > 3 and heard > 3


def test_the_floor_is_taken_after_an_end_and_never_in_a_pause(
    conversations: list[Conversation],
) -> None:
    speak, ends = FLOOR.index("speak"), 0
    for one in conversations:
        for mark in one.marks:
            first, last = mark.start // TURN_SAMPLES, mark.end // TURN_SAMPLES
            if mark.kind == "end" and last < TURNS:
                ends += 1
                assert speak in one.floor[first + 1 : last + 1]
            if mark.kind in ("pause", "side_talk"):
                assert speak not in one.floor[first + 1 : last], mark
    assert ends > 20


def test_waiting_longer_speaks_for_an_end_not_against_it(
    conversations: list[Conversation],
) -> None:
    """Weighted by the chance of being still unanswered, every turn of silence counts alike."""
    speak = FLOOR.index("speak")
    seen = [0.0, 0.0]
    for one in conversations:
        for mark in (m for m in one.marks if m.kind == "end"):
            first, starts = mark.start // TURN_SAMPLES + 1, mark.end // TURN_SAMPLES
            if starts >= TURNS:
                continue
            for late, turn in ((0, first), (1, first + 3)):
                if turn < starts and one.floor[turn] == speak:
                    seen[late] += one.floor_weight[turn]
    assert seen[0] > 20
    assert 0.7 < seen[1] / seen[0] < 1.3


def waits(composer: Composer, episode: str, late: float) -> list[Conversation]:
    """Conversations of one kind of episode, with so many long silences."""
    some = copy(composer)
    some.late = late
    made = getattr(some, episode)
    some._episode = made  # type: ignore[method-assign]
    return [some.compose(seed) for seed in range(12)]


def runs(there: NDArray[np.bool_]) -> list[slice]:
    """Where it holds in one turn after the other."""
    edges = np.flatnonzero(np.diff(there.astype(int), prepend=0, append=0))
    return [slice(*pair) for pair in edges.reshape(-1, 2)]


def longest_run(there: NDArray[np.bool_]) -> int:
    return max((run.stop - run.start for run in runs(there)), default=0)


def test_an_end_that_was_not_answered_is_still_to_be(composer: Composer) -> None:
    soon, late = (waits(composer, "_addressed", share) for share in (0.0, 1.0))
    due = [
        [longest_run(one.floor == FLOOR.index("speak")) for one in some] for some in (soon, late)
    ]
    assert max(LAGS) - 2 <= max(due[0]) <= max(LAGS)
    answered = [turns for turns in due[1] if turns]  # not where the conversation is over before
    assert len(answered) > 5 and max(LAGS) < min(answered)
    assert 2 * max(LAGS) < max(answered) <= LATEST
    for one in late:
        for run in runs(one.floor == FLOOR.index("speak")):
            weights = one.floor_weight[run]
            assert (np.diff(weights) >= 0).all(), "a silence that lasts does not speak against it"


def test_silence_speaks_against_an_end_neither_before_nor_after_most_are_answered(
    composer: Composer,
) -> None:
    draft = Draft(60, np.random.default_rng(0))
    composer._due(draft, "speak", 0, LATEST, LAGS, late=LATE)
    weights = draft.floor_weight[:LATEST]
    soon, late = weights[: max(LAGS)], weights[max(LAGS) :]
    assert soon[0] == 1 and (np.diff(soon) >= 0).all() and soon[-1] == MOST_WEIGHT
    assert (late == MOST_WEIGHT_LATE).all(), "one that nobody answers must not drown the others"


def test_a_long_wait_counts_beside_an_end_as_a_short_one_does(composer: Composer) -> None:
    """An end that stays unanswered is rarer than one that does not, and capped in its weight."""
    slow = Composer(composer.bank, composer.labels, composer.acoustics, TURNS, late=LATE)
    ended, waits = (Draft(60, np.random.default_rng(0)) for _ in range(2))
    slow._due(ended, "speak", 0, LATEST, LAGS, late=LATE)
    slow._unfinished(waits, -TURN_SAMPLES, LATEST * TURN_SAMPLES)
    left = np.array([(1 - LATE) * np.mean([t < lag for lag in LAGS]) for t in range(LATEST)])
    left += LATE * np.minimum(1, (LATEST - np.arange(LATEST)) / (LATEST - max(LAGS)))
    odds = left * ended.floor_weight[:LATEST] / waits.floor_weight[:LATEST]
    late = odds[max(LAGS) :]
    assert late == pytest.approx(np.full(len(late), 1 / PAUSE_WEIGHT))


def test_to_wait_in_a_pause_counts_for_more(conversations: list[Conversation]) -> None:
    waited = []
    for one in conversations:
        speaking = one.status[:, STATUS.index("speaking")] > 0
        for mark in (m for m in one.marks if m.kind == "pause"):
            turns = slice(mark.start // TURN_SAMPLES + 1, mark.end // TURN_SAMPLES)
            if not speaking[turns].any() and (one.floor[turns] == FLOOR.index("listen")).all():
                waited += list(one.floor_weight[turns])
    assert len(waited) > 30 and set(waited) == {PAUSE_WEIGHT}


@pytest.mark.parametrize("episode", ["_breaks_off", "_side_talk"])
def test_what_is_not_to_be_answered_is_followed_by_long_silences_too(
    composer: Composer, episode: str
) -> None:
    short, long = (waits(composer, episode, late) for late in (0.0, 0.5))

    def longest(conversations: list[Conversation]) -> int:
        return max(longest_run(one.speech == 0) for one in conversations)

    assert all((one.floor != FLOOR.index("speak")).all() for one in long)
    assert longest(short) < 5 * 5.5 < longest(long) < 5 * 10


def test_who_errs_gives_way(bank: Bank, composer: Composer) -> None:
    """Where the device has spoken into a pause, it yields once the person goes on."""
    erring = Composer(bank, composer.labels, composer.acoustics, TURNS, mistakes=1.0)
    into, gave_way = 0, 0
    for conversation in (erring.compose(seed) for seed in range(24)):
        speaking = conversation.status[:, STATUS.index("speaking")] > 0
        shown = {m.start for m in conversation.marks if m.kind == "backchannel_place"}
        pauses = (m for m in conversation.marks if m.kind == "pause" and m.start not in shown)
        for mark in pauses:
            first, last = mark.start // TURN_SAMPLES, mark.end // TURN_SAMPLES
            silent = last + 3 + max(SHORT_OVERLAPS)
            if speaking[first + 1 : last].any() and not speaking[first] and silent + 1 < TURNS:
                into += 1
                gave_way += FLOOR.index("yield") in conversation.floor[last : last + 4]
                assert not speaking[last : silent + 1].all()
    assert into > 5 and gave_way > 0.7 * into, "the others had finished by themselves"


def test_the_turn_in_which_it_errs_was_one_to_listen_in(bank: Bank, composer: Composer) -> None:
    erring = Composer(bank, composer.labels, composer.acoustics, TURNS, mistakes=1.0)
    erred = 0
    for one in (erring.compose(seed) for seed in range(24)):
        speaking = one.status[:, STATUS.index("speaking")] > 0
        for mark in (m for m in one.marks if m.kind == "pause"):
            first, last = mark.start // TURN_SAMPLES, mark.end // TURN_SAMPLES
            begins = [t for t in range(first + 1, last) if speaking[t] and not speaking[t - 1]]
            for turn in begins:
                listen = FLOOR.index("listen"), FLOOR.index("backchannel")
                assert one.floor[turn - 1] in (*listen, IGNORE)
                erred += one.floor[turn - 1] == FLOOR.index("listen")
    assert erred > 5


def test_somebody_may_interrupt_or_say_mhm_while_a_question_is_out(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("STOPPED_AT_WORK", "ECHOED_AT_WORK"):
        monkeypatch.setattr(f"engines.reference.corpus.conversation.{name}", 0.5)
    met = Counter[str]()
    for seed in range(300, 380):
        one = composer.compose(seed)
        out = one.status[:, STATUS.index("pending")] > 0
        met["yields"] += int((out & (one.floor == FLOOR.index("yield"))).sum())
        for mark in one.marks:
            turns = slice(mark.start // TURN_SAMPLES + 1, mark.end // TURN_SAMPLES + 1)
            if mark.kind == "backchannel_heard" and out[turns].any():
                met["holds"] += int((one.floor[turns] == FLOOR.index("hold")).sum())
    assert met["yields"] > 5 and met["holds"] > 5


def test_nobody_says_two_things_at_once(composer: Composer) -> None:
    twice = 0
    for seed in range(60):
        draft = Draft(TURNS, np.random.default_rng(seed))
        pcm = np.ones(4 * RATE_HZ, np.float32)
        composer._hears_backchannel(draft, RATE_HZ, pcm)
        spans = sorted((m.start, m.end) for m in draft.marks if m.kind == "backchannel_heard")
        twice += len(spans) > 1
        assert all(end < begin for (_, end), (begin, _) in itertools.pairwise(spans))
    assert twice > 10


def test_nobody_who_interrupts_is_talked_over_by_the_labels(
    composer: Composer, conversations: list[Conversation]
) -> None:
    """Until the sound is gone it should yield, whether it is cut off or was at its end anyway."""
    found, late = 0, 0
    for one in [*conversations, *(composer.compose(seed) for seed in range(200, 280))]:
        speaking = one.status[:, STATUS.index("speaking")] > 0
        for mark in one.marks:
            if mark.kind != "interruption":
                continue
            found += 1
            heard = mark.end // TURN_SAMPLES
            while heard < TURNS and speaking[heard]:
                assert one.floor[heard] in (FLOOR.index("yield"), IGNORE)
                late += heard - mark.end // TURN_SAMPLES > 3
                heard += 1
    assert found > 5 and late > 0


def test_an_interruption_counts_from_its_second_turn_on(
    composer: Composer, conversations: list[Conversation]
) -> None:
    """A "mhm" is held against from its first turn on; what begins like one may not be safer to
    talk over only because it was labelled later. Nor need the camera see who says it."""
    due, seen = 0, []
    for one in [*conversations, *(composer.compose(seed) for seed in range(200, 280))]:
        for mark in one.marks:
            after = mark.start // TURN_SAMPLES + 1
            if mark.kind != "interruption" or not one.status[after, STATUS.index("speaking")]:
                continue
            due += one.floor[after] == FLOOR.index("yield")
            assert one.floor[after] in (FLOOR.index("yield"), IGNORE)
            if mark.detail == "stop" and one.vision[after, VISION.index("present")]:
                seen.append(bool(one.vision[after, VISION.index("mouth_moving")] > 0))
    assert due > 5 and any(seen) and not all(seen)


def test_who_has_said_mhm_may_interrupt_the_same_answer(composer: Composer) -> None:
    """It is held against first and given way to then, in one go of the device's voice."""
    both = 0
    for seed in range(200, 500):
        one = composer.compose(seed)
        speaking = one.status[:, STATUS.index("speaking")] > 0
        words = [mark for mark in one.marks if mark.kind == "backchannel_heard"]
        for mark in one.marks:
            before = [word for word in words if word.start < mark.start]
            if mark.kind != "interruption" or not before:
                continue
            first, last = before[-1].start // TURN_SAMPLES, mark.start // TURN_SAMPLES
            if last < TURNS and speaking[first + 1 : last].all():
                both += 1
                assert (one.floor[first + 1 : last - 1] == FLOOR.index("hold")).all()
    assert both > 3


def test_a_noise_is_nothing_to_stop_for(
    composer: Composer, conversations: list[Conversation]
) -> None:
    heard, elsewhere = [], []
    for one in [*conversations, *(composer.compose(seed) for seed in range(200, 280))]:
        loud = np.sqrt((one.audio[0].reshape(TURNS, -1) ** 2).mean(1))
        for mark in one.marks:
            if mark.kind == "noise_heard":
                first, last = mark.start // TURN_SAMPLES, mark.end // TURN_SAMPLES
                hold = one.floor[first : last + 1] == FLOOR.index("hold")
                assert hold[:-1].all() and (one.floor_weight[first : last + 1] > 1).all()
                heard.append(loud[first : last + 1].max())
                elsewhere.append(loud[max(0, first - 3) : first].mean())
    assert len(heard) > 5 and np.mean(np.array(heard) > np.array(elsewhere)) > 0.7


def episodes(composer: Composer, episode: Callable[[Composer, Draft, int], int]) -> Composer:
    """One whose conversations are of this kind of episode alone."""
    some = copy(composer)
    some._episode = partial(episode, some)  # type: ignore[method-assign]
    return some


def test_what_is_drowned_is_asked_for_once_more(composer: Composer) -> None:
    drowned = episodes(composer, Composer._is_drowned)
    speak, known, asked, again = FLOOR.index("speak"), 0, 0, 0
    for one in (drowned.compose(seed) for seed in range(50)):
        drowned_by = min((mark.start for mark in one.marks if mark.kind == "drowned"), default=0)
        for mark in one.marks:
            first, starts = mark.start // TURN_SAMPLES + 1, mark.end // TURN_SAMPLES
            if mark.kind == "drowned":
                asked += 1
                assert (one.act[first:starts] == ACTS.index("ask_repeat")).all()
                assert np.isin(one.floor[first:starts], (speak, IGNORE)).all()
                assert (one.delegate[first:starts] == DELEGATE.index("none")).all()
                assert (one.action[first:starts] == ACTIONS.index("none")).all()
            elif mark.kind == "end":
                assert (one.act[first:starts] != ACTS.index("ask_repeat")).all()
                again += mark.start > drowned_by
        known += any(text for _, _, text in one.texts)
    assert asked > 50, "ends of drowned turns"
    assert 0.4 * asked < again < 0.9 * asked, "most say it again, and are answered"
    assert known, "what is said again has words"


def test_a_noise_that_nobody_speaks_in_is_nothing_to_ask_about(composer: Composer) -> None:
    idle = episodes(composer, Composer._idle)
    loud = 0
    for one in (idle.compose(seed) for seed in range(12)):
        assert not (one.act == ACTS.index("ask_repeat")).any()
        assert np.isin(one.floor, (FLOOR.index("listen"), IGNORE)).all() and not one.speech.any()
        level = np.sqrt((one.audio[0].reshape(TURNS, -1) ** 2).mean(1))
        for mark in one.marks:
            assert mark.kind == "noise"
            first, last = mark.start // TURN_SAMPLES + 1, mark.end // TURN_SAMPLES
            loud += level[first:last].mean() > 2 * np.median(level) if last > first else 0
    assert loud > 8


def test_what_is_drowned_is_louder_than_what_is_disturbed(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The noise against the speech that it lies over, in dB."""
    measured: list[float] = []
    lay = Composer._noise_over

    def measure(
        self: Composer,
        draft: Draft,
        at: int,
        end: int,
        levels_db: tuple[float, float],
        tries: int = 1,
    ) -> None:
        before = draft.near[at:end].copy()
        lay(self, draft, at, end, levels_db, tries)
        noise, said = draft.near[at:end] - before, before[before != 0]
        long = len(noise) > RATE_HZ // 5  # else half of it fades in and out
        if long and said.size and np.abs(noise).max() > 10:  # neither of them is silence
            measured.append(float(10 * np.log10(np.mean(noise**2) / np.mean(said**2))))

    monkeypatch.setattr(Composer, "_noise_over", measure)
    disturbed = partial(Composer._addressed, disturbed=True)
    for episode, low, high in ((Composer._is_drowned, 8, 18), (disturbed, -15, -3)):
        measured.clear()
        some = episodes(composer, episode)
        for seed in range(12):
            some.compose(seed)
        assert len(measured) > 6
        assert low - 1 < np.quantile(measured, 0.1) and max(measured) < high + 0.1
        assert max(measured) - min(measured) > 4


def test_a_noise_that_words_are_heard_through_changes_no_label(composer: Composer) -> None:
    calm = episodes(composer, Composer._addressed)
    noisy, compared = episodes(composer, partial(Composer._addressed, disturbed=True)), 0
    for seed in range(12):
        one, other = calm.compose(seed), noisy.compose(seed)
        ends = [
            end
            for end in (next((m for m in c.marks if m.kind == "end"), None) for c in (one, other))
            if end is not None
        ]
        if not ends:  # somebody who speaks for twenty seconds
            continue
        compared += 1
        assert (ends[0].start, ends[0].detail) == (ends[1].start, ends[1].detail)
        last = ends[0].start // TURN_SAMPLES
        assert (one.audio[0] != other.audio[0]).any()
        assert one.texts[0] == other.texts[0]
        assert (one.phones[: last * 10] == other.phones[: last * 10]).all()
        assert (one.speech[: last + 1] == other.speech[: last + 1]).all()
        for name in ("floor", "act", "delegate", "action", "intent"):
            assert getattr(one, name)[last + 1] == getattr(other, name)[last + 1], name
    assert compared > 8


def test_in_doubt_the_device_is_silent_whatever_it_was(
    bank: Bank, composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence must tell nothing of what it was that made it hesitate."""
    quiet: dict[str, list[bool]] = {"backchannel_heard": [], "interruption": []}
    monkeypatch.setattr("engines.reference.corpus.conversation.HESITATES", 0.0)
    through = [composer.compose(seed) for seed in range(140)]
    monkeypatch.setattr("engines.reference.corpus.conversation.HESITATES", 1.0)
    for one, before in zip((composer.compose(seed) for seed in range(140)), through, strict=True):
        assert one.marks == before.marks and (one.floor == before.floor).all()
        spoken, heard = before.audio[1] != 0, one.audio[1] != 0
        assert not (heard & ~spoken).any()
        for mark in one.marks:
            if mark.kind in quiet:
                first = mark.start // TURN_SAMPLES + 1
                after = slice(first * TURN_SAMPLES, (first + 3) * TURN_SAMPLES)
                turns = spoken[after].reshape(-1, TURN_SAMPLES)
                if len(turns) == 3 and (turns.mean(1) > 0.5).all():
                    quiet[mark.kind].append(bool((spoken[after] & ~heard[after]).any()))
    for found in quiet.values():
        assert len(found) >= 10 and all(found)


def test_a_hand_and_a_wave_are_told_apart_by_what_they_do(composer: Composer) -> None:
    def waved_at(self: Composer, draft: Draft, position: int) -> int:
        return self._sees_wave(draft, position, self._answer(draft.rng, self._long))

    waves, hands = 0, 0
    told = [episodes(composer, one) for one in (waved_at, Composer._wave)]
    some = [one.compose(seed) for one in told for seed in range(40)]
    for one in [*some, *(composer.compose(seed) for seed in range(150))]:
        hand, wave = (one.vision[:, VISION.index(name)] == 1 for name in ("hand_raised", "waving"))
        speaking = one.status[:, 0] > 0
        waves += bool((wave & speaking).any())
        hands += bool((hand & ~speaking & ~np.roll(speaking, 12)).any())
        assert not (one.action[hand] == ACTIONS.index("wave")).any()
    assert waves > 20 and hands > 20


def test_somebody_who_speaks_at_length_may_pause_in_silence(bank: Bank, composer: Composer) -> None:
    """Else silence without an own "mhm" would mean an end."""
    stories = [one for one in bank["turn"] if one.intent == "story"]
    more = {**bank, "turn": [*bank["turn"], *stories[:1] * 5]}
    told = Composer(more, composer.labels, composer.acoustics, TURNS)
    silent, own = 0, 0
    for one in (told.compose(seed) for seed in range(150)):
        for mark in one.marks:
            if mark.kind == "pause" and mark.end - mark.start > 0.8 * RATE_HZ:
                first = mark.start // TURN_SAMPLES + 1
                floor = one.floor[first : mark.end // TURN_SAMPLES]
                own += bool((floor == FLOOR.index("backchannel")).any())
                silent += bool(len(floor) and (floor == FLOOR.index("listen")).all())
    assert own > 5 and silent > 3 * own


def test_a_cancel_has_as_long_as_an_end(composer: Composer) -> None:
    waits = [
        (mark.end - mark.start) // TURN_SAMPLES
        for one in (composer.compose(seed) for seed in range(300))
        for mark in one.marks
        if mark.kind == "cancel"
    ]
    assert len(waits) > 5 and max(waits) > 3


@pytest.mark.parametrize(("word", "halts"), [("robot wait", True), ("may i ask something", False)])
def test_a_body_stands_still_where_it_is_asked_to_and_not_at_every_interruption(
    composer: Composer, monkeypatch: pytest.MonkeyPatch, word: str, halts: bool
) -> None:
    def interrupted(self: Composer, draft: Draft, position: int) -> int:
        return self._is_interrupted(draft, position, self._answer(draft.rng, self._long))

    def say_it(self: Composer, draft: Draft, kind: str) -> Spoken:
        spoken = pick(self, draft, kind)
        if kind != "interruption":
            return spoken
        return replace(spoken, segments=(replace(spoken.segments[0], text=word),))

    pick, stop = Composer._pick, ACTIONS.index("stop_motion")
    monkeypatch.setattr(Composer, "_pick", say_it)
    alone, before_a_turn = 0, 0
    for episode in (interrupted, Composer._stop_in_silence):
        over = episodes(composer, episode)
        for one in (over.compose(seed) for seed in range(30)):
            for mark in (m for m in one.marks if m.kind == "interruption"):
                first = mark.start // TURN_SAMPLES
                if mark.detail == "turn":  # whether it follows nobody knew
                    before_a_turn += bool((one.action[first : first + 3] == IGNORE).any())
            alone += int((one.action == stop).sum())
    assert before_a_turn > 3 and (alone > 20 if halts else alone == 0)


def test_people_speak_on_while_a_question_is_out(bank: Bank, composer: Composer) -> None:
    """Also where nobody knows what they want: there is an end of theirs, too."""
    asking = [s for s in bank["turn"] if composer.labels(s.intent).delegate == "delegate"]
    person = next(s for s in bank["turn"] if s.intent == OPEN)
    draft = Draft(TURNS, np.random.default_rng(0))
    some = copy(composer)
    some._pick = lambda draft, kind: person  # type: ignore[method-assign]
    some._follow_up(draft, 0)
    ends = [mark for mark in draft.marks if mark.kind == "end"]
    assert asking and [mark.detail for mark in ends] == [f"{person.source}:{OPEN}"]
    first, last = ends[0].start // TURN_SAMPLES + 1, ends[0].end // TURN_SAMPLES
    assert (draft.end_of_turn[first:last] == 1).all()
    assert (draft.delegate[first:last] == IGNORE).all()


def test_a_turn_breaks_off_where_it_had_a_pause(bank: Bank, composer: Composer) -> None:
    breaking = Composer(bank, composer.labels, composer.acoustics, TURNS, broken=1.0)
    rng = np.random.default_rng(0)
    beginnings = {one.segments[0].text for one in bank["turn"] if len(one.segments) > 1}
    for _ in range(50):
        spoken = breaking._picked(rng, "incomplete")
        assert (spoken.kind, spoken.intent) == ("incomplete", OPEN)
        assert spoken.segments[0].text in beginnings
    prose = [one for one in bank["turn"] if one.intent == OPEN and one.source != "human"]
    assert prose and not {id(one) for one in prose} & {id(one) for one in breaking._paused}


def test_people_of_whom_no_words_are_known_come_seldom_and_never_to_learn_words(
    bank: Bank, composer: Composer
) -> None:
    def said(*words: str) -> Spoken:
        segments = tuple(Segment(np.ones(4000, np.int16), text, ()) for text in words)
        return Spoken(segments, "turn", OPEN, "human", "somebody")

    people = [said("wildfire"), said(""), said("turn on", "the light")]
    more = {**bank, "turn": [*bank["turn"], *people]}
    options = {"human_share": 1.0}
    drawn = {}
    for kind, some in (
        ("duplex", Composer(more, composer.labels, composer.acoustics, TURNS, **options)),
        ("dense", DenseComposer(more, composer.labels, composer.acoustics, TURNS, wordless=0.0,
                                **options)),
    ):  # fmt: skip
        rng = np.random.default_rng(1)
        found = Counter(some._picked(rng, "turn").segments[0].text for _ in range(2000))
        drawn[kind] = [found[one.segments[0].text] / 2000 for one in people]
    assert drawn["duplex"] == pytest.approx([0.25 / 1.55, 0.3 / 1.55, 1 / 1.55], abs=0.04)
    assert drawn["dense"] == pytest.approx([0.2, 0.0, 0.8], abs=0.04)


def test_nobody_says_what_stands_of_a_parameter() -> None:
    said = load_prose("train")
    assert len(said) > 5000
    of_code = ("float ", "ndarray ", "int ", "dtype ", "an array of ")
    assert not [line for line in said if line.startswith(of_code)]


def test_each_phrasing_is_said_before_any_comes_again() -> None:
    grammar, rng = Grammar.load(GRAMMAR), np.random.default_rng(0)
    known = len(grammar._freely["bye"])
    dealt = [" ".join(grammar._deal(rng, "bye")) for _ in range(known)]
    assert known > 50 and len(set(dealt)) > 0.95 * known, "slots may make two the same"


def test_windows_that_share_a_turn_are_one_target() -> None:
    apart, known, unknown = (0, 3, "a"), (3, 6, "b"), (6, 8, "")
    assert joined([known, apart, unknown]) == [(0, 6, "a b"), (6, 8, "")]
    assert joined([(0, 3, "a"), (4, 6, "b")]) == [(0, 3, "a"), (4, 6, "b")]


def test_no_synthesizer_spells_mhm() -> None:
    assert aloud("mhm, i see. hmm") == "umhum, i see. hum"
    assert aloud("mm hm") == "umhum" and aloud("the rhythm of hm") == "the rhythm of hum"


def test_a_word_belongs_where_most_of_it_lies() -> None:
    from engines.reference.corpus.human import _words

    entry = {"words": [["one", 0.0, 0.9], ["two(2)", 0.9, 2.2], ["<sil>", 1.2, 2], ["out", 5, 6]]}
    assert _words(entry, [(0.0, 1.0), (2.0, 3.0)]) == [["one"], ["two"]]


def test_dense_clips_teach_words_and_ends_and_decide_nothing(
    bank: Bank, composer: Composer
) -> None:
    dense = DenseComposer(bank, composer.labels, composer.acoustics, turns=TURNS)
    clips = [dense.compose(seed) for seed in range(8)]
    for clip in clips:
        for labels in (clip.floor, clip.act, clip.action, clip.delegate):
            assert (labels == IGNORE).all()
    words = sum(len(text.split()) for clip in clips for _, _, text in clip.texts)
    assert words / (8 * TURNS * 0.2) > 1.0, "more than a word a second"
    ends = np.concatenate([clip.end_of_turn for clip in clips])
    assert (ends == 1).sum() > 10 and (ends == 0).sum() > 10


def test_every_intent_of_the_grammar_has_a_place() -> None:
    grammar = yaml.safe_load(GRAMMAR.read_text(encoding="utf-8"))
    assert set(INTENTS) == {"open", "backchannel", *grammar["intents"]}
    assert len(set(INTENTS)) == len(INTENTS)


def test_nobody_pauses_after_a_sentence_that_is_whole() -> None:
    """Whoever answers there would be right, and who waits would be wrong."""
    grammar = yaml.safe_load(GRAMMAR.read_text(encoding="utf-8"))
    templates = [t for entry in grammar["intents"].values() for t in entry["templates"]]
    phrasings = yaml.safe_load(GRAMMAR.with_name(PHRASINGS).read_text(encoding="utf-8"))
    for intent, trained in grammar["training_templates"].items():
        templates += [*trained, *grammar["test_templates"][intent], *phrasings[intent]]
    whole = {" ".join(template.replace("|", " ").split()) for template in templates}
    for template in templates:
        parts = [part.strip() for part in template.split("|")]
        for count in range(1, len(parts)):
            assert " ".join(parts[:count]) not in whole, template


def test_what_is_said_in_training_alone_is_in_no_test(grammar: Grammar) -> None:
    rng = np.random.default_rng(1)
    said = {
        split: {" ".join(grammar.turn(rng, split).segments) for _ in range(400)}
        for split in ("train", "test_seen")
    }
    contracted = {split: sum("'" in text for text in texts) for split, texts in said.items()}
    assert contracted["train"] > 20 and not contracted["test_seen"]  # the others have none


def test_there_are_wishes_and_questions_in_words_of_no_training() -> None:
    grammar = yaml.safe_load(GRAMMAR.read_text(encoding="utf-8"))

    def plain(templates: Iterable[str]) -> set[str]:
        return {" ".join(template.replace("|", " ").split()) for template in templates}

    g, rng = Grammar(grammar), np.random.default_rng(0)
    assert grammar["test_templates"].keys() == grammar["training_templates"].keys()
    for intent, templates in grammar["test_templates"].items():
        trained = [*grammar["intents"][intent]["templates"], *grammar["training_templates"][intent]]
        assert not plain(templates) & plain(trained)
        tuned, reported = (
            {s for _ in range(80) for s in [tuple(g._parts(rng, intent, split))]}
            for split in (TUNE_PHRASED, PHRASED)
        )
        assert tuned and reported and not tuned & reported
    wave = {"intents": {"wave_cmd": grammar["intents"]["wave_cmd"]}}
    rng, other = np.random.default_rng(1), {"test_templates": {"wave_cmd": ["zebra"]}}
    for split, differs in ((PHRASED, True), ("test_seen", False), ("train", False)):
        turn = Grammar(grammar | wave | other).turn(rng, split)
        assert (turn.segments[-1] == "zebra") is differs


def test_phrasings_hold_nothing_of_the_tests_and_are_said_in_training_alone() -> None:
    grammar = yaml.safe_load(GRAMMAR.read_text(encoding="utf-8"))
    phrasings = yaml.safe_load(GRAMMAR.with_name(PHRASINGS).read_text(encoding="utf-8"))
    short = {"backchannel", "interruption", "cancel"}
    alone = {name for name, entry in grammar["intents"].items() if "training_weight" in entry}
    assert set(phrasings) == {*grammar["training_templates"], *short, *alone}
    tested = [text for name in short for part in ("test", "tune") for text in grammar[name][part]]
    skill = {"go on", "continue", "carry on", "keep going"}  # which asks for just that
    held = set(grammar["asked_on"]["test"]) - skill
    for name in ("more", "ask_back"):
        assert not held & {*grammar["intents"][name]["templates"], *phrasings[name]}

    def padded(text: str) -> str:
        return f" {' '.join(text.replace('|', ' ').split())} "

    for name, texts in phrasings.items():
        others = tested if name in short else grammar["test_templates"].get(name, ())
        several = [padded(text) for text in others if name in short or " " in text]
        assert len({padded(text) for text in texts}) == len(texts)
        for text in texts:
            assert re.fullmatch(r"[a-z' |{}_]+", text), text
            assert set(re.findall(r"{(\w+)}", text)) <= set(grammar["slots"])
            assert padded(text) not in map(padded, others)
            assert not any(held in padded(text) for held in several), text
    free = Grammar({**grammar, "phrasings": {name: ["zebra"] for name in phrasings}})
    for split, there in (("train", True), ("test_seen", False), (PHRASED, False)):
        rng = np.random.default_rng(4)
        turns = [free.turn(rng, split) for _ in range(100)]
        turns += [free.phrase(rng, kind, split) for kind in short for _ in range(20)]
        said = sum(turn.segments[-1].endswith("zebra") for turn in turns)
        assert 30 < said < 110 if there else said == 0


def test_what_thresholds_are_chosen_on_is_neither_trained_on_nor_reported() -> None:
    grammar = Grammar.load(GRAMMAR)
    for kind in ("backchannel", "interruption", "cancel"):
        rng = np.random.default_rng(5)
        said = {
            split: {grammar.phrase(rng, kind, split).segments[0] for _ in range(1500)}
            for split in ("train", "test_seen", "tune_seen")
        }
        assert len(said["test_seen"]) > 15 and len(said["tune_seen"]) > 12
        assert not said["tune_seen"] & said["test_seen"]
        assert not said["train"] & (said["tune_seen"] | said["test_seen"])
    rng = np.random.default_rng(6)
    broken_off = {grammar.incomplete(rng, "tune_seen").segments[-1] for _ in range(300)}
    assert "how do you say" in broken_off, "it looks for words as in the tests"


def test_free_text_is_of_whole_sentences() -> None:
    """Who is cut off has not come to an end, and an end is what is learned from them."""
    long = "the first fourteen words of this are no sentence because it goes on after them"
    assert _sentences([f"It rains. {long.capitalize()} and on. We had to dress quickly!"]) == [
        "we had to dress quickly"
    ]
    for split in ("train", "test_seen"):
        assert all(4 <= len(line.split()) <= 14 for line in load_prose(split))


def test_what_is_told_of_the_voice_does_not_foretell_an_interruption() -> None:
    """A model told of less that is left, because somebody is about to speak, waits for that."""
    pcm = np.ones(5 * TURN_SAMPLES, np.float32)
    whole, cut = (Draft(TURNS, np.random.default_rng(1)) for _ in range(2))
    whole.sound(0, pcm)
    cut.sound(0, pcm[: 2 * TURN_SAMPLES], meant=len(pcm))
    told = [draft.floor_and_status()[1][:, :2] for draft in (whole, cut)]
    assert (told[0][:2] == told[1][:2]).all() and told[1][0, 1] > told[1][1, 1] > 0
    assert told[0][2:4, 0].all() and not told[1][2:].any()


def test_what_was_said_is_known_when_it_ends(
    composer: Composer, conversations: list[Conversation]
) -> None:
    """An intent stands in the turns after a finished turn of the same one, and never in a pause;
    also where the device gives way only after that."""

    def interrupted(self: Composer, draft: Draft, position: int) -> int:
        return self._is_interrupted(draft, position, self._answer(draft.rng, self._long))

    told = talked_over = 0
    over = episodes(composer, interrupted)
    for conversation in [*conversations, *(over.compose(seed) for seed in range(40))]:
        for mark in conversation.marks:
            at = mark.start // TURN_SAMPLES
            if mark.kind == "end" and not mark.detail.startswith("human"):
                stands = conversation.intent == INTENTS.index(mark.detail.split(":")[1])
                if conversation.status[at - 1, 0]:
                    assert stands[max(0, at - max(OVERLAPS)) : at + 1].any()
                    talked_over += 1
                else:
                    assert stands[at : at + 2].all()
                    told += 1
    assert told > 20 and talked_over


def test_a_conversation_goes_the_way_the_device_leads_it(composer: Composer) -> None:
    """Late where it takes the floor late, cut where it stops; what people say stays the same."""
    late, met = 7, set()
    for seed in range(12):
        scripted = composer.compose(seed)
        firsts = {p.key: p for p in scripted.points if p.key[0] == 0}
        choices = {key: late for key in firsts if key[1] is Moment.TAKE}
        led = composer.compose(seed, choices)
        for point in (p for p in led.points if p.key in choices):
            starts = point.first + late + 1
            if starts + 3 >= TURNS:
                continue
            met.add(seed)
            assert (led.floor[point.first : starts] == FLOOR.index("speak")).all()
            assert led.status[starts : starts + 3, 0].any()
        assert [text for _, _, text in led.texts[:1]] == [text for _, _, text in scripted.texts[:1]]
    assert len(met) > 3


def test_a_device_that_waits_can_be_asked_at_each_moment(composer: Composer) -> None:
    """Else who would answer later than the script did counts as one who never answers."""
    asked = 0
    for seed in range(12):
        waiting = composer.compose(seed, WAITING)
        speaking = waiting.status[:, STATUS.index("speaking")] > 0
        for point in waiting.points:
            if point.key[1] is Moment.TAKE and point.last + 1 < TURNS:
                asked += 1
                assert not speaking[point.first : point.last + 1].any()
                assert point.last - point.first + 1 >= max(LAGS)
    assert asked > 10


def test_choices_are_read_off_a_models_chances() -> None:
    points = [
        Point((0, Moment.TAKE, 0), 2, 6),
        Point((0, Moment.PAUSE, 0), 8, 10),
        Point((1, Moment.YIELD, 0), 12, 14),
    ]
    speak, stop = np.zeros(16, np.float32), np.zeros(16, np.float32)
    speak[[4, 5]], stop[12] = 0.9, 0.8
    assert list(made(points, speak, stop).values()) == [2, None, 0]


def test_each_picture_is_drawn_once(conversations: list[Conversation]) -> None:
    for one in conversations:
        assert len(np.unique(one.pictures, axis=0)) == len(one.pictures)
        assert set(one.picture_of.tolist()) == set(range(len(one.pictures)))


def test_lips_that_move_without_a_voice_are_not_answered(composer: Composer) -> None:
    conversations = [composer.compose(seed) for seed in range(200, 260)]
    found = [(one, m) for one in conversations for m in one.marks if m.detail == "silent"]
    assert found
    for one, mark in found:
        first, last = mark.start // TURN_SAMPLES, mark.end // TURN_SAMPLES
        assert one.vision[first + 1, 2] == 1
        assert not one.speech[first + 1 : last - 1].any()
        assert not (one.floor[first : last - 1] == FLOOR.index("speak")).any()


def test_a_covered_lens_gives_dark_pictures_in_which_nothing_is_seen(composer: Composer) -> None:
    found = [composer.compose(seed) for seed in range(100, 140)]
    covered = [one for one in found if one.frame_valid.all() and one.pictures.max() < 80]
    assert 1 <= len(covered) <= 8
    assert any((one.floor == FLOOR.index("speak")).any() for one in covered), "answers unseen"
    for one in covered:
        assert not one.vision.any()
        assert not {mark.kind for mark in one.marks} & {"wave", "arrival", "hand", "side_talk"}


def test_the_first_sound_of_an_utterance_comes_with_its_event(
    conversations: list[Conversation],
) -> None:
    started = EVENTS.index("utterance_started")
    for one in conversations:
        played = np.abs(one.audio[1]).reshape(TURNS, TURN_SAMPLES).max(1) > 0
        for turn in np.flatnonzero(one.events[:, started]):
            assert played[turn : turn + 2].any()
        silent = ~played & (one.status[:, 0] == 0)  # and no hesitation
        for turn in np.flatnonzero(played[1:] & silent[:-1]) + 1:
            assert one.events[turn - 1 : turn + 1, started].any()


def test_a_result_waits_until_it_is_delivered(composer: Composer) -> None:
    ready, result = STATUS.index("result_ready"), EVENTS.index("result")
    waits = 0
    for one in (composer.compose(seed) for seed in range(60)):
        for turn in np.flatnonzero(one.events[:, result]):
            if turn + 1 < TURNS:
                waits += 1
                assert one.status[turn, ready] == 1
    assert waits > 5


def test_human_speech_is_read_from_a_folder(tmp_path: Path) -> None:
    import gzip
    import json

    import soundfile

    from engines.reference.corpus import human

    rng = np.random.default_rng(0)
    pcm = np.zeros(48_000, np.float32)
    for start_s, end_s in ((0.3, 1.2), (1.6, 2.6)):
        span = slice(int(start_s * 16_000), int(end_s * 16_000))
        pcm[span] = 0.2 * rng.standard_normal(span.stop - span.start)
    soundfile.write(tmp_path / "clip.wav", pcm, 16_000)
    header = (
        "file,kind,transcript_or_label,speaker,source_repo,licence,sha256,split,seconds,bytes,notes"
    )
    row = "clip.wav,speech_sentence,good morning,someone,a/b,CC0,0,train,3.0,0,"
    (tmp_path / "manifest.csv").write_text(f"{header}\n{row}\n")
    entry = {
        "file": "clip.wav",
        "begin_s": 0.3,
        "end_s": 2.6,
        "words": [["good", 0.3, 1.2], ["morning", 1.6, 2.6]],
        "phones": [["G", 0.3, 0.6], ["UH", 0.6, 1.2], ["M", 1.6, 2.6]],
        "natural_gaps_s": [[1.2, 1.6]],
        "cut_points_s": [],
    }
    with gzip.open(tmp_path / "alignments.jsonl.gz", "wt") as file:
        file.write(json.dumps(entry) + "\n")
    found = [human.load_speech(tmp_path, "train", seed=seed)[0] for seed in range(12)]
    split = next(one for one in found if len(one.segments) == 2)
    assert [segment.text for segment in split.segments] == ["good", "morning"]
    assert split.source == "human" and split.room is not None
    assert human.load_speech(tmp_path, "dev") == []


def test_any_thing_can_be_asked_for_in_training() -> None:
    """Else the few things of the grammar would tell what is wanted."""
    nouns = load_words("train")
    if not nouns:
        pytest.skip("no WordNet: apt-get install wordnet-base")
    assert {"tunnel", "button", "bathtub"} <= set(nouns["object"])
    assert {"shark", "oyster"} <= set(nouns["animal"]) and "steak" in nouns["food"]
    assert {"geometry", "fog"} <= set(nouns["topic"]) and "button" not in nouns["topic"]
    assert {"remarkable", "funny", "huge"} <= set(nouns["quality"])
    assert not {"quiet", "wrong", "cool"} & set(nouns["quality"])
    assert not load_words("test_seen")
    rng = np.random.default_rng(2)
    said = []
    for theirs in (nouns, {}):
        grammar = Grammar.load(GRAMMAR, (), theirs)
        turns = [grammar.turn(rng, "train") for _ in range(600)]
        said.append({word for turn in turns for part in turn.segments for word in part.split()})
    assert len((said[0] - said[1]) & set(nouns["object"])) > 20


def test_the_article_goes_with_the_word_that_comes() -> None:
    rng = np.random.default_rng(3)
    with_things = Grammar(
        {
            **yaml.safe_load(GRAMMAR.read_text(encoding="utf-8")),
            "slots": {"thing": ["umbrella", "owl", "uniform", "cup"]},
        }
    )
    filled = {with_things._fill(rng, "give me a {thing} and a {thing}") for _ in range(60)}
    assert {"give me an owl and a cup", "give me a uniform and an umbrella"} <= filled


@pytest.mark.filterwarnings("ignore:.*the corpus has one synthesizer less")
def test_a_kept_bank_tells_which_synthesizer_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so does a report."""
    built = partial(Bank.build, 3, 0.001, None, split="test_unseen", cache=tmp_path)

    def is_missing(*_: object) -> None:
        raise RuntimeError("festival is missing: apt-get install festival")

    with monkeypatch.context() as without:
        without.setattr(bank_module, "Festival", is_missing)
        assert {spoken.source for spoken in built()["turn"]} == {"flite"}
        _, lacks = material._build(bank_module, 3, 0.001, "test_unseen")
        assert lacks == (
            "festival is missing: apt-get install festival; the corpus has one synthesizer less",
        )
        built()  # as much as there was
    with pytest.warns(UserWarning, match="made without festival, which is here by now: remove it"):
        built()
