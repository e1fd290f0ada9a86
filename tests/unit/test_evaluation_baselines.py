"""The detectors on real speech."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import numpy as np
import pytest

from edge_runtime.evaluation.baselines import (
    Always,
    Ears,
    SileroTimeout,
    SmartTurn,
    SpeechLength,
    _durations,
)
from edge_runtime.evaluation.clip import Clip, Cue, first
from edge_runtime.evaluation.detectors import Detectors
from edge_runtime.micro_turn import TURN_SAMPLES, BackgroundState, Pcm, VoiceState
from edge_runtime.voice.espeak import EspeakSynthesizer

S = 16_000
SPEAKING = VoiceState("utterance-1", 1.0)
needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="somebody must speak: espeak-ng"
)


def clip(sound: Pcm, device_speaks: bool = False) -> Clip:
    """One second of quiet, the sound, and then three seconds of quiet."""
    turns = -(-(len(sound) + 4 * S) // TURN_SAMPLES)
    heard = 0.0005 * np.random.default_rng(0).standard_normal(turns * TURN_SAMPLES)
    heard[S : S + len(sound)] += sound
    end = S + len(sound)
    return Clip(
        scenario="turns",
        audio=np.stack([heard, np.zeros_like(heard)]).astype(np.float32),
        cues=(Cue("end", end, end + 3 * S, speech=len(sound)),),
        voice=(SPEAKING if device_speaks else VoiceState(),) * turns,
        events=((),) * turns,
        background=(BackgroundState(),) * turns,
        near=heard.astype(np.float32),
        said=((S, end, "words"),),
    )


@pytest.fixture(scope="module")
def sentence() -> Pcm:
    voice = EspeakSynthesizer("en-gb+m3", 155)
    pcm = np.concatenate(list(voice.synthesize("Can you tell me what time it is in Paris?")))
    loud = np.flatnonzero(np.abs(pcm) > 0.01)
    cut = pcm[loud[0] : loud[-1]]
    return (cut * (0.1 / np.sqrt(np.mean(cut * cut)))).astype(np.float32)


@pytest.fixture(scope="module")
def ears() -> Iterator[Ears]:
    pytest.importorskip("pipecat", reason="the detectors ship in pipecat-ai")
    with Detectors() as detectors:
        yield Ears(detectors)


@needs_espeak
def test_a_timer_answers_after_its_time(sentence: Pcm, ears: Ears) -> None:
    one = clip(sentence)
    end = one.cues[0].start
    delays_ms = []
    for timeout_ms in (500, 800):
        trace = SileroTimeout(ears, timeout_ms).run(one)
        took = first(trace.takes, end, end + 3 * S)
        assert took is not None
        assert first(trace.takes, 0, end) is None
        delays_ms.append((took - end) / 16)
    assert 350 < delays_ms[0] < 800
    assert delays_ms[1] - delays_ms[0] == pytest.approx(300, abs=40)


def test_a_blip_after_speech_is_not_answered_once_more() -> None:
    confidence = np.zeros(150)
    confidence[10:50] = 0.9
    confidence[[90, 120]] = 0.9
    silent_ms, speech_ms = _durations(confidence)
    assert silent_ms[89] < silent_ms[91] < silent_ms[121] and speech_ms[90] > 0
    assert (np.diff(silent_ms[50:]) >= 0).all(), "it does not begin anew"
    confidence[50:60], confidence[60:] = 0.0, 0.9
    silent_ms, _ = _durations(confidence)
    assert silent_ms.max() == 10 * 32, "who speaks again is not answered"


@needs_espeak
def test_a_detector_stops_for_any_speech_and_for_none_in_silence(sentence: Pcm, ears: Ears) -> None:
    judge = SileroTimeout(ears, 500)
    trace = judge.run(clip(sentence, device_speaks=True))
    stopped = first(trace.stops, S, S + len(sentence))
    assert stopped is not None and (stopped - S) / 16 < 800
    assert trace.takes == (), "it has the floor already"
    quiet = judge.run(clip(np.zeros(S, np.float32), device_speaks=True))
    assert quiet.stops == ()


@needs_espeak
def test_smart_turn_is_asked_and_gives_up_after_three_seconds(sentence: Pcm, ears: Ears) -> None:
    one = clip(sentence)
    end = one.cues[0].start
    once, again = (SmartTurn(ears, again=each).run(one) for each in (False, True))
    for trace in (once, again):
        took = first(trace.takes, end, end + 4 * S)
        assert took is not None and took - end <= 3.3 * S
        assert first(trace.takes, 0, end) is None
        assert 0 <= trace.gap_scores[end] <= 1
    assert np.count_nonzero(again.speak) >= np.count_nonzero(once.speak) > 0


@needs_espeak
def test_what_was_heard_does_not_depend_on_what_was_heard_before(sentence: Pcm, ears: Ears) -> None:
    fresh = ears.detectors.listen(clip(sentence).audio[0]).confidence
    ears.detectors.listen(np.random.default_rng(1).uniform(-0.3, 0.3, 3 * S).astype(np.float32))
    again = ears.detectors.listen(clip(sentence).audio[0]).confidence
    np.testing.assert_allclose(fresh, again, atol=1e-6)


def test_the_two_ends_of_every_scale() -> None:
    free, busy = clip(np.zeros(S, np.float32)), clip(np.zeros(S, np.float32), device_speaks=True)
    talk, silence = Always(True), Always(False)
    assert len(talk.run(free).takes) == free.turns and not silence.run(free).takes
    assert len(silence.run(busy).stops) == busy.turns and not talk.run(busy).stops
    end = free.cues[0].start
    assert SpeechLength().run(free).gap_scores == {end: S}
    assert SpeechLength().run(free).takes == ()
