"""The mouth: exact turns, order, gaps, cuts without a click, and voices that fail."""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_runtime.errors import VoiceError
from edge_runtime.micro_turn import TURN_SAMPLES, VOICE_FAILED, Event, EventKind, Pcm, Utterance
from edge_runtime.voice.espeak import EspeakSynthesizer
from edge_runtime.voice.mouth import GAP_MS, HANGS_TURNS, MOST_WORKERS, RESUME_RAMP, Mouth

GAP = 16 * GAP_MS
STARTED, FINISHED = EventKind.UTTERANCE_STARTED, EventKind.UTTERANCE_FINISHED
INTERRUPTED = EventKind.UTTERANCE_INTERRUPTED
LEVEL = 0.5


class Script:
    """Speaks each text as the blocks written for it; an exception among them is raised there."""

    def __init__(self, blocks: Mapping[str, Sequence[Pcm | Exception]]) -> None:
        self._blocks = blocks

    def check(self) -> None:
        pass

    def synthesize(self, text: str) -> Spoken:
        return Spoken(self._blocks[text])


class Spoken:
    def __init__(self, blocks: Sequence[Pcm | Exception]) -> None:
        self._blocks, self._closed = blocks, False

    def __iter__(self) -> Iterator[Pcm]:
        for block in self._blocks:
            if self._closed:
                return
            if isinstance(block, Exception):
                raise block
            yield block

    def close(self) -> None:
        self._closed = True


class HandFed:
    """A slow voice: a block comes when the test gives it, and `feed` returns once it is taken."""

    def __init__(self) -> None:
        self._blocks: queue.Queue[Pcm | None] = queue.Queue()
        self._asks = threading.Semaphore(0)
        self.closed = threading.Event()

    def check(self) -> None:
        pass

    def synthesize(self, text: str) -> HandFed:
        return self

    def __iter__(self) -> Iterator[Pcm]:
        while True:
            self._asks.release()
            block = self._blocks.get(timeout=30)
            if block is None:
                return
            yield block

    def close(self) -> None:
        self.closed.set()
        self._blocks.put(None)

    def feed(self, block: Pcm) -> None:
        assert self._asks.acquire(timeout=10)
        self._blocks.put(block)
        assert self._asks.acquire(timeout=10), "the mouth did not take the block"
        self._asks.release()


class Inference:
    """Speaks a turn; of "long" there is more, and `close` does not end the work on it."""

    def __init__(self) -> None:
        self.infers, self.gate = threading.Event(), threading.Event()

    def check(self) -> None:
        pass

    def synthesize(self, text: str) -> Spoken:
        return Spoken([rising(3200)]) if text == "b" else Sentences(self)


class Sentences(Spoken):
    def __init__(self, voice: Inference) -> None:
        super().__init__([])
        self._voice = voice

    def __iter__(self) -> Iterator[Pcm]:
        yield rising(3200)
        self._voice.infers.set()
        assert self._voice.gate.wait(30)
        if not self._closed:
            yield rising(3200)


class FirstAtOnce(HandFed):
    """The first text is spoken at once, the next as the test feeds it."""

    def __init__(self, first: Sequence[Pcm]) -> None:
        super().__init__()
        self._first = [Spoken(first)]

    def synthesize(self, text: str) -> HandFed | Spoken:  # type: ignore[override]
        return self._first.pop() if self._first else self


def level(samples: int) -> Pcm:
    return np.full(samples, LEVEL, np.float32)


def rising(samples: int, begin: int = 0) -> Pcm:
    """Samples that are all different and none zero: a lost, doubled or moved one shows."""
    return (np.arange(begin + 1, begin + samples + 1) / 100_000).astype(np.float32)


def say(mouth: Mouth, *texts: str) -> None:
    for text in texts:
        mouth.say(Utterance(f"id of {text}", text, "greet"))


def listen(mouth: Mouth, turns: int) -> Pcm:
    """What the next micro-turns play, each checked to be whole."""
    heard = [mouth.next_turn() for _ in range(turns)]
    assert all(pcm.shape == (3200,) and pcm.dtype == np.float32 for pcm in heard)
    return np.concatenate([np.zeros(0, np.float32), *heard])


