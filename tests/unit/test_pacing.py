"""Deadlines are absolute; an overrun skips and says so; nothing runs faster to catch up."""

from __future__ import annotations

import time

import pytest

from edge_runtime.pacing import TURN_NS, MonotonicClock, Pacer, VirtualClock

PERIOD_NS = 200_000_000


def test_a_turn_is_200_ms() -> None:
    assert TURN_NS == PERIOD_NS


def test_virtual_time_moves_only_by_sleeping() -> None:
    clock = VirtualClock()
    assert clock.now_ns() == clock.now_ns() == 0
    clock.sleep_until(5)
    assert clock.now_ns() == 5
    clock.sleep_until(3)
    assert clock.now_ns() == 5


def test_a_year_of_virtual_time_takes_none() -> None:
    clock, began_s = VirtualClock(), time.monotonic()
    clock.sleep_until(365 * 24 * 3600 * 10**9)
    assert time.monotonic() - began_s < 1


def test_the_monotonic_clock_wakes_at_its_deadline_and_never_before() -> None:
    clock = MonotonicClock()
    for wait_ns in (0, 1, 1_000_000, 7_000_000):
        deadline_ns = clock.now_ns() + wait_ns
        clock.sleep_until(deadline_ns)
        assert deadline_ns <= clock.now_ns()


def test_a_deadline_in_the_past_returns_at_once() -> None:
    clock = MonotonicClock()
    before_ns = clock.now_ns()
    clock.sleep_until(before_ns - 10**12)
    assert clock.now_ns() - before_ns < 10**9


def test_on_time_ticks_are_one_period_apart_and_count_up() -> None:
    clock = VirtualClock()
    clock.sleep_until(1_000)
    pacer = Pacer(clock, PERIOD_NS)
    for index in range(5):
        tick = pacer.wait()
        assert (tick.index, tick.skipped, tick.late_ms) == (index, 0, 0.0)
        assert tick.due_ns == clock.now_ns() == 1_000 + (index + 1) * PERIOD_NS


def test_work_within_the_period_does_not_move_the_grid() -> None:
    clock = VirtualClock()
    pacer = Pacer(clock, PERIOD_NS)
    for index in range(10):
        tick = pacer.wait()
        assert tick.due_ns == (index + 1) * PERIOD_NS
        clock.sleep_until(clock.now_ns() + PERIOD_NS * 9 // 10)


def test_late_by_less_than_a_period_runs_at_once_and_skips_nothing() -> None:
    clock = VirtualClock()
    pacer = Pacer(clock, PERIOD_NS)
    pacer.wait()
    clock.sleep_until(clock.now_ns() + PERIOD_NS * 3 // 2)
    tick = pacer.wait()
    assert (tick.index, tick.skipped, tick.late_ms) == (1, 0, 100.0)
    assert pacer.wait().due_ns == 3 * PERIOD_NS


@pytest.mark.parametrize(("overrun_periods", "skipped"), [(2.0, 1), (2.5, 1), (3.25, 2), (9.9, 8)])
def test_an_overrun_skips_what_it_missed_and_says_how_many(
    overrun_periods: float, skipped: int
) -> None:
    clock = VirtualClock()
    pacer = Pacer(clock, PERIOD_NS)
    pacer.wait()
    clock.sleep_until(clock.now_ns() + int(overrun_periods * PERIOD_NS))
    tick = pacer.wait()
    assert tick.skipped == skipped
    assert tick.index == 1 + skipped
    assert tick.late_ms == pytest.approx((overrun_periods % 1) * 200)


def test_after_an_overrun_it_keeps_the_rate() -> None:
    clock = VirtualClock()
    pacer = Pacer(clock, PERIOD_NS)
    pacer.wait()
    clock.sleep_until(clock.now_ns() + 7 * PERIOD_NS)
    overrun = pacer.wait()
    ticks = [pacer.wait() for _ in range(5)]
    assert [tick.skipped for tick in ticks] == [0] * 5
    assert [tick.due_ns - overrun.due_ns for tick in ticks] == [
        (n + 1) * PERIOD_NS for n in range(5)
    ]


def test_served_and_skipped_deadlines_add_up_to_the_time_that_passed() -> None:
    clock = VirtualClock()
    pacer = Pacer(clock, PERIOD_NS)
    ticks = []
    for work_ns in (10, PERIOD_NS * 4, PERIOD_NS // 2, PERIOD_NS * 2 + 1, 0, PERIOD_NS * 11):
        ticks.append(pacer.wait())
        clock.sleep_until(clock.now_ns() + work_ns)
    assert len(ticks) + sum(tick.skipped for tick in ticks) == ticks[-1].due_ns // PERIOD_NS


def test_real_deadlines_do_not_drift() -> None:
    clock = MonotonicClock()
    began_ns = clock.now_ns()
    pacer = Pacer(clock, period_ns=5_000_000)
    ticks = [pacer.wait() for _ in range(20)]
    assert ticks[-1].due_ns - ticks[0].due_ns == (ticks[-1].index - ticks[0].index) * 5_000_000
    assert clock.now_ns() - began_ns >= 20 * 5_000_000


def test_a_period_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="period_ns"):
        Pacer(VirtualClock(), 0)
