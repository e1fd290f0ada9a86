"""What a conversation is like without a model: the rows beside it in every table."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from edge_runtime.evaluation.clip import GAPS, MS, SCORED_AFTER, Clip, Trace
from edge_runtime.evaluation.detectors import CHUNK, Detectors, Heard
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES

Floats = NDArray[np.float64]
SPEECH, SILENCE = 0.5, 0.35
"""Silero's own thresholds, with its hysteresis."""
LEAST_SPEECH_MS, BARGE_IN_MS = 250.0, 200.0
CHUNK_MS = CHUNK / MS
ASKED_EVERY = SAMPLE_RATE_HZ * 200 // 1000
ASKED_FOR = 2 * SAMPLE_RATE_HZ
"""It is asked again for so long; nobody waits longer for an answer."""
GIVES_UP = 3 * SAMPLE_RATE_HZ
"""smart-turn takes the turn after so much silence, whatever it thinks."""
STOPPED_AFTER = SAMPLE_RATE_HZ * 200 // 1000
"""The silence after which pipecat's detector says that talking has stopped."""
COMPLETE = 0.5
TURN_ROWS = ("turn_auc", "turn_auc_matched", "turn_auc_cut", "turn_auc_cut_matched")


class Always:
    """Wants the same in every micro-turn: to talk, or to be silent."""

    def __init__(self, talk: bool) -> None:
        self._talk = talk
        self.name = "always_talk" if talk else "always_silent"

    def run(self, clip: Clip) -> Trace:
        ends = (np.arange(clip.turns) + 1) * TURN_SAMPLES
        speaking = np.array([state.speaking for state in clip.voice])
        takes = ends[~speaking] if self._talk else ends[:0]
        stops = ends[:0] if self._talk else ends[speaking]
        wants = np.full(clip.turns, float(self._talk))
        return Trace(
            times=ends,
            speak=np.where(speaking, 0.0, wants),
            stop=np.where(speaking, 1.0 - wants, 0.0),
            takes=tuple(map(int, takes)),
            stops=tuple(map(int, stops)),
            gap_scores=dict.fromkeys((cue.start for cue in clip.of(*GAPS)), 0.5),
        )


class SpeechLength:
    """Knows only how long the person has spoken: what the AUC must be held against."""

    name = "speech_length"

    def run(self, clip: Clip) -> Trace:
        nothing = np.zeros(0)
        scores = {cue.start: float(cue.speech) for cue in clip.of(*GAPS)}
        return Trace(nothing.astype(np.int64), nothing, nothing, gap_scores=scores)


class Ears:
    """Lets the detectors that follow one another on a clip share what Silero heard in it."""

    def __init__(self, detectors: Detectors) -> None:
        self.detectors = detectors
        self._clip: Clip | None = None
        self._heard: Heard | None = None
        self._complete: dict[tuple[int, int], float] = {}

    def listen(self, clip: Clip) -> Heard:
        if self._heard is None or clip is not self._clip:
            self._clip, self._heard = clip, self.detectors.listen(clip.audio[0])
            self._complete = {}
        return self._heard

    def complete(self, clip: Clip, began: int, now: int) -> float:
        """smart-turn's answer about a turn that began at one sample and may be over at another."""
        self.listen(clip)
        if (began, now) not in self._complete:
            self._complete[began, now] = self.detectors.complete(clip.audio[0], began, now)
        return self._complete[began, now]


def chunk_ends(count: int) -> NDArray[np.int64]:
    return (np.arange(count, dtype=np.int64) + 1) * CHUNK


