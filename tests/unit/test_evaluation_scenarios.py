"""Clips as rendered: what happens when, exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the corpus needs scipy: pip install 'edge-runtime[evaluate]'")

from edge_runtime.errors import InputError
from edge_runtime.evaluation.clip import Clip
from edge_runtime.evaluation.material import (
    PHRASED,
    SEEN,
    SPLITS,
    Material,
    load_materials,
    splits,
)
from edge_runtime.evaluation.plan import PARTS
from edge_runtime.evaluation.scenarios import Casting, clips
from edge_runtime.evaluation.scenarios.answers import answer, asked_on, late_answer
from edge_runtime.evaluation.scenarios.others import noises, side_talk
from edge_runtime.evaluation.scenarios.seen import crossed, seen
from edge_runtime.evaluation.scenarios.speaking import (
    Echo,
    aside,
    backchannel,
    echo,
    echo_clip,
    interruption,
)
from edge_runtime.evaluation.scenarios.turns import DROWNED_DB, drowned, long_turn, turn
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, EventKind
from engines.reference.corpus.acoustics import Acoustics
from engines.reference.corpus.bank import GRAMMAR
from engines.reference.corpus.text import Grammar, normalise

S = 16_000
RENDERS = (
    turn,
    long_turn,
    drowned,
    interruption,
    backchannel,
    aside,
    echo,
    side_talk,
    noises,
    seen,
    crossed,
    answer,
    late_answer,
    asked_on,
)


@pytest.fixture(scope="module")
def materials() -> list[Material]:
    try:
        return load_materials(None, 0.008, 1, lambda text: None, phrased=True)
    except InputError as error:
        pytest.skip(f"nobody can speak here: {error}")


@pytest.fixture(scope="module")
def casting(materials: list[Material]) -> Casting:
    return Casting(materials[0], seed=1, frame_px=48)


def level(pcm: np.ndarray, start: int, end: int) -> float:
    part = pcm[start:end]
    return float(np.sqrt(np.mean(part * part))) if len(part) else 0.0


def test_seen_and_unseen_people_are_others(materials: list[Material]) -> None:
    assert [material.name for material in materials] == list(SPLITS)
    voices = [{spoken.voice for spoken in m.spoken["turn"]} for m in materials]  # type: ignore[attr-defined]
    assert voices[0] and voices[1] and not voices[0] & voices[1]


def test_new_phrasings_are_of_no_training(materials: list[Material]) -> None:
    grammar = Grammar.load(GRAMMAR)
    grammar_lines = (grammar.turn(np.random.default_rng(i), "train") for i in range(4000))
    trained = {normalise(" ".join(line.segments)) for line in grammar_lines}
    said = [
        {normalise(" ".join(s.text for s in one.segments)) for one in m.spoken["turn"]}
        for m in (materials[0], materials[2])
    ]
    assert len(said[0] & trained) > 2 * len(said[1] & trained), "short ones may be the same"


def test_only_whole_turns_are_phrased_anew() -> None:
    assert [part.name for part in PARTS if part.plays(PHRASED)] == ["turns", "long turns"]
    assert all(part.plays(SEEN) for part in PARTS)


@pytest.mark.parametrize("render", RENDERS)
def test_one_seed_one_clip(render: Callable[..., Clip | None], casting: Casting) -> None:
    one, again = render(casting, 3), render(casting, 3)
    other = render(Casting(casting.material, seed=2, frame_px=48), 3)
    assert one is not None and again is not None and other is not None
    np.testing.assert_array_equal(one.audio, again.audio)
    assert one.cues == again.cues and one.voice == again.voice
    assert one.frames is not None and again.frames is not None
    assert all(map(np.array_equal, one.frames, again.frames))
    assert one.audio.shape != other.audio.shape or not np.array_equal(one.audio, other.audio)


@pytest.mark.parametrize("render", RENDERS)
def test_every_clip_is_whole(render: Callable[..., Clip | None], casting: Casting) -> None:
    for clip in clips(render, casting, 6):
        assert clip.audio.shape == (2, clip.turns * TURN_SAMPLES)
        assert clip.audio.dtype == np.float32 and np.abs(clip.audio).max() <= 1
        assert len(clip.events) == len(clip.background) == clip.turns
        assert clip.frames is not None and len(clip.frames) == clip.turns
        assert clip.cues, "a clip without a question asks nothing"
        for cue in clip.cues:
            assert 0 <= cue.start < cue.end <= clip.turns * TURN_SAMPLES, cue


def test_gaps_lie_exactly_between_the_speech(casting: Casting) -> None:
    pauses = ends = 0
    for clip in clips(turn, casting, 24):
        spans = [(start, end) for start, end, _ in clip.said]
        for cue in clip.of("pause", "end"):
            assert any(end == cue.start for _, end in spans)
            assert level(clip.near, cue.start, cue.end) == 0
            assert level(clip.near, cue.start - 3200, cue.start) > 0.001
            assert cue.speech == cue.start - spans[0][0]
            pauses += cue.kind == "pause"
            ends += cue.kind == "end"
        for cue in clip.of("pause")[: len(spans) - 1]:
            assert any(start == cue.end for start, _ in spans), "speech goes on where it ends"
    assert pauses > 5 and ends > 10


def test_a_clip_knows_whose_words_it_is_about(casting: Casting) -> None:
    for render, kind in ((backchannel, "backchannel"), (turn, "turn"), (aside, "turn")):
        (clip,) = clips(render, casting, 1)
        spoken = casting.material.deal(kind, 0)
        said = " ".join(segment.text for segment in spoken.segments)
        assert (clip.text, clip.voice_name) == (said, spoken.voice)
        assert clip.whose == (said, spoken.voice, "")
    (clip,) = clips(noises, casting, 1)
    assert clip.text == clip.voice_name == ""
    taken_back = answer(casting, 3)
    assert taken_back is not None and taken_back.of("cancel")
    assert taken_back.text == casting.material.deal("cancel", 0).segments[0].text


def test_the_mouth_reports_what_is_played(casting: Casting) -> None:
    """As the runtime's mouth does: at the end of a turn it speaks while sound is left."""
    for clip in clips(interruption, casting, 6):
        loud = np.abs(clip.audio[1]).reshape(clip.turns, TURN_SAMPLES).max(1) > 0
        (cue,) = clip.of("device")
        first, last = cue.start // TURN_SAMPLES, (cue.end - 1) // TURN_SAMPLES
        assert loud[first : last + 1].any() and not loud[:first].any()
        speaking = [state.speaking for state in clip.voice]
        if cue.end == clip.turns * TURN_SAMPLES:
            last = clip.turns
            assert clip.voice[-1].seconds_left > 0, "it would have spoken on"
        assert speaking == [first <= index < last for index in range(clip.turns)]
        started = [
            EventKind.UTTERANCE_STARTED in [e.kind for e in events] for events in clip.events
        ]
        assert [index for index, value in enumerate(started) if value] == [first]
        said = clip.of("interruption")[0]
        assert clip.voice[(said.start + 2 * S) // TURN_SAMPLES].speaking, (
            "it must be able to stop for two seconds"
        )


