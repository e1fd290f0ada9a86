"""The inbox for what is asked from outside."""

from __future__ import annotations

import threading

import pytest

from edge_runtime.errors import InputError
from edge_runtime.remote_control import MAX_WAITING, Mode, Moment, Orders, RemoteControl


@pytest.fixture
def control() -> RemoteControl:
    return RemoteControl()


def test_nothing_asked_is_nothing_to_do(control: RemoteControl) -> None:
    assert control.take() == Orders()


def test_everything_is_taken_once(control: RemoteControl) -> None:
    control.say("  dinner\n is  ready ")
    control.say("the washing is done", Moment.FITTING)
    control.stop()
    control.say("after the stop")
    control.cancel()
    control.say("at last")
    taken = control.take()
    assert taken == Orders(stop=True, cancel=True, say=("at last",))
    assert control.take() == Orders()


def test_a_stop_forgets_what_waits_to_be_said_now_and_keeps_what_is_for_later(
    control: RemoteControl,
) -> None:
    control.say("now")
    control.say("later", Moment.FITTING)
    control.stop()
    assert control.take() == Orders(stop=True, deliver=("later",))


def test_a_stop_is_never_dropped_however_full_it_is(control: RemoteControl) -> None:
    for number in range(MAX_WAITING):
        control.say(str(number))
    with pytest.raises(InputError, match="try again later"):
        control.say("one more")
    for _ in range(100):
        control.stop()
    assert control.take().stop


def test_what_the_loop_still_holds_counts_until_a_stop_forgets_it(control: RemoteControl) -> None:
    control.say("first")
    control.take(held=MAX_WAITING - 2)
    control.say("the last that may wait")
    with pytest.raises(InputError, match="try again later"):
        control.say("one more")
    control.stop()
    control.say("after the stop")
    control.take(held=MAX_WAITING)
    control.say("and again")


@pytest.mark.parametrize("text", ["", " \n", "x" * 1001])
def test_a_text_that_cannot_be_said_is_refused(control: RemoteControl, text: str) -> None:
    with pytest.raises(InputError, match="1 to 1000 characters"):
        control.say(text)
    assert control.take() == Orders()


@pytest.mark.parametrize("moment", list(Moment))
def test_of_a_text_with_markup_the_words_are_said(control: RemoteControl, moment: Moment) -> None:
    control.say("# Washing\n**It is done** \U0001f642, Jürgen!", moment)
    taken = control.take()
    assert (taken.say or taken.deliver) == ("Washing. It is done, Jürgen!",)
    with pytest.raises(InputError, match="only markup and symbols"):
        control.say("\U0001f642 ---", moment)
    assert control.take() == Orders()


def test_a_quiet_device_falls_silent_and_takes_no_text(control: RemoteControl) -> None:
    control.say("hello")
    control.set_mode(Mode.QUIET)
    with pytest.raises(InputError, match="mode quiet"):
        control.say("hello")
    assert control.take() == Orders(stop=True, mode=Mode.QUIET)
    assert control.take() == Orders(mode=Mode.QUIET)
    control.set_mode(Mode.NORMAL)
    assert control.take() == Orders()


def test_switches_are_told_how_things_are_and_of_every_change(control: RemoteControl) -> None:
    told: list[tuple[str, bool]] = []
    control.connect(microphone=lambda on: told.append(("microphone", on)))
    control.switch_microphone(False)
    control.connect(camera=lambda on: told.append(("camera", on)))
    control.switch_camera(False)
    control.switch_microphone(True)
    assert told == [
        *[("microphone", True), ("microphone", False)],
        *[("camera", True), ("camera", False), ("microphone", True)],
    ]
    assert (control.microphone_on, control.camera_on) == (True, False)


def test_what_is_not_there_cannot_be_switched_and_is_not_said_to_be_off(
    control: RemoteControl,
) -> None:
    control.connect(microphone=lambda on: None)
    with pytest.raises(InputError, match="no camera"):
        control.switch_camera(False)
    assert control.camera_on
    assert control.capture == {"microphone": True}


def test_what_was_set_outlives_a_device_and_what_waits_does_not(control: RemoteControl) -> None:
    told: list[bool] = []
    control.connect(microphone=told.append)
    control.switch_microphone(False)
    for number in range(MAX_WAITING):
        control.say(f"text {number}")
    control.stop()
    control.say("at last")
    control.disconnect()
    assert control.take() == Orders() and control.capture == {}
    with pytest.raises(InputError, match="no microphone"):
        control.switch_microphone(True)
    of_the_next: list[bool] = []
    control.connect(microphone=of_the_next.append)
    assert (told, of_the_next) == ([True, False], [False])
    for number in range(MAX_WAITING):
        control.say(f"text {number}")


def test_a_first_mode_is_nothing_to_stop_for() -> None:
    control = RemoteControl(Mode.STANDBY)
    assert control.take() == Orders(mode=Mode.STANDBY)


def test_the_volume_is_as_configured_until_it_is_set(control: RemoteControl) -> None:
    told: list[float] = []
    with pytest.raises(InputError, match="no loudspeaker"):
        control.set_volume(0.5)
    assert control.set_to is None and not control.has_volume
    control.connect_loudspeaker(told.append, 0.3)
    assert (control.volume, control.set_to, control.has_volume) == (0.3, None, True)
    control.set_volume(0.5)
    control.disconnect()
    assert (control.volume, control.set_to, control.has_volume) == (0.5, 0.5, False)
    control.connect_loudspeaker(told.append, 0.3)
    assert told == [0.3, 0.5, 0.5]


@pytest.mark.parametrize("volume", [-0.1, 1.1, float("nan")])
def test_a_volume_that_cannot_be_changes_nothing(control: RemoteControl, volume: float) -> None:
    control.connect_loudspeaker(lambda volume: None, 0.3)
    with pytest.raises(InputError, match="0 to 1"):
        control.set_volume(volume)
    assert control.volume == 0.3


def test_many_may_ask_at_the_same_time(control: RemoteControl) -> None:
    start = threading.Barrier(5)
    stops = 0

    def ask() -> None:
        start.wait()
        for _ in range(200):
            control.stop()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    start.wait()
    while any(thread.is_alive() for thread in threads):
        stops += control.take().stop
    stops += control.take().stop
    assert stops >= 1
    assert not control.take().stop
