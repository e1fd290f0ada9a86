"""Health as the micro-turns show it: ears, eyes, voice, engine, link, and the pace of the loop."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from typing_extensions import Self

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
    State,
    Value,
)
from edge_runtime.interfaces import NothingHeld
from edge_runtime.micro_turn import (
    SAMPLE_RATE_HZ,
    TURN_MS,
    TURN_SAMPLES,
    EventKind,
    MicroTurn,
    TurnRecord,
)
from edge_runtime.remote_control import RemoteControl
from edge_runtime.sound_status import SoundStatus

TURNS_PER_S = 1000 // TURN_MS
WINDOW_TURNS = 60 * TURNS_PER_S
"""A minute: what all judgements look back on."""
GONE_TURNS = 2 * TURNS_PER_S
"""A device that has given nothing for so long is gone."""
DEAD_TURNS = 10 * TURNS_PER_S
"""A microphone never gives exact zeros for so long, unless it is unplugged or muted by a switch."""
HOLDS_S = 3.0
"""A loop that has not judged itself for so long is stuck."""
OFF = "switched off"
BY_EAR = "the device goes on by ear"
CAMERA_REASONS = {
    CameraState.LOST: f"it gives no picture; {BY_EAR}",
    CameraState.FROZEN: f"it gives the same picture again and again, and is reopened; {BY_EAR}",
    CameraState.BLACK: "its pictures are black: covered, or in the dark",
    CameraState.RECOVERING: "it is back, and has to go on for a moment",
    CameraState.OFF: OFF,
}
"""What is to be said of a camera that does not simply see."""


@dataclass(frozen=True)
class Fed:
    """A sense that somebody else brings, such as a driver's node."""

    whence: Callable[[], str]
    """From where, by name, and what is known of who brings it."""
    counts: Callable[[], Mapping[str, Value]]
    """What of it could not be used since the start."""

    @property
    def why_gone(self) -> str:
        return f"nothing usable comes on {self.whence()}"


@dataclass(frozen=True)
class Watched:
    """What there is to be judged, and where ok ends."""

    live_microphone: bool = True
    """Exact zeros for ten seconds mean that it is dead; a recording may hold them."""
    camera: bool = False
    workers: bool = False
    """Questions go to workers: without one, the device is less able than it should be."""
    broker: Callable[[], str] | None = None
    """Why the broker cannot be reached, where there is one; empty while it can."""
    compute_p99_ms: float = 120.0
    missed_per_minute: int = 5
    sound: Callable[[], SoundStatus] | None = None
    """How microphone and loudspeaker are, where these are devices of this machine."""
    dropped_samples: Callable[[], int] | None = None
    """How many samples of the microphone were heard and dropped since the start."""
    ear: Fed | None = None
    eye: Fed | None = None
    """Where sound or pictures are brought."""


@dataclass(frozen=True, slots=True)
class _Seen:
    compute_ms: float
    skipped: int
    lost: int
    dropped: int
    zero: bool
    picture: bool


