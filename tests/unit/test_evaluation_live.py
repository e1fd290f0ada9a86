"""The world around the real runtime, and what is counted at the loudspeaker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from edge_runtime.evaluation.clip import Clip, Cue
from edge_runtime.evaluation.live import AUDIBLE, World, silent_from, sound_from
from edge_runtime.evaluation.system_level import Ledger, Played
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    BackgroundState,
    Decision,
    EngineOutput,
    MicroTurn,
    Pcm,
    Timings,
    TurnRecord,
    Utterance,
    VoiceState,
)
from edge_runtime.pacing import VirtualClock
from edge_runtime.sinks.timeline import Timeline

S = 16_000
TURNS = 40


def clip(*cues: Cue, said: tuple[tuple[int, int, str], ...] = ()) -> Clip:
    return Clip(
        scenario="turns",
        audio=np.full((2, TURNS * TURN_SAMPLES), 0.01, np.float32),
        cues=cues,
        voice=(VoiceState(),) * TURNS,
        events=((),) * TURNS,
        background=(BackgroundState(),) * TURNS,
        near=np.zeros(TURNS * TURN_SAMPLES, np.float32),
        said=said,
    )


def sound(*spans: tuple[float, float]) -> Pcm:
    """Audible between these seconds."""
    pcm = np.zeros(TURNS * TURN_SAMPLES, np.float32)
    for start_s, end_s in spans:
        pcm[int(start_s * S) : int(end_s * S)] = 10 * AUDIBLE
    return pcm


def played(
    one: Clip,
    pcm: Pcm,
    said: Sequence[int] = (),
    stopped: Sequence[int] = (),
    late_ms: float = 0,
    doubtful: Sequence[int] = (),
    murmured: Sequence[int] = (),
    speaking: Sequence[int] = (),
) -> Played:
    """A run in which the decisions of some turns began an utterance, murmured, or silenced it, and
    in which an utterance went on after some turns: the last begun."""
    records = []
    last = "given"
    for index in range(TURNS):
        voice = VoiceState(last, 1.0) if index in speaking else VoiceState()
        turn = MicroTurn(index, 0, np.zeros((2, TURN_SAMPLES), np.float32), voice=voice)
        utterance = None
        if index in (*said, *murmured):
            act = "yes" if index in said else "backchannel"
            utterance = Utterance(last := f"utterance-{index}", "yes", act)
        decision = Decision(index, "listen", stop=index in stopped, hesitate=index in doubtful)
        records.append(TurnRecord(turn, EngineOutput(index, {}), decision, Timings(), utterance))
    return Played(one, records, pcm, pcm, [late_ms] * TURNS, Timeline())


def test_silence_begins_with_the_last_sound_before_a_stop() -> None:
    words = sound((1.0, 1.5), (1.6, 2.0), (3.0, 3.5))
    assert sound_from(words, 0) == S and sound_from(words, 4 * S) is None
    assert silent_from(words, 2 * S) == 2 * S
    assert silent_from(words, int(2.4 * S)) == 2 * S, "it had hesitated before"
    assert silent_from(words, int(3.47 * S)) == int(3.5 * S), "the fade"
    assert silent_from(words, int(1.5 * S)) is None, "it spoke on"
    assert silent_from(sound((1.0, 8.0)), 2 * S) is None, "it spoke to the end"
    assert silent_from(sound(), S) == 0


def test_the_world_plays_a_turn_later_and_hears_it() -> None:
    turns: list[int] = []
    with World(clip(), 1, VirtualClock(), realtime=False) as world:
        world.before_turn = turns.append
        first = world.read_turn()
        world.play(np.full(TURN_SAMPLES, 0.3, np.float32))
        second = world.read_turn()
        assert first is not None and second is not None
        assert not first.pcm[1].any() and (second.pcm[1] == np.float32(0.3)).all()
        np.testing.assert_allclose(first.pcm[0], 0.01, atol=1e-6)
        assert np.abs(second.pcm[0] - 0.01).max() > 0.005, "its own voice comes back"
        while world.read_turn() is not None:
            world.play(np.zeros(TURN_SAMPLES, np.float32))
    assert turns == list(range(TURNS)) and len(world.played) == TURNS


def test_an_answer_is_timed_at_the_loudspeaker() -> None:
    end = Cue("end", 2 * S, 5 * S)
    ledger = Ledger()
    ledger.add(played(clip(end), sound((2.65, 3.5)), said=[12], late_ms=5.0))  # decided at 2.6 s
    ledger.add(played(clip(end), sound()))
    found = ledger.figures(0)
    assert (found["takeover_rate"]["value"], found["takeover_rate"]["n"]) == (0.5, 2)
    assert found["response_latency_ms_p50"]["value"] == pytest.approx(655, abs=1)


def test_the_parts_of_a_long_answer_are_one_take() -> None:
    run = played(clip(), sound(), said=[12, 30], murmured=[20])
    first, part = run.records[12], run.records[30]
    assert first.said is not None and part.said is not None
    assert run.takes == [13 * TURN_SAMPLES, 31 * TURN_SAMPLES]
    records = [*run.records[:30], replace(part, said=replace(part.said, goes_on=True))]
    run = replace(run, records=records)
    assert run.takes == [13 * TURN_SAMPLES] and run.backchannels == [21 * TURN_SAMPLES]


def test_after_a_false_takeover_it_is_another_conversation() -> None:
    cues = Cue("pause", S, 2 * S), Cue("end", 4 * S, 6 * S)
    ledger = Ledger()
    ledger.add(played(clip(*cues), sound((1.7, 2.0)), said=[7]))
    found = ledger.figures(0)
    assert found["false_takeover_rate"]["value"] == 1
    assert (found["takeover_rate"]["value"], found["takeover_rate"]["n"]) == (0, 1)
    assert found["spoke_before_rate"]["value"] == 1


TURN = clip(
    Cue("pause", 2 * S, 3 * S),
    Cue("end", 5 * S, 8 * S),
    said=((S, 2 * S, "turn on"), (3 * S, 5 * S, "the light")),
)


def test_who_talks_over_somebody_has_not_taken_the_end_and_is_told() -> None:
    ledger = Ledger()
    ledger.add(played(TURN, sound((1.45, 1.7), (5.4, 6.0)), said=[6, 26]))  # at 1.4 s, at 5.4 s
    found = ledger.figures(0)
    minutes = (0.8 + 1.8) / 60
    assert found["speech_cut_ins_per_min"]["value"] == pytest.approx(1 / minutes, abs=1e-3)
    assert found["false_takeover_rate"]["value"] == 0, "it was silent again"
    assert (found["takeover_rate"]["value"], found["spoke_before_rate"]["value"]) == (0, 1)
    assert found["response_latency_ms_p50"]["n"] == 0
    ledger.add(played(TURN, sound((5.4, 6.0)), said=[26]))
    found = ledger.figures(0)
    assert (found["takeover_rate"]["value"], found["spoke_before_rate"]["value"]) == (0.5, 0.5)
    assert found["response_latency_ms_p50"]["value"] == pytest.approx(400, abs=1)


def test_who_speaks_on_into_a_pause_has_taken_it() -> None:
    for speaking, said, murmured, into in (
        (range(7, 13), [6], [], 1),
        (range(7, 9), [6], [], 0),
        (range(7, 13), [], [6], 0),
        (range(7, 13), [], [], 0),  # what it was given to say
    ):
        ledger = Ledger()
        run = played(TURN, sound((1.45, 2.5)), said=said, murmured=murmured, speaking=speaking)
        ledger.add(run)
        assert ledger.figures(0)["false_takeover_rate"]["value"] == into


def test_a_pause_after_one_that_was_taken_counts_as_well() -> None:
    cues = Cue("pause", S, 2 * S), Cue("pause", 3 * S, 4 * S), Cue("end", 5 * S, 8 * S)
    ledger = Ledger()
    ledger.add(played(clip(*cues), sound((1.7, 2.0)), said=[7]))
    found = ledger.figures(0)["false_takeover_rate"]
    assert (found["value"], found["n"]) == (0.5, 2)


def test_who_begins_with_the_last_sound_of_a_turn_does_not_cut_in() -> None:
    end = int(5.1 * S)
    turn = clip(Cue("end", end, 8 * S), said=((S, end, "turn on the light"),))
    ledger = Ledger()
    ledger.add(played(turn, sound((5.05, 6.0)), said=[24]))  # decided at 5.0 s
    found = ledger.figures(0)
    assert (found["takeover_rate"]["value"], found["spoke_before_rate"]["value"]) == (1, 0)
    assert found["speech_cut_ins_per_min"]["value"] == 0
    assert found["response_latency_ms_p50"]["value"] == pytest.approx(-50, abs=1)
    ledger.add(played(turn, sound((4.85, 6.0)), said=[23]))  # at 4.8 s
    found = ledger.figures(0)
    assert (found["takeover_rate"]["value"], found["spoke_before_rate"]["value"]) == (0.5, 0.5)


def test_who_talks_all_along_has_not_taken_a_short_turn() -> None:
    end = int(3.5 * S)
    turn = clip(Cue("end", end, 7 * S), said=((3 * S, end, "nod"),))
    talks = {"said": [12, 16, 20], "speaking": [13, 14, 15, 17, 18, 19]}  # at 2.6, 3.4, 4.2 s
    ledger = Ledger()
    ledger.add(played(turn, sound((2.6, 4.8)), **talks))
    found = ledger.figures(0)
    assert (found["takeover_rate"]["value"], found["spoke_before_rate"]["value"]) == (0, 1)
    ledger.add(played(turn, sound((2.0, 2.6), (3.9, 4.8)), said=[9, 18], speaking=[10, 11]))
    found = ledger.figures(0)
    assert (found["takeover_rate"]["value"], found["spoke_before_rate"]["value"]) == (0.5, 0.5)


def test_all_answers_to_side_talk_count_and_mhm_beside_them() -> None:
    ledger = Ledger()
    talk = clip(Cue("side talk", S, 7 * S))
    ledger.add(played(talk, sound(), said=[5, 10, 22], murmured=[14, 18, 30]))
    ledger.add(played(talk, sound()))
    found = ledger.figures(0)
    assert found["side_talk_answers_per_min"]["value"] == pytest.approx(10), "one soon after"
    assert found["side_talk_backchannels_per_min"]["value"] == pytest.approx(15)
    assert found["side_talk_answers_per_min"]["n"] == 0.2


def test_mhm_into_speech_is_told_and_is_no_cut_in() -> None:
    ledger = Ledger()
    ledger.add(played(TURN, sound(), murmured=[6, 12, 20]))  # the second in the pause
    found = ledger.figures(0)
    assert found["speech_backchannels_per_min"]["value"] == pytest.approx(2 / (2.6 / 60), abs=1e-3)
    assert found["speech_cut_ins_per_min"]["value"] == 0 == found["spoke_before_rate"]["value"]


def test_stopping_is_timed_to_silence() -> None:
    cue = Cue("interruption", 3 * S, 4 * S)
    ledger = Ledger()
    ledger.add(played(clip(cue), sound((1.0, 3.42)), stopped=[16]))
    ledger.add(played(clip(cue), sound((1.0, 7.5))))
    ledger.add(played(clip(cue), sound((1.0, 2.0)), stopped=[16]))
    found = ledger.figures(0)
    assert (found["stop_miss_rate"]["value"], found["stop_miss_rate"]["n"]) == (0.5, 2)
    assert found["stop_latency_ms_p50"]["value"] == pytest.approx(420, abs=1)
    assert found["fell_silent_by_itself"]["value"] == pytest.approx(1 / 3, abs=1e-4)


@pytest.mark.parametrize("heard", [((1.0, 7.5),), ((1.0, 3.42), (3.6, 4.5))])
def test_who_decides_to_stop_and_is_heard_on_has_missed_it(
    heard: tuple[tuple[float, float], ...],
) -> None:
    ledger = Ledger()
    ledger.add(played(clip(Cue("interruption", 3 * S, 4 * S)), sound(*heard), stopped=[16]))
    found = ledger.figures(0)
    assert (found["stop_miss_rate"]["value"], found["stop_miss_rate"]["n"]) == (1, 1)
    assert found["stop_latency_ms_p50"]["n"] == 0


@pytest.mark.parametrize("kind", ["interruption", "backchannel"])
@pytest.mark.parametrize(
    ("until_s", "stopped"),
    [(2.75, [12]), (2.9, []), (2.9, [16]), (3.03, [14])],  # at 2.6, never, at 3.4 and at 3.0 s
)
def test_who_was_silent_already_is_not_asked_to_stop_or_to_go_on(
    kind: str, until_s: float, stopped: list[int]
) -> None:
    ledger = Ledger()
    ledger.add(played(clip(Cue(kind, 3 * S, 4 * S)), sound((1.0, until_s)), stopped=stopped))
    found = ledger.figures(0)
    assert found["fell_silent_by_itself"]["value"] == 1
    assert not {"stop_miss_rate", "selectivity_backchannel"} & set(found)
    assert found["stop_latency_ms_p50"]["n"] == 0


def test_who_is_between_two_words_still_speaks() -> None:
    ledger = Ledger()
    cue = Cue("interruption", 3 * S, 4 * S)
    ledger.add(played(clip(cue), sound((1.0, 2.9), (3.1, 3.42)), stopped=[16]))
    found = ledger.figures(0)
    assert found["fell_silent_by_itself"]["value"] == found["stop_miss_rate"]["value"] == 0
    assert found["stop_latency_ms_p50"]["value"] == pytest.approx(420, abs=1)


def test_what_was_said_again_and_again_is_told() -> None:
    mhm = replace(clip(Cue("backchannel", 3 * S, 4 * S)), text="aha", voice_name="awb")
    ledger = Ledger()
    for _ in range(4):
        ledger.add(played(mhm, sound((1.0, 6.0))))
    assert ledger.figures(0)["selectivity_backchannel"]["texts"] == 1


def test_a_hesitation_is_no_stop_and_a_stop_may_begin_with_one() -> None:
    stop, mhm = Cue("interruption", 3 * S, 4 * S), Cue("backchannel", 3 * S, 4 * S)
    ledger = Ledger()
    ledger.add(played(clip(stop), sound((1.0, 3.42)), stopped=[18], doubtful=[16, 17]))
    ledger.add(played(clip(mhm), sound((1.0, 3.4), (3.8, 6.0)), doubtful=[16, 17]))
    ledger.add(played(clip(mhm), sound((1.0, 6.0)), doubtful=[8]))
    found = ledger.figures(0)
    assert found["stop_latency_ms_p50"]["value"] == pytest.approx(420, abs=1)
    assert found["selectivity_backchannel"]["value"] == 1
    assert (found["hesitation_rate"]["value"], found["hesitation_rate"]["n"]) == (0.5, 2)