def test_long_answers_are_interrupted_too(casting: Casting) -> None:
    """Whoever talks over the beginning of one is heard as well as at its end."""
    left_s = []
    for clip in clips(interruption, casting, 24):
        said = clip.of("interruption")[0]
        left_s.append(clip.voice[said.start // TURN_SAMPLES].seconds_left)
    assert min(left_s) < 6.0
    assert min(left_s[2::3]) > 9.0


def test_on_a_live_stage_the_script_is_only_noted(casting: Casting) -> None:
    live = Casting(casting.material, seed=1, frame_px=48, live=True)
    clip = interruption(live, 0)
    scripted = interruption(casting, 0)
    assert clip is not None and scripted is not None
    assert not clip.audio[1].any() and scripted.audio[1].any()
    assert not any(state.speaking for state in clip.voice)
    assert clip.of("device") == scripted.of("device")
    assert clip.of("interruption")[0].start == scripted.of("interruption")[0].start


def test_the_echo_is_the_same_with_and_without_its_reference(casting: Casting) -> None:
    heard, muted = echo_clip(casting, 0), echo_clip(casting, 0, reference=False)
    late = echo_clip(casting, 0, late_s=0.4)
    np.testing.assert_array_equal(heard.audio[0], muted.audio[0])
    assert heard.audio[1].any() and not muted.audio[1].any()
    np.testing.assert_array_equal(late.audio[1, 6400:], heard.audio[1, :-6400])
    quiet = echo_clip(casting, 3)
    assert [heard.of("echo")[0].detail, quiet.of("echo")[0].detail] == ["0 dB", "-30 dB"]


def test_an_echo_as_it_is_asked_for(casting: Casting) -> None:
    """Later and quieter than in another clip of the same index; clipped, no quieter but bent."""
    clips = {
        name: echo_clip(casting, 0, echo=echo)
        for name, echo in {
            "loud": Echo(0, 0.0),
            "quiet": Echo(-20, 0.0),
            "late": Echo(0, 0.4),
            "bent": Echo(0, 0.0, clips=True),
        }.items()
    }
    loud, quiet, late, bent = (clip.audio[0].astype(np.float64) for clip in clips.values())
    np.testing.assert_array_equal(clips["loud"].audio[1], clips["bent"].audio[1])
    assert 20 * np.log10(quiet.std() / loud.std()) == pytest.approx(-20, abs=2)  # hiss is in both
    delay = round(0.4 * S)
    assert np.corrcoef(late[delay:], loud[:-delay])[0, 1] > 0.99
    assert 20 * np.log10(bent.std() / loud.std()) == pytest.approx(0, abs=1)
    assert 0.5 < np.corrcoef(bent, loud)[0, 1] < 0.98


def test_somebody_who_speaks_to_others_has_turned_away(casting: Casting) -> None:
    changed = []
    for index in range(0, 8, 2):
        clip = side_talk(casting, index)
        assert clip is not None and clip.frames is not None
        cue = clip.of("side talk")[0]
        assert cue.detail == "away"
        turned, before = (clip.frames[i].astype(int) for i in (cue.start // TURN_SAMPLES + 2, 0))
        changed.append(np.abs(turned - before).mean())
        assert not clip.near.any(), "none of it is said to the device"
    assert np.median(changed) > 1.0


def test_crossed_gestures_are_those_of_the_other_moment(casting: Casting) -> None:
    for clip in clips(crossed, casting, 4):
        (cue,) = clip.of("hand in silence", "wave while speaking")
        speaking = clip.voice[(cue.start + S) // TURN_SAMPLES].speaking
        assert speaking is (cue.kind == "wave while speaking")


def test_a_result_comes_while_it_is_pending_and_then_waits(casting: Casting) -> None:
    kinds = set()
    for clip in clips(answer, casting, 6):
        for index, events in enumerate(clip.events):
            if EventKind.RESULT in [event.kind for event in events]:
                assert clip.background[index - 1].pending
                assert clip.background[index].result_ready and not clip.background[index].pending
        kinds |= {cue.detail for cue in clip.of("answer", "no answer")}
        if clip.of("no answer"):
            assert not any(state.result_ready for state in clip.background)
        for busy in clip.of("busy floor"):
            (cue,) = clip.of("answer")
            replies = [one for one in clip.of("device") if one.start > busy.end]
            assert [one.end for one in replies] == [cue.start], "the small talk is answered first"
    assert kinds == {"person speaks", "silence", "we speak", "cancelled", "failed"}


def test_an_answer_comes_long_after_the_question_or_after_it_was_taken_back(
    casting: Casting,
) -> None:
    for index, clip in enumerate(clips(late_answer, casting, 4)):
        (arrives,) = [
            turn * TURN_SAMPLES
            for turn, events in enumerate(clip.events)
            if EventKind.RESULT in [event.kind for event in events]
        ]
        (cue,) = clip.of("answer", "taken back")
        assert clip.background[arrives // TURN_SAMPLES].result_ready
        assert cue.end - arrives >= 4 * S - TURN_SAMPLES
        if index % 2:
            assert clip.said[-1][1] == cue.start, "the cancel"
            assert 0.5 * S - TURN_SAMPLES <= arrives - cue.start <= 3 * S
        else:
            assert arrives - clip.said[-1][1] > 12 * S


def test_after_an_answer_somebody_asks_on(casting: Casting) -> None:
    said = set()
    for clip in clips(asked_on, casting, 12):
        (device,), (asked,) = clip.of("device"), clip.of("asked on")
        (_, end, text), *more = clip.said
        assert not more and asked.start == end
        assert device.end < end - 0.2 * S and asked.end - asked.start == 2 * S
        said.add(text)
    assert len(said) > 4


def test_what_is_drowned_has_something_louder_over_it(
    casting: Casting, monkeypatch: pytest.MonkeyPatch
) -> None:
    covered = []
    monkeypatch.setattr(
        Acoustics, "microphone", lambda self, rng, person, played: person.astype(np.float32)
    )
    for clip in clips(drowned, casting, 10):
        (cue,) = clip.of("drowned")
        begin, end = clip.said[0][0], clip.said[-1][1]
        assert cue.start == end and 2.1 * S - 2 <= cue.end - cue.start <= 2.4 * S
        noise = clip.audio[0] - clip.near
        loud = np.flatnonzero(np.abs(noise) > 1e-5)
        assert begin <= loud[0] <= begin + 0.41 * (end - begin) + S // 10
        assert end < loud[-1] < end + 0.4 * S, "noise ends soon after"
        under = slice(loud[0], end)
        speech, over = clip.near[under], noise[under]
        louder = 10 * np.log10(np.mean(over**2) / np.mean(speech[speech != 0] ** 2))
        covered.append(louder)
    assert np.mean(covered) == pytest.approx(DROWNED_DB, abs=3)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.csv"):
        splits(tmp_path)


def test_a_long_turn_is_one_turn_of_five_seconds(casting: Casting) -> None:
    """Whoever joined turns that are whole would punish the device for answering one of them."""
    turns = {tuple(p.text for p in t.segments) for t in casting.material.spoken["turn"]}
    for clip in clips(long_turn, casting, 6):
        (told,) = clip.of("long turn")
        assert told.end - told.start >= 5 * SAMPLE_RATE_HZ
        assert tuple(text for _, _, text in clip.said) in turns
        assert len(clip.of("breath")) == len(clip.said) - 1 > 0
