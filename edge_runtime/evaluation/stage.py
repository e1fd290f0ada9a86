"""A stage for one clip: place sound, poses and events at exact samples, then render it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_runtime.demo.renderer import Pose
from edge_runtime.evaluation.clip import Clip, Cue
from edge_runtime.evaluation.material import Material, Spoken, words
from edge_runtime.micro_turn import (
    SAMPLE_RATE_HZ,
    TURN_SAMPLES,
    BackgroundState,
    Event,
    EventKind,
    Frame,
    Pcm,
    VoiceState,
)

FULL_SCALE = 32_768.0
STANDING = Pose(present=True, facing=True)
GRAINS = 2
LINK_UP_SHARE = 0.7
SWAY = 0.06


def samples(seconds: float) -> int:
    return int(seconds * SAMPLE_RATE_HZ)


class Stage:
    """A clip of `seconds` in the making; everything random in it comes from `rng`."""

    def __init__(
        self,
        material: Material,
        rng: np.random.Generator,
        seconds: float,
        frame_px: int,
        live: bool = False,
    ) -> None:
        self.material, self.rng, self._frame_px = material, rng, frame_px
        self._live = live
        self.turns = -(-samples(seconds) // TURN_SAMPLES)
        self.near = np.zeros(self.turns * TURN_SAMPLES, np.float32)
        """int16 scale, like the next two."""
        self.around = np.zeros_like(self.near)
        """Other people and things in the room."""
        self.played = np.zeros_like(self.near)
        self.poses = [STANDING] * self.turns
        self.cues: list[Cue] = []
        self._said: list[tuple[int, int, str]] = []
        self._last: Spoken | None = None
        self._noise = ""
        self._utterances: list[tuple[int, int]] = []
        self._events: list[list[Event]] = [[] for _ in range(self.turns)]
        link_up = bool(rng.random() < LINK_UP_SHARE)
        self._background = [BackgroundState(link_up=link_up)] * self.turns

    def cue(
        self,
        kind: str,
        start: int,
        end: int,
        detail: str = "",
        speech: int = 0,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        self.cues.append(Cue(kind, start, end, detail, speech, facts or {}))

    # -- sound -----------------------------------------------------------------------------------

    def say(
        self,
        spoken: Spoken,
        start: int,
        pauses: Sequence[int] = (),
        tail: int = 0,
        visible: bool = True,
        into: Pcm | None = None,
    ) -> list[tuple[int, int]]:
        """Place an utterance with its pauses; returns each segment's first and end sample.

        A recording's own room tone goes on through the pauses and for `tail` samples, so that the
        end of the file is not to be heard.
        """
        self._last = spoken
        gain = np.float32(10 ** (self.rng.uniform(-9, 6) / 20))
        target = self.near if into is None else into
        spans: list[tuple[int, int]] = []
        lead = min(start, samples(self.rng.uniform(0.2, 1.0)))
        self._add(target, start - lead, gain * self._tone(spoken, lead))
        at = start
        for index, segment in enumerate(spoken.segments):
            self._add(target, at, gain * segment.pcm.astype(np.float32))
            spans.append((at, at + len(segment.pcm)))
            if target is self.near:
                self._said.append((*spans[-1], segment.text))
            if visible:
                self._move_mouth(*spans[-1])
            last = index == len(spoken.segments) - 1
            silence = tail if last else pauses[index]
            self._add(target, spans[-1][1], gain * self._tone(spoken, silence))
            at = spans[-1][1] + silence
        return spans

    def _tone(self, spoken: Spoken, length: int) -> NDArray[np.float32]:
        return self.material.room_tone(self.rng, spoken, length)

    def _add(self, into: Pcm, start: int, pcm: NDArray[np.float32]) -> None:
        room = min(len(pcm), len(into) - start)
        if room > 0:
            into[start : start + room] += pcm[:room]

    def add_noise(self, pcm: NDArray[np.float32], start: int, name: str = "") -> None:
        """Other sound in the room, int16 scale (n,), and what it was taken from."""
        self._noise = name
        self._add(self.around, start, pcm)

    def device(self, pcm: NDArray[np.float32], start: int) -> int:
        """Let the loudspeaker play int16-scaled (n,) from `start`; returns its end sample, or the
        clip's where that comes before: the rest is told, and not heard.

        The mouth's state and events are those that the runtime's mouth reports at the end of each
        micro-turn. On a live stage it is only noted when the device ought to speak.
        """
        spoken = start + len(pcm)
        end = min(spoken, len(self.played))
        self.cue("device", start, end)
        if self._live:
            return end
        self._add(self.played, start, pcm)
        self._utterances.append((start, spoken))
        name = f"utterance-{len(self._utterances)}"
        self.event(start // TURN_SAMPLES, EventKind.UTTERANCE_STARTED, name)
        self.event((spoken - 1) // TURN_SAMPLES, EventKind.UTTERANCE_FINISHED, name)
        return end

    def long_utterance(self, least_s: float) -> NDArray[np.float32]:
        """Something that the device says for at least so long, int16 scale (n,)."""
        parts: list[NDArray[np.float32]] = []
        device = self.material.device
        while sum(map(len, parts)) < samples(least_s):
            spoken = device[int(self.rng.integers(len(device)))]
            parts += [segment.pcm.astype(np.float32) for segment in spoken.segments]
            parts.append(np.zeros(samples(0.12), np.float32))
        loudness = np.float32(self.rng.uniform(0.5, 1.5))
        joined: NDArray[np.float32] = np.concatenate(parts[:-1]) * loudness
        return joined

    # -- picture, events -------------------------------------------------------------------------

    def pose(self, start: int, end: int, **changes: object) -> None:
        """Change the pose of the turns that the samples start..end touch."""
        for turn in range(max(0, start // TURN_SAMPLES), min(self.turns, -(-end // TURN_SAMPLES))):
            self.poses[turn] = replace(self.poses[turn], **changes)  # type: ignore[arg-type]

    def wave(self, start: int, end: int) -> None:
        first = start // TURN_SAMPLES
        for turn in range(first, min(self.turns, -(-end // TURN_SAMPLES))):
            self.poses[turn] = replace(self.poses[turn], waving=turn - first + 1)

    def _move_mouth(self, start: int, end: int) -> None:
        for turn in range(start // TURN_SAMPLES, min(self.turns, end // TURN_SAMPLES + 1)):
            mouth = float(self.rng.uniform(0.1, 1.0))
            self.poses[turn] = replace(self.poses[turn], mouth=mouth)

    def event(self, turn: int, kind: EventKind, name: str = "", text: str = "") -> None:
        if turn < self.turns:
            self._events[turn].append(Event(kind, name, text))

    def background(self, first: int, end: int, pending: bool = False, ready: bool = False) -> None:
        """What the delegated work does at the end of the turns first..end-1."""
        for turn in range(first, min(end, self.turns)):
            self._background[turn] = replace(
                self._background[turn], pending=pending, result_ready=ready
            )

    # -- rendering -------------------------------------------------------------------------------

    def finish(self, scenario: str, microphone: Pcm | None = None) -> Clip:
        """The clip. The room, noise and echo are the corpus's unless a `microphone` (int16 scale)
        is given."""
        if microphone is None:
            acoustics, person = self.material.acoustics, self.near + self.around
            microphone = acoustics.microphone(self.rng, person, self.played)
        audio = np.clip(np.stack([microphone, self.played]) / FULL_SCALE, -1, 1)
        return Clip(
            scenario=scenario,
            audio=audio.astype(np.float32),
            cues=tuple(sorted(self.cues, key=lambda cue: cue.start)),
            voice=self._voice(),
            events=tuple(tuple(events) for events in self._events),
            background=tuple(self._background),
            near=self.near / np.float32(FULL_SCALE),
            frames=tuple(self._draw()),
            said=tuple(self._said),
            text=words(self._last) if self._last else "",
            voice_name=self._last.voice if self._last else "",
            recording=self._last.recording if self._last else self._noise,
        )

    def _voice(self) -> tuple[VoiceState, ...]:
        """At the end of a turn the mouth speaks while there is sound that was not played yet."""
        states = [VoiceState()] * self.turns
        for number, (start, end) in enumerate(self._utterances, 1):
            last = min(self.turns, (end - 1) // TURN_SAMPLES)
            for turn in range(start // TURN_SAMPLES, last):
                left_s = (end - (turn + 1) * TURN_SAMPLES) / SAMPLE_RATE_HZ
                states[turn] = VoiceState(f"utterance-{number}", left_s)
        return tuple(states)

    def _draw(self) -> list[Frame]:
        """One picture uint8 (size, size, 3) a turn. Equal poses share a drawing; a camera's grain
        lies over it."""
        rng, size = self.rng, self._frame_px
        person = self.material.person(int(rng.integers(1 << 31)), size)
        grain = rng.normal(0, rng.uniform(1, 6), (GRAINS, size, size, 3)).astype(np.int16)
        drawn: dict[tuple[Pose, int], Frame] = {}
        frames: list[Frame] = []
        sway = 0
        for turn, pose in enumerate(self.poses):
            if rng.random() < 0.15:
                sway = int(rng.integers(-1, 2))
            phase = 1 + pose.waving % 4 if pose.waving else 0
            mouth = float(np.ceil(pose.mouth * 3)) / 3
            shown = replace(pose, mouth=mouth, waving=phase, x=SWAY * sway)
            key = (shown, int(rng.integers(GRAINS)))
            if key not in drawn:
                picture = person.render(shown, turn).astype(np.int16) + grain[key[1]]
                drawn[key] = np.clip(picture, 0, 255).astype(np.uint8)
            frames.append(drawn[key])
        return frames
