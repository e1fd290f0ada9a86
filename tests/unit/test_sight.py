"""Who is there, and when it is told."""

from __future__ import annotations

import numpy as np
from turn_records import a_record

from edge_runtime.micro_turn import TurnRecord
from edge_runtime.sinks.sight import GONE_TURNS, Presence, Sight

PICTURE = np.zeros((4, 6, 3), np.uint8)


def seeing(index: int, **chances: float) -> TurnRecord:
    return a_record(index, frame=PICTURE, probabilities={"seen": chances})


def test_who_was_seen_stays_for_five_seconds() -> None:
    presence = Presence()
    assert presence.follow({"present": 0.2}) is False
    assert presence.follow({"present": 0.5}) is True
    for _ in range(GONE_TURNS - 1):
        assert presence.follow({"present": 0.2}) is True
    assert presence.follow({"present": 0.2}) is False


def test_without_a_picture_or_a_model_that_knows_nobody_can_tell() -> None:
    presence = Presence()
    assert presence.follow({"present": 0.9}) is True
    assert presence.follow(None) is None
    assert presence.follow({"present": 0.2}) is False, "they may have gone meanwhile"
    assert presence.follow({"waving": 0.9}) is None


def test_it_is_told_at_each_change_and_once_a_second() -> None:
    sight = Sight()
    waving = [0.1, 0.2, 0.1, 0.9, 0.8, 0.9, 0.7, 0.9, 0.8, 0.1]
    told = [
        index
        for index, chance in enumerate(waving)
        if sight.news(seeing(index, present=0.9, waving=chance)) is not None
    ]
    assert told == [0, 3, 8, 9]


def test_it_says_what_is_seen_and_how_surely() -> None:
    told = Sight().news(seeing(0, present=0.75, facing=0.25))
    assert told == {
        "known": True,
        "present": True,
        "names": ["present", "facing"],
        "chances": [0.75, 0.25],
    }


def test_a_picture_that_is_gone_is_news() -> None:
    sight = Sight()
    assert sight.news(seeing(0, present=0.9)) is not None
    blind = a_record(1, probabilities={"seen": {"present": 0.9}})
    told = sight.news(blind)
    assert told == {"known": False, "present": False, "names": [], "chances": []}
    assert sight.news(a_record(2)) is None, "a step that failed knows as little"
    assert sight.news(a_record(6)) is not None


def test_a_model_that_does_not_look_is_never_told_of() -> None:
    sight = Sight()
    assert [sight.news(a_record(index, frame=PICTURE)) for index in range(10)] == [None] * 10