def told(mouth: Mouth) -> list[tuple[EventKind, str]]:
    return [(event.kind, event.id) for event in mouth.events()]


def test_an_idle_mouth_plays_silence_and_tells_nothing() -> None:
    with Mouth(Script({})) as mouth:
        assert not listen(mouth, 3).any()
        assert not mouth.flush(20).any()
        assert not mouth.state().speaking
        assert mouth.state().seconds_left == 0
        assert mouth.events() == []


def test_an_utterance_is_played_whole_from_the_first_sample_of_the_next_turn() -> None:
    sound = rising(5000)
    with Mouth(Script({"a": [sound]}), start_wait_ms=10_000) as mouth:
        say(mouth, "a")
        heard = mouth.next_turn()
    np.testing.assert_array_equal(heard, sound[:3200])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5000), max_size=5), min_size=1, max_size=4))
def test_all_samples_come_out_as_they_went_in_whatever_the_sizes_of_the_blocks(
    sizes: list[list[int]],
) -> None:
    script: dict[str, list[Pcm]] = {}
    timeline: list[Pcm] = []
    events = []
    for index, blocks in enumerate(sizes):
        sound = rising(sum(blocks), 1000 * index)
        script[f"{index}"] = np.split(sound, np.cumsum(blocks)) if blocks else []
        if sound.size:
            events.append((STARTED, f"id of {index}"))
            timeline += [sound, np.zeros(GAP, np.float32)]
        events.append((FINISHED, f"id of {index}"))
    expected = np.concatenate([np.zeros(0, np.float32), *timeline])
    turns = expected.size // TURN_SAMPLES + 2
    expected = np.pad(expected, (0, turns * TURN_SAMPLES - expected.size))
    with Mouth(Script(script), block=True) as mouth:
        say(mouth, *script)
        np.testing.assert_array_equal(listen(mouth, turns), expected)
        assert told(mouth) == events
        assert told(mouth) == []


def test_started_comes_with_the_first_sound_and_finished_with_the_last() -> None:
    with Mouth(Script({"a": [level(7000)]}), block=True) as mouth:
        say(mouth, "a")
        assert told(mouth) == []
        by_turn = [(mouth.next_turn().any(), told(mouth)) for _ in range(4)]
    assert by_turn == [
        (True, [(STARTED, "id of a")]),
        (True, []),
        (True, [(FINISHED, "id of a")]),
        (False, []),
    ]


def test_seconds_left_falls_by_a_turn_each_turn_over_all_that_is_queued() -> None:
    with Mouth(Script({"a": [level(6400)], "b": [level(3200 - GAP)]}), block=True) as mouth:
        say(mouth, "a", "b")
        seen = []
        for _ in range(4):
            seen.append((mouth.state().utterance_id, round(mouth.state().seconds_left, 3)))
            mouth.next_turn()
    assert seen == [("id of a", 0.48), ("id of a", 0.28), ("id of b", 0.08), (None, 0.0)]


def test_seconds_left_is_estimated_from_the_text_until_the_voice_is_done() -> None:
    voice = HandFed()
    with Mouth(voice) as mouth:
        say(mouth, "fifty letters are spoken within about three seconds")
        before = mouth.state().seconds_left
        voice.feed(level(3200))
        mouth.next_turn()
        after = mouth.state().seconds_left
    assert 2 < before < 4
    assert after == pytest.approx(before - 0.2, abs=1e-3)


def test_a_voice_slower_than_the_speech_leaves_silence_but_loses_no_sample() -> None:
    voice, sound = HandFed(), rising(8000)
    with Mouth(voice, start_wait_ms=0) as mouth:
        say(mouth, "a")
        voice.feed(sound[:100])
        assert not mouth.next_turn().any(), "began without enough sound for one micro-turn"
        assert told(mouth) == []
        voice.feed(sound[100:4000])
        heard = [mouth.next_turn(), mouth.next_turn(), mouth.next_turn()]
        assert mouth.underruns == 2
        voice.feed(sound[4000:])
        heard += [mouth.next_turn(), mouth.next_turn()]
        assert told(mouth) == [(STARTED, "id of a")]
    np.testing.assert_array_equal(np.concatenate(heard)[:4000], sound[:4000])
    assert not np.concatenate(heard)[4000:9600].any()
    np.testing.assert_array_equal(np.concatenate(heard)[9600:13600], sound[4000:])


