"""A recording as a source: a sound file, a video, or both, in real time or as fast as it can."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
from typing_extensions import Self

from edge_runtime.errors import SourceError
from edge_runtime.interfaces import Clock
from edge_runtime.micro_turn import TURN_MS, TURN_SAMPLES, AudioReading, FrameReading, Pcm
from edge_runtime.pacing import TURN_NS, Pacer
from edge_runtime.sources.audio_file import AudioFile
from edge_runtime.sources.video_file import VideoFile

log = logging.getLogger(__name__)


class RecordingSource:
    """Microphone, loudspeaker and camera of a recording: an AudioSource and a FrameSource.

    The sound is the clock; without it, silence as long as the video. A block given to `play` in
    one micro-turn is heard in the next: it comes back as channel 1 of that reading.

    In real time, micro-turns keep absolute deadlines, and the sound of deadlines that an overrun
    missed is gone, as it would be with a microphone. Otherwise each reading moves the clock on by
    200 ms, which on a virtual clock takes no time.
    """

    def __init__(
        self,
        audio: Path | None,
        video: Path | None,
        realtime: bool,
        clock: Clock,
        tail_turns: int = 0,
    ) -> None:
        """`tail_turns`: micro-turns of silence after the end, for the device to answer in."""
        self._audio_path, self._video_path = audio, video
        self._realtime = realtime
        self._clock = clock
        self._pacer = Pacer(clock)
        self._tail_turns = tail_turns
        self._resources = ExitStack()
        self._audio: AudioFile | None = None
        self._video: VideoFile | None = None
        self._start_ns: int | None = None
        self._turns = 0
        self._to_play: Pcm = np.zeros(0, np.float32)
        self.skipped_turns = 0
        """Micro-turns whose sound went by unread because an earlier one overran."""

    def __enter__(self) -> Self:
        if self._audio_path is None and self._video_path is None:
            raise SourceError("a recording needs sound or pictures. Give --audio, --video or both.")
        with ExitStack() as acquired:
            if self._audio_path is not None:
                self._audio = acquired.enter_context(AudioFile(self._audio_path))
            if self._video_path is not None:
                self._video = acquired.enter_context(VideoFile(self._video_path))
            self._resources = acquired.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._resources.close()

    @property
    def descriptions(self) -> list[str]:
        """What the files are and what was done with them, a line each."""
        lines = [f"sound {self._audio.description}" if self._audio else "no sound: silence"]
        lines.append(f"picture {self._video.description}" if self._video else "no picture")
        if self._audio and self._video and self._audio.duration_s and self._video.duration_s:
            longer_s = self._video.duration_s - self._audio.duration_s
            if longer_s < -TURN_MS / 1e3:
                lines.append(f"the last {-longer_s:.1f} s of the sound have no picture")
            elif longer_s > TURN_MS / 1e3:
                lines.append(f"the picture's last {longer_s:.1f} s are left out: the sound is over")
        return lines

    def read_turn(self) -> AudioReading | None:
        """The next 3,200 samples, the last block filled up with zeros; None after the end."""
        captured_ns = self._wait()
        heard = self._next_sound()
        if heard is None:
            return None
        played = self._take_played()
        self._turns += 1
        pcm = np.zeros((2, TURN_SAMPLES), np.float32)
        pcm[0, : heard.size] = heard
        pcm[1, : played.size] = played
        return AudioReading(pcm, captured_ns=captured_ns)

    def play(self, pcm: Pcm) -> None:
        """float32 (n,), -1..1: heard from the beginning of the next micro-turn on."""
        self._to_play = np.concatenate([self._to_play, pcm.astype(np.float32, copy=False)])

    def flush(self, fade_ms: float) -> int:
        """Drop what was given to `play` and is not yet heard; returns how many samples.

        Nothing of it has begun to sound, so there is nothing to fade.
        """
        dropped = self._to_play.size
        self._to_play = self._to_play[:0]
        return dropped

    def latest(self, now_ns: int) -> FrameReading | None:
        """The picture at `now_ns`; None without a video, before its start and after its end.

        It counts as captured at `now_ns`: a video's picture holds until the next one.
        """
        if self._video is None or self._start_ns is None:
            return None
        frame = self._video.frame_at((now_ns - self._start_ns) / 1e9)
        return None if frame is None else FrameReading(frame, now_ns)

    def _wait(self) -> int:
        """Let 200 ms pass; returns the clock reading at the last sample of the micro-turn."""
        if self._start_ns is None:
            self._start_ns = self._clock.now_ns()
        if not self._realtime:
            due_ns = self._start_ns + (self._turns + 1) * TURN_NS
            self._clock.sleep_until(due_ns)
            return due_ns
        tick = self._pacer.wait()
        for _ in range(tick.skipped):
            self._skip_turn()
        return tick.due_ns

    def _skip_turn(self) -> None:
        if self._next_sound() is not None:
            self._take_played()
            self._turns += 1
            self.skipped_turns += 1

    def _next_sound(self) -> Pcm | None:
        """float32 (<= 3200,): silence where silence is meant; None after the end."""
        if self._audio is not None:
            sound = self._audio.read(TURN_SAMPLES)
            if sound.size:
                return sound
        elif self._video is not None and not self._video.ended_at(self._turns * TURN_MS / 1e3):
            return np.zeros(TURN_SAMPLES, np.float32)
        if self._tail_turns <= 0:
            return None
        self._tail_turns -= 1
        return np.zeros(TURN_SAMPLES, np.float32)

    def _take_played(self) -> Pcm:
        played, self._to_play = self._to_play[:TURN_SAMPLES], self._to_play[TURN_SAMPLES:]
        return played
