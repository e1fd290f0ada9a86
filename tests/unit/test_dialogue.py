"""What is asked, answered, cancelled and said: no result is told twice, and none too late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType

import numpy as np
import pytest
from typing_extensions import Self

from edge_runtime.delegation.answers import ENOUGH, MAX_READY
from edge_runtime.dialogue import (
    FOLLOW_S,
    MAX_ANSWER,
    STALE_TURNS,
    UNDONE_WORDS,
    Dialogue,
    outcomes,
)
from edge_runtime.dialogue import answers as is_answer
from edge_runtime.errors import BackgroundError
from edge_runtime.micro_turn import (
    STOP_MOTION,
    TURN_SAMPLES,
    VOICE_FAILED,
    BackgroundState,
    Decision,
    Delegation,
    Event,
    EventKind,
    Letters,
    MicroTurn,
    Request,
    Utterance,
    VoiceState,
)
from edge_runtime.remote_control import Mode, Orders
from edge_runtime.sentences import LONGEST

NOTHING = BackgroundState(pending=False, result_ready=False, link_up=False)
PENDING = BackgroundState(pending=True, result_ready=False, link_up=False)
READY = BackgroundState(pending=False, result_ready=True, link_up=False)
ASK = Decision(0, "listen", delegation=Delegation.DELEGATE)
CANCEL = Decision(0, "listen", delegation=Delegation.CANCEL)
DELIVER = Decision(0, "speak", say="deliver")
PROMISE = Decision(0, "speak", say="working")
TURN = MicroTurn(0, 0, np.zeros((2, TURN_SAMPLES), np.float32))


class Answers:
    """A background model that tells what the test lays ready; also answers what was cancelled."""

    def __init__(self) -> None:
        self.submitted: list[Request] = []
        self.cancelled: list[str] = []
        self.told: list[Event] = []
        self.refuses = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def submit(self, request: Request) -> None:
        if self.refuses:
            raise BackgroundError("the queue is full")
        self.submitted.append(request)

    def cancel(self, request_id: str) -> None:
        self.cancelled.append(request_id)

    def poll(self) -> Sequence[Event]:
        told, self.told = self.told, []
        return told


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def dialogue(answers: Answers) -> Dialogue:
    return Dialogue(answers, lambda act: f"words for {act}", language="fr", deadline_s=7.0)


def ask(dialogue: Dialogue) -> str:
    request = dialogue.delegate(ASK, TURN)
    assert request is not None
    return request.id


def result(request_id: str, text: str = "It is noon.") -> Event:
    return Event(EventKind.RESULT, request_id, text)


def test_a_question_is_pending_then_ready_then_told(answers: Answers, dialogue: Dialogue) -> None:
    assert dialogue.state() == NOTHING
    name = ask(dialogue)
    assert dialogue.state() == PENDING
    progress = Event(EventKind.PROGRESS, name, "thinking")
    answers.told = [progress]
    assert dialogue.poll() == [progress]
    assert dialogue.state() == PENDING
    answers.told = [result(name)]
    assert dialogue.poll() == [result(name)]
    assert dialogue.state() == READY
    said = dialogue.utterance(DELIVER, TURN)
    assert said == Utterance("utterance-1", "It is noon.", "deliver", name)
    assert dialogue.state() == NOTHING


def test_to_promise_an_answer_is_to_ask_for_it(answers: Answers, dialogue: Dialogue) -> None:
    dialogue.listen(TURN, Decision(0, "listen", heard="what time is it"))
    request = dialogue.delegate(PROMISE, TURN)
    assert request is not None
    assert request.transcript == "what time is it"
    assert answers.submitted == [request]
    assert dialogue.state() == PENDING


@pytest.mark.parametrize("act", ["greet", "still_working", "backchannel", "deliver", None])
def test_no_other_act_asks(dialogue: Dialogue, act: str | None) -> None:
    assert dialogue.delegate(Decision(0, "speak", say=act), TURN) is None


def test_what_is_asked_already_is_not_asked_again(answers: Answers, dialogue: Dialogue) -> None:
    name = ask(dialogue)
    dialogue.answered()
    assert dialogue.delegate(PROMISE, TURN) is None, "it is out"
    answers.told = [Event(EventKind.PARTIAL, name, "It is"), result(name, "noon.")]
    dialogue.poll()
    assert dialogue.delegate(PROMISE, TURN) is None, "its answer is here"
    while dialogue.utterance(DELIVER, TURN) is not None:
        pass
    dialogue.answered()
    assert dialogue.delegate(PROMISE, TURN) is not None, "this is another one"


def test_what_has_failed_at_once_is_not_asked_again(answers: Answers, dialogue: Dialogue) -> None:
    answers.refuses = True
    ask(dialogue)
    assert [event.kind for event in dialogue.poll()] == [EventKind.FAILED]
    assert dialogue.delegate(PROMISE, TURN) is None


@pytest.mark.parametrize("way", ["cancel", "rest"])
def test_what_follows_a_question_that_was_taken_back_is_another_one(
    dialogue: Dialogue, way: str
) -> None:
    ask(dialogue)
    if way == "cancel":
        dialogue.delegate(CANCEL, TURN)
    else:
        dialogue.rest()
    assert dialogue.delegate(PROMISE, TURN) is not None


def test_who_takes_back_does_not_ask(answers: Answers, dialogue: Dialogue) -> None:
    both = replace(CANCEL, floor="speak", say="working")
    assert dialogue.delegate(both, TURN) is None
    assert answers.submitted == []


def test_nothing_is_asked_in_standby(dialogue: Dialogue) -> None:
    dialogue.obey(Orders(mode=Mode.STANDBY))
    assert dialogue.delegate(PROMISE, TURN) is None


def test_a_result_is_handed_over_once(answers: Answers, dialogue: Dialogue) -> None:
    answers.told = [result(ask(dialogue))]
    dialogue.poll()
    assert dialogue.poll() == []
    assert dialogue.utterance(DELIVER, TURN) is not None
    assert dialogue.utterance(DELIVER, TURN) is None


def test_a_request_carries_what_was_heard_and_how_long_it_matters(
    answers: Answers, dialogue: Dialogue
) -> None:
    audio = np.zeros((2, TURN_SAMPLES), np.float32)
    audio[0] = 0.5
    for index, words in enumerate(("what time ", "is it")):
        letters = Letters(("", "a"), np.full((10, 2), -index, np.float32))
        decision = Decision(index, "listen", heard=words, letters=letters)
        dialogue.listen(MicroTurn(index, 0, audio), decision)
    dialogue.delegate(ASK, TURN)
    (request,) = answers.submitted
    assert request.letters is not None
    assert request.letters.log_probabilities[:, 0].tolist() == [0.0] * 10 + [-1.0] * 10
    assert (request.id, request.transcript) == ("request-1", "what time is it")
    assert (request.language, request.deadline_s) == ("fr", 7.0)
    assert request.audio.tolist() == [0.5] * 2 * TURN_SAMPLES


def test_what_was_heard_before_an_answer_is_not_asked_again(
    answers: Answers, dialogue: Dialogue
) -> None:
    turn = MicroTurn(0, 0, np.zeros((2, TURN_SAMPLES), np.float32))
    dialogue.listen(turn, Decision(0, "listen", heard="hello"))
    dialogue.answered()
    dialogue.listen(turn, Decision(1, "listen", heard="stop"))
    dialogue.delegate(ASK, TURN)
    assert answers.submitted[0].transcript == "stop"


def test_cancelling_tells_the_background_and_drops_what_comes_late(
    answers: Answers, dialogue: Dialogue
) -> None:
    name = ask(dialogue)
    assert dialogue.delegate(CANCEL, TURN) is None
    assert answers.cancelled == [name]
    assert dialogue.state() == NOTHING
    answers.told = [Event(EventKind.PROGRESS, name), result(name), Event(EventKind.FAILED, name)]
    assert dialogue.poll() == []
    assert dialogue.state() == NOTHING
    assert dialogue.utterance(DELIVER, TURN) is None


def test_cancelling_forgets_an_answer_that_was_not_told_yet(
    answers: Answers, dialogue: Dialogue
) -> None:
    answers.told = [result(ask(dialogue))]
    dialogue.poll()
    dialogue.delegate(CANCEL, TURN)
    assert dialogue.state() == NOTHING
    assert answers.cancelled == []
    assert dialogue.utterance(DELIVER, TURN) is None


def test_cancelling_nothing_does_nothing(answers: Answers, dialogue: Dialogue) -> None:
    assert dialogue.delegate(CANCEL, TURN) is None
    assert answers.cancelled == []


def test_a_new_question_takes_the_place_of_the_one_that_is_out(
    answers: Answers, dialogue: Dialogue
) -> None:
    first, second = ask(dialogue), ask(dialogue)
    assert answers.cancelled == [first]
    assert first != second
    answers.told = [result(first, "old"), result(second, "new")]
    assert dialogue.poll() == [result(second, "new")]
    said = dialogue.utterance(DELIVER, TURN)
    assert said is not None
    assert (said.text, said.request_id) == ("new", second)


def test_an_answer_that_waits_too_long_for_the_floor_is_not_told(
    answers: Answers, dialogue: Dialogue
) -> None:
    timer = Event(EventKind.RESULT, "timer-1", "The eggs are done.")
    answers.told = [result(ask(dialogue)), timer]
    for _ in range(STALE_TURNS + 1):
        assert dialogue.poll() or dialogue.state() == READY
    dialogue.poll()
    said = dialogue.utterance(DELIVER, TURN)
    assert said is not None and said.text == "The eggs are done."
    assert dialogue.state() == NOTHING


def test_an_answer_that_waited_too_long_is_not_told_from_its_middle(
    answers: Answers, dialogue: Dialogue
) -> None:
    name = ask(dialogue)
    answers.told = [Event(EventKind.PARTIAL, name, "Once upon a time.")]
    dialogue.poll()
    for _ in range(STALE_TURNS + 1):
        dialogue.poll()
    assert answers.cancelled == [name]
    answers.told = [Event(EventKind.PARTIAL, name, "And so"), result(name, "they died.")]
    assert dialogue.poll() == []
    assert dialogue.state() == NOTHING
    assert dialogue.utterance(DELIVER, TURN) is None


def test_a_failure_ends_the_wait_and_leaves_nothing_to_tell(
    answers: Answers, dialogue: Dialogue
) -> None:
    failed = Event(EventKind.FAILED, ask(dialogue), "no answer before the deadline")
    answers.told = [failed]
    assert dialogue.poll() == [failed]
    assert dialogue.state() == NOTHING


def test_a_request_that_cannot_be_taken_fails_in_the_next_turn(
    answers: Answers, dialogue: Dialogue
) -> None:
    answers.refuses = True
    name = ask(dialogue)
    assert dialogue.poll() == [Event(EventKind.FAILED, name, "the queue is full")]
    assert dialogue.state() == NOTHING
    assert dialogue.poll() == []
    answers.refuses = False
    ask(dialogue)
    assert dialogue.state() == PENDING


def test_a_timer_rings_without_a_question_and_while_one_is_out(
    answers: Answers, dialogue: Dialogue
) -> None:
    name = ask(dialogue)
    answers.told = [result("timer-1", "Your tea is ready.")]
    assert dialogue.poll() == [result("timer-1", "Your tea is ready.")]
    assert dialogue.state() == BackgroundState(True, True, False)
    answers.told = [result(name)]
    dialogue.poll()
    said = [dialogue.utterance(DELIVER, TURN) for _ in range(2)]
    assert [one.text for one in said if one] == ["Your tea is ready.", "It is noon."]


def test_unspoken_results_are_bounded_and_the_oldest_goes(
    answers: Answers, dialogue: Dialogue
) -> None:
    for number in range(MAX_READY + 2):
        answers.told = [result(ask(dialogue), str(number))]
        dialogue.poll()
    said = [dialogue.utterance(DELIVER, TURN) for _ in range(MAX_READY)]
    assert [one.text for one in said if one] == [str(n) for n in range(2, MAX_READY + 2)]
    assert dialogue.utterance(DELIVER, TURN) is None


def test_timers_are_told_however_many_rang_meanwhile_and_else_only_cancelled(
    answers: Answers, dialogue: Dialogue
) -> None:
    names = [f"timer-{n}" for n in range(MAX_READY + 4)]
    answers.told = [result(name, name) for name in names[:-2]]
    dialogue.poll()
    for _ in range(MAX_READY + 2):
        answers.told = [result(ask(dialogue))]
        dialogue.poll()
    answers.told = [result(name, name) for name in names[-2:]]
    dialogue.poll()
    assert answers.cancelled == []
    said = [dialogue.utterance(DELIVER, TURN) for _ in names[:-2]]
    assert [one.text for one in said if one] == names[:-2]
    dialogue.delegate(CANCEL, TURN)
    assert answers.cancelled == names[-2:]


def test_what_was_promised_is_told_however_much_there_is(
    answers: Answers, dialogue: Dialogue
) -> None:
    kept = [result(f"kept-{n}", f"answer {n}") for n in range(MAX_READY + 2)]
    texts = tuple(f"text {n}" for n in range(MAX_READY + 4))
    answers.told = [*kept, *(result(f"timer-{n}", str(n)) for n in range(MAX_READY))]
    dialogue.obey(Orders(deliver=texts))
    assert dialogue.undelivered == len(texts)
    dialogue.poll()
    assert dialogue.undelivered == len(texts)
    said = [one.text for _ in range(40) if (one := dialogue.utterance(DELIVER, TURN))]
    assert [text for text in said if text.startswith("answer")] == [one.text for one in kept]
    assert tuple(text for text in said if text.startswith("text")) == texts
    assert dialogue.undelivered == 0


def test_the_link_comes_and_goes(answers: Answers, dialogue: Dialogue) -> None:
    for kind, up in ((EventKind.LINK_UP, True), (EventKind.LINK_DOWN, False)):
        answers.told = [Event(kind)]
        assert dialogue.poll() == [Event(kind)]
        assert dialogue.state().link_up is up


def test_each_act_has_its_words_and_a_name_of_its_own(dialogue: Dialogue) -> None:
    assert dialogue.utterance(Decision(0, "listen"), TURN) is None
    said = [dialogue.utterance(Decision(0, "speak", say=act), TURN) for act in ("greet", "goodbye")]
    assert said == [
        Utterance("utterance-1", "words for greet", "greet"),
        Utterance("utterance-2", "words for goodbye", "goodbye"),
    ]


def speaking(index: int = 1) -> MicroTurn:
    sound = np.zeros((2, TURN_SAMPLES), np.float32)
    return MicroTurn(index, 0, sound, voice=VoiceState("utterance-1", 1.0))


def test_a_long_answer_is_a_result_once_and_its_pieces_follow_while_the_mouth_speaks() -> None:
    background = Answers()
    dialogue = Dialogue(background, str)
    dialogue.delegate(ASK, TURN)
    seen = []
    for kind, text in ((EventKind.PARTIAL, "One."), (EventKind.PARTIAL, "Two.")):
        background.told = [Event(kind, "request-1", text)]
        seen += [event.kind for event in dialogue.poll()]
    assert seen == [EventKind.RESULT, EventKind.PARTIAL]
    first = dialogue.utterance(DELIVER, TURN)
    assert first is not None and first.text == "One. Two."
    background.told = [Event(EventKind.RESULT, "request-1", "Three.")]
    assert [event.kind for event in dialogue.poll()] == [EventKind.PARTIAL]
    rest = dialogue.utterance(Decision(1, "speak"), speaking())
    assert rest is not None and (rest.text, rest.act) == ("Three.", "deliver")
    assert dialogue.utterance(Decision(2, "speak"), speaking(2)) is None


def test_a_piece_that_comes_after_silence_waits_for_the_model() -> None:
    background = Answers()
    dialogue = Dialogue(background, str)
    dialogue.delegate(ASK, TURN)
    background.told = [Event(EventKind.PARTIAL, "request-1", "One.")]
    dialogue.poll()
    dialogue.utterance(DELIVER, TURN)
    background.told = [Event(EventKind.RESULT, "request-1", "Two.")]
    dialogue.poll()
    assert dialogue.utterance(Decision(1, "listen"), TURN) is None
    assert dialogue.state() == READY
    said = dialogue.utterance(DELIVER, TURN)
    assert said is not None and said.text == "Two."


def test_the_rest_of_an_interrupted_answer_goes_with_the_next_question() -> None:
    background = Answers()
    dialogue = Dialogue(background, str)
    dialogue.delegate(ASK, TURN)
    background.told = [Event(EventKind.PARTIAL, "request-1", "One two three.")]
    dialogue.poll()
    dialogue.utterance(DELIVER, TURN)
    background.told = [Event(EventKind.RESULT, "request-1", "Four.")]
    dialogue.poll()
    cut = Event(EventKind.UTTERANCE_INTERRUPTED, "utterance-1", "three.")
    dialogue.voiced([cut])
    request = dialogue.delegate(ASK, speaking(3))
    assert request is not None and request.unsaid == "three. Four."
    assert [(one.text, one.interrupted) for one in request.conversation] == [("One two", True)]
    assert dialogue.utterance(Decision(4, "speak"), speaking(4)) is None


def test_only_known_actions_of_the_background_model_are_done() -> None:
    background = Answers()
    dialogue = Dialogue(background, str, actions=("wave",))
    dialogue.delegate(ASK, TURN)
    background.told = [Event(EventKind.ACTION, "request-1", name) for name in ("wave", "explode")]
    dialogue.poll()
    assert [action.name for action in dialogue.asked_actions()] == ["wave"]
    assert dialogue.asked_actions() == ()


@pytest.fixture
def keeper(answers: Answers) -> Dialogue:
    return Dialogue(answers, lambda act: f"words for {act}", keep=lambda transcript, letters: True)


def test_no_action_is_done_that_was_asked_for_before_a_rest(answers: Answers) -> None:
    dialogue = Dialogue(answers, lambda act: act, actions=("come",))
    dialogue.delegate(ASK, TURN)
    answers.told = [Event(EventKind.ACTION, "request-1", "come")]
    dialogue.poll()
    dialogue.obey(Orders(say=("Dinner is ready.",)))
    dialogue.rest()
    assert answers.cancelled == ["request-1"]
    answers.told = [
        Event(EventKind.ACTION, "request-1", "come"),
        Event(EventKind.RESULT, "request-1", "I am coming."),
        Event(EventKind.RESULT, "kept-1", "You wanted to be reminded of the cake."),
    ]
    assert [event.id for event in dialogue.poll()] == ["kept-1"]
    assert dialogue.asked_actions() == ()
    assert dialogue.unsaid_orders == 0
    assert dialogue.state() == READY
    said = dialogue.utterance(DELIVER, TURN)
    assert said is not None and said.text == "You wanted to be reminded of the cake."
    answers.told = [Event(EventKind.ACTION, "timer-1", "come")]
    dialogue.poll()
    assert [action.name for action in dialogue.asked_actions()] == ["come"]


@pytest.mark.parametrize("turns", [0, 3], ids=["in the first turn", "later"])
def test_an_action_of_a_kept_question_from_before_a_rest_is_told_to_be_undone(
    answers: Answers, turns: int
) -> None:
    dialogue = Dialogue(answers, str, actions=("come",), keep=lambda transcript, letters: True)
    before = ask(dialogue)
    dialogue.rest()
    assert [dialogue.poll() for _ in range(turns)] == [[]] * turns
    answers.told = [Event(EventKind.ACTION, before, "come"), result(before, "I am coming.")]
    events = dialogue.poll()
    assert [event.kind for event in events] == [EventKind.UNDONE, EventKind.RESULT]
    assert list(outcomes(events)) == ["failed"]
    assert answers.cancelled == [before], "it is not asked again either"
    assert dialogue.asked_actions() == ()
    said = dialogue.utterance(DELIVER, TURN)
    assert said is not None and (said.text, said.request_id) == (UNDONE_WORDS, before)
    after = ask(dialogue)
    answers.told = [Event(EventKind.ACTION, after, "come"), result(after, "I am coming.")]
    dialogue.poll()
    assert [action.name for action in dialogue.asked_actions()] == ["come"]
    said = dialogue.utterance(DELIVER, TURN)
    assert said is not None and said.text == "I am coming."


@pytest.mark.parametrize("kept", [False, True], ids=["a question", "one that is kept"])
def test_an_action_that_comes_in_standby_is_told_to_be_undone_after_it(
    answers: Answers, kept: bool
) -> None:
    dialogue = Dialogue(answers, str, actions=("heat", STOP_MOTION), keep=lambda *heard: kept)
    name = ask(dialogue)
    dialogue.obey(Orders(mode=Mode.STANDBY))
    answers.told = [
        Event(EventKind.ACTION, name, STOP_MOTION),
        Event(EventKind.ACTION, name, "heat"),
        result(name, "The heating is on."),
    ]
    events = dialogue.poll()
    assert [event.kind for event in events] == [
        *(EventKind.ACTION, EventKind.UNDONE, EventKind.RESULT)
    ]
    assert list(outcomes(events)) == ["failed"]
    assert [action.name for action in dialogue.asked_actions()] == [STOP_MOTION]
    assert answers.cancelled == [name]
    dialogue.obey(Orders(mode=Mode.NORMAL))
    assert dialogue.asked_actions() == ()
    said = dialogue.utterance(DELIVER, TURN)
    assert said is not None and (said.text, said.request_id) == (UNDONE_WORDS, name)
    assert dialogue.utterance(DELIVER, TURN) is None
    answers.told = [Event(EventKind.ACTION, ask(dialogue), "heat")]
    dialogue.poll()
    assert [action.name for action in dialogue.asked_actions()] == ["heat"]


def test_without_a_rest_what_an_earlier_run_kept_is_still_done(answers: Answers) -> None:
    dialogue = Dialogue(answers, str, actions=("come",))
    answers.told = [Event(EventKind.ACTION, "kept-1", "come"), result("kept-1", "I am coming.")]
    assert [event.kind for event in dialogue.poll()] == [EventKind.ACTION, EventKind.RESULT]
    assert [action.name for action in dialogue.asked_actions()] == ["come"]


def test_an_answer_that_waited_before_a_rest_is_not_told_after_it(
    answers: Answers, dialogue: Dialogue
) -> None:
    dialogue.delegate(ASK, TURN)
    answers.told = [Event(EventKind.RESULT, "request-1", "It is noon.")]
    dialogue.poll()
    assert dialogue.state() == READY
    dialogue.rest()
    assert dialogue.state() == NOTHING


def test_a_question_to_be_kept_has_an_id_like_no_other(answers: Answers, keeper: Dialogue) -> None:
    names = {ask(keeper) for _ in range(3)}
    assert len(names) == 3 and all(name.startswith("kept-") for name in names)
    assert all(request.keep for request in answers.submitted)


def test_a_new_question_does_not_take_the_place_of_one_that_is_kept(
    answers: Answers, keeper: Dialogue
) -> None:
    first, second = ask(keeper), ask(keeper)
    assert answers.cancelled == []
    answers.told = [Event(EventKind.FAILED, first, "no"), result(second), result(first, "late")]
    assert keeper.poll() == [result(second), result(first, "late")]


def test_that_a_question_is_kept_is_told_as_a_result_and_its_answer_later(
    answers: Answers, keeper: Dialogue
) -> None:
    name = ask(keeper)
    answers.told = [Event(EventKind.KEPT, name)]
    assert keeper.poll() == [result(f"{name}-notice", "words for kept")]
    assert keeper.state() == READY
    notice = keeper.utterance(DELIVER, TURN)
    assert notice is not None and notice.request_id == f"{name}-notice"
    assert keeper.state() == NOTHING
    answers.told = [Event(EventKind.PROGRESS, name), result(name)]
    assert keeper.poll() == [result(name)]
    said = keeper.utterance(DELIVER, TURN)
    assert said is not None and (said.text, said.request_id) == ("It is noon.", name)


def test_a_cancel_lets_go_of_what_is_kept(answers: Answers, keeper: Dialogue) -> None:
    told, pending = ask(keeper), ask(keeper)
    answers.told = [result(told)]
    keeper.poll()
    keeper.delegate(CANCEL, TURN)
    assert answers.cancelled == [pending, told]
    assert keeper.utterance(DELIVER, TURN) is None


@pytest.mark.parametrize("told", [False, True], ids=["before it is told", "once it was told"])
@pytest.mark.parametrize("outside", [False, True], ids=["by the person", "from outside"])
def test_a_cancel_lets_go_of_a_question_that_is_kept_for_later(
    answers: Answers, keeper: Dialogue, told: bool, outside: bool
) -> None:
    name = ask(keeper)
    answers.told = [Event(EventKind.KEPT, name)]
    keeper.poll()
    if told:
        assert keeper.utterance(DELIVER, TURN) is not None
    for _ in range(2):
        if outside:
            keeper.obey(Orders(cancel=True))
        else:
            keeper.delegate(CANCEL, TURN)
        assert answers.cancelled == [name]


def test_a_cancel_lets_go_of_a_kept_answer_that_was_about_to_be_told(
    answers: Answers, keeper: Dialogue
) -> None:
    name = ask(keeper)
    answers.told = [result(name)]
    keeper.poll()
    said = keeper.utterance(DELIVER, TURN)
    assert said is not None
    keeper.voiced([Event(EventKind.UTTERANCE_INTERRUPTED, said.id, said.text)])
    keeper.delegate(CANCEL, TURN)
    assert answers.cancelled == [name]


@pytest.mark.parametrize("then", ["a question", "an answer", "a rest"])
def test_a_cancel_is_not_about_what_was_kept_before_something_else(
    answers: Answers, keeper: Dialogue, then: str
) -> None:
    answers.told = [Event(EventKind.KEPT, ask(keeper))]
    keeper.poll()
    keeper.utterance(DELIVER, TURN)
    if then == "a question":
        answers.told = [Event(EventKind.FAILED, ask(keeper), "no answer")]
        keeper.poll()
    elif then == "an answer":
        answers.told = [result("timer-1", "The eggs are done.")]
        keeper.poll()
        keeper.utterance(DELIVER, TURN)
    else:
        keeper.rest()
    keeper.delegate(CANCEL, TURN)
    assert answers.cancelled == []


def test_what_still_comes_of_an_interrupted_answer_is_only_for_going_on() -> None:
    background = Answers()
    dialogue = Dialogue(background, str)
    dialogue.delegate(ASK, TURN)
    background.told = [Event(EventKind.PARTIAL, "request-1", "One two.")]
    dialogue.poll()
    dialogue.utterance(DELIVER, TURN)
    background.told = [Event(EventKind.PARTIAL, "request-1", "Three.")]
    dialogue.poll()
    dialogue.voiced([Event(EventKind.UTTERANCE_INTERRUPTED, "utterance-1", "two.")])
    background.told = [Event(EventKind.RESULT, "request-1", "Four.")]
    assert dialogue.poll() == []
    assert dialogue.state() == NOTHING
    assert dialogue.utterance(Decision(1, "listen"), TURN) is None
    request = dialogue.delegate(ASK, TURN)
    assert request is not None and request.unsaid == "two. Three. Four."


def test_a_cancel_ends_an_answer_of_which_the_mouth_has_only_the_beginning(
    answers: Answers, dialogue: Dialogue
) -> None:
    first = begin_book(answers, dialogue)
    dialogue.delegate(CANCEL, speaking())
    assert following(dialogue) == []
    assert dialogue.state() == NOTHING
    dialogue.voiced([Event(EventKind.UTTERANCE_INTERRUPTED, first.id, first.text)])
    ask(dialogue)
    assert answers.submitted[-1].unsaid == "", "there is nothing to go on with"


def test_an_outside_cancel_leaves_nothing_of_what_is_being_told_to_go_on_with(
    answers: Answers, dialogue: Dialogue
) -> None:
    first = begin_book(answers, dialogue)
    assert dialogue.obey(Orders(cancel=True))
    dialogue.voiced([Event(EventKind.UTTERANCE_INTERRUPTED, first.id, "of a long book.")])
    assert following(dialogue) == [] and dialogue.state() == NOTHING
    ask(dialogue)
    assert answers.submitted[-1].unsaid == ""
    assert [one.interrupted for one in answers.submitted[-1].conversation] == [True]


def test_a_piece_that_comes_in_the_turn_of_an_outside_cancel_is_not_told(
    answers: Answers, dialogue: Dialogue
) -> None:
    name = ask(dialogue)
    answers.told = [Event(EventKind.PARTIAL, name, "One.")]
    dialogue.poll()
    dialogue.utterance(DELIVER, TURN)
    answers.told = [Event(EventKind.PARTIAL, name, "Two.")]
    dialogue.poll()
    dialogue.obey(Orders(cancel=True))
    assert dialogue.utterance(Decision(1, "listen"), TURN) is None
    assert dialogue.state() == NOTHING
    assert answers.cancelled == [name]


def test_going_on_is_possible_once() -> None:
    background = Answers()
    dialogue = Dialogue(background, str)
    dialogue.delegate(ASK, TURN)
    background.told = [result("request-1", "One two.")]
    dialogue.poll()
    dialogue.utterance(DELIVER, TURN)
    dialogue.voiced([Event(EventKind.UTTERANCE_INTERRUPTED, "utterance-1", "two.")])
    dialogue.delegate(ASK, TURN)
    background.told = [result("request-2", "two.")]
    dialogue.poll()
    dialogue.utterance(DELIVER, TURN)
    dialogue.delegate(ASK, TURN)
    assert [request.unsaid for request in background.submitted] == ["", "two.", ""]


def test_what_is_no_answer_is_not_gone_on_with() -> None:
    background = Answers()
    dialogue = Dialogue(background, str)
    dialogue.utterance(Decision(0, "speak", say="working"), TURN)
    dialogue.voiced([Event(EventKind.UTTERANCE_INTERRUPTED, "utterance-1", "working")])
    dialogue.delegate(ASK, TURN)
    assert background.submitted[0].unsaid == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("**hello**", "hello"),
        ("# Title\n\n- _one_\n- `two`", "Title. one. two"),
        ("Hi \U0001f642 there", "Hi there"),
        ("Žluťoučký kůň, größer, ещё", "Žluťoučký kůň, größer, ещё"),
        ("\u4f60\u597d", "\u4f60\u597d"),
    ],
)
def test_markup_of_whoever_answers_is_not_read_aloud(
    answers: Answers, dialogue: Dialogue, text: str, said: str
) -> None:
    answers.told = [result(ask(dialogue), text)]
    assert dialogue.poll()[0].text == text
    utterance = dialogue.utterance(DELIVER, TURN)
    assert utterance is not None and utterance.text == said


def test_an_answer_of_nothing_that_can_be_said_is_none(
    answers: Answers, dialogue: Dialogue
) -> None:
    name = ask(dialogue)
    answers.told = [Event(EventKind.PARTIAL, name, "---")]
    assert dialogue.poll() == []
    assert dialogue.state().pending
    answers.told = [result(name, "\U0001f642")]
    assert [event.kind for event in dialogue.poll()] == [EventKind.FAILED]
    assert dialogue.utterance(DELIVER, TURN) is None
    assert dialogue.utterance(Decision(1, "listen"), TURN) is None
    assert dialogue.state() == NOTHING


@pytest.mark.parametrize(("action", "kind"), [("wave", "RESULT"), ("explode", "FAILED")])
def test_an_action_is_an_answer_without_a_word(answers: Answers, action: str, kind: str) -> None:
    dialogue = Dialogue(answers, str, actions=("wave",))
    name = ask(dialogue)
    answers.told = [Event(EventKind.ACTION, name, action), result(name, "")]
    assert [event.kind for event in dialogue.poll()] == [EventKind.ACTION, EventKind[kind]]


def test_what_the_voice_could_not_begin_is_said_once_more(
    answers: Answers, dialogue: Dialogue
) -> None:
    name = ask(dialogue)
    answers.told = [result(name, "It is noon.")]
    dialogue.poll()
    for tries in range(2):
        said = dialogue.utterance(DELIVER, TURN)
        assert said is not None and (said.text, said.request_id) == ("It is noon.", name)
        dialogue.voiced([Event(EventKind.UTTERANCE_FINISHED, said.id, VOICE_FAILED)])
        dialogue.utterance(Decision(1, "listen"), TURN)
        assert dialogue.state().result_ready is (tries == 0)


def test_what_is_said_once_more_comes_before_the_rest_that_waits(
    answers: Answers, dialogue: Dialogue
) -> None:
    said = begin_book(answers, dialogue)
    dialogue.utterance(Decision(1, "listen"), TURN)  # the mouth is silent: the rest waits
    dialogue.voiced([Event(EventKind.UTTERANCE_FINISHED, said.id, VOICE_FAILED)])
    again = dialogue.utterance(DELIVER, TURN)
    assert again is not None and again.text == said.text
    after = dialogue.utterance(Decision(1, "listen"), left(0.2))
    assert after is not None and after.text.startswith(f"{BOOK[said.text.count('.')]}")


def test_what_failed_after_it_began_is_not_begun_again(
    answers: Answers, dialogue: Dialogue
) -> None:
    answers.told = [result(ask(dialogue), "It is noon.")]
    dialogue.poll()
    said = dialogue.utterance(DELIVER, TURN)
    assert said is not None
    dialogue.voiced([Event(EventKind.UTTERANCE_STARTED, said.id)])
    dialogue.voiced([Event(EventKind.UTTERANCE_FINISHED, said.id, VOICE_FAILED)])
    assert dialogue.state() == NOTHING


BOOK = [f"This is sentence {number} of a long book." for number in range(60)]


def left(seconds: float, index: int = 1) -> MicroTurn:
    voice = VoiceState("utterance-1", seconds)
    return MicroTurn(index, 0, np.zeros((2, TURN_SAMPLES), np.float32), voice=voice)


def begin_book(answers: Answers, dialogue: Dialogue) -> Utterance:
    answers.told = [result(ask(dialogue), " ".join(BOOK))]
    dialogue.poll()
    first = dialogue.utterance(DELIVER, TURN)
    assert first is not None
    return first


def following(dialogue: Dialogue) -> list[Utterance]:
    found = (dialogue.utterance(Decision(1, "speak"), speaking()) for _ in range(len(BOOK)))
    return [utterance for utterance in found if utterance is not None]


def test_a_long_answer_is_given_to_the_mouth_in_parts_as_it_is_said(
    answers: Answers, dialogue: Dialogue
) -> None:
    first = begin_book(answers, dialogue)
    assert dialogue.utterance(Decision(1, "speak"), left(FOLLOW_S)) is None, "it has enough to say"
    parts = [first, *following(dialogue)]
    assert " ".join(part.text for part in parts) == " ".join(BOOK)
    assert max(len(part.text) for part in parts) <= ENOUGH + LONGEST
    assert all(part.text.startswith("This") and part.text.endswith(".") for part in parts)
    assert {(part.act, part.request_id) for part in parts} == {("deliver", first.request_id)}


def test_the_parts_of_one_answer_are_one_answer_to_the_person(
    answers: Answers, dialogue: Dialogue
) -> None:
    first = begin_book(answers, dialogue)
    dialogue.listen(speaking(), Decision(1, "speak", heard="hold on"))
    later = following(dialogue)
    assert is_answer(first) and later and not any(map(is_answer, later))
    dialogue.delegate(ASK, speaking(2))
    request = answers.submitted[-1]
    assert request.transcript == "hold on"
    assert {one.speaker for one in request.conversation} == {"device"}


def test_an_answer_interrupted_in_a_part_rests_with_all_that_comes_after(
    answers: Answers, dialogue: Dialogue
) -> None:
    begin_book(answers, dialogue)
    second = dialogue.utterance(Decision(1, "speak"), speaking())
    assert second is not None
    cut = second.text[second.text.index("of a") :]
    dialogue.voiced([Event(EventKind.UTTERANCE_INTERRUPTED, second.id, cut)])
    assert following(dialogue) == [] and dialogue.state() == NOTHING
    unsaid = " ".join(BOOK).partition(second.text)[2]
    for text in (cut + unsaid, ""):
        request = dialogue.delegate(ASK, speaking(2))
        assert request is not None and request.unsaid == text
        answers.told = [result(request.id, request.unsaid)]
        dialogue.poll()
        again = dialogue.utterance(DELIVER, TURN)
        assert (again is None) == (not text)
        following(dialogue)


def test_an_answer_rests_when_what_is_said_between_its_parts_is_interrupted(
    answers: Answers, dialogue: Dialogue
) -> None:
    first = begin_book(answers, dialogue)
    dialogue.obey(Orders(say=("Dinner is ready.",)))
    between = dialogue.utterance(Decision(1, "speak"), left(FOLLOW_S))
    assert between is not None and between.text == "Dinner is ready."
    dialogue.voiced([Event(EventKind.UTTERANCE_FINISHED, first.id)])
    dialogue.voiced([Event(EventKind.UTTERANCE_INTERRUPTED, between.id, between.text)])
    assert dialogue.utterance(Decision(2, "listen"), TURN) is None
    assert dialogue.state() == NOTHING
    dialogue.delegate(ASK, TURN)
    assert f"{first.text} {answers.submitted[-1].unsaid}" == " ".join(BOOK)


def test_what_is_left_of_an_answer_waits_while_another_is_told_and_is_not_too_old_then(
    answers: Answers, dialogue: Dialogue
) -> None:
    first = begin_book(answers, dialogue)
    for _ in range(STALE_TURNS):
        dialogue.poll()
    answers.told = [result("timer-1", "The eggs are done.")]
    dialogue.poll()
    rings = dialogue.utterance(DELIVER, speaking())
    assert rings is not None and rings.text == "The eggs are done."
    dialogue.poll()
    assert dialogue.utterance(Decision(1, "listen"), TURN) is None
    assert dialogue.state() == READY
    rest = dialogue.utterance(DELIVER, TURN)
    assert rest is not None and not rest.goes_on
    told = [first, rest, *following(dialogue)]
    assert " ".join(part.text for part in told) == " ".join(BOOK)


def test_all_answers_that_were_begun_rest_when_they_are_interrupted(
    answers: Answers, dialogue: Dialogue
) -> None:
    first = begin_book(answers, dialogue)
    answers.told = [result("timer-1", "The eggs are done.")]
    dialogue.poll()
    rings = dialogue.utterance(DELIVER, speaking())
    assert rings is not None
    cut = [Event(EventKind.UTTERANCE_INTERRUPTED, one.id, one.text) for one in (first, rings)]
    dialogue.voiced(cut)
    assert dialogue.state() == NOTHING
    dialogue.delegate(ASK, TURN)
    unsaid = answers.submitted[-1].unsaid
    assert all(text in unsaid for text in (*BOOK, rings.text))


def test_an_answer_longer_than_anybody_listens_to_is_cut_off_and_logged(
    answers: Answers, dialogue: Dialogue, caplog: pytest.LogCaptureFixture
) -> None:
    answers.told = [result(ask(dialogue), "So it goes. " * 200_000)]
    dialogue.poll()
    first = dialogue.utterance(DELIVER, TURN)
    assert first is not None and len(first.text) <= ENOUGH + LONGEST
    assert "has 2400000 characters so far" in caplog.text
    dialogue.voiced([Event(EventKind.UTTERANCE_INTERRUPTED, first.id, first.text)])
    dialogue.delegate(ASK, TURN)
    assert MAX_ANSWER - 20 < len(answers.submitted[-1].unsaid) <= MAX_ANSWER


def test_an_answer_in_pieces_is_cut_off_as_a_whole_and_the_next_is_not(
    answers: Answers, dialogue: Dialogue, caplog: pytest.LogCaptureFixture
) -> None:
    name, piece = ask(dialogue), "So it goes. " * 1_000
    answers.told = [Event(EventKind.PARTIAL, name, piece)] * 20 + [result(name, piece)]
    dialogue.poll()
    first = dialogue.utterance(DELIVER, TURN)
    assert first is not None
    dialogue.voiced([Event(EventKind.UTTERANCE_INTERRUPTED, first.id, first.text)])
    name = ask(dialogue)
    assert MAX_ANSWER - 40 < len(answers.submitted[-1].unsaid) <= MAX_ANSWER
    assert caplog.text.count("only the first 20000 are told") == 1
    answers.told = [result(name, "It is noon.")]
    dialogue.poll()
    following = dialogue.utterance(DELIVER, TURN)
    assert following is not None and following.text == "It is noon."


def test_an_answer_that_comes_word_by_word_is_said_in_sentences(
    answers: Answers, dialogue: Dialogue
) -> None:
    name = ask(dialogue)
    said = []
    for piece in ("The mus", "eum", " clo", "ses at", " six", ".", " It is", " far", " away", "."):
        answers.told = [Event(EventKind.PARTIAL, name, piece)]
        seen = [event.kind for event in dialogue.poll()]
        if seen:
            said += [(seen, piece)]
    answers.told = [result(name, "")]
    dialogue.poll()
    assert said == [([EventKind.RESULT], " It is")]
    told = []
    while (utterance := dialogue.utterance(DELIVER, TURN)) is not None:
        told.append(utterance.text)
        dialogue.answered()
    assert " ".join(told) == "The museum closes at six. It is far away."