def test_the_end_of_one_utterance_does_not_wait_for_the_first_sound_of_the_next() -> None:
    voice = FirstAtOnce([rising(4000)])
    with Mouth(voice, start_wait_ms=20_000) as mouth:
        say(mouth, "a", "b")
        heard = listen(mouth, 1)
        begun_s = time.monotonic()
        heard = np.concatenate([heard, mouth.next_turn()])
        assert time.monotonic() - begun_s < 10
        np.testing.assert_array_equal(heard[:4000], rising(4000))
        assert not heard[4000:].any()
        feeder = threading.Thread(target=voice.feed, args=(rising(3200),))
        feeder.start()
        np.testing.assert_array_equal(mouth.next_turn(), rising(3200))
        feeder.join()
        begun_s = time.monotonic()
        assert not mouth.next_turn().any(), "it has begun, and is too slow now"
        assert time.monotonic() - begun_s < 10


def test_an_utterance_that_began_in_the_turn_of_another_is_not_waited_for_in_its_middle() -> None:
    voice = FirstAtOnce([rising(1000)])
    with Mouth(voice, start_wait_ms=20_000) as mouth:
        say(mouth, "a", "b")
        voice.feed(rising(3200))
        assert told(mouth) == [] and mouth.next_turn()[1000 + GAP :].all()
        begun_s = time.monotonic()
        assert np.count_nonzero(mouth.next_turn()) == 1000 + GAP
        assert time.monotonic() - begun_s < 10


def test_a_flush_fades_within_20_ms_without_a_click_and_drops_the_rest() -> None:
    with Mouth(Script({"a": [level(16_000)], "b": [level(3200)]}), block=True) as mouth:
        say(mouth, "a", "b")
        mouth.next_turn()
        cut = mouth.flush(20)
        after = listen(mouth, 5)
        assert not mouth.state().speaking
    assert cut.shape == (3200,) and cut.dtype == np.float32
    steps = np.diff(np.concatenate([[LEVEL], cut[:321]]))
    assert np.all(steps <= 0) and steps.min() > -LEVEL / 300
    assert cut[:300].min() > 0
    assert not cut[319:].any()
    assert not after.any()


@pytest.mark.parametrize(
    ("fade_ms", "samples"), [(10, 160), (20, 320), (500, 320), (0, 0), (-5, 0)]
)
def test_the_fade_is_never_longer_than_asked_nor_than_20_ms(fade_ms: float, samples: int) -> None:
    with Mouth(Script({"a": [level(16_000)]}), block=True) as mouth:
        say(mouth, "a")
        mouth.next_turn()
        cut = mouth.flush(fade_ms)
    assert np.count_nonzero(cut) == max(0, samples - 1)  # the ramp's last sample is zero
    assert not cut[samples:].any()


def test_a_flush_fades_the_sound_that_would_have_come_next() -> None:
    sound = rising(16_000)
    with Mouth(Script({"a": [sound]}), block=True) as mouth:
        say(mouth, "a")
        mouth.next_turn()
        cut = mouth.flush(20)
    ramp = 1 - np.arange(1, 321) / 320
    np.testing.assert_allclose(cut[:320], sound[3200:3520] * ramp, atol=1e-6)


def words() -> Pcm:
    """Two words of half a second, 100 ms apart."""
    return np.concatenate([rising(8000, 50_000), np.zeros(1600, np.float32), rising(8000, 60_000)])


SECOND_WORD = 9600


