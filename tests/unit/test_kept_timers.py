"""What somebody shall be reminded of is told after a restart, too, and says when it is late."""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from virtual_sound import wait_until

from edge_runtime.background import kept_timers
from edge_runtime.background.kept_timers import APART_S, SETTLING_S, TIMERS, KeptTimers
from edge_runtime.background.local import LocalBackground
from edge_runtime.background.numbers import words
from edge_runtime.background.skills import plain
from edge_runtime.background.timers import LISTENS_FIRST_S, MAX_TIMERS, spoken_lateness
from edge_runtime.background.transcribe import SpellingTranscriber
from edge_runtime.delegation.kept import Spoken
from edge_runtime.dialogue import Dialogue
from edge_runtime.health import HealthMonitor, State
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    Decision,
    EngineOutput,
    Event,
    EventKind,
    MicroTurn,
    Timings,
    TurnRecord,
)
from edge_runtime.pacing import VirtualClock
from edge_runtime.remote_control import Mode, Orders

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
NOON_S, NOON = 1_800_000_000.0, datetime(2027, 1, 15, 12, 0)
TURN = MicroTurn(0, 0, np.zeros((2, TURN_SAMPLES), np.float32))
DELIVER = Decision(0, "speak", say="deliver")
MOTHER = "This is your reminder: call your mother."