def mouth(clip: Clip, times: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the device is speaking, at each of these times."""
    turns = np.minimum(times // TURN_SAMPLES, clip.turns - 1)
    speaking = np.array([state.speaking for state in clip.voice])
    found: NDArray[np.bool_] = speaking[turns]
    return found


class SileroTimeout:
    """Silero VAD and a timer: answers after so much silence, stops for any 0.2 s of speech."""

    def __init__(self, ears: Ears, timeout_ms: int) -> None:
        self._ears, self._timeout_ms = ears, timeout_ms
        self.name = f"silero_{timeout_ms}"

    def run(self, clip: Clip) -> Trace:
        heard = self._ears.listen(clip)
        times = chunk_ends(len(heard.confidence))
        silent_ms, speech_ms = _durations(heard.confidence)
        speaking = mouth(clip, times)
        wants = np.where(speaking, 0.0, silent_ms)
        barge_in = np.where(speaking, speech_ms, 0.0)
        return Trace(
            times=times,
            speak=wants,
            stop=barge_in,
            takes=_rises(times, wants, self._timeout_ms),
            stops=tuple(int(at) for at in times[barge_in >= BARGE_IN_MS]),
            gap_scores={
                cue.start: 1.0 - _recent(times, heard.confidence, cue.start + SCORED_AFTER)
                for cue in clip.of(*GAPS)
            },
        )


def _durations(confidence: Floats) -> tuple[Floats, Floats]:
    """For each chunk: ms of silence since enough speech, and ms of speech, with hysteresis."""
    silent_ms, speech_ms = np.zeros_like(confidence), np.zeros_like(confidence)
    talking, spoken, quiet, armed = False, 0.0, 0.0, False
    for index, value in enumerate(confidence):
        talking = value >= (SILENCE if talking else SPEECH)
        spoken = spoken + CHUNK_MS if talking else 0.0
        if spoken >= LEAST_SPEECH_MS:
            armed, quiet = True, 0.0
        elif not talking:  # a blip is no speech, and nobody is answered in it
            quiet += CHUNK_MS
        speech_ms[index] = spoken
        silent_ms[index] = quiet if armed else 0.0
    return silent_ms, speech_ms


def _rises(times: NDArray[np.int64], scores: Floats, threshold: float) -> tuple[int, ...]:
    """When a score comes up to a threshold."""
    above = scores >= threshold
    begins = above & ~np.concatenate([[False], above[:-1]])
    return tuple(int(at) for at in times[begins])


def _recent(times: NDArray[np.int64], confidence: Floats, sample: int) -> float:
    """Mean over the 0.2 s before a sample."""
    inside = (times <= sample) & (times > sample - ASKED_EVERY)
    return float(confidence[inside].mean()) if inside.any() else 0.0


class SmartTurn:
    """Silero finds 0.2 s of silence, smart-turn says whether the turn is over.

    As shipped it is asked once a silence; with `again`, every 200 ms until it says so.
    """

    def __init__(self, ears: Ears, again: bool) -> None:
        self._ears, self._again = ears, again
        self.name = "silero_smart_turn_200ms" if again else "silero_smart_turn"

    def run(self, clip: Clip) -> Trace:
        heard, ask = self._ears.listen(clip), self._asker(clip)
        times = chunk_ends(len(heard.talking))
        speaking = mouth(clip, times)
        scores = np.zeros(len(times))
        takes: list[int] = []
        for began, stopped, resumed in _silences(heard.talking):
            span = slice(stopped, len(times) if resumed is None else resumed)
            scores[span] = self._silence(began * CHUNK, times[span], speaking[span], ask)
            over = np.flatnonzero(scores[span] > COMPLETE)
            takes += [int(times[span][over[0]])] if len(over) else []
        barge_in = speaking & heard.talking
        return Trace(
            times=times,
            speak=scores,
            stop=barge_in.astype(np.float64),
            takes=tuple(takes),
            stops=tuple(int(at) for at in times[barge_in]),
            gap_scores={cue.start: self._at_gap(clip, cue.start, ask) for cue in clip.of(*GAPS)},
        )

    def _silence(
        self,
        began: int,
        times: NDArray[np.int64],
        speaking: NDArray[np.bool_],
        ask: Callable[[int, int], float],
    ) -> Floats:
        """Its score over the chunks of one silence; 0 while the device itself speaks."""
        scores = np.zeros(len(times))
        latest, due, asked = 0.0, int(times[0]), False
        for index, now in enumerate(int(at) for at in times):
            if speaking[index]:
                continue
            silent = now - int(times[0]) + STOPPED_AFTER
            if silent >= GIVES_UP:
                latest = 1.0
            elif now >= due and (not asked or (self._again and silent <= ASKED_FOR)):
                latest, due, asked = ask(began, now), due + ASKED_EVERY, True
            scores[index] = latest
        return scores

    def _asker(self, clip: Clip) -> Callable[[int, int], float]:
        return lambda began, now: self._ears.complete(clip, began, now)

    @staticmethod
    def _at_gap(clip: Clip, start: int, ask: Callable[[int, int], float]) -> float:
        """Asked 0.4 s into the gap, told exactly where the turn began: more than it ever knows."""
        began = clip.said[0][0] if clip.said else 0
        return ask(began, start + SCORED_AFTER)


def _silences(
    talking: NDArray[np.bool_],
) -> Iterator[tuple[int, int, int | None]]:
    """Chunks at which the turn began, the talking stopped, and went on (None: it did not).

    The turn begins with the first talking in the clip: smart-turn keeps listening to it through
    its pauses.
    """
    changes = np.flatnonzero(np.diff(talking.astype(np.int8)))
    starts = [int(c) + 1 for c in changes if not talking[c]]
    if len(talking) and talking[0]:
        starts.insert(0, 0)
    for stop in (int(c) + 1 for c in changes if talking[c]):
        later = [start for start in starts if start > stop]
        yield starts[0], stop, later[0] if later else None