def test_a_pause_is_silent_and_goes_on_with_the_word_that_it_cut() -> None:
    sound = words()
    with Mouth(Script({"a": [sound]}), block=True) as mouth:
        say(mouth, "a")
        listen(mouth, 4)
        left_s = mouth.state().seconds_left
        cut, still = mouth.pause(20), mouth.pause(20)
        assert mouth.state().paused and mouth.state().utterance_id == "id of a"
        assert mouth.state().seconds_left == pytest.approx(left_s + 0.21), "the word, and 10 ms"
        again = listen(mouth, 3)
        assert not mouth.state().paused
        assert told(mouth) == [(STARTED, "id of a"), (FINISHED, "id of a")]
    ramp = 1 - np.arange(1, 321) / 320
    np.testing.assert_allclose(cut[:320], sound[12_800:13_120] * ramp, atol=1e-6)
    assert not cut[320:].any() and not still.any()
    np.testing.assert_array_equal(again[160:8160], sound[SECOND_WORD:])


def test_what_nobody_heard_is_said_once_more() -> None:
    sound = words()
    with Mouth(Script({"a": [sound]}), block=True) as mouth:
        say(mouth, "a")
        listen(mouth, 4)
        mouth.pause(20, unheard=2 * TURN_SAMPLES)  # the first word was being said
        again = listen(mouth, 6)
    begin = int(np.flatnonzero(np.isin(sound, again))[0])
    assert begin < 6400
    whole = RESUME_RAMP - 1
    np.testing.assert_array_equal(again[whole : whole + sound.size - begin], sound[begin:])


def test_the_end_of_an_utterance_that_nobody_heard_comes_before_the_next_one() -> None:
    sounds = {"a": [words()], "b": [level(6400)]}
    with Mouth(Script(sounds), block=True) as mouth:
        say(mouth, "a")
        say(mouth, "b")
        whole = listen(mouth, 7)
        end = words().size
        assert whole[end - 1] and not whole[end : end + GAP].any() and whole[end + GAP]
        mouth.pause(20, unheard=whole.size - end + 1600)
        assert mouth.state().utterance_id == "id of a"
        again = listen(mouth, 6)
    assert told(mouth) == [(kind, f"id of {text}") for text in "ab" for kind in (STARTED, FINISHED)]
    spoken = np.flatnonzero(again)
    last = words()[SECOND_WORD:]
    np.testing.assert_array_equal(again[RESUME_RAMP : last.size], last[RESUME_RAMP:])
    assert not again[last.size : last.size + GAP].any()
    assert spoken[-1] + 1 == last.size + GAP + 6400, "all of what came after it"


def test_an_utterance_that_is_dropped_after_its_end_came_again_was_finished() -> None:
    with Mouth(Script({"a": [words()], "b": [level(6400)]}), block=True) as mouth:
        say(mouth, "a")
        say(mouth, "b")
        whole = listen(mouth, 7)
        mouth.pause(20, unheard=whole.size - words().size + 1600)
        mouth.flush(20)
        assert mouth.events()[1:] == [
            Event(FINISHED, "id of a"),
            Event(STARTED, "id of b"),
            Event(INTERRUPTED, "id of b", "b"),
        ]
        assert not listen(mouth, 3).any()


@given(
    pauses=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5000)), max_size=8),
    fade_ms=st.sampled_from([0.0, 20.0]),
    first=st.sampled_from([32_000, 20_000, 12_345]),
)
@example(pauses=[(1, 0), (1, 0), (2, 1), (2, 1), (2, 1), (3, 158)], fade_ms=0.0, first=32_000)
@settings(deadline=None)
def test_pauses_lose_no_sample_and_come_to_an_end(
    pauses: list[tuple[int, int]], fade_ms: float, first: int
) -> None:
    """Each pause comes after so many turns, the last samples of which nobody hears; it is the
    model's doing, which hesitates only while something is left to say. In one utterance or two."""
    sound = rising(32_000)
    parts = {"a": [sound[:first]], "b": [sound[first:]]} if first < sound.size else {"a": [sound]}
    heard = np.zeros(0, np.float32)
    with (
        pytest.MonkeyPatch.context() as patch,
        Mouth(Script(parts), block=True) as mouth,
    ):
        patch.setattr("edge_runtime.voice.mouth.RESUME_RAMP", 0)  # every sample comes as it is
        for text in parts:
            say(mouth, text)
        for turns, unheard in pauses:
            given = listen(mouth, turns)
            if not mouth.state().speaking:  # it is past doubting
                heard = np.concatenate([heard, given])
                break
            unheard = min(unheard, given.size)
            heard = np.concatenate([heard, given[: given.size - unheard]])
            mouth.pause(fade_ms, unheard)
        rest = listen(mouth, 30)
        assert not mouth.state().speaking
        assert [kind for kind, _ in told(mouth)] == [STARTED, FINISHED] * len(parts)
    positions = np.rint(np.concatenate([heard, rest]) * 100_000).astype(int)
    assert set(positions) - {0} == set(range(1, 32_001))


