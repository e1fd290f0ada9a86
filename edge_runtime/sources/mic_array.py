"""Several microphones as one: where a sound comes from, and a beam towards it. Pure numpy."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Channels, Pcm
from edge_runtime.sources.geometry import SAME_LINE_M

BeamKind = Literal["delay_and_sum", "mvdr", "none"]
SOUND_M_S = 343.0
BLOCK, HOP = 512, 256
"""Of the spectra for the bearing, 32 ms each."""
BAND_HZ = (300.0, 5000.0)
STEP_RAD = np.radians(5.0)
KEPT = 0.7
"""Share of the map of likeness by bearing that goes on to the next turn: half is from 0.4 s ago."""
CLEAR = 0.04
"""The map's peak above its mean, of at most 1, below which there is no bearing."""
LEAST_RMS = 1e-4
"""Below is no sound that could matter: nothing is connected, or it is switched off."""
TAPS = 128
"""Of a beam's filters; half of it, 4 ms, is their delay."""
FADE = SAMPLE_RATE_HZ // 50
"""20 ms from one beam to the next."""
LOADING = 1e-2
"""Of the covariance's diagonal: how far MVDR trusts positions and gains (-20 dB)."""
LEARNED = 0.9
"""Share of what is known of the noise that stays when a turn of noise is heard."""
NOISE_ABOVE = 10**0.2
"""Of the quietest turns' power, 2 dB: what is louder may be a person without a clear bearing."""
FLOOR_RISES = 10**0.02
"""A turn, 1 dB a second: so soon does the quietest follow a room that gets louder."""
HELD_TURNS = 50
"""For 10 s after somebody was heard the bearing is theirs while we speak."""


