"""What counts as what: hand-made clips and decisions."""

from __future__ import annotations

from dataclasses import replace
from string import ascii_lowercase

import numpy as np
import pytest

from edge_runtime.evaluation.clip import RESPONSE_MS, Clip, Cue, Trace
from edge_runtime.evaluation.gaps import Gap, eagerness_curve
from edge_runtime.evaluation.metrics import Tally, spells
from edge_runtime.evaluation.model_level import trace as model_trace
from edge_runtime.evaluation.sentences import Sentence, edits, told_apart
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    BackgroundState,
    Decision,
    Letters,
    VoiceState,
)

S = 16_000
TURNS = 40
NOTHING = np.zeros(0)


def clip(*cues: Cue, scenario: str = "turns", said: tuple[tuple[int, int, str], ...] = ()) -> Clip:
    return Clip(
        scenario=scenario,
        audio=np.zeros((2, TURNS * TURN_SAMPLES), np.float32),
        cues=cues,
        voice=(VoiceState(),) * TURNS,
        events=((),) * TURNS,
        background=(BackgroundState(),) * TURNS,
        near=np.zeros(TURNS * TURN_SAMPLES, np.float32),
        said=said,
    )


def speaking(one: Clip) -> Clip:
    """The device speaks all along."""
    return replace(one, voice=(VoiceState("utterance-1", 1.0),) * TURNS)


def trace(**decisions: object) -> Trace:
    return Trace(times=NOTHING.astype(np.int64), speak=NOTHING, stop=NOTHING, **decisions)  # type: ignore[arg-type]


def figures(one: Clip, decided: Trace) -> dict[str, dict[str, object]]:
    tally = Tally()
    tally.add(one, decided)
    return tally.figures(0)


def test_gaps_know_what_was_said_and_by_whom() -> None:
    turn = clip(Cue("pause", 2 * S, 4 * S, "clause", S), Cue("end", 5 * S, 8 * S, "", 2 * S))
    tally = Tally()
    tally.add(replace(turn, text="put it down", voice_name="slt"), trace())
    assert [(gap.text, gap.voice) for gap in tally.gaps] == [("put it down", "slt")] * 2


def test_speaking_into_a_pause_and_after_the_end_are_different_things() -> None:
    turn = clip(Cue("pause", 2 * S, 4 * S, "clause", S), Cue("end", 5 * S, 8 * S, "", 2 * S))
    early = figures(turn, trace(takes=(3 * S,)))
    assert early["false_takeover_rate"]["value"] == 1
    assert early["false_takeover_rate_long_pause"]["value"] == 1
    assert early["takeover_rate"]["value"] == 0
    right = figures(turn, trace(takes=(5 * S + 6400,)))
    assert right["false_takeover_rate"]["value"] == 0
    assert right["takeover_rate"]["value"] == 1
    assert right["response_latency_ms_p50"]["value"] == pytest.approx(400 + 12)


def test_a_stop_counts_from_when_it_fell_silent_for_good() -> None:
    cue = Cue("interruption", 2 * S, 3 * S)
    once = ((2 * S + 3200, 2 * S + 6400), (2 * S + 9600, 2 * S + 16_000))
    found = figures(
        clip(cue, scenario="interruptions"), trace(stops=(2 * S + 16_000,), hesitations=once)
    )
    assert found["stop_miss_rate"]["value"] == 0
    assert found["stop_latency_ms_p50"]["value"] == pytest.approx(600 + 12 + 20)
    before = trace(stops=(2 * S + 3200,), hesitations=((2 * S - 3200, 2 * S + 3200),))
    found = figures(clip(cue, scenario="interruptions"), before)
    assert found["stopped_before_rate"]["value"] == 1
    assert found["stop_latency_ms_p50"]["n"] == 0