class House:
    """A service with its timers, a time of day that may be wrong, and a plug to pull. It looks when
    it is told to: not between two steps of a clock."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._runs = 0
        self.wall_s = NOON_S
        self.start()

    def start(self) -> None:
        """With what is on the disk now; the run before, if there was one, writes no more of it."""
        before = self.path if self._runs else None
        self._runs += 1
        self.path = self._folder / str(self._runs) / "timers.json"
        if before is not None and before.exists():
            self.path.parent.mkdir()
            shutil.copy(before, self.path)
        self.clock, self.health = VirtualClock(), HealthMonitor()
        self.run = self._stack.enter_context(
            KeptTimers(self.path, self.clock.now_ns, self.health, lambda: self.wall_s, HOUR_S)
        )
        assert self.rings() == [], "in the first micro-turn"

    def pass_(self, seconds: float) -> None:
        self.wall_s += seconds
        self.clock.sleep_until(self.clock.now_ns() + round(seconds * 1e9))
        self.run.look()

    def set_clock(self, seconds: float) -> None:
        self.wall_s += seconds
        self.run.look()

    def off_for(self, seconds: float) -> None:
        """Without power, and with a clock that goes on."""
        self.wall_s += seconds
        self.start()

    def ask(self, text: str) -> str | None:
        return self.run.timers.answer(plain(text), NOON + timedelta(seconds=self.wall_s - NOON_S))

    def rings(self) -> list[str]:
        due = self.run.timers.pop_due()
        self.run.look()
        return [timer.text for timer in due]

    def rings_soon(self) -> list[str]:
        """After a start."""
        self.pass_(LISTENS_FIRST_S)
        return self.rings()

    def left(self) -> str:
        answer = self.ask("how long is left")
        assert answer is not None
        return answer

    @property
    def kept(self) -> list[str]:
        return [one["label"] for one in json.loads(self.path.read_text())["timers"]]

    @property
    def trouble(self) -> str:
        part = self.health.snapshot().part(TIMERS)
        return "" if part is None or part.state is State.OK else part.reason


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(tmp_path, stack)


def test_it_looks_by_itself_while_it_is_entered(tmp_path: Path) -> None:
    path, clock = tmp_path / "timers.json", VirtualClock()
    with KeptTimers(path, clock.now_ns, HealthMonitor(), look_every_s=0.01) as kept:
        timer = kept.timers.start(MINUTE_S)
        assert timer is not None and kept.timers.pop_due() == []
        clock.sleep_until(timer.due_ns)
        assert kept.timers.pop_due() == [timer]
        kept.timers.told(timer.id)
        wait_until(lambda: json.loads(path.read_text())["timers"] == [])


def test_where_nothing_is_set_nothing_is_written(house: House) -> None:
    house.pass_(DAY_S)
    assert not house.path.parent.exists()
    assert house.trouble == ""


def test_a_reminder_that_is_due_later_rings_at_its_time(house: House) -> None:
    house.ask("remind me in two days to call my mother")
    house.pass_(DAY_S)
    house.off_for(HOUR_S)
    assert house.left() == ("There are twenty-three hours left on your two day reminder.")
    house.pass_(23 * HOUR_S - 1)
    assert house.rings() == []
    house.pass_(1)
    assert house.rings() == [MOTHER]


def test_an_alarm_rings_at_its_time_of_day_whatever_happens_before(house: House) -> None:
    house.ask("wake me up at seven")
    house.pass_(2 * HOUR_S)
    house.off_for(10 * HOUR_S)
    assert house.ask("when is my alarm") == (
        "There are seven hours left until your alarm for seven o'clock in the morning."
    )
    house.pass_(7 * HOUR_S - 1)
    assert house.rings() == []
    house.pass_(1)
    assert house.rings() == ["This is your alarm for seven o'clock in the morning. It is time."]


def test_a_timers_name_is_kept(house: House) -> None:
    house.ask("set a pizza timer for ten minutes")
    house.off_for(60)
    house.pass_(540)
    assert house.rings() == ["Your pizza timer is done."]


def test_the_timers_of_an_earlier_version_are_read(house: House) -> None:
    house.ask("remind me in two days to call my mother")
    content = json.loads(house.path.read_text())
    for key in ("minute", "title"):
        del content["timers"][0][key]
    house.path.write_text(json.dumps(content))
    house.off_for(HOUR_S)
    assert house.left() == "There are one day and twenty-three hours left on your two day reminder."


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "remind me in an hour to call my mother",
            "This is your reminder, two hours and five minutes late: call your mother.",
        ),
        ("set a timer for an hour", "Your one hour timer was done two hours and five minutes ago."),
    ],
)
def test_one_that_became_due_meanwhile_rings_soon_and_says_how_late(
    house: House, said: str, told: str
) -> None:
    house.ask(said)
    house.off_for(3 * HOUR_S + 5 * MINUTE_S + 7)
    assert house.rings_soon() == [told]
    house.pass_(DAY_S)
    assert house.rings() == []


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (1.2, "one second"),
        (59, "fifty-nine seconds"),
        (90, "one minute"),
        (2 * HOUR_S + 59, "two hours"),
        (DAY_S + 3 * HOUR_S + 59 * MINUTE_S, "one day and three hours"),
        (7 * DAY_S, "seven days"),
        (7 * DAY_S + 1, "more than seven days"),
        (1e300, "more than seven days"),
    ],
)
def test_a_lateness_is_told_as_exactly_as_it_matters(seconds: float, said: str) -> None:
    assert spoken_lateness(seconds) == said


def test_what_rang_late_because_the_machine_slept_is_as_late_after_a_restart(house: House) -> None:
    house.ask("set a timer for an hour")
    house.pass_(3 * HOUR_S)
    assert house.rings() == ["Your one hour timer was done two hours ago."]
    house.off_for(HOUR_S)
    assert house.rings_soon() == ["Your one hour timer was done three hours ago."]


def test_it_is_on_the_disk_for_nobody_else_before_it_is_answered(house: House) -> None:
    house.ask("remind me in two days to call my mother")
    assert house.kept == ["call your mother"]
    assert stat.S_IMODE(house.path.stat().st_mode) == 0o600


def test_one_that_was_cancelled_is_cancelled_after_a_restart_too(house: House) -> None:
    house.ask("remind me in one hour to call my mother")
    house.ask("set a timer for two hours")
    house.ask("cancel the one hour reminder")
    assert house.kept == [""]
    house.off_for(3 * HOUR_S)
    assert house.rings_soon() == ["Your two hour timer was done one hour ago."]


def test_one_that_has_rung_is_kept_until_it_is_told(house: House) -> None:
    house.ask("remind me in one hour to call my mother")
    house.pass_(HOUR_S)
    assert house.rings() == [MOTHER]
    house.off_for(MINUTE_S)
    assert house.rings_soon() == ["This is your reminder, one minute late: call your mother."]
    house.off_for(MINUTE_S)
    assert house.rings_soon() == ["This is your reminder, two minutes late: call your mother."]
    house.run.timers.told("timer-1")
    house.run.look()
    assert house.kept == []
    house.off_for(MINUTE_S)
    assert house.rings_soon() == []


def test_those_that_rang_while_the_device_was_mute_are_kept_until_they_are_told(
    house: House,
) -> None:
    for minutes in range(1, MAX_TIMERS + 1):
        house.ask(f"remind me in {minutes} minutes to drink glass {minutes}")
    local = LocalBackground(SpellingTranscriber(), house.clock, block=True, timers=house.run.timers)
    dialogue = Dialogue(local, str)
    told = Spoken(house.run.timers.told)
    dialogue.obey(Orders(mode=Mode.QUIET))
    for _ in range(MAX_TIMERS):
        house.pass_(MINUTE_S)
        dialogue.poll()
        assert dialogue.utterance(DELIVER, TURN) is None
    house.run.look()
    assert len(house.kept) == MAX_TIMERS
    dialogue.obey(Orders(mode=Mode.NORMAL))
    for left in reversed(range(MAX_TIMERS)):
        said = dialogue.utterance(DELIVER, TURN)
        assert said is not None and said.text.endswith(f": drink glass {MAX_TIMERS - left}.")
        told.publish(TurnRecord(TURN, EngineOutput(0, {}), DELIVER, Timings(), said))
        house.run.look()
        assert len(house.kept) == left + 1, "nothing was heard of it yet"
        begun = replace(TURN, events=(Event(EventKind.UTTERANCE_STARTED, said.id),))
        told.publish(TurnRecord(begun, EngineOutput(1, {}), DELIVER, Timings()))
        house.run.look()
        assert len(house.kept) == left


def test_a_new_timer_has_a_number_of_its_own(house: House) -> None:
    house.ask("set a timer for one hour")
    house.off_for(MINUTE_S)
    house.ask("set a timer for two hours")
    assert [timer.id for timer in house.run.timers.running()] == ["timer-1", "timer-2"]


def test_many_that_are_late_come_one_after_the_other(house: House) -> None:
    for minutes in range(MAX_TIMERS, 0, -1):
        house.ask(f"set a timer for {minutes} minutes")
    house.off_for(HOUR_S)
    assert house.rings_soon() == ["Your one minute timer was done fifty-nine minutes ago."]
    for minutes in range(2, MAX_TIMERS + 1):
        house.pass_(APART_S)
        late = spoken_lateness(HOUR_S - minutes * MINUTE_S + (minutes - 1) * APART_S)
        assert house.rings() == [f"Your {words(minutes)} minute timer was done {late} ago."]
    assert house.ask("how long is left") == "There is no timer running."


def test_setting_the_clock_moves_no_timer_of_this_run_or_of_the_next(house: House) -> None:
    house.ask("remind me in two hours to call my mother")
    for set_by in (-20 * 365 * DAY_S, 30 * 365 * DAY_S, -HOUR_S):
        house.pass_(SETTLING_S)
        house.set_clock(set_by)
        assert house.rings() == []
    house.off_for(HOUR_S)
    assert house.left() == "There are thirty minutes left on your two hour reminder."
    house.pass_(30 * MINUTE_S)
    assert house.rings() == [MOTHER]


def test_with_a_clock_that_starts_anew_what_was_left_is_left(house: House) -> None:
    """As on a board without a battery, that no network tells the time."""
    house.ask("remind me in two days to call my mother")
    house.pass_(DAY_S + HOUR_S / 2)
    for _ in range(2):
        house.wall_s = 0.0
        house.off_for(5 * MINUTE_S)
    assert house.left() == (
        "There are twenty-three hours and thirty minutes left on your two day reminder."
    )
    house.pass_(DAY_S - HOUR_S / 2)
    assert house.rings() == [MOTHER]


def test_a_clock_that_is_right_soon_after_the_start_is_heeded(house: House) -> None:
    house.ask("remind me in two days to call my mother")
    right_s = house.wall_s + DAY_S
    house.wall_s = 0.0
    house.off_for(0)
    house.ask("set a timer for three days")
    house.pass_(MINUTE_S)
    house.set_clock(right_s - house.wall_s)
    assert house.left() == (
        "There is one day left on your two day reminder, "
        "and two days and twenty-three hours and fifty-nine minutes left on your three day timer."
    )
    house.off_for(DAY_S)
    assert house.rings_soon() == [MOTHER]


def test_a_clock_that_is_right_only_in_the_next_run_makes_nothing_late(house: House) -> None:
    house.ask("remind me in two days to call my mother")
    right_s, house.wall_s = house.wall_s, 0.0
    house.off_for(0)
    house.ask("set a timer for one day")
    house.wall_s = right_s
    house.off_for(HOUR_S)
    assert house.rings() == []
    assert house.left() == (
        "There are twenty-three hours left on your one day timer, "
        "and one day and twenty-three hours left on your two day reminder."
    )


def test_a_clock_that_has_gone_years_ahead_rings_and_claims_no_years(house: House) -> None:
    house.ask("remind me in two days to call my mother")
    house.off_for(40 * 365 * DAY_S)
    assert house.rings_soon() == [
        "This is your reminder, more than seven days late: call your mother."
    ]


DAMAGED = {
    "nothing": b"",
    "half of it": b'{"written_s":1.0,"timers":[{"number":1,"lab',
    "a duration that cannot be": b'{"written_s":1.0,"timers":[{"number":1,"label":"","duration_s":'
    b'1e9,"due_s":5.0}]}',
    "no time": b'{"written_s":1.0,"timers":[{"number":1,"label":"","duration_s":5.0,"due_s":NaN}]}',
    "no text": b"\xff\x00\xff",
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_set_aside_and_told_and_the_next_timer_is_kept(
    house: House, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    house.ask("set a timer for one hour")
    house.path.write_bytes(DAMAGED[case])
    house.off_for(0)
    aside = house.path.with_name("timers.json.damaged")
    assert aside.read_bytes() == DAMAGED[case]
    (warned,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert "it is damaged" in warned.getMessage() and f"remove {aside}" in warned.getMessage()
    assert house.rings_soon() == []
    house.ask("remind me in one hour to call my mother")
    house.run.look()
    assert "will not ring" in house.trouble and f"remove {aside}" in house.trouble
    aside.unlink()
    house.run.look()
    assert house.trouble == ""
    house.off_for(HOUR_S)
    assert house.rings_soon() == [MOTHER]


def test_what_is_left_of_a_damaged_file_is_told_by_every_run_until_it_is_removed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "timers.json"
    path.write_text("half of")
    for is_left in (True, True, False):
        health = HealthMonitor()
        if not is_left:
            path.with_name("timers.json.damaged").unlink()
        with KeptTimers(path, VirtualClock().now_ns, health, look_every_s=HOUR_S):
            assert (health.snapshot().state is State.DEGRADED) is is_left


def test_a_file_that_can_neither_be_read_nor_moved_is_told_until_one_can_be_written(
    tmp_path: Path,
) -> None:
    path, health = tmp_path / "state" / "timers.json", HealthMonitor()
    path.parent.write_text("a file where the folder should be")
    with KeptTimers(path, VirtualClock().now_ns, health, look_every_s=HOUR_S) as kept:
        kept.look()
        part = health.snapshot().part(TIMERS)
        assert part is not None and part.state is State.DEGRADED
        assert f"remove {path}," in part.reason
        path.parent.unlink()
        kept.timers.start(MINUTE_S)
        assert health.snapshot().state is State.OK


def test_what_a_killed_writer_left_is_removed_at_the_start(tmp_path: Path) -> None:
    part = tmp_path / ".timers.json.12345.part"
    part.write_text('{"timers":[{"label":"call your mo')
    with KeptTimers(tmp_path / "timers.json", VirtualClock().now_ns, HealthMonitor()):
        assert list(tmp_path.iterdir()) == []


def test_a_disk_that_hangs_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kept_timers, "PATIENCE_S", 0.1)
    path, clock = tmp_path / "timers.json", VirtualClock()
    kept = KeptTimers(path, clock.now_ns, HealthMonitor(), look_every_s=HOUR_S).__enter__()
    hangs = tmp_path / f".timers.json.{os.getpid()}.part"
    os.mkfifo(hangs)
    threading.Thread(target=kept.timers.start, args=(MINUTE_S,), daemon=True).start()
    wait_until(lambda: bool(kept.timers.running()))
    end = threading.Thread(target=kept.__exit__, args=(None, None, None), daemon=True)
    end.start()
    end.join(30)
    assert not end.is_alive()
    assert f"{path} is not written" in caplog.text
    os.close(os.open(hangs, os.O_RDONLY | os.O_NONBLOCK))
    wait_until(path.exists)


def test_a_timer_that_cannot_be_kept_runs_and_is_told_and_kept_when_it_can(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.path.parent.write_text("a file where the folder should be")
    assert house.ask("set a timer for one hour") == "Your timer for one hour is set."
    house.run.look()
    assert "a restart forgets timers" in house.trouble and str(house.path) in house.trouble
    assert sum(one.levelno == logging.WARNING for one in caplog.records) == 1
    house.path.parent.unlink()
    house.run.look()
    assert house.trouble == ""
    house.off_for(HOUR_S)
    assert house.rings_soon() == ["Your one hour timer is done."]


def test_what_is_beyond_a_float_is_late_and_no_error(house: House) -> None:
    house.ask("set a timer for one hour")
    content = json.loads(house.path.read_text())
    content["timers"][0]["due_s"] = -1.7e308
    house.path.write_text(json.dumps(content))
    house.off_for(0)
    assert house.rings_soon() == ["Your one hour timer was done more than seven days ago."]
