"""The mouth: a queue of utterances that gives exactly 3,200 samples a micro-turn."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Protocol

import numpy as np
from typing_extensions import Self

from edge_runtime.micro_turn import (
    SAMPLE_RATE_HZ,
    TURN_MS,
    TURN_SAMPLES,
    VOICE_FAILED,
    Event,
    EventKind,
    Pcm,
    Utterance,
    VoiceState,
)

log = logging.getLogger(__name__)

GAP_MS = 120
"""Silence between two utterances: their own was trimmed, and words must not run together."""
MAX_FADE_MS = 20.0
RETRACED_MS = 400
"""At most so much is said once more after a pause: from where the word began that it cut."""
QUIET_STEP = SAMPLE_RATE_HZ // 100
QUIET = 0.1
"""Between two words the level falls to this share of the loudest nearby."""
RESUME_RAMP = 80
"""Samples over which the sound comes back, so that it does not click."""
RETRACED = SAMPLE_RATE_HZ * RETRACED_MS // 1000
LAST_SAMPLES = RETRACED + SAMPLE_RATE_HZ // 2
"""Kept of what was handed out: what a device has queued is not heard either where it is dropped."""
SECONDS_A_CHARACTER = 0.06
"""English at 165 words a minute; only an estimate, until the synthesizer is done."""
LONGEST_WORD = 24
"""Letters."""
AHEAD = 2
"""Utterances synthesized ahead: the one in turn and the next."""
MOST_WORKERS = 3
"""Of these all but one may still be at what was dropped: Piper ends only after its sentence."""
HANGS_TURNS = 10_000 // TURN_MS
"""So long without a sound, and no more comes."""
LEAVE_S = 5.0
"""So long a synthesizer may take to end."""


class Synthesis(Protocol):
    """Blocks of float32 (n,), 16 kHz. After `close`, from any thread, the iterator ends soon."""

    def __iter__(self) -> Iterator[Pcm]: ...

    def close(self) -> None: ...


class Synthesizer(Protocol):
    def check(self) -> None:
        """Raises VoiceError if it cannot speak at all."""
        ...

    def synthesize(self, text: str) -> Synthesis: ...


class Mouth:
    """Implements `interfaces.Voice`; one thread synthesizes ahead. Where it is at an utterance that
    is dropped, another takes its place at once, and it ends as soon as its synthesizer lets it.

    `start_wait_ms` is how long `next_turn` waits for the first sound of a fresh utterance, which
    otherwise would begin 200 ms later. With `block`, the mouth waits for the synthesizer as long as
    it takes: what it says, its state and its events then depend on the calls alone, not on time.
    """

    def __init__(
        self, synthesizer: Synthesizer, *, start_wait_ms: float = 60.0, block: bool = False
    ) -> None:
        self._synthesizer = synthesizer
        self._start_wait_ms, self._block = start_wait_ms, block
        self._changed = threading.Condition()
        """Guards all that follows; notified when an utterance or sound comes, goes or ends."""
        self._queue: deque[_Spoken] = deque()
        self._events: list[Event] = []
        self._gap = 0
        """Samples of silence still due before the next utterance may begin."""
        self._before: _Spoken | None = None
        """The one that came to its end last: its end may lie in a device's queue still."""
        self._since = 0
        """Samples handed out since then."""
        self._paused = False
        self._open = False
        self._workers: list[threading.Thread] = []
        self._generation = 0
        """The number of the worker that is in charge."""
        self._busy = False
        """It synthesizes."""
        self.underruns = 0
        """Micro-turns with silence in the middle of an utterance: the synthesizer was too slow."""

    def __enter__(self) -> Self:
        """Raises VoiceError if the synthesizer cannot speak."""
        self._synthesizer.check()
        with self._changed:
            self._open = True
            self._start_worker()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._open = False
            self._drop_all()
        until_s = time.monotonic() + LEAVE_S
        for worker in self._workers:
            worker.join(max(0.0, until_s - time.monotonic()))
            if worker.is_alive():
                log.warning("the voice does not end; it is left behind")

    def say(self, utterance: Utterance) -> None:
        """Queue an utterance; synthesis starts at once, in the background."""
        with self._changed:
            self._queue.append(_Spoken(utterance))
            self._changed.notify_all()

    def next_turn(self, wait_ms: float | None = None) -> Pcm:
        """float32 (3200,): the next 200 ms, zeros when there is nothing to say.

        Waits at most `wait_ms` (default: `start_wait_ms`), and only for the first sound of an
        utterance that has just come to its turn, while no other sound would come late for it.
        """
        pcm = np.zeros(TURN_SAMPLES, np.float32)
        with self._changed:
            self._settle()
            self._paused = False
            filled = 0
            while filled < TURN_SAMPLES and self._queue:
                filled = self._pass_gap(filled)
                if filled == TURN_SAMPLES:
                    break
                spoken = self._queue[0]
                if not pcm.any():
                    self._await_start(spoken, self._start_wait_ms if wait_ms is None else wait_ms)
                if spoken.started or spoken.ready:
                    filled += self._give(spoken, pcm[filled:])
                if not spoken.exhausted:
                    break
                self._finish(spoken)
                self._since = -filled
            self.underruns += self._is_underrun(filled)
            self._give_up_waiting(filled)
            self._pass_gap(filled)
            self._since += TURN_SAMPLES
        return pcm

    def pause(self, fade_ms: float, unheard: int = 0) -> Pcm:
        """Be silent until the next `next_turn`, which goes on with the word that this cuts.

        Returns float32 (3200,): the sound that would have come next, faded out within `fade_ms`
        (at most 20), then zeros; only zeros while it is paused already. `unheard`: how many of the
        samples given out last were dropped before anybody heard them; they come once more.
        """
        with self._changed:
            self._settle()
            pcm, taken = self._fade_out(fade_ms)
            if self._sounding:
                self._queue[0].retrace(taken + unheard)
            if self._queue and not self._paused:
                self._take_back(unheard - self._since)
            self._paused = bool(self._queue)
        return pcm

    def flush(self, fade_ms: float, unheard: int = 0) -> Pcm:
        """Drop everything that is queued and end its synthesis.

        Returns float32 (3200,): the sound that would have come next, faded out within `fade_ms`
        (at most 20), then zeros. Every utterance dropped gives an event with the words left unsaid,
        from the one that this cuts. `unheard`: how many of the samples given out last were dropped
        before anybody heard them.
        """
        with self._changed:
            self._settle()
            pcm, faded = self._fade_out(fade_ms)
            for spoken in self._queue:
                if not spoken.finished:
                    self._tell(
                        EventKind.UTTERANCE_INTERRUPTED, spoken, spoken.unsaid(unheard + faded)
                    )
            self._drop_all()
        return pcm

    def state(self) -> VoiceState:
        """The utterance in turn, and the seconds of all that is queued."""
        with self._changed:
            self._settle()
            if not self._queue:
                return VoiceState()
            samples = sum(spoken.samples_left for spoken in self._queue)
            left_s = samples / SAMPLE_RATE_HZ
            return VoiceState(self._queue[0].utterance.id, left_s, self._paused)

    def events(self) -> Sequence[Event]:
        """Utterances started, finished and interrupted since the last call."""
        with self._changed:
            events, self._events = self._events, []
            return events

    def _settle(self) -> None:
        """With `block`: wait until all that is synthesized ahead is complete."""
        if self._block:
            self._changed.wait_for(lambda: not self._open or self._next_to_synthesize() is None)

    @property
    def _sounding(self) -> bool:
        """An utterance has begun and goes on with the next micro-turn."""
        return not self._paused and bool(self._queue) and self._queue[0].started

    def _fade_out(self, fade_ms: float) -> tuple[Pcm, int]:
        """float32 (3200,): the sound that would have come next, faded out, then zeros; and how many
        samples it took of the utterance in turn."""
        pcm = np.zeros(TURN_SAMPLES, np.float32)
        if not self._sounding:
            return pcm, 0
        length = int(SAMPLE_RATE_HZ * min(max(fade_ms, 0.0), MAX_FADE_MS) / 1000)
        rest = self._queue[0].take(length)
        ramp = np.linspace(1.0, 0.0, length + 1, dtype=np.float32)[1:]
        pcm[: rest.size] = rest * ramp[: rest.size]
        return pcm, rest.size

    def _take_back(self, unheard: int) -> None:
        """So many samples of the utterance before the one in turn; it comes first again."""
        if self._before is not None and unheard > 0:
            self._before.retrace(unheard)
            self._queue.appendleft(self._before)
            self._before, self._gap = None, 0

    def _pass_gap(self, filled: int) -> int:
        """Let the silence between two utterances pass; returns the samples then filled."""
        passed = min(self._gap, TURN_SAMPLES - filled)
        self._gap -= passed
        return filled + passed

    def _await_start(self, spoken: _Spoken, wait_ms: float) -> None:
        if not (spoken.awaited or spoken.started) and wait_ms > 0:
            self._changed.wait_for(lambda: spoken.ready or not self._open, wait_ms / 1000)
        spoken.awaited = True

    def _give(self, spoken: _Spoken, room: Pcm) -> int:
        """Move sound into `room`; returns the samples moved."""
        sound = spoken.take(room.size)
        room[: sound.size] = sound
        if sound.size:
            spoken.waited = 0
        if sound.size and not spoken.started:
            spoken.started = True
            self._tell(EventKind.UTTERANCE_STARTED, spoken)
        return sound.size

    def _finish(self, spoken: _Spoken) -> None:
        self._queue.popleft()
        if not spoken.finished:
            self._tell(EventKind.UTTERANCE_FINISHED, spoken, VOICE_FAILED if spoken.failed else "")
        spoken.finished = True
        self._before = spoken if spoken.started else None
        self._gap = SAMPLE_RATE_HZ * GAP_MS // 1000 if spoken.started else 0
        self._changed.notify_all()
        self._settle()

    def _give_up_waiting(self, filled: int) -> None:
        """A synthesizer that hangs must not hold the floor."""
        if filled or not self._queue or self._gap:
            return
        spoken = self._queue[0]
        spoken.waited += 1
        if spoken.waited == HANGS_TURNS and not spoken.complete:
            log.warning("the voice hangs at %s, which is given up", spoken.utterance.id)
            spoken.drop()
            spoken.complete = spoken.failed = True
            self._replace_worker()

    def _is_underrun(self, filled: int) -> bool:
        return filled < TURN_SAMPLES and bool(self._queue) and self._queue[0].started

    def _tell(self, kind: EventKind, spoken: _Spoken, text: str = "") -> None:
        self._events.append(Event(kind, spoken.utterance.id, text))

    def _drop_all(self) -> None:
        for spoken in self._queue:
            spoken.drop()
        self._queue.clear()
        self._before, self._gap = None, 0
        self._paused = False
        self._replace_worker()
        self._changed.notify_all()

    def _replace_worker(self) -> None:
        """Where it is at an utterance that was dropped."""
        self._workers = [worker for worker in self._workers if worker.is_alive()]
        if self._open and self._busy and len(self._workers) < MOST_WORKERS:
            self._start_worker()

    def _start_worker(self) -> None:
        self._generation += 1
        self._busy = False
        worker = threading.Thread(
            target=self._synthesize_ahead, args=(self._generation,), name="mouth", daemon=True
        )
        self._workers.append(worker)
        worker.start()

    def _next_to_synthesize(self) -> _Spoken | None:
        ahead = list(self._queue)[:AHEAD]
        return next((spoken for spoken in ahead if not spoken.complete), None)

    def _synthesize_ahead(self, generation: int) -> None:
        def in_charge() -> bool:
            return self._open and generation == self._generation

        while True:
            with self._changed:
                self._changed.wait_for(lambda: not in_charge() or self._next_to_synthesize())
                spoken = self._next_to_synthesize()
                if not in_charge() or spoken is None:
                    return
                self._busy = True
            failed = False
            try:
                self._synthesize(spoken)
            except Exception as error:  # the thread must outlive any one utterance
                failed = True
                log.warning("cannot say %s: %s", spoken.utterance.id, error)
            with self._changed:
                spoken.complete, spoken.failed = True, spoken.failed or failed
                if in_charge():
                    self._busy = False
                self._changed.notify_all()

    def _synthesize(self, spoken: _Spoken) -> None:
        synthesis = self._synthesizer.synthesize(spoken.utterance.text)
        with self._changed:
            spoken.begin(synthesis)
        try:
            for block in synthesis:
                with self._changed:
                    spoken.add(block)
                    self._changed.notify_all()
        finally:
            synthesis.close()