def bearings_rad(positions_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bearings (n,) that an array can tell apart: all around, or, where its microphones stand
    in one line, those of the half that is ahead (for a line along x: of the left half)."""
    every = np.arange(-np.pi, np.pi - 1e-9, STEP_RAD)
    _, spread, axes = np.linalg.svd(positions_m[:, :2], full_matrices=True)
    if len(spread) > 1 and spread[1] > SAME_LINE_M:
        return every
    normal = axes[1]
    normal = normal * np.sign(normal[0] if abs(normal[0]) > 1e-6 else normal[1])
    found: NDArray[np.float64] = every[
        np.cos(every) * normal[0] + np.sin(every) * normal[1] >= -1e-9
    ]
    return found


def leads_s(
    positions_m: NDArray[np.float64], bearing_rad: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How much earlier than at the centre a far sound is heard, (bearings, microphones)."""
    towards = np.stack([np.cos(bearing_rad), np.sin(bearing_rad)], axis=-1)
    found: NDArray[np.float64] = towards @ positions_m[:, :2].T / SOUND_M_S
    return found


class Bearing:
    """SRP-PHAT (DiBiase, 2000): the bearing whose delays make all pairs of microphones most alike,
    each frequency counting the same."""

    def __init__(self, positions_m: NDArray[np.float64]) -> None:
        """`positions_m` (microphones, 3), at least two of them apart."""
        self._first, self._second = np.triu_indices(len(positions_m), 1)
        hz = np.fft.rfftfreq(BLOCK, 1 / SAMPLE_RATE_HZ)
        self._bins = np.flatnonzero((hz >= BAND_HZ[0]) & (hz <= BAND_HZ[1]))
        self._bearings = bearings_rad(positions_m)
        leads = leads_s(positions_m, self._bearings)
        apart_s = leads[:, self._first] - leads[:, self._second]
        phase = np.exp(-2j * np.pi * apart_s[:, :, None] * hz[self._bins])
        self._steering = phase.reshape(len(phase), -1).astype(np.complex64)
        self._around = len(self._bearings) * STEP_RAD > 2 * np.pi - 1e-6
        self._window = np.hanning(BLOCK).astype(np.float32)
        self._before = np.zeros((len(positions_m), BLOCK - HOP), np.float32)
        self._map = np.zeros(len(self._bearings))

    def find(self, microphones: Channels) -> float | None:
        """A turn, float32 (microphones, 3200) -> radians, REP-103; None where none stands out."""
        sound = np.concatenate([self._before, microphones], axis=1)
        self._before = sound[:, -(BLOCK - HOP) :]
        self._map *= KEPT
        if np.sqrt(np.mean(microphones**2)) < LEAST_RMS:
            return None
        blocks = np.lib.stride_tricks.sliding_window_view(sound, BLOCK, axis=1)[:, ::HOP]
        spectra = np.fft.rfft(blocks * self._window, axis=-1)[:, :, self._bins]
        spectra = (spectra / np.maximum(np.abs(spectra), 1e-12)).astype(np.complex64)
        alike = np.mean(spectra[self._first] * np.conj(spectra[self._second]), axis=1).ravel()
        self._map += (1 - KEPT) * (self._steering @ alike).real / len(alike)
        peak = int(np.argmax(self._map))
        if self._map[peak] - self._map.mean() < CLEAR:
            return None
        return self._between(peak)

    def skip(self, microphones: Channels) -> None:
        """As `find`, of a turn that shall tell nothing."""
        self._before = microphones[:, -(BLOCK - HOP) :]

    def _between(self, peak: int) -> float:
        """The top of the parabola through the peak and its neighbours."""
        last = len(self._map) - 1
        if not self._around and peak in (0, last):
            return float(self._bearings[peak])
        left, top, right = (self._map[(peak + step) % len(self._map)] for step in (-1, 0, 1))
        bent = left - 2 * top + right
        offset = 0.0 if bent > -1e-12 else 0.5 * (left - right) / bent
        bearing = self._bearings[peak] + offset * STEP_RAD
        return float((bearing + np.pi) % (2 * np.pi) - np.pi)


class Beam:
    """Filters that bring the sound of one bearing to coincide; the next bearing fades in."""

    def __init__(self, positions_m: NDArray[np.float64], adaptive: bool) -> None:
        """`adaptive`: MVDR (Capon, 1969) in noise that is the same all around, and then in what was
        heard while nothing had a bearing and it was as quiet as it gets; else delay-and-sum."""
        self._positions, self._adaptive = positions_m, adaptive
        self._hz = np.fft.rfftfreq(TAPS, 1 / SAMPLE_RATE_HZ)
        apart = np.linalg.norm(positions_m[:, None] - positions_m[None], axis=-1)
        self._noise = np.sinc(2 * self._hz[:, None, None] * apart / SOUND_M_S).astype(np.complex128)
        self._before = np.zeros((len(positions_m), TAPS - 1), np.float32)
        self._size = 1 << (TURN_SAMPLES + TAPS - 1).bit_length()
        self._filters: NDArray[np.complex64] | None = None
        self._bearing_rad = 0.0
        self._learned = False
        """Since the filters were made."""
        self._floor = np.inf
        """Power of the quietest turns."""
        self._rise = np.minimum(np.arange(TURN_SAMPLES) / FADE, 1).astype(np.float32)

    def process(self, microphones: Channels, bearing_rad: float | None, learns: bool = True) -> Pcm:
        """Float32 (microphones, 3200) -> (3200,), 4 ms later. None: the beam stays where it is.
        Not `learns`: this is no noise of the room."""
        sound = np.concatenate([self._before, microphones], axis=1)
        self._before = sound[:, -(TAPS - 1) :]
        if learns and self._adaptive and self._quiet(microphones) and bearing_rad is None:
            self._learn(microphones)
        turned = bearing_rad is not None and abs(bearing_rad - self._bearing_rad) > STEP_RAD / 2
        old = filters = self._filters
        if filters is None or turned or (self._learned and bearing_rad is not None):
            self._bearing_rad = self._bearing_rad if bearing_rad is None else bearing_rad
            self._filters = filters = self._towards(self._bearing_rad)
            self._learned = False
        spectra = np.fft.rfft(sound, self._size)
        new = self._sum(spectra, filters)
        if old is None or old is filters:
            return new
        before = self._sum(spectra, old)
        return before + self._rise * (new - before)

    def _sum(self, spectra: NDArray[np.complex128], filters: NDArray[np.complex64]) -> Pcm:
        summed = np.fft.irfft((spectra * filters).sum(axis=0), self._size)
        return summed[TAPS - 1 : TAPS - 1 + TURN_SAMPLES].astype(np.float32)

    def _towards(self, bearing_rad: float) -> NDArray[np.complex64]:
        leads = leads_s(self._positions, np.array([bearing_rad]))[0]
        arriving = np.exp(2j * np.pi * self._hz[:, None] * leads)
        weights = arriving / len(leads)
        if self._adaptive:
            loaded = self._noise + LOADING * np.eye(len(leads))
            solved = np.linalg.solve(loaded, arriving[:, :, None])[:, :, 0]
            weights = solved / np.sum(np.conj(arriving) * solved, axis=1, keepdims=True)
        taps = np.roll(np.fft.irfft(np.conj(weights), TAPS, axis=0), TAPS // 2, axis=0)
        taps *= np.hanning(TAPS + 1)[:TAPS, None]
        return np.fft.rfft(taps.T, self._size).astype(np.complex64)

    def _quiet(self, microphones: Channels) -> bool:
        power = float(np.mean(microphones**2))
        if power < LEAST_RMS**2:
            return False
        self._floor = min(power, self._floor * FLOOR_RISES)
        return power <= self._floor * NOISE_ABOVE

    def _learn(self, microphones: Channels) -> None:
        count = TURN_SAMPLES // TAPS
        blocks = microphones[:, : count * TAPS].reshape(len(microphones), count, TAPS)
        spectra = np.fft.rfft(blocks * np.hanning(TAPS), axis=-1)
        heard = np.einsum("mtf,ntf->fmn", spectra, np.conj(spectra)) / count
        power = np.trace(heard, axis1=1, axis2=2).real / len(microphones)
        if power.min() <= 1e-12:
            return
        self._noise = LEARNED * self._noise + (1 - LEARNED) * heard / power[:, None, None]
        self._learned = True


class MicArray:
    """Bearing and beam, with what they keep from one turn to the next."""

    def __init__(
        self,
        positions_m: NDArray[np.float64],
        channels: list[int],
        beam: BeamKind = "delay_and_sum",
    ) -> None:
        """`positions_m` (microphones, 3); `channels`: which of those captured they are. beam
        `none`: the first microphone is heard as it is."""
        self._channels = channels
        self._bearing = Bearing(positions_m) if len(channels) > 1 else None
        wanted = len(channels) > 1 and beam != "none"
        self._beam = Beam(positions_m, beam == "mvdr") if wanted else None
        self._loudest = 0j
        """Bearings as points on a circle, each weighing its turn's power, the older the less: those
        of an utterance, and not of its last echoes in the room."""
        self._turns_since = HELD_TURNS + 1

    def select(self, captured: Channels) -> Channels:
        """Of all channels that were captured those of the microphones, in the geometry's order."""
        return captured[self._channels]

    def process(self, microphones: Channels, ours: bool = False) -> tuple[Pcm, float | None]:
        """Float32 (microphones, 3200) -> the beam (3200,), and the bearing in radians or None.

        `ours`: our own loudspeaker may be louder in them than anybody else. Bearing and beam then
        stay with whoever spoke to us, and no noise is learned.
        """
        if self._bearing is None:
            return microphones[0], None
        if ours:
            self._bearing.skip(microphones)
            bearing_rad = self._held_rad()
        else:
            bearing_rad = self._bearing.find(microphones)
            self._note(bearing_rad, float(np.mean(microphones**2)))
        if self._beam is None:
            return microphones[0], bearing_rad
        return self._beam.process(microphones, bearing_rad, learns=not ours), bearing_rad

    def _note(self, found_rad: float | None, power: float) -> None:
        self._turns_since += 1
        if found_rad is not None:
            self._loudest = KEPT * self._loudest + power * np.exp(1j * found_rad)
            self._turns_since = 0

    def _held_rad(self) -> float | None:
        return float(np.angle(self._loudest)) if self._turns_since <= HELD_TURNS else None