def test_a_mouth_with_nothing_begun_has_nothing_to_pause() -> None:
    with Mouth(Script({"a": [level(3200)]}), block=True) as mouth:
        assert not mouth.pause(20).any() and not mouth.state().paused
        say(mouth, "a")
        assert not mouth.pause(20).any() and mouth.state().paused
        np.testing.assert_array_equal(mouth.next_turn(), level(3200))


def test_a_flush_in_a_pause_is_silent_and_tells_what_was_left() -> None:
    with Mouth(Script({"a b": [level(16_000)]}), block=True) as mouth:
        say(mouth, "a b")
        mouth.next_turn()
        mouth.pause(20)
        assert not mouth.flush(20).any()
        assert mouth.events()[1:] == [Event(INTERRUPTED, "id of a b", "a b")]
        assert not mouth.state().paused and not mouth.next_turn().any()


@pytest.mark.parametrize(
    ("turns", "fade_ms", "unheard", "unsaid"),
    [
        (4, 0, 0, "w4 w5 w6 w7 w8 w9"),
        (4, 20, 0, "w4 w5 w6 w7 w8 w9"),
        (4, 20, 3200, "w3 w4 w5 w6 w7 w8 w9"),
        (9, 0, 0, "w9"),
        (9, 20, 32_000, " ".join(f"w{index}" for index in range(10))),
    ],
)
def test_an_interruption_tells_the_words_that_were_not_heard_whole(
    turns: int, fade_ms: float, unheard: int, unsaid: str
) -> None:
    text = " ".join(f"w{index}" for index in range(10))
    with Mouth(Script({text: [level(10 * 3200)]}), block=True) as mouth:
        say(mouth, text)
        listen(mouth, turns)
        mouth.flush(fade_ms, unheard)
        assert mouth.events()[1:] == [Event(INTERRUPTED, f"id of {text}", unsaid)]


@pytest.mark.parametrize(
    ("text", "turns", "unsaid"),
    [
        ("twelve times seven is eighty-four", 9, "eighty-four"),
        ("a b c d e f sesquipedalianism", 4, "sesquipedalianism"),
        ("十二乘以七等于八十四" * 4, 5, "四" + "十二乘以七等于八十四" * 2),
    ],
)
def test_a_long_word_takes_longer(text: str, turns: int, unsaid: str) -> None:
    with Mouth(Script({text: [level(10 * 3200)]}), block=True) as mouth:
        say(mouth, text)
        listen(mouth, turns)
        mouth.flush(20)
        assert mouth.events()[1:] == [Event(INTERRUPTED, f"id of {text}", unsaid)]


def test_a_flush_before_the_first_sample_is_silent_and_tells_that_nothing_was_said() -> None:
    with Mouth(Script({"hello there": [level(9600)]}), block=True) as mouth:
        say(mouth, "hello there")
        assert not mouth.flush(20).any()
        assert mouth.events() == [Event(INTERRUPTED, "id of hello there", "hello there")]
        assert not listen(mouth, 3).any()
        assert mouth.events() == []


def test_a_flush_interrupts_everything_that_is_queued() -> None:
    with Mouth(Script({"a b": [level(6400)], "c": [level(6400)]}), block=True) as mouth:
        say(mouth, "a b", "c", "c")
        mouth.next_turn()
        mouth.flush(0)
        assert mouth.events()[1:] == [
            Event(INTERRUPTED, "id of a b", "b"),
            Event(INTERRUPTED, "id of c", "c"),
            Event(INTERRUPTED, "id of c", "c"),
        ]


