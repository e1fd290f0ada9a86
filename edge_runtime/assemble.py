"""Latest readings to a MicroTurn: alignment, staleness, gaps. Missing input is data."""

from __future__ import annotations

from collections.abc import Sequence

from edge_runtime.interfaces import FrameSource
from edge_runtime.micro_turn import (
    TURN_MS,
    AudioReading,
    BackgroundState,
    Event,
    MicroTurn,
    VoiceState,
)


class Assembler:
    """Joins the sound of a micro-turn with the newest picture that is fresh enough."""

    def __init__(self, frames: FrameSource | None, max_frame_age_ms: float = 600.0) -> None:
        self._frames = frames
        self._max_frame_age_ms = max_frame_age_ms
        self.stale_frames = 0
        """Turns that had a camera and no fresh picture."""

    def assemble(
        self,
        index: int,
        reading: AudioReading,
        events: Sequence[Event],
        voice: VoiceState,
        background: BackgroundState,
    ) -> MicroTurn:
        frame, age_ms = None, None
        if self._frames is not None:
            latest = self._frames.latest(reading.captured_ns)
            if latest is not None:
                age_ms = max(0.0, (reading.captured_ns - latest.captured_ns) / 1e6)
            if latest is not None and age_ms is not None and age_ms <= self._max_frame_age_ms:
                frame = latest.frame
            else:
                self.stale_frames += 1
        return MicroTurn(
            index=index,
            deadline_ns=reading.captured_ns + TURN_MS * 1_000_000,
            audio=reading.pcm,
            lost_samples=reading.lost_samples,
            direction_rad=reading.direction_rad,
            frame=frame,
            frame_age_ms=age_ms,
            events=tuple(events),
            voice=voice,
            background=background,
        )
