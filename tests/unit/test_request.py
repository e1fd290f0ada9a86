"""The life of a delegated request: told in order, once, and never after its end."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.delegation.request import DelegatedRequest, RequestState
from edge_runtime.delegation.wire import ReplyKind, ReplyMessage
from edge_runtime.micro_turn import Event, EventKind

ANSWER = (
    (ReplyKind.ACCEPTED, ""),
    (ReplyKind.PROGRESS, "searching"),
    (ReplyKind.PARTIAL, "One."),
    (ReplyKind.PARTIAL, "Two."),
    (ReplyKind.RESULT, "Three."),
)


def replies(worker: str = "w") -> list[ReplyMessage]:
    return [
        ReplyMessage(id="x", seq=seq, kind=kind, text=text, worker=worker)
        for seq, (kind, text) in enumerate(ANSWER)
    ]


def sent() -> DelegatedRequest:
    request = DelegatedRequest("request-1", 0, 1_000, lambda: "That is all.")
    request.sent()
    return request


def told(request: DelegatedRequest, given: list[ReplyMessage]) -> list[str]:
    events = itertools.chain.from_iterable(request.receive(reply, 0) for reply in given)
    return [event.text for event in events if event.kind is not EventKind.PROGRESS]


def test_an_answer_is_told_in_its_order() -> None:
    request = sent()
    assert told(request, replies()) == ["One.", "Two.", "Three."]
    assert request.state is RequestState.DONE


@given(st.integers(0, 10_000))
def test_reordered_and_repeated_replies_are_told_in_order_and_once(seed: int) -> None:
    rng = random.Random(seed)
    given = replies() + rng.choices(replies(), k=6)
    rng.shuffle(given)
    assert told(sent(), given) == ["One.", "Two.", "Three."]


@pytest.mark.parametrize(
    "end", [lambda r: r.cancel(), lambda r: r.expire(1_000), lambda r: r.lost("the link is down")]
)
def test_nothing_is_told_after_the_end(end: object) -> None:
    request = sent()
    assert callable(end)
    end(request)
    assert not request.open
    assert told(request, replies()) == []
    assert request.expire(2_000) == [] and request.lost("again") == []


def test_the_deadline_fails_a_silent_request_and_ends_a_begun_answer() -> None:
    silent, begun = sent(), sent()
    told(begun, replies()[:3])
    assert silent.expire(999) == []
    assert [event.kind for event in silent.expire(1_000)] == [EventKind.FAILED]
    assert begun.expire(1_000) == [Event(EventKind.RESULT, "request-1", "That is all.")]


def test_a_long_answer_has_as_long_for_each_of_its_pieces() -> None:
    request = sent()
    accepted, progress, *pieces = replies()
    assert [len(request.receive(one, 900)) for one in (accepted, progress, pieces[0])] == [1, 1, 1]
    assert request.expire(1_899) == []
    request.receive(pieces[1], 1_899)
    assert request.expire(2_898) == []
    assert request.expire(2_899) == [Event(EventKind.RESULT, "request-1", "That is all.")]


def test_that_a_worker_is_still_there_is_no_answer() -> None:
    request = sent()
    for one in replies()[:2]:
        request.receive(one, 900)
    assert [event.kind for event in request.expire(1_000)] == [EventKind.FAILED]


def test_an_answer_whose_rest_is_lost_says_so() -> None:
    by_worker, by_link = sent(), sent()
    for one in (by_worker, by_link):
        told(one, replies()[:3])
    failed = ReplyMessage(id="x", seq=3, kind=ReplyKind.FAILED, text="no memory", worker="w")
    broken_off = [Event(EventKind.RESULT, "request-1", "That is all.")]
    assert by_worker.receive(failed, 0) == broken_off
    assert by_link.lost("the link is down") == broken_off


def test_another_worker_takes_over_only_before_the_answer_has_begun() -> None:
    early, late = sent(), sent()
    told(early, replies("a")[:2])
    assert told(early, replies("b")) == ["One.", "Two.", "Three."]
    assert told(late, replies("a")[:3]) == ["One."]
    assert told(late, replies("b")) == []
    assert told(late, replies("a")[3:]) == ["Two.", "Three."]


def test_what_was_done_is_not_done_again() -> None:
    request = sent()
    request.receive(
        ReplyMessage(id="x", seq=0, kind=ReplyKind.ACTION, action="wave", worker="w"), 0
    )
    assert request.again() == []
    other = ReplyMessage(id="x", seq=0, kind=ReplyKind.ACCEPTED, worker="other")
    assert request.receive(other, 0) == []
    assert [one.kind for one in request.lost("gone")] == [EventKind.FAILED]


def test_what_is_left_to_the_device_fails_here_with_what_was_heard() -> None:
    for begun in (False, True):
        request = sent()
        if begun:
            request.receive(
                ReplyMessage(id="x", seq=0, kind=ReplyKind.PARTIAL, text="Well.", worker="w"), 0
            )
        left = ReplyMessage(
            id="x", seq=int(begun), kind=ReplyKind.YOURS, text="a timer", worker="w"
        )
        assert [one.kind for one in request.receive(left, 0)] == [EventKind.FAILED]
        assert request.yours == "a timer"


def test_a_failure_is_told_with_its_reason() -> None:
    request = sent()
    failed = ReplyMessage(id="x", seq=0, kind=ReplyKind.FAILED, text="busy", worker="w")
    assert request.receive(failed, 0) == [Event(EventKind.FAILED, "request-1", "busy")]


def test_asked_again_it_is_answered_from_the_start_by_whoever_takes_it() -> None:
    request = sent()
    assert told(request, replies("a")[:2]) == []
    assert [event.kind for event in request.again()] == [EventKind.PROGRESS]
    assert (request.state, request.worker) == (RequestState.CREATED, "")
    request.sent()
    assert told(request, replies("b")) == ["One.", "Two.", "Three."]


@pytest.mark.parametrize("given", [3, 5], ids=["begun", "ended"])
def test_an_answer_that_has_begun_or_ended_is_not_asked_for_again(given: int) -> None:
    request = sent()
    told(request, replies("a")[:given])
    state = request.state
    assert request.again() == [] and request.state is state


def test_the_space_between_two_pieces_is_one_of_them() -> None:
    request = sent()
    texts = ["  ", "Good", " ", "day."]
    given = [
        ReplyMessage(id="x", seq=seq, kind=ReplyKind.PARTIAL, text=text, worker="w")
        for seq, text in enumerate(texts)
    ]
    assert told(request, given) == ["Good", " ", "day."]