def test_what_is_said_after_a_flush_is_played_at_once() -> None:
    with Mouth(Script({"a": [level(9600)], "b": [rising(3200)]}), block=True) as mouth:
        say(mouth, "a")
        mouth.next_turn()
        mouth.flush(20)
        mouth.events()
        say(mouth, "b")
        np.testing.assert_array_equal(mouth.next_turn(), rising(3200))
        assert told(mouth) == [(STARTED, "id of b"), (FINISHED, "id of b")]


def test_a_flush_ends_the_synthesis_and_what_still_comes_of_it_is_not_played() -> None:
    voice = HandFed()
    with Mouth(voice, start_wait_ms=0) as mouth:
        say(mouth, "a")
        voice.feed(level(4000))
        mouth.next_turn()
        mouth.flush(20)
        assert voice.closed.is_set()
        assert not listen(mouth, 2).any()


def test_what_is_said_after_a_flush_does_not_wait_for_an_inference_that_nobody_wants() -> None:
    voice, before = Inference(), set(threading.enumerate())
    with Mouth(voice, start_wait_ms=10_000) as mouth:
        say(mouth, "long")
        assert mouth.next_turn().any() and voice.infers.wait(10)
        mouth.flush(20)
        say(mouth, "b")
        np.testing.assert_array_equal(mouth.next_turn(), rising(3200))
        voice.gate.set()
        say(mouth, "b")
        np.testing.assert_array_equal(listen(mouth, 2)[GAP:][:3200], rising(3200))
    assert set(threading.enumerate()) <= before


def test_of_synthesizers_that_do_not_end_only_few_run_and_leaving_does_not_wait_for_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edge_runtime.voice.mouth.LEAVE_S", 0.05)
    voice, before = Inference(), set(threading.enumerate())
    with Mouth(voice, start_wait_ms=0) as mouth:
        for dropped in range(MOST_WORKERS + 2):
            say(mouth, "long")
            assert dropped >= MOST_WORKERS or voice.infers.wait(10)
            voice.infers.clear()
            mouth.flush(20)
        left = set(threading.enumerate()) - before
        assert len(left) == MOST_WORKERS
    assert "the voice does not end; it is left behind" in caplog.text
    voice.gate.set()
    for thread in left:
        thread.join(10)
        assert not thread.is_alive()


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9000), min_size=1, max_size=3),
    turns=st.integers(0, 8),
    fade_ms=st.floats(0, 50),
)
def test_wherever_a_flush_falls_it_is_silent_after_20_ms_and_every_utterance_ends_once(
    lengths: list[int], turns: int, fade_ms: float
) -> None:
    script = {f"{index}": [level(length)] for index, length in enumerate(lengths)}
    with Mouth(Script(script), block=True) as mouth:
        say(mouth, *script)
        listen(mouth, turns)
        cut = mouth.flush(fade_ms)
        assert not listen(mouth, 2).any()
        events = told(mouth)
    assert not cut[320:].any()
    assert np.all(np.diff(cut) <= 0) and cut.max(initial=0) < LEVEL
    assert [name for kind, name in events if kind != STARTED] == [f"id of {t}" for t in script]


