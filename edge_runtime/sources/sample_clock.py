"""The clock of a sound device, told from when its blocks come. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_runtime.micro_turn import SAMPLE_RATE_HZ

NOMINAL_S = 1 / SAMPLE_RATE_HZ
NARROW_HZ = 0.02
"""Bandwidth once settled: blocks that come 10 ms early or late move it by less than 0.2 ms."""
WIDE_HZ = 1.0
"""At the start, from which it narrows with age."""
JUMP_S = 0.25
"""A block so far from its time tells nothing of the clock: device or machine stood still."""
OFF_S, OFF_FOR_S = 0.01, 1.0
"""Nor do blocks that are all so much too late, or too early, for so long: samples were lost."""
FARTHEST = 1e-3
"""No device's clock is farther from its nominal rate."""


@dataclass(frozen=True)
class Moment:
    """The device has passed sample `sample` at `time_s`, and takes `period_s` a sample."""

    sample: float
    time_s: float
    period_s: float

    def time_of(self, sample: float) -> float:
        return self.time_s + (sample - self.sample) * self.period_s

    def sample_at(self, time_s: float) -> float:
        return self.sample + (time_s - self.time_s) / self.period_s


class SampleClock:
    """A delay-locked loop from blocks and their times to the device's true rate.

    After F. Adriaensen, Using a DLL to filter time (Linux Audio Conference 2005). One thread calls
    `advance`, any may read `now`.
    """

    def __init__(self) -> None:
        self._begun_s = self._jumped_s = self._right_s = 0.0
        self._right_period_s = NOMINAL_S
        self._late = False
        """The last block was, or else early; `_right_s` is when one last was not, or the other."""
        self.now: Moment | None = None
        """None before the first block."""

    def advance(self, samples: float, time_s: float) -> None:
        """A block of `samples`, counted at 16 kHz by the device's nominal rate, ended now."""
        last = self.now
        if last is None:
            self._begun_s = self._jumped_s = self._right_s = time_s
            self.now = Moment(samples, time_s, NOMINAL_S)
            return
        due_s = last.time_s + samples * last.period_s
        error_s = time_s - due_s
        if abs(error_s) < OFF_S or (error_s > 0) != self._late:
            self._late, self._right_s, self._right_period_s = error_s > 0, time_s, last.period_s
        if abs(error_s) > JUMP_S or time_s - self._right_s > OFF_FOR_S:
            # Where it is has to be found anew; how fast it runs is known.
            self._jumped_s = self._right_s = time_s
            self.now = Moment(last.sample + samples, time_s, self._right_period_s)
            return
        fast = _omega(time_s - self._jumped_s) * samples / SAMPLE_RATE_HZ
        slow = _omega(time_s - self._begun_s) * samples / SAMPLE_RATE_HZ
        period_s = last.period_s + slow * slow * error_s / samples
        farthest_s = FARTHEST / SAMPLE_RATE_HZ
        self.now = Moment(
            last.sample + samples,
            due_s + min(1.0, math.sqrt(2) * fast) * error_s,
            min(max(period_s, NOMINAL_S - farthest_s), NOMINAL_S + farthest_s),
        )

    @property
    def age_s(self) -> float:
        """Since the first block."""
        return 0.0 if self.now is None else self.now.time_s - self._begun_s


def _omega(age_s: float) -> float:
    """The loop's bandwidth at this age, in rad/s."""
    return 2 * math.pi * max(NARROW_HZ, min(WIDE_HZ, 0.5 / max(age_s, 1e-3)))


def drift_ppm(microphone: Moment, loudspeaker: Moment) -> float:
    """By how much the loudspeaker's clock is faster than the microphone's."""
    return (microphone.period_s / loudspeaker.period_s - 1) * 1e6
