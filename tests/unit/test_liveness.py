"""When silence on a link means that it is gone, and when it only means that it is slow."""

from __future__ import annotations

from edge_runtime.delegation.liveness import SLOWEST_BYTES_S, Liveness

S = 1_000_000_000


def test_a_link_without_anything_sent_is_never_silent() -> None:
    assert not Liveness().silent(1000 * S, 0.5)


def test_silence_counts_from_the_first_thing_sent() -> None:
    link = Liveness()
    link.sent(0, 10 * S)
    link.sent(0, 11 * S)
    assert not link.silent(10 * S + S // 2, 0.5)
    assert link.silent(11 * S, 0.5)


def test_any_sign_ends_the_silence() -> None:
    link = Liveness()
    link.sent(0, 0)
    link.heard()
    assert not link.waiting and not link.silent(100 * S, 0.5)
    link.sent(0, 100 * S)
    assert link.waiting and not link.silent(100 * S, 0.5) and link.silent(101 * S, 0.5)


def test_what_is_large_may_take_as_long_as_a_slow_link_needs() -> None:
    link = Liveness()
    link.sent(3 * SLOWEST_BYTES_S, 0)
    assert not link.silent(3 * S, 0.5)
    link.heard()  # Something small got through before it.
    link.sent(0, S)
    assert not link.silent(3 * S, 0.5)
    assert link.silent(4 * S, 0.5)


def test_a_new_link_owes_nothing_for_the_old_one() -> None:
    link = Liveness()
    link.sent(100 * SLOWEST_BYTES_S, 0)
    link.restart()
    link.sent(0, 0)
    assert link.silent(S, 0.5)