class TurnHealth(NothingHeld):
    """A Sink that judges once a second, from the last minute; what it keeps is bounded."""

    def __init__(
        self,
        monitor: HealthMonitor,
        control: RemoteControl,
        watched: Watched,
        now_ns: Callable[[], int] = time.monotonic_ns,
        camera_state: Callable[[], CameraState] | None = None,
    ) -> None:
        """`camera_state` tells what a camera is worth; None: only whether pictures come is
        known."""
        self._monitor, self._control, self._watched = monitor, control, watched
        self._now_ns, self._camera_state = now_ns, camera_state
        self._seen: deque[_Seen] = deque(maxlen=WINDOW_TURNS)
        self._judged_ns: int | None = None
        self._dropped = 0
        self._may_be_deaf = 0
        """Micro-turns in which the microphone may still be opening after it was switched off."""

    def __enter__(self) -> Self:
        self._monitor.report(LOOP, State.DEGRADED, "no micro-turn yet")
        return self

    def publish(self, record: TurnRecord) -> None:
        if not record.output.tensors:  # a safe stop
            self._monitor.report(LOOP, State.FAILED, "a part failed; the device has stopped")
            return
        turn, timings = record.turn, record.timings
        deaf = self._is_deaf(turn)
        self._seen.append(
            _Seen(
                timings.compute_ms,
                timings.skipped,
                0 if deaf else turn.lost_samples,
                self._newly_dropped(),
                not deaf and not turn.audio[0].any(),
                turn.frame is not None,
            )
        )
        self._judge_voice(turn)
        if self._watched.sound is not None:
            self._judge_sound(self._watched.sound())
        if self._camera_state is not None:  # at once: what it does not see, nobody should count on
            self._judge_live_camera(self._camera_state(), record)
        now_ns = self._now_ns()
        if self._judged_ns is None or now_ns - self._judged_ns >= 1_000_000_000:
            self._judged_ns = now_ns
            self._judge(record)

    def _is_deaf(self, turn: MicroTurn) -> bool:
        """It is switched off, or was and has only begun to give sound: that is no loss."""
        if not self._control.microphone_on:
            self._may_be_deaf = GONE_TURNS
            return True
        if self._may_be_deaf == 0:
            return False
        still = turn.lost_samples == TURN_SAMPLES
        self._may_be_deaf = self._may_be_deaf - 1 if still else 0
        return True

    def _newly_dropped(self) -> int:
        before = self._dropped
        if self._watched.dropped_samples is not None:
            self._dropped = self._watched.dropped_samples()
        return self._dropped - before

    def _judge(self, record: TurnRecord) -> None:
        self._monitor.report(ENGINE, State.OK)
        self._judge_loop()
        if self._watched.sound is None:
            self._report_microphone(*self._microphone(), _counts(self._watched.ear))
        if self._watched.camera and self._camera_state is None:
            self._judge_camera(record)
        if self._watched.workers or self._watched.broker is not None:
            self._judge_link(record)

    def _judge_loop(self) -> None:
        watched = self._watched
        missed = sum(one.skipped for one in self._seen)
        late = missed > watched.missed_per_minute
        self._monitor.report(
            LOOP,
            State.DEGRADED if late else State.OK,
            f"{missed} micro-turns missed in the last minute" if late else "",
            {"missed_per_minute": missed},
            HOLDS_S,
        )
        p50, p99 = np.percentile([one.compute_ms for one in self._seen], [50, 99])
        slow = p99 > watched.compute_p99_ms and len(self._seen) >= GONE_TURNS
        self._monitor.report(
            COMPUTE,
            State.DEGRADED if slow else State.OK,
            f"p99 is {p99:.0f} ms; at most {watched.compute_p99_ms:.0f} are well" if slow else "",
            {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)},
        )

    def _judge_link(self, record: TurnRecord) -> None:
        watched = self._watched
        reason = "" if watched.broker is None else watched.broker()
        if not reason and watched.workers and not record.turn.background.link_up:
            reason = "no worker can be reached; the device answers by itself"
        self._monitor.report(LINK, State.DEGRADED if reason else State.OK, reason)

    def _judge_voice(self, turn: MicroTurn) -> None:
        """By the utterances that it was given last: it is no part before the first."""
        for event in turn.events:
            if event.voice_failed:
                reason = "it could not speak; the log says why"
                self._monitor.report(VOICE, State.DEGRADED, reason)
            elif event.kind is EventKind.UTTERANCE_STARTED:
                self._monitor.report(VOICE, State.OK)

    def _judge_sound(self, sound: SoundStatus) -> None:
        """Every turn: what the devices' own watch says, and for the rest what was heard."""
        microphone, loudspeaker = sound.parts()
        heard = self._microphone()
        worse = heard[0].severity > microphone.state.severity
        state, reason = heard if worse else (microphone.state, microphone.reason)
        self._report_microphone(state, reason or heard[1], microphone.values)
        self._monitor.report(LOUDSPEAKER, loudspeaker.state, loudspeaker.reason, loudspeaker.values)

    def _report_microphone(
        self, state: State, reason: str, values: Mapping[str, Value] | None = None
    ) -> None:
        lost = sum(one.lost + one.dropped for one in self._seen)
        lost_ms = round(1000 * lost / SAMPLE_RATE_HZ)
        self._monitor.report(
            MICROPHONE, state, reason, {"lost_ms_per_minute": lost_ms, **(values or {})}
        )

    def _microphone(self) -> tuple[State, str]:
        if not self._control.microphone_on:
            return State.OK, OFF
        newest = list(self._seen)[-DEAD_TURNS:]
        gone = newest[-GONE_TURNS:]
        if len(gone) == GONE_TURNS and all(one.lost == TURN_SAMPLES for one in gone):
            ear = self._watched.ear
            stalled = "it gives no sound: unplugged, or stalled"
            return State.FAILED, stalled if ear is None else ear.why_gone
        zeros = len(newest) == DEAD_TURNS and all(one.zero for one in newest)
        if self._watched.live_microphone and zeros:
            return State.FAILED, "it gives nothing but zeros: unplugged, or muted by a switch"
        if any(one.lost for one in newest):
            return State.DEGRADED, "sound was lost in the last ten seconds"
        dropped = sum(one.dropped for one in self._seen) // TURN_SAMPLES
        if dropped > self._watched.missed_per_minute:
            return State.DEGRADED, (
                f"{dropped} micro-turns of sound were dropped in the last minute: it comes all at "
                "once, or the loop is late"
            )
        return State.OK, ""

    def _judge_camera(self, record: TurnRecord) -> None:
        gone = list(self._seen)[-GONE_TURNS:]
        eye, values = self._watched.eye, _counts(self._watched.eye)
        if record.turn.frame_age_ms is not None:
            values["age_ms"] = record.turn.frame_age_ms
        if not self._control.camera_on:
            self._monitor.report(CAMERA, State.OK, OFF)
        elif len(gone) == GONE_TURNS and not any(one.picture for one in gone):
            lost = CAMERA_REASONS[CameraState.LOST]
            reason = lost if eye is None else f"{eye.why_gone}; {BY_EAR}"
            self._monitor.report(CAMERA, State.DEGRADED, reason, values)
        else:
            self._monitor.report(CAMERA, State.OK, "", values)

    def _judge_live_camera(self, state: CameraState, record: TurnRecord) -> None:
        well = state in (CameraState.PRESENT, CameraState.OFF)
        values: dict[str, Value] = {"state": state.value}
        if record.turn.frame_age_ms is not None:
            values["age_ms"] = record.turn.frame_age_ms
        reason = CAMERA_REASONS.get(state, "")
        self._monitor.report(CAMERA, State.OK if well else State.DEGRADED, reason, values)


def _counts(fed: Fed | None) -> dict[str, Value]:
    return {} if fed is None else dict(fed.counts())