def test_a_hesitation_lasts_until_it_stops_or_goes_on() -> None:
    doubtful, stopped = (1, 2, 5, 8), (6,)
    floor = {"floor": {"speak": 0.0, "yield": 0.5}}
    decided = [
        Decision(i, "hold", stop=i in stopped, hesitate=i in doubtful, probabilities=floor)
        for i in range(9)
    ]
    found = model_trace(clip(), decided)
    turns = [(a // TURN_SAMPLES - 1, b // TURN_SAMPLES - 1) for a, b in found.hesitations]
    assert turns == [(1, 3), (5, 6), (8, 9)]
    assert [found.silent_from(stop) // TURN_SAMPLES - 1 for stop in found.stops] == [5]


def test_a_hesitation_at_something_held_is_no_stop_and_is_told() -> None:
    cue = Cue("backchannel", 2 * S, 3 * S)
    heard = speaking(clip(cue, scenario="backchannels"))
    found = figures(heard, trace(hesitations=((2 * S + 3200, 2 * S + 6400),)))
    assert found["selectivity_backchannel"]["value"] == 1
    assert found["hesitation_rate"] == {**found["hesitation_rate"], "value": 1, "n": 1}
    found = figures(heard, trace(hesitations=((S, S + 3200),)))
    assert found["hesitation_rate"]["value"] == 0


@pytest.mark.parametrize("kind", ["side talk", "noise"])
def test_who_does_not_speak_cannot_hesitate(kind: str) -> None:
    listens = clip(Cue(kind, 2 * S, 4 * S), scenario="any")
    before = tuple(VoiceState("utterance-1", 1.0) if at < 10 else VoiceState() for at in range(40))
    for one, n in ((listens, 0), (replace(listens, voice=before), 0), (speaking(listens), 1)):
        found = figures(one, trace())
        assert found["hesitation_rate"]["n"] == n
        assert found[f"selectivity_{kind.replace(' ', '_')}"]["value"] == 1


def test_an_answer_after_two_seconds_is_a_miss_and_still_a_latency() -> None:
    found = figures(clip(Cue("end", S, S + 3 * S + S // 2)), trace(takes=(S + 3 * S,)))
    assert found["takeover_rate"]["value"] == 0
    assert found["response_latency_ms_p50"]["value"] == pytest.approx(3012)


@pytest.mark.parametrize(("after_s", "unanswered"), [(1, 0), (5, 0), (8, 0), (8.2, 1), (None, 1)])
def test_an_answer_that_comes_at_all_is_told_from_none(
    after_s: float | None, unanswered: int
) -> None:
    took = trace(takes=(S // 2, *(() if after_s is None else (int((1 + after_s) * S),))))
    found = figures(clip(Cue("end", S, S + 3 * S + S // 2)), took)
    assert found["unanswered_rate"]["value"] == unanswered
    assert found["response_latency_ms_p50"]["n"] == (after_s == 1)


def test_what_is_asked_on_is_answered_and_handed_on() -> None:
    asked = clip(Cue("asked on", 2 * S, 4 * S), scenario="answers")
    right = figures(asked, trace(takes=(3 * S,), delegations=((3 * S, "delegate"),)))
    assert right["asked_on_answered"]["value"] == right["asked_on_delegated"]["value"] == 1
    mere = figures(asked, trace(takes=(3 * S,), delegations=((3 * S, "cancel"),)))
    assert (mere["asked_on_answered"]["value"], mere["asked_on_delegated"]["value"]) == (1, 0)
    late = figures(asked, trace(takes=(5 * S,), delegations=((5 * S, "delegate"),)))
    assert late["asked_on_answered"]["value"] == late["asked_on_delegated"]["value"] == 0


def test_what_is_drowned_is_asked_for_again_and_not_handed_on() -> None:
    cue = clip(Cue("drowned", 2 * S, 5 * S), scenario="drowned")
    asks = figures(cue, trace(takes=(3 * S,), acts={3 * S: "ask_repeat"}))
    assert (asks["asks_again_rate"]["value"], asks["drowned_delegated_rate"]["value"]) == (1, 0)
    guesses = trace(takes=(3 * S,), acts={3 * S: "working"}, delegations=((3 * S, "delegate"),))
    found = figures(cue, guesses)
    assert (found["asks_again_rate"]["value"], found["drowned_delegated_rate"]["value"]) == (0, 1)
    late = figures(cue, trace(takes=(6 * S,), acts={6 * S: "ask_repeat"}))
    assert late["asks_again_rate"]["value"] == 0


@pytest.mark.parametrize(("act", "needless"), [("ask_repeat", 1), ("working", 0)])
def test_to_ask_again_for_what_was_clear_is_counted(act: str, needless: int) -> None:
    end = clip(Cue("end", S, S + 3 * S + S // 2))
    found = figures(end, trace(takes=(2 * S,), acts={2 * S: act}))["asks_needlessly_rate"]
    assert (found["value"], found["n"]) == (needless, 1)
    assert figures(end, trace())["asks_needlessly_rate"]["n"] == 0


def test_what_never_stops_is_a_miss_and_no_latency() -> None:
    cue = Cue("interruption", 2 * S, 3 * S)
    found = figures(clip(cue, scenario="interruptions"), trace(stops=(S, 5 * S)))
    assert found["stop_miss_rate"]["value"] == 1 and found["stop_latency_ms_p50"]["n"] == 0
    found = figures(clip(cue, scenario="interruptions"), trace(stops=(2 * S + 4800,)))
    assert found["stop_miss_rate"]["value"] == 0
    assert found["stop_latency_ms_p50"]["value"] == pytest.approx(300 + 12 + 20)
    assert found["stopped_before_rate"]["value"] == 0


def test_who_was_falling_silent_anyway_did_not_do_so_for_the_interruption() -> None:
    cue = Cue("interruption", 2 * S, 3 * S)
    found = figures(clip(cue, scenario="interruptions"), trace(stops=(2 * S - 1600, 2 * S + 1600)))
    assert found["stopped_before_rate"]["value"] == 1
    assert found["stop_miss_rate"]["value"] == 0 and found["stop_latency_ms_p50"]["n"] == 0


@pytest.mark.parametrize(
    ("kind", "moments", "name"),
    [
        ("backchannel", {"stops": (2 * S,)}, "selectivity_backchannel"),
        ("side talk", {"takes": (2 * S,)}, "selectivity_side_talk"),
        ("noise burst", {"stops": (2 * S,)}, "selectivity_noise"),
        ("echo", {"stops": (2 * S,)}, "selectivity_echo"),
    ],
)
def test_selectivity_is_not_to_react(
    kind: str, moments: dict[str, tuple[int, ...]], name: str
) -> None:
    one = clip(Cue(kind, S + S // 2, 3 * S), scenario="any")
    for decided, value in ((trace(**moments), 0), (trace(), 1)):
        found = figures(one, decided)
        assert found[name]["value"] == value
        assert found["selectivity"]["value"] is None, "of one kind alone"


def test_shares_know_what_was_said_again_and_again() -> None:
    tally = Tally()
    for index in range(8):
        one = clip(Cue("backchannel", S, 2 * S), scenario="any")
        tally.add(replace(one, text="cool" if index % 2 else "aha", voice_name="awb"), trace())
    assert tally.figures(0)["selectivity_backchannel"]["texts"] == 2


def test_what_two_recordings_tell_is_told_of_two() -> None:
    turn = clip(Cue("pause", 2 * S, 4 * S, "clause", S), Cue("end", 5 * S, 8 * S, "", 2 * S))
    tally = Tally()
    for index in range(8):
        at = 5 * S + (index % 2 + 1) * TURN_SAMPLES
        tally.add(replace(turn, recording=f"{index % 2}.wav"), trace(takes=(at,)))
    found = tally.figures(0)
    for name in ("takeover_rate", "response_latency_ms_p50", "turn_auc"):
        assert found[name]["recordings"] == 2, name
    low, high = found["response_latency_ms_p50"]["ci95"]  # type: ignore[misc]
    assert high - low == 200, "one recording or the other"


def test_selectivity_is_the_mean_of_its_kinds_however_often_each_occurs() -> None:
    tally = Tally()
    for kind, often, stops in (
        ("backchannel", 3, True),
        ("side talk heard", 1, False),
        ("noise burst", 1, False),
        ("echo", 5, False),
    ):
        for _ in range(often):
            cue = Cue(kind, S + S // 2, 3 * S)
            tally.add(clip(cue, scenario="any"), trace(stops=(2 * S,) if stops else ()))
    found = tally.figures(0)["selectivity"]
    assert (found["value"], found["n"]) == (0.75, 10)


def test_one_long_answer_is_counted_once() -> None:
    takes = tuple(range(S, 3 * S, TURN_SAMPLES))
    assert spells(takes, 0, 3 * S) == 1
    assert spells((*takes, 6 * S), 0, 7 * S) == 2
    found = figures(clip(Cue("side talk", 0, 6 * S), scenario="any"), trace(takes=takes))
    assert found["side_talk_answers_per_min"]["value"] == pytest.approx(10)
    assert found["side_talk_answers_per_min"]["n"] == 0.1


def test_delegation_and_action_are_held_against_what_was_asked() -> None:
    question = Cue(
        "end", S, 4 * S, facts={"act": "working", "action": "none", "delegate": "delegate"}
    )
    command = Cue(
        "end", S, 4 * S, facts={"act": "acknowledge", "action": "wave", "delegate": "none"}
    )
    at = S + 6400
    tally = Tally()
    tally.add(
        clip(question), trace(takes=(at,), acts={at: "working"}, delegations=((at, "delegate"),))
    )
    tally.add(clip(command), trace(takes=(at,), acts={at: "yes"}, delegations=((at, "delegate"),)))
    tally.add(clip(command), trace(actions=((at, "wave"),)))
    found = tally.figures(0)
    assert (found["delegation_recall"]["value"], found["delegation_recall"]["n"]) == (1, 1)
    assert (found["delegation_precision"]["value"], found["delegation_precision"]["n"]) == (0.5, 2)
    assert (found["act_accuracy"]["value"], found["act_accuracy"]["n"]) == (0.5, 2)
    assert (found["action_accuracy"]["value"], found["action_accuracy"]["n"]) == (0.5, 2)


@pytest.mark.parametrize(
    ("at", "counts"), [(S - 4000, 0), (S - 2400, 1), (3 * S, 1), (3 * S + 1, 0)]
)
def test_an_action_may_begin_as_the_last_word_ends(at: int, counts: float) -> None:
    command = Cue("end", S, 4 * S, facts={"action": "wave"})
    found = figures(clip(command), trace(actions=((at, "wave"),)))
    assert found["action_accuracy"]["value"] == counts


@pytest.mark.parametrize(
    ("at", "counts"), [(S - 4000, 0), (S - 3200, 0), (S - 1600, 1), (2 * S, 1), (3 * S + 1, 0)]
)
def test_what_is_handed_on_or_taken_back_may_be_as_the_last_word_ends(at: int, counts: int) -> None:
    question = clip(Cue("end", S, 4 * S, facts={"delegate": "delegate"}))
    found = figures(question, trace(delegations=((at, "delegate"),)))
    assert found["delegation_recall"]["value"] == counts
    assert found["delegation_precision"]["n"] == counts
    cancel, back = (clip(Cue(kind, S, 3 * S), scenario="any") for kind in ("cancel", "taken back"))
    taken = trace(takes=(3 * S,), acts={3 * S: "deliver"}, delegations=((at, "cancel"),))
    assert figures(cancel, taken)["cancel_recall"]["value"] == counts
    assert figures(back, taken)["delivery_after_cancel_rate"]["value"] == 1 - counts
    on = clip(Cue("asked on", S, 3 * S), scenario="any")
    found = figures(on, trace(delegations=((at, "delegate"),)))
    assert found["asked_on_delegated"]["value"] == counts


@pytest.mark.parametrize(
    ("at", "early"),
    [(S - 1, 0), (S + 3200, 0.5), (3 * S, 0.5), (5 * S - 6400, 0.5), (5 * S - 1600, 0), (6 * S, 0)],
)
def test_what_is_done_before_the_last_word_ends_is_premature(at: int, early: float) -> None:
    turn = clip(
        Cue("pause", 2 * S, 4 * S, "clause", S),
        Cue("end", 5 * S, 8 * S, "", 2 * S, {"action": "wave", "delegate": "delegate"}),
        said=((S, 2 * S, "wave"), (4 * S, 5 * S, "at me")),
    )
    found = figures(turn, trace(actions=((at, "wave"),), delegations=((at, "delegate"),)))
    for name in ("premature_action_rate", "premature_delegation_rate"):
        assert (found[name]["value"], found[name]["n"]) == (early, 2)
    in_time = at > 5 * S - 3200
    assert found["action_accuracy"]["value"] == found["delegation_recall"]["value"] == in_time


def test_what_is_handed_on_beside_the_questions_counts_too() -> None:
    handed_on = trace(delegations=((2 * S, "delegate"), (5 * S, "cancel")))
    free = figures(clip(Cue("end", S, 4 * S, "open")), handed_on)
    assert free["open_delegation_rate"]["value"] == 1 and free["delegation_precision"]["n"] == 0
    asked = Cue("end", S, 4 * S, "fact", facts={"delegate": "delegate"})
    assert figures(clip(asked), handed_on)["open_delegation_rate"]["n"] == 0
    beside = figures(clip(Cue("side talk", 0, 6 * S), scenario="any"), handed_on)
    assert beside["side_talk_delegations_per_min"]["value"] == pytest.approx(10)
    noise = figures(clip(Cue("noise", 0, 6 * S), scenario="any"), handed_on)
    assert noise["side_talk_delegations_per_min"]["n"] == 0


def test_half_a_command_is_nothing_to_act_upon() -> None:
    pause = clip(Cue("pause", S, 2 * S, "clause", S))
    for name, wrong in (("turn_left", 1), ("look_at", 0)):
        found = figures(pause, trace(actions=((S + 6400, name),)))
        assert found["premature_action_rate"]["value"] == wrong
    assert figures(pause, trace(actions=((3 * S, "come"),)))["premature_action_rate"]["value"] == 0


def test_words_that_were_cut_in_two_are_no_test_of_hearing() -> None:
    heard = trace(heard=((2 * S, "good morning"),))
    torn = ((S, 2 * S, "good morning"), (3 * S, 4 * S, ""))
    assert figures(clip(said=torn), heard)["cer"]["n"] == 0
    assert figures(clip(said=torn[:1]), heard)["cer"]["value"] == 0


def test_an_action_that_nobody_asked_for_is_a_wrong_one() -> None:
    nothing, wave = (
        Cue("end", S, 4 * S, facts={"act": "yes", "action": action, "delegate": "none"})
        for action in ("none", "wave")
    )
    at = S + 6400
    for cue, actions, wrong in (
        (wave, ("wave",), 0),
        (wave, ("wave", "turn_left"), 1),
        (wave, ("come",), 1),
        (nothing, ("come",), 1),
        (nothing, ("look_at",), 0),
        (nothing, (), 0),
    ):
        found = figures(clip(cue), trace(actions=tuple((at, name) for name in actions)))
        assert found["wrong_action_rate"]["value"] == wrong, (cue.facts, actions)
    spoken = clip(wave, said=((S // 2, S, "wave at me"),))
    early = figures(spoken, trace(actions=((S // 2 + 3200, "come"), (at, "wave"))))
    assert early["wrong_action_rate"]["value"] == 1, "while it was still being said"
    twice = figures(spoken, trace(actions=((S, "wave"), (at, "wave"))))
    assert twice["wrong_action_rate"]["value"] == 1, "one too many"
    late = figures(clip(nothing), trace(actions=((4 * S, "come"),)))
    assert late["wrong_action_rate"]["value"] == 0, "what comes later answers something else"


@pytest.mark.parametrize(
    ("actions", "counts"),
    [
        ((), 0),
        (((2 * S, "turn_left"),), 1),
        (((S // 2 + 3200, "turn_left"),), 1),  # while it is still being said
        (((2 * S, "look_at"),), 0),
        (((S // 2, "turn_left"), (3 * S + 1, "come")), 0),  # before it, and long after
    ],
)
def test_an_action_upon_free_text_counts_apart(
    actions: tuple[tuple[int, str], ...], counts: int
) -> None:
    free = clip(Cue("end", S, 4 * S, "open"), said=((S // 2, S, "it rains"),))
    found = figures(free, trace(actions=actions))
    assert (found["open_action_rate"]["value"], found["wrong_action_rate"]["n"]) == (counts, 0)
    asked = clip(Cue("end", S, 4 * S, facts={"action": "none"}), said=free.said)
    assert figures(asked, trace(actions=actions))["open_action_rate"]["n"] == 0


def test_what_is_seen_wants_the_right_reaction() -> None:
    arrival = clip(Cue("arrival", S, 4 * S), scenario="vision")
    greeted = figures(arrival, trace(takes=(2 * S,), acts={2 * S: "greet"}))
    assert greeted["vision_recall"]["value"] == 1
    assert greeted["vision_latency_ms_p50"]["value"] == pytest.approx(1012)
    answered = figures(arrival, trace(takes=(2 * S,), acts={2 * S: "yes"}))
    assert answered["vision_recall"]["value"] == 0
    quiet = clip(Cue("quiet", 0, 6 * S), scenario="vision")
    assert figures(quiet, trace(actions=((S, "wave"),)))["vision_false_per_hour"]["value"] == 600
    assert figures(quiet, trace())["vision_false_per_hour"]["value"] == 0


def test_who_only_sees_that_an_arm_is_up_gets_one_of_the_crossed_gestures_wrong() -> None:
    wave, hand = Cue("wave", S, 3 * S), Cue("hand", S, 3 * S)
    silent, speaking = Cue("hand in silence", S, 3 * S), Cue("wave while speaking", S, 3 * S)
    tally = Tally()
    for cue in (wave, silent):
        tally.add(clip(cue, scenario="vision"), trace(actions=((2 * S, "wave"),)))
    for cue in (hand, speaking):
        tally.add(clip(cue, scenario="vision"), trace(stops=(2 * S,)))
    found = tally.figures(0)
    assert found["vision_recall"]["value"] == 1
    assert found["vision_waves_at_hand"]["value"] == found["vision_stops_for_wave"]["value"] == 1
    seen = figures(clip(speaking, scenario="vision"), trace(actions=((2 * S, "wave"),)))
    assert seen["vision_stops_for_wave"]["value"] == 0, "it may wave back"
    assert figures(clip(silent), trace())["vision_waves_at_hand"]["value"] == 0


def test_a_result_waits_for_the_person_and_none_is_made_up() -> None:
    woven = clip(
        Cue("busy floor", S, 3 * S),
        Cue("answer", 3 * S, 7 * S, "person speaks"),
        scenario="answers",
    )
    over = figures(woven, trace(takes=(2 * S,), acts={2 * S: "deliver"}))
    assert over["weave_violation_rate"]["value"] == 1
    assert over["weave_delivered_rate"]["value"] == 0
    after = figures(woven, trace(takes=(4 * S,), acts={4 * S: "deliver"}))
    assert after["weave_violation_rate"]["value"] == 0
    assert after["weave_delay_ms_p50"]["value"] == pytest.approx(1012)
    other = figures(woven, trace(takes=(4 * S,), acts={4 * S: "yes"}))
    assert other["weave_delivered_rate"]["value"] == 0, "it spoke, but of something else"
    none = clip(Cue("no answer", S, 5 * S, "cancelled"), scenario="answers")
    assert (
        figures(none, trace(takes=(2 * S,), acts={2 * S: "deliver"}))["stale_delivery_rate"][
            "value"
        ]
        == 1
    )
    assert (
        figures(none, trace(takes=(2 * S,), acts={2 * S: "apologise"}))["stale_delivery_rate"][
            "value"
        ]
        == 0
    )


def test_an_answer_that_was_taken_back_is_told_by_who_does_not_take_the_cancel() -> None:
    taken_back = clip(Cue("taken back", S, 7 * S), scenario="answers")
    told = {"takes": (4 * S,), "acts": {4 * S: "deliver"}}
    for decided, delivered in (
        (trace(**told), 1),
        (trace(**told, delegations=((2 * S, "cancel"),)), 0),
        (trace(**told, delegations=((5 * S, "cancel"),)), 1),
        (trace(takes=(4 * S,), acts={4 * S: "acknowledge"}), 0),
    ):
        found = figures(taken_back, decided)
        assert found["delivery_after_cancel_rate"]["value"] == delivered
    late = figures(clip(Cue("answer", S, 5 * S, "late"), scenario="answers"), trace(**told))
    assert late["weave_delivered_late_rate"]["value"] == 1
    assert late["weave_delivered_rate"]["n"] == 0


def test_errors_of_the_transcript() -> None:
    assert edits("kitten", "sitting") == 3
    said = ((S, 2 * S, "turn on"), (3 * S, 4 * S, "the light"))
    heard = ((2 * S, "turn an "), (4 * S + 3200, "the lite"), (7 * S, "never heard"))
    found = figures(clip(said=said), trace(heard=heard))
    assert found["cer"]["value"] == pytest.approx(4 / 17, abs=1e-4)
    assert (found["wer"]["value"], found["wer"]["n"]) == (0.5, 4)
    tally = Tally()
    for words in ("turn on", "turn off", "turn in", "turn up"):
        tally.add(clip(said=((S, 2 * S, words),)), trace(heard=((2 * S, "turn on"),)))
    assert None not in tally.figures(0)["cer"]["ci95"]


def test_a_sentence_is_told_from_all_others_of_the_run() -> None:
    run = [
        Sentence("turn on", "turm on"),
        Sentence("turn off", "turn on"),
        Sentence("stop", ""),
    ]
    assert told_apart(run) == [True, False, False]
    alike = [Sentence("the same", "the same"), Sentence("the same", "")]
    assert told_apart(alike) == [], "nothing to tell apart"


def test_where_there_are_letters_they_tell_it_and_not_its_spelling() -> None:
    symbols = ("", *ascii_lowercase)
    chances = np.full((2 * S // TURN_SAMPLES, 1, len(symbols)), -6.0, np.float32)
    chances[:, :, 0] = 0.0
    for turn, letter in ((6, 1), (8, 2)):
        chances[turn, 0] = -6.0
        chances[turn, 0, letter] = -0.1
    letters = tuple(
        ((index + 1) * TURN_SAMPLES, Letters(symbols, rows)) for index, rows in enumerate(chances)
    )
    tally = Tally()
    for text, spelled in (("ab", "ba"), ("ba", "ba")):
        heard = trace(heard=((2 * S, spelled),), letters=letters)
        tally.add(clip(said=((S, 2 * S, text),)), heard)
    assert told_apart(tally.sentences) == [True, False]
    pieces = [
        one._replace(letters=Letters(("", "ab"), np.zeros((4, 2), np.float32)))
        for one in tally.sentences
    ]
    assert told_apart(pieces) == [False, True], "no letters: pieces of words"
    assert told_apart([one._replace(letters=None) for one in tally.sentences]) == [False, True]


def test_backchannels_belong_into_the_breaths() -> None:
    story = clip(Cue("long turn", 0, 6 * S), Cue("breath", 2 * S, 3 * S), scenario="long turns")
    found = figures(story, trace(backchannels=(2 * S + 6400, 5 * S), takes=(4 * S,)))
    assert found["backchannels_per_min"]["value"] == pytest.approx(20)
    assert found["backchannels_in_pauses"]["value"] == 0.5
    assert found["long_turn_took_floor"]["value"] == 1


def test_one_mhm_in_a_long_turn_is_counted_once() -> None:
    story = clip(Cue("long turn", 0, 6 * S), Cue("breath", 2 * S, 3 * S), scenario="long turns")
    murmurs = (2 * S + 6400, 2 * S + 9600, 2 * S + 12_800, 5 * S)
    found = figures(story, trace(backchannels=murmurs))
    assert found["backchannels_per_min"]["value"] == pytest.approx(20)
    assert (found["backchannels_in_pauses"]["value"], found["backchannels_in_pauses"]["n"]) == (
        0.5,
        2,
    )


@pytest.mark.parametrize(("at", "took"), [(5 * S, 1), (6 * S - 3200, 1), (6 * S - 800, 0)])
def test_who_begins_as_a_long_turn_ends_has_not_taken_the_floor_in_it(at: int, took: int) -> None:
    story = clip(Cue("long turn", 0, 6 * S), scenario="long turns")
    assert figures(story, trace(takes=(at,)))["long_turn_took_floor"]["value"] == took


def gap(ended: bool, score: float, detail: str = "clause", speech: int = 2 * S) -> Gap:
    times, scores = np.array([200.0, 400.0, 600.0]), np.array([score / 2, score, score])
    return Gap(ended, detail, speech, 2 * S, score, times, scores)


def test_a_sentence_torn_in_two_is_a_pause_and_neither_natural_nor_a_cut() -> None:
    tally = Tally()
    tally.add(clip(Cue("end", 5 * S, 8 * S, "", 2 * S)), trace())
    for detail in ("clause", "cut", "torn", "torn"):
        tally.add(clip(Cue("pause", 2 * S, 4 * S, detail, 2 * S)), trace())
    found = tally.figures(0)
    assert (found["turn_auc"]["n"], found["turn_auc_cut"]["n"]) == (2, 2)
    assert (found["turn_auc_matched"]["n"], found["turn_auc_cut_matched"]["n"]) == (2, 2)
    assert found["false_takeover_rate"]["n"] == 4


def test_eagerness_moves_along_one_curve() -> None:
    gaps = [*(gap(True, 0.7) for _ in range(10)), *(gap(False, 0.4) for _ in range(10))]
    rows = {row["eagerness"]: row for row in eagerness_curve(gaps, 0.5, logits_per_unit=2.0)}
    assert rows[0.0]["takeover_rate"] == 1 and rows[0.0]["false_takeover_rate"] == 0
    assert rows[-1.0]["takeover_rate"] == 0, "0.7 shifted by two logits lies below one half"
    assert rows[1.0]["false_takeover_rate"] == 1
    assert rows[1.0]["response_latency_ms_p50"] == 200 + RESPONSE_MS
    assert eagerness_curve(gaps[:10], 0.5, 2.0) == []


class Murmurer:
    """Says "mhm" to whatever it hears, and nothing else."""

    name = "model"

    def run(self, clip: Clip) -> Trace:
        power = (clip.audio[0].reshape(clip.turns, TURN_SAMPLES) ** 2).mean(1)
        loud = np.flatnonzero(power > 1e-4)
        return trace(backchannels=tuple(int(turn + 1) * TURN_SAMPLES for turn in loud))


@pytest.mark.parametrize(
    ("kind", "detail", "name", "answers", "a_minute"),
    [
        ("side talk", "television", "side_talk_backchannels_per_min", "side_talk_answers", 100),
        ("noise", "", "noise_backchannels_per_min", "noise_answers", 100),
        ("quiet", "", "vision_backchannels_per_hour", "vision_false", 6000),
    ],
)
def test_who_says_mhm_to_what_is_not_for_it_is_told(
    kind: str, detail: str, name: str, answers: str, a_minute: int
) -> None:
    silent = clip(Cue(kind, S, 7 * S, detail), scenario="any")
    audio = silent.audio.copy()
    audio[0, S : 7 * S] = 0.1
    for one, often in ((replace(silent, audio=audio), a_minute), (silent, 0)):
        found = figures(one, Murmurer().run(one))
        assert found[name]["value"] == pytest.approx(often), "each takes 0.6 s"
        answered = found[answers + ("_per_hour" if kind == "quiet" else "_per_min")]
        assert (answered["value"], answered["n"]) == (0, found[name]["n"])


def test_mhm_in_the_middle_of_speech_is_told_from_mhm_in_a_pause() -> None:
    turn = clip(
        Cue("pause", 3 * S, 5 * S, "clause", 2 * S),
        Cue("end", 7 * S, 8 * S, "", 4 * S),
        said=((S, 3 * S, "turn on"), (5 * S, 7 * S, "the light")),
    )
    for moments, often in (((2 * S,), 1), ((2 * S, 6 * S), 2), ((4 * S, 7 * S + 3200), 0)):
        found = figures(turn, trace(backchannels=moments))
        minutes = 2 * (2 - 0.2) / 60
        assert found["speech_backchannels_per_min"]["value"] == pytest.approx(
            often / minutes, abs=1e-3
        )
        assert found["speech_cut_ins_per_min"]["value"] == 0
    story = clip(scenario="long turns", said=turn.said)
    assert figures(story, trace(backchannels=(2 * S,)))["speech_backchannels_per_min"]["n"] == 0


def test_mhm_to_its_own_echo_and_to_what_was_drowned_is_told() -> None:
    echo = clip(Cue("echo", S, 4 * S), scenario="any")
    found = figures(echo, trace(backchannels=(5 * S,)))
    assert found["self_backchannels_per_min"]["value"] == pytest.approx(20)
    assert found["self_answers_per_min"]["value"] == 0
    lost = clip(Cue("drowned", 2 * S, 5 * S), scenario="drowned")
    for moments, share in (((3 * S,), 1), ((6 * S,), 0)):
        found = figures(lost, trace(backchannels=moments))
        assert found["drowned_backchannel_rate"]["value"] == share
