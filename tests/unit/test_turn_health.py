"""What the micro-turns show of the device's health, and that it is told within seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_runtime.health import (
    CAMERA,
    COMPUTE,
    ENGINE,
    LINK,
    LOOP,
    LOUDSPEAKER,
    MICROPHONE,
    VOICE,
    CameraState,
    HealthMonitor,
    Part,
    State,
)
from edge_runtime.micro_turn import (
    TURN_SAMPLES,
    VOICE_FAILED,
    BackgroundState,
    Decision,
    EngineOutput,
    Event,
    EventKind,
    MicroTurn,
    Timings,
    TurnRecord,
)
from edge_runtime.pacing import TURN_NS, VirtualClock
from edge_runtime.remote_control import RemoteControl
from edge_runtime.sinks.turn_health import GONE_TURNS, Fed, TurnHealth, Watched
from edge_runtime.sound_status import DeviceState, End, SoundStatus

SOUND = np.full((2, TURN_SAMPLES), 0.01, np.float32)
ZEROS = np.zeros((2, TURN_SAMPLES), np.float32)
PICTURE = np.zeros((4, 6, 3), np.uint8)
EVERYTHING = Watched(camera=True, workers=True)


class Device:
    """Lets micro-turns pass, five a second, and looks at the health."""

    def __init__(self, watched: Watched = EVERYTHING) -> None:
        self.clock = VirtualClock()
        self.monitor = HealthMonitor(self.clock.now_ns)
        self.control = RemoteControl()
        self.sink = TurnHealth(self.monitor, self.control, watched, self.clock.now_ns)
        self.sink.__enter__()
        self.index = 0

    def turns(
        self,
        count: int,
        compute_ms: float = 5.0,
        skipped: int = 0,
        link_up: bool = True,
        **fields: Any,
    ) -> None:
        for _ in range(count):
            self.clock.sleep_until(self.clock.now_ns() + TURN_NS)
            turn = MicroTurn(
                self.index,
                self.clock.now_ns(),
                background=BackgroundState(link_up=link_up),
                **({"audio": SOUND, "frame": PICTURE, "frame_age_ms": 30.0} | fields),
            )
            self.publish(turn, Timings(compute_ms=compute_ms, skipped=skipped))

    def publish(self, turn: MicroTurn, timings: Timings, outputs: bool = True) -> None:
        tensors = {"floor": np.zeros((1, 5), np.float32)} if outputs else {}
        output = EngineOutput(turn.index, tensors)
        self.sink.publish(TurnRecord(turn, output, Decision(turn.index, "listen"), timings))
        self.index += 1

    def part(self, name: str) -> Part:
        part = self.monitor.snapshot().part(name)
        assert part is not None
        return part


@pytest.fixture
def device() -> Device:
    return Device()


def test_before_the_first_turn_it_is_not_ok_yet() -> None:
    assert Device().monitor.snapshot().line == "degraded: loop: no micro-turn yet"


def test_the_first_turn_makes_it_ok(device: Device) -> None:
    device.turns(1)
    health = device.monitor.snapshot()
    assert health.line == "ok"
    assert {part.name for part in health.parts} == {
        *(LOOP, COMPUTE, ENGINE, MICROPHONE, CAMERA, LINK)
    }


def test_what_the_device_has_not_is_not_judged() -> None:
    device = Device(Watched())
    device.turns(20, frame=None, link_up=False)
    health = device.monitor.snapshot()
    assert health.state is State.OK
    assert health.part(CAMERA) is health.part(LINK) is None


Ill = Callable[[Device], None]
CASES: dict[str, tuple[Ill, str, State, str]] = {
    "a loop that stands still": (
        lambda d: d.clock.sleep_until(d.clock.now_ns() + 5_200_000_000),
        LOOP, State.FAILED, "no sign of it for 6 s",
    ),
    "a loop that misses turns": (
        lambda d: d.turns(6, skipped=1), LOOP, State.DEGRADED, "6 micro-turns missed",
    ),
    "an engine too slow": (
        lambda d: d.turns(15, compute_ms=150), COMPUTE, State.DEGRADED, "p99 is 150 ms",
    ),
    "a part that failed": (
        lambda d: d.publish(MicroTurn(99, 0, SOUND), Timings(), outputs=False),
        LOOP, State.FAILED, "the device has stopped",
    ),
    "a microphone unplugged": (
        lambda d: d.turns(15, audio=ZEROS, lost_samples=TURN_SAMPLES),
        MICROPHONE, State.FAILED, "unplugged",
    ),
    "a microphone that gives zeros": (
        lambda d: d.turns(55, audio=ZEROS), MICROPHONE, State.FAILED, "nothing but zeros",
    ),
    "a gap in the sound": (
        lambda d: d.turns(5, lost_samples=100), MICROPHONE, State.DEGRADED, "sound was lost",
    ),
    "a camera unplugged": (
        lambda d: d.turns(15, frame=None), CAMERA, State.DEGRADED, "goes on by ear",
    ),
    "no worker": (
        lambda d: d.turns(5, link_up=False), LINK, State.DEGRADED, "no worker can be reached",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_named_and_what_is_well_again_is_ok(device: Device, case: str) -> None:
    device.turns(10)
    make_ill, name, state, reason = CASES[case]
    make_ill(device)
    part = device.part(name)
    assert part.state is state
    assert reason in part.reason
    others = [one for one in device.monitor.snapshot().parts if one.name != name]
    assert case == "an engine that failed" or {one.state for one in others} == {State.OK}
    device.turns(310)
    assert device.monitor.snapshot().line == "ok"


def test_a_broker_that_cannot_be_reached_is_told_from_one_without_a_worker() -> None:
    trouble = ["no connection to lan:1883: refused"]
    for workers in (True, False):
        device = Device(Watched(workers=workers, broker=lambda: trouble[0]))
        trouble[0] = "no connection to lan:1883: refused"
        device.turns(5, link_up=False)
        assert (device.part(LINK).state, device.part(LINK).reason) == (State.DEGRADED, trouble[0])
        trouble[0] = ""
        device.turns(5, link_up=False)
        part = device.part(LINK)
        assert part.state is (State.DEGRADED if workers else State.OK)
        assert ("no worker can be reached" in part.reason) is workers


def test_one_late_turn_is_no_illness(device: Device) -> None:
    device.turns(100)
    device.turns(1, compute_ms=400, skipped=2)
    device.turns(5)
    assert device.monitor.snapshot().line == "ok"


def test_silence_in_a_recording_is_no_dead_microphone() -> None:
    device = Device(Watched(live_microphone=False))
    device.turns(100, audio=ZEROS)
    assert device.part(MICROPHONE).state is State.OK


def test_what_is_switched_off_is_ok_and_said_to_be_off(device: Device) -> None:
    device.control.connect(microphone=lambda on: None, camera=lambda on: None)
    device.control.switch_microphone(False)
    device.control.switch_camera(False)
    device.turns(60, audio=ZEROS, lost_samples=TURN_SAMPLES, frame=None)
    for name in (MICROPHONE, CAMERA):
        assert (device.part(name).state, device.part(name).reason) == (State.OK, "switched off")


def test_a_microphone_that_is_switched_on_again_was_not_lost() -> None:
    state = [DeviceState.PRESENT]
    device = Device(Watched(sound=lambda: SoundStatus(End(state[0]), End(DeviceState.PRESENT))))
    device.control.connect(microphone=lambda on: None)
    device.turns(10)
    device.control.switch_microphone(False)
    state[0] = DeviceState.OFF
    device.turns(60, audio=ZEROS, lost_samples=TURN_SAMPLES)
    device.control.switch_microphone(True)
    for lost in (TURN_SAMPLES, TURN_SAMPLES, 1000, 0, 0):  # it is being opened, and begins
        device.turns(1, audio=ZEROS if lost == TURN_SAMPLES else SOUND, lost_samples=lost)
        part = device.part(MICROPHONE)
        assert part.state is State.OK
        assert part.values["lost_ms_per_minute"] == 0
        state[0] = DeviceState.PRESENT
    device.turns(1, lost_samples=1600)
    part = device.part(MICROPHONE)
    assert (part.state, part.values["lost_ms_per_minute"]) == (State.DEGRADED, 100)


def test_a_microphone_that_gives_nothing_once_it_is_switched_on_has_failed(device: Device) -> None:
    device.control.connect(microphone=lambda on: None)
    device.control.switch_microphone(False)
    device.turns(20, audio=ZEROS, lost_samples=TURN_SAMPLES)
    device.control.switch_microphone(True)
    device.turns(2 * GONE_TURNS + 5, audio=ZEROS, lost_samples=TURN_SAMPLES)
    assert device.part(MICROPHONE).state is State.FAILED


def test_a_voice_that_fails_is_told_until_it_speaks_again(device: Device) -> None:
    device.turns(5)
    for text, state in ((VOICE_FAILED, State.DEGRADED), ("", State.OK), (VOICE_FAILED, State.OK)):
        events = [Event(EventKind.UTTERANCE_FINISHED, "utterance-1", text)]
        if state is State.OK:
            events.append(Event(EventKind.UTTERANCE_STARTED, "utterance-2"))
        device.turns(1, events=tuple(events))
        device.turns(10)
        part = device.part(VOICE)
        assert part.state is state
        assert bool(part.reason) is (state is State.DEGRADED)


def test_figures_go_with_the_judgement(device: Device) -> None:
    device.turns(GONE_TURNS, compute_ms=7.0, lost_samples=1600)
    assert device.part(COMPUTE).values == {"p50_ms": 7.0, "p99_ms": 7.0}
    assert device.part(CAMERA).values == {"age_ms": 30.0}
    assert device.part(MICROPHONE).values["lost_ms_per_minute"] == 600


def test_sound_that_was_heard_and_dropped_counts_as_lost() -> None:
    dropped = [0]
    device = Device(Watched(dropped_samples=lambda: dropped[0]))
    device.turns(10)
    dropped[0] += 2 * TURN_SAMPLES  # an overrun
    device.turns(6)
    assert device.part(MICROPHONE).state is State.OK
    assert device.part(MICROPHONE).values["lost_ms_per_minute"] == 400
    dropped[0] += 4 * TURN_SAMPLES
    device.turns(6)
    part = device.part(MICROPHONE)
    assert (part.state, part.values["lost_ms_per_minute"]) == (State.DEGRADED, 1200)
    assert "6 micro-turns of sound were dropped in the last minute" in part.reason
    device.turns(300)
    assert device.part(MICROPHONE).state is State.OK


def test_what_the_devices_watch_says_is_told_in_the_same_turn() -> None:
    ends = {"microphone": DeviceState.PRESENT, "loudspeaker": DeviceState.PRESENT}

    def sound() -> SoundStatus:
        microphone, loudspeaker = (End(ends[name], "Jabra", "because") for name in ends)
        return SoundStatus(microphone, loudspeaker, buffer_ms=10.0, underrun_samples=32)

    device = Device(Watched(sound=sound))
    device.turns(12)
    assert device.part(LOUDSPEAKER).state is State.OK
    assert device.part(LOUDSPEAKER).values["buffer_ms"] == 10.0
    assert device.part(LOUDSPEAKER).values["underrun_ms"] == 2.0
    for bad, severity in (
        (DeviceState.LOST, State.FAILED),
        (DeviceState.STUCK, State.FAILED),
        (DeviceState.SILENT, State.DEGRADED),
        (DeviceState.RECOVERING, State.DEGRADED),
    ):
        for end, name in (("microphone", MICROPHONE), ("loudspeaker", LOUDSPEAKER)):
            ends[end] = bad
            device.turns(1)
            part = device.part(name)
            assert (part.state, part.reason) == (severity, "because")
            assert part.values["device_state"] == bad.value
            assert part.values["device"] == "Jabra"
            ends[end] = DeviceState.PRESENT
    device.turns(1)
    assert device.monitor.snapshot().state is State.OK


def test_what_was_heard_counts_where_it_is_worse() -> None:
    fine = End(DeviceState.PRESENT)
    device = Device(Watched(sound=lambda: SoundStatus(fine, fine)))
    device.turns(15, audio=ZEROS, lost_samples=TURN_SAMPLES)
    assert device.part(MICROPHONE).state is State.FAILED
    assert device.part(MICROPHONE).values["lost_ms_per_minute"] == 3000


@pytest.mark.parametrize("state", CameraState)
def test_a_live_camera_is_judged_by_its_state_at_the_next_turn(state: CameraState) -> None:
    now = [CameraState.PRESENT]
    device = Device()
    device.sink = TurnHealth(
        device.monitor, device.control, EVERYTHING, device.clock.now_ns, lambda: now[0]
    )
    device.turns(1)
    assert device.part(CAMERA).state is State.OK
    now[0] = state
    device.turns(1)
    part = device.part(CAMERA)
    well = state in (CameraState.PRESENT, CameraState.OFF)
    assert part.state is (State.OK if well else State.DEGRADED)
    assert bool(part.reason) is (state is not CameraState.PRESENT)
    assert part.values == {"state": state.value, "age_ms": 30.0}


def test_where_sound_and_pictures_are_brought_from_is_named_when_none_come() -> None:
    refused = {"refused_blocks": 0}
    ear = Fed(lambda: "/robot/audio_in (nobody publishes it)", lambda: dict(refused))
    eye = Fed(lambda: "/robot/image (1 publisher)", lambda: {"refused_frames": 2})
    device = Device(Watched(live_microphone=False, camera=True, ear=ear, eye=eye))
    device.turns(1)
    assert device.part(MICROPHONE).values["refused_blocks"] == 0
    assert device.part(CAMERA).values == {"refused_frames": 2, "age_ms": 30.0}
    refused["refused_blocks"] = 7
    device.turns(3 * GONE_TURNS, lost_samples=TURN_SAMPLES, frame=None, frame_age_ms=None)
    microphone, camera = device.part(MICROPHONE), device.part(CAMERA)
    assert microphone.state is State.FAILED and camera.state is State.DEGRADED
    assert microphone.reason == ("nothing usable comes on /robot/audio_in (nobody publishes it)")
    assert microphone.values["refused_blocks"] == 7
    assert camera.reason == (
        "nothing usable comes on /robot/image (1 publisher); the device goes on by ear"
    )