class _Spoken:
    """One utterance and its sound. Guarded by the mouth's lock."""

    def __init__(self, utterance: Utterance) -> None:
        self.utterance = utterance
        self.given = 0
        """Samples handed out, and not taken back."""
        self.started = False
        self.finished = False
        """Its last sample was handed out; a pause may have taken some back."""
        self.complete = False
        self.failed = False
        self.waited = 0
        """Micro-turns since its last sound, where one was due."""
        self.awaited = False
        """`next_turn` has waited for its first sound once, and will not again."""
        self._blocks: deque[Pcm] = deque()
        self._waiting = 0
        """Samples in `_blocks`."""
        self._last: Pcm = np.zeros(0, np.float32)
        """The end of what was handed out, since it was taken back the last time."""
        self._retraced = False
        self._synthesis: Synthesis | None = None
        self._dropped = False

    @property
    def ready(self) -> bool:
        """There is enough to begin without a gap in the same micro-turn."""
        return self._waiting >= TURN_SAMPLES or self.complete

    @property
    def exhausted(self) -> bool:
        return self.complete and self._waiting == 0

    @property
    def samples_left(self) -> int:
        """An estimate from the length of the text while synthesis still runs."""
        if self.complete:
            return self._waiting
        estimate = int(len(self.utterance.text) * SECONDS_A_CHARACTER * SAMPLE_RATE_HZ)
        return max(self._waiting, estimate - self.given)

    def unsaid(self, unheard: int) -> str:
        """The words of which not all was heard: all but `unheard` samples of what was given out. A
        word takes time by its letters."""
        text = " ".join(self.utterance.text.split())
        total = self.given + self.samples_left
        heard = max(0, self.given - unheard)
        ends = [found.end() for found in re.finditer(r"\S+", text)]
        if len(ends) == 1 and len(text) > LONGEST_WORD:
            ends = list(range(1, len(text) + 1))  # a script without spaces
        said = max((end for end in ends if (end + 1) * total <= (len(text) + 1) * heard), default=0)
        return text[said:].lstrip()

    def begin(self, synthesis: Synthesis) -> None:
        self._synthesis = synthesis
        if self._dropped:
            synthesis.close()

    def add(self, block: Pcm) -> None:
        if block.size and not self._dropped:
            self._blocks.append(block)
            self._waiting += block.size

    def take(self, limit: int) -> Pcm:
        """float32 (n,), n <= limit: the next samples that are there."""
        taken: list[Pcm] = []
        while limit > 0 and self._blocks:
            block = self._blocks.popleft()
            if block.size > limit:
                self._blocks.appendleft(block[limit:])
                block = block[:limit]
            taken.append(block)
            limit -= block.size
            self.given += block.size
            self._waiting -= block.size
        sound = np.concatenate(taken) if taken else np.zeros(0, np.float32)
        self._last = np.concatenate([self._last, sound])[-LAST_SAMPLES:]
        return sound

    def retrace(self, unheard: int) -> None:
        """Take back what nobody heard, and before it as much as was heard of the word that it cut,
        unless that has just been said for the second time."""
        heard = max(0, self._last.size - unheard)
        begin = heard
        if heard >= RETRACED or not self._retraced:
            first = max(0, heard - RETRACED)
            begin = first + _last_quiet(self._last[first:heard])
        again = self._last[begin:].copy()
        self._retraced = True
        ramp = np.linspace(0.0, 1.0, RESUME_RAMP + 1, dtype=np.float32)[1:]
        again[:RESUME_RAMP] *= ramp[: again.size]
        self._last = np.zeros(0, np.float32)
        self._blocks.appendleft(again)
        self.given -= again.size
        self._waiting += again.size

    def drop(self) -> None:
        """Give up the sound and end the synthesis."""
        self._dropped = True
        if self._synthesis is not None:
            self._synthesis.close()


def _last_quiet(sound: Pcm) -> int:
    """The sample of float32 (n,) after which the last word in it begins, or 0."""
    steps = sound.size // QUIET_STEP
    if steps < 2:
        return 0
    first = sound.size - steps * QUIET_STEP
    levels = np.abs(sound[first:].reshape(steps, QUIET_STEP)).max(1)
    quiet = np.flatnonzero(levels <= QUIET * levels.max())
    chosen = quiet[-1] if quiet.size else int(levels.argmin())
    return first + int(chosen) * QUIET_STEP
