"""Between the audio callbacks and the loop: what was heard, and what was played then.

Pure: no audio library, no device.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_runtime.micro_turn import (
    SAMPLE_RATE_HZ,
    TURN_MS,
    TURN_SAMPLES,
    AudioReading,
    Channels,
    Pcm,
)
from edge_runtime.sources.played_sound import LONGEST_LATENCY_S, PlayedSound

TURN_S = TURN_MS / 1e3
TURN_NS = TURN_MS * 1_000_000
MOST_DRY = SAMPLE_RATE_HZ
"""Samples of silence in a row that count as missing: after that nobody wants to play any more."""
AWAY_NS = 2_000_000_000
"""Who has not read for so long was not late, but did not run."""


@dataclass(frozen=True)
class HeardTurn:
    """One micro-turn as it was captured."""

    microphones: Channels
    """Float32 (channels, 3200)."""
    reference: Pcm
    """Float32 (3200,): what our loudspeaker played at that time."""
    lost_samples: int
    captured_ns: int


class DuplexBuffer:
    """Counts samples: for every sample heard, the one that our loudspeaker played at that time.

    The audio thread calls `callback`; the loop calls `read_turn`, `play` and `flush`. Capture and
    playback run on one clock, so that counting is all it takes to keep them aligned. Where they run
    on two, their threads call `capture` and `next_to_play`, and `played_at` tells which sample was
    played when another one was heard.

    Playback keeps a cushion: where `play` finds nothing left to play, it first queues `cushion_ms`
    of silence, so that turns that come a few milliseconds late never tear an utterance. Before a
    silent block it fills up what a loudspeaker with a faster clock has taken of it. What is off by
    no more than `slack_ms` is left as it is: where turns come unevenly, all of them are played
    equally late.
    """

    def __init__(
        self,
        latency_samples: int = 0,
        cushion_ms: float = 40.0,
        capacity_s: float = 2.0,
        volume: float = 1.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
        patience_s: float = TURN_S,
        channels: int = 1,
        slack_ms: float = 0.0,
    ) -> None:
        """`latency_samples`: from giving a sample to the device to hearing it in the capture.
        `patience_s`: how long after its time a micro-turn still waits for its samples. `channels`:
        of the microphone, until one is heard."""
        capacity = round(capacity_s * SAMPLE_RATE_HZ)
        if capacity < 2 * TURN_SAMPLES:
            raise ValueError(f"capacity_s must be at least {2 * TURN_S}, not {capacity_s}")
        self._changed = threading.Condition()
        self._now_ns = now_ns
        self._cushion = round(cushion_ms * SAMPLE_RATE_HZ / 1e3)
        self._slack = round(slack_ms * SAMPLE_RATE_HZ / 1e3)
        self._capacity = capacity
        self.volume = self._volume = volume
        """May be changed at any time: from the next block on, within which it rises or falls."""
        self._patience_s = patience_s
        self.latency_samples = latency_samples
        """May be changed at any time; the reference follows from the next turn on."""
        self.played_at: Callable[[int], float] | None = None
        """On two clocks: the number of the sample played when the one of this number was heard, but
        for the latency. None: they are counted in step."""
        self._ahead = 0
        """On one clock: by how much the number of what is played is larger than of what is heard
        with it."""
        self._captured: Channels = np.zeros((channels, 0), np.float32)
        self.captured_count = 0
        """Samples heard since the start: the number of the next one."""
        self._captured_until_ns = 0
        self._played = PlayedSound(capacity + round(LONGEST_LATENCY_S * SAMPLE_RATE_HZ))
        self._to_play: Pcm = np.zeros(0, np.float32)
        self._begun, self._dry_samples = False, 0
        self._rebuild_cushion = True
        self._cut_off = False
        """A flush has just happened: the next block continues what it cut."""
        self._turn_ns: int | None = None
        """When the last turn was due; while nothing comes, the next ones follow at 5 Hz."""
        self._starved = False
        self.lost_samples = 0
        """Samples heard and dropped because nobody read them, and samples that never came."""
        self.dropped_samples = 0
        """Those among them that a running loop was too late for, or that came all at once."""
        self.underrun_samples = 0
        """Samples of silence played because the next block of `play` was late."""

    @property
    def played_count(self) -> int:
        """Samples given to the device since the start: the number of the next one."""
        return self._played.count

    @property
    def speaking(self) -> bool:
        """There is sound left to play."""
        with self._changed:
            return bool(self._to_play.any())

    def count_in_step(self) -> None:
        """From here on one clock drives both ways; before any `callback` that is so."""
        with self._changed:
            self.played_at = None
            self._ahead = self._played.count - self.captured_count

    def drop_late(self) -> None:
        """A loudspeaker begins: what piled up while none took it should have been heard before."""
        with self._changed:
            self._to_play = self._to_play[-(self._cushion + TURN_SAMPLES) :]

    def forget_captured(self) -> None:
        """What was heard and not read counts as missing."""
        with self._changed:
            self._captured = np.full_like(self._captured, np.nan)

    def callback(self, heard: Channels, until_ns: int | None = None, audible: bool = True) -> Pcm:
        """Take what the microphones gave, float32 (n,) or (channels, n); return the next float32
        (n,) to play.

        `until_ns` is when the last sample was captured; None: now. A NaN is a sample that is known
        to be missing: it is read as 0 and counted as lost. Not `audible`: what is returned comes
        out nowhere.
        """
        with self._changed:
            played = self._next_to_play(heard.shape[-1], audible)
            self._capture(heard, until_ns)
        return played

    def capture(self, heard: Channels, until_ns: int | None = None) -> None:
        """On two clocks: as `callback`, without playing."""
        with self._changed:
            self._capture(heard, until_ns)

    def next_to_play(self, count: int) -> Pcm:
        """On two clocks: the next float32 (count,) to play."""
        with self._changed:
            return self._next_to_play(count, True)

    def read_turn(self, timeout_s: float | None = None) -> AudioReading:
        """As `take_turn`, with the mean of the microphones."""
        turn = self.take_turn(timeout_s)
        pcm = np.stack([turn.microphones.mean(axis=0), turn.reference])
        return AudioReading(pcm, turn.lost_samples, turn.captured_ns)

    def take_turn(self, timeout_s: float | None = None) -> HeardTurn:
        """Wait until 3,200 new samples have arrived, by count.

        After an overrun, micro-turns that are past are dropped and counted: the reading is the
        newest whole one. If the samples do not come within `timeout_s` (default: `patience_s` after
        they were due), the reading is filled up with zeros: the device has stalled or is gone. From
        then on such turns follow at 5 Hz, and what should have been said meanwhile is forgotten.
        """
        with self._changed:
            arrived = self._changed.wait_for(
                lambda: self._captured.shape[1] >= TURN_SAMPLES,
                self._timeout_s() if timeout_s is None else timeout_s,
            )
            if not arrived:
                return self._filled_up()
            past = (self._captured.shape[1] // TURN_SAMPLES - 1) * TURN_SAMPLES
            if self._turn_ns is not None and self._now_ns() - self._turn_ns < AWAY_NS:
                self.dropped_samples += past
            self._drop_captured(past)
            turn, reference, missing = self._next_captured(TURN_SAMPLES)
            behind_ns = self._captured.shape[1] * 1_000_000_000 // SAMPLE_RATE_HZ
            self._turn_ns, self._starved = self._now_ns() - behind_ns, False
            captured_ns = self._captured_until_ns - behind_ns
            return HeardTurn(turn, reference, missing, captured_ns)

    def play(self, pcm: Pcm) -> None:
        """Queue float32 (n,), -1..1, after what is queued; never blocks.

        The queue is bounded like the capture, dropping the oldest: a stalled device does not speak
        later what it should have said before. What an overrun left in the queue beyond the cushion
        is made up for by shortening silent blocks, so that it does not delay all that follows.
        The first block after a `flush` continues what was cut off: while the fade-out runs, it is
        dropped, so that there is one fade and not two.
        """
        with self._changed:
            cut_off, self._cut_off = self._cut_off, False
            if cut_off and self._to_play.size:
                return
            more = self._to_play.size - self._cushion
            anew = not pcm.any() and abs(more) > self._slack
            if anew:
                pcm = pcm[max(0, more) :]
            rebuild = self._rebuild_cushion or not self._to_play.size or anew
            gap = max(0, self._cushion - self._to_play.size) if rebuild else 0
            silence = np.zeros(gap, np.float32)
            self._to_play = np.concatenate([self._to_play, silence, pcm])[-self._capacity :]
            self._begun, self._rebuild_cushion = True, False
            self._dry_samples = 0

    def flush(self, fade_ms: float) -> int:
        """Silence within `fade_ms`, from the next sample on; returns how many samples were queued.

        They are dropped, but for the first `fade_ms`, which fade out.
        """
        with self._changed:
            queued = self._to_play.size
            fade = self._to_play[: round(fade_ms * SAMPLE_RATE_HZ / 1e3)]
            ramp = np.linspace(1.0, 0.0, fade.size + 1, dtype=np.float32)[1:]
            self._to_play = fade * ramp
            self._begun, self._rebuild_cushion, self._cut_off = False, True, True
            return queued

    def _capture(self, heard: Channels, until_ns: int | None) -> None:
        heard = np.atleast_2d(heard)
        if heard.shape[0] != self._captured.shape[0]:
            self._drop_captured(self._captured.shape[1])
            self._captured = np.zeros((heard.shape[0], 0), np.float32)
        self._captured = np.concatenate([self._captured, heard], axis=1)
        self.captured_count += heard.shape[1]
        self._drop_captured(self._captured.shape[1] - self._capacity)
        self._captured_until_ns = self._now_ns() if until_ns is None else until_ns
        self._changed.notify_all()

    def _next_to_play(self, count: int, audible: bool) -> Pcm:
        block = np.zeros(count, np.float32)
        ready = self._to_play[:count]
        before, self._volume = self._volume, self.volume
        rising = np.linspace(before, self._volume, ready.size, dtype=np.float32)  # and no click
        block[: ready.size] = np.clip(ready * rising, -1.0, 1.0)
        self._to_play = self._to_play[count:]
        if self._begun:
            self.underrun_samples += count - ready.size
            self._dry_samples = 0 if ready.size else self._dry_samples + count
            self._begun = self._dry_samples < MOST_DRY
        self._played.append(block if audible else np.zeros(count, np.float32))
        return block

    def _reference(self, first: int) -> Pcm:
        """What was played while the 3,200 samples from number `first` on were heard."""
        if self.played_at is None:
            return self._played.window(first + self._ahead - self.latency_samples, TURN_SAMPLES)
        begin, end = self.played_at(first), self.played_at(first + TURN_SAMPLES)
        positions = np.linspace(begin, end, TURN_SAMPLES, endpoint=False)
        return self._played.at(positions - self.latency_samples)

    def _timeout_s(self) -> float:
        if self._turn_ns is None:
            return TURN_S + self._patience_s
        late_s = (self._now_ns() - self._turn_ns) / 1e9 - TURN_S
        return max(0.0, self._patience_s - late_s)

    def _drop_captured(self, count: int) -> None:
        if count > 0:
            self._captured = self._captured[:, count:]
            self.lost_samples += count

    def _next_captured(self, count: int) -> tuple[Channels, Pcm, int]:
        """Take the next samples: microphones, reference, and how many are missing among them."""
        first = self.captured_count - self._captured.shape[1]
        turn, self._captured = self._captured[:, :count], self._captured[:, count:]
        missing = int(np.count_nonzero(np.isnan(turn[0])))
        self.lost_samples += missing
        turn = np.nan_to_num(turn, copy=True) if missing else np.ascontiguousarray(turn)
        return turn, self._reference(first)[: turn.shape[1]], missing

    def _filled_up(self) -> HeardTurn:
        """A turn of what is there, and silence.

        Where sound breaks off, that comes last. Where it comes back, it comes first, and what was
        heard after the turn's end is kept for the next one: so they stay on their 5 Hz.
        """
        now_ns, waiting = self._now_ns(), self._captured.shape[1]
        due_ns = now_ns if self._turn_ns is None else self._turn_ns + TURN_NS
        # A loop that overran meanwhile goes on from now, and does not run faster to catch up.
        due_ns = due_ns if now_ns - due_ns < 2 * TURN_NS else now_ns
        returns = self._starved and waiting > 0
        after = (now_ns - due_ns) * SAMPLE_RATE_HZ // 1_000_000_000 if returns else 0
        turn, reference, missing = self._next_captured(max(0, waiting - after))
        heard = turn.shape[1]
        lost = TURN_SAMPLES - heard
        padding = (lost, 0) if returns else (0, lost)
        self.lost_samples += lost
        if self._starved:
            self._to_play = self._to_play[TURN_SAMPLES:]
        self._starved, self._turn_ns = heard == 0, due_ns
        full = np.pad(turn, ((0, 0), padding))
        return HeardTurn(full, np.pad(reference, padding), missing + lost, due_ns)