@pytest.mark.parametrize("error", [VoiceError("no breath"), RuntimeError("a bug")])
def test_a_voice_that_fails_in_the_middle_is_told_and_the_next_utterance_plays(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [level(1000), error, level(9000)]
    with Mouth(Script({"a": broken, "b": [rising(3200)]}), block=True) as mouth:
        say(mouth, "a", "b")
        heard = listen(mouth, 3)
        events = mouth.events()
    assert events == [
        Event(STARTED, "id of a"),
        Event(FINISHED, "id of a", VOICE_FAILED),
        Event(STARTED, "id of b"),
        Event(FINISHED, "id of b"),
    ]
    np.testing.assert_array_equal(heard[:1000], level(1000))
    np.testing.assert_array_equal(heard[1000 + GAP : 1000 + GAP + 3200], rising(3200))
    assert str(error) in caplog.text


def test_an_utterance_without_any_sound_finishes_as_failed_and_never_starts() -> None:
    script = Script({"a": [VoiceError("mute")], "b": [rising(3200)]})
    with Mouth(script, block=True) as mouth:
        say(mouth, "a", "b")
        np.testing.assert_array_equal(mouth.next_turn(), rising(3200))
        assert mouth.events()[0] == Event(FINISHED, "id of a", VOICE_FAILED)
        assert told(mouth) == []


def test_an_utterance_without_sound_does_not_shorten_the_gap_between_its_neighbours() -> None:
    script = Script({"a": [rising(3100)], "mute": [], "b": [rising(100, 5000)]})
    with Mouth(script, block=True) as mouth:
        say(mouth, "a", "mute", "b")
        heard = listen(mouth, 3)
    assert not heard[3100 : 3100 + GAP].any()
    np.testing.assert_array_equal(heard[3100 + GAP :][:100], rising(100, 5000))


def test_leaving_in_the_middle_of_an_utterance_ends_the_voice_and_its_thread() -> None:
    voice, before = HandFed(), set(threading.enumerate())
    with Mouth(voice) as mouth:
        say(mouth, "a")
        voice.feed(level(3200))
        mouth.next_turn()
    assert voice.closed.is_set()
    assert set(threading.enumerate()) <= before


def test_a_voice_that_is_not_installed_is_reported_on_entering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VoiceError, match="apt-get install espeak-ng"), Mouth(EspeakSynthesizer()):
        pass


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_espeak_speaks_through_the_mouth_without_a_sample_changed() -> None:
    voice = EspeakSynthesizer()
    sound = np.concatenate(list(voice.synthesize("Hello, nice to see you.")))
    with Mouth(voice, block=True) as mouth:
        say(mouth, "Hello, nice to see you.")
        heard = listen(mouth, sound.size // TURN_SAMPLES + 1)
        assert [kind for kind, _ in told(mouth)] == [STARTED, FINISHED]
    np.testing.assert_array_equal(heard[: sound.size], sound)
    assert not heard[sound.size :].any()


class Hangs(Inference):
    """Of "long" nothing comes, and `close` does not end it."""

    def synthesize(self, text: str) -> Spoken:
        return Spoken([rising(3200)]) if text == "b" else Hanging(self)


class Hanging(Sentences):
    def __iter__(self) -> Iterator[Pcm]:
        self._voice.gate.wait(30)
        yield from ()


def test_a_voice_that_hangs_gives_way_to_what_is_said_next() -> None:
    voice = Hangs()
    with Mouth(voice, start_wait_ms=0) as mouth:
        say(mouth, "long", "b")
        listen(mouth, HANGS_TURNS)
        assert mouth.events() == []
        mouth.next_turn(10_000)  # waits for the sound of "b"
        mouth.next_turn(10_000)
        told = mouth.events()
        assert told[0] == Event(FINISHED, "id of long", VOICE_FAILED)
        assert told[1] == Event(STARTED, "id of b")
        voice.gate.set()


class Trickle(Inference):
    """A block of sound whenever the test asks for one."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.given = threading.Semaphore(0), threading.Semaphore(0)

    def synthesize(self, text: str) -> Spoken:
        return Trickling(self)

    def give(self) -> None:
        self.asked.release()
        assert self.given.acquire(timeout=5)


class Trickling(Spoken):
    def __init__(self, voice: Trickle) -> None:
        super().__init__([])
        self._trickle = voice

    def __iter__(self) -> Iterator[Pcm]:
        for _ in range(HANGS_TURNS):
            assert self._trickle.asked.acquire(timeout=5)
            yield rising(3200)
            self._trickle.given.release()


def test_a_slow_voice_is_no_voice_that_hangs() -> None:
    voice = Trickle()
    with Mouth(voice, start_wait_ms=0) as mouth:
        say(mouth, "long")
        for _ in range(HANGS_TURNS):
            listen(mouth, 2)
            voice.give()
            assert mouth.next_turn(0).any()
        mouth.next_turn(0)
        assert not any(event.voice_failed for event in mouth.events())
