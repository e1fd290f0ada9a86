"""Bearing and beam of an array in simulated rooms: a table, a picture, and what a turn costs.

    python -m calibration.sensors.rooms --out docs

Rooms come from pyroomacoustics (image sources); noise is independent at each microphone, as is that
of the microphones themselves, or comes from a second place in the room.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyroomacoustics
from numpy.typing import NDArray

from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Channels, Pcm
from edge_runtime.sources.geometry import load_geometry, sensors_folder
from edge_runtime.sources.mic_array import TAPS, Beam, BeamKind, Bearing, MicArray, leads_s
from edge_runtime.voice.espeak import EspeakSynthesizer

T60_S = (0.0, 0.2, 0.4, 0.7)
SNR_DB = (0.0, 10.0, 20.0)
ROOM_M = (6.0, 5.0, 2.8)
DISTANCE_M = 1.5
SETTLING_TURNS = 3
LONGEST_ORDER = 30
"""Of reflections; what comes later is far below the rest."""
TEXT = "Excuse me, where do I find the exhibition about early computers? I have an hour of time."


@dataclass(frozen=True)
class Heard:
    """One place of the person: speech and noise apart, float32 (microphones, n)."""

    speech: Channels
    noise: Channels
    bearing_rad: float


def speech() -> Pcm:
    return np.concatenate(list(EspeakSynthesizer("en-us+m3", 165, 50).synthesize(TEXT)))


def placed(dry: Pcm, positions_m: NDArray[np.float64], t60_s: float, seed: int) -> Heard:
    """Somebody 1.5 m away in a random direction, and a noise elsewhere, both as heard."""
    rng = np.random.default_rng(seed)
    bearing_rad = float(rng.uniform(-np.pi, np.pi))
    apart_rad = bearing_rad + float(rng.choice([-1, 1]) * rng.uniform(np.pi / 3, np.pi))
    centre = np.array([3.0, 2.5, 1.2]) + rng.uniform(-0.3, 0.3, 3)
    noise = rng.standard_normal(len(dry)).astype(np.float32)
    person, disturber = (
        _through(sound, bearing, centre, positions_m, t60_s)
        for sound, bearing in ((dry, bearing_rad), (noise, apart_rad))
    )
    length = min(person.shape[1], disturber.shape[1]) // TURN_SAMPLES * TURN_SAMPLES
    return Heard(person[:, :length], disturber[:, :length], bearing_rad)


def _through(
    sound: Pcm,
    bearing_rad: float,
    centre: NDArray[np.float64],
    positions_m: NDArray[np.float64],
    t60_s: float,
) -> Channels:
    absorbed, order = (1.0, 0) if t60_s == 0 else pyroomacoustics.inverse_sabine(t60_s, ROOM_M)
    room = pyroomacoustics.ShoeBox(
        ROOM_M,
        fs=SAMPLE_RATE_HZ,
        materials=pyroomacoustics.Material(absorbed),
        max_order=min(order, LONGEST_ORDER),
    )
    towards = np.array([np.cos(bearing_rad), np.sin(bearing_rad), 0.1])
    room.add_source(centre + DISTANCE_M * towards, signal=sound)
    room.add_microphone_array((centre + positions_m).T)
    room.simulate()
    heard: Channels = room.mic_array.signals.astype(np.float32)
    return heard * np.float32(0.05 / heard.std())


def turns(sound: Channels) -> Sequence[Channels]:
    return np.split(sound, sound.shape[1] // TURN_SAMPLES, axis=1)


def errors_deg(
    heard: Heard, positions_m: NDArray[np.float64], snr_db: float, seed: int
) -> list[float]:
    """Of each turn with a bearing; inf for those that have none."""
    rng = np.random.default_rng([seed, 1])
    noise = rng.standard_normal(heard.speech.shape) * 0.05 * 10 ** (-snr_db / 20)
    finder, found = Bearing(positions_m), []
    for turn in turns((heard.speech + noise).astype(np.float32)):
        bearing = finder.find(turn)
        off = (
            np.inf if bearing is None else abs(np.angle(np.exp(1j * (bearing - heard.bearing_rad))))
        )
        found.append(float(np.degrees(off)))
    return found[SETTLING_TURNS:]


def gain_db(
    heard: Heard, positions_m: NDArray[np.float64], snr_db: float, adaptive: bool, diffuse: bool
) -> float:
    """By how much the beam towards the person raises the ratio of speech to noise: noise of the
    microphones' own (`diffuse`), or from the other place."""
    rng = np.random.default_rng(2)
    own = (0.05 * rng.standard_normal(heard.speech.shape)).astype(np.float32)
    noise = (own if diffuse else heard.noise) * np.float32(10 ** (-snr_db / 20))
    beam = Beam(positions_m, adaptive)
    for turn in turns(noise)[:10]:  # before the person begins
        beam.process(turn, None)
    beam.process(np.zeros_like(turns(noise)[0]), heard.bearing_rad)  # turns there
    said, disturbed = (
        np.concatenate([beam.process(turn, heard.bearing_rad) for turn in turns(sound)])[TAPS:]
        for sound in (heard.speech, noise)
    )
    before = np.mean(heard.speech[0] ** 2) / np.mean(noise[0] ** 2)
    after = np.mean(said**2) / np.mean(disturbed**2)
    return float(10 * np.log10(after / before))


def cost_ms(beam: BeamKind, count: int = 8, repeats: int = 200) -> tuple[float, float]:
    """CPU time of a turn with `count` microphones on a circle, p50 and p95. The dearest case: turn
    by turn another bearing, and noise to learn in between."""
    angle = 2 * np.pi * np.arange(count) / count
    where = np.stack([0.045 * np.cos(angle), 0.045 * np.sin(angle), 0 * angle], axis=1)
    array = MicArray(where, list(range(count)), beam)
    rng, spent = np.random.default_rng(3), []
    hz = np.fft.rfftfreq(TURN_SAMPLES, 1 / SAMPLE_RATE_HZ)
    for number in range(repeats):
        turn = 0.05 * rng.standard_normal((count, TURN_SAMPLES))
        if number % 2:
            leads = leads_s(where, rng.uniform(-np.pi, np.pi, 1))[0]
            arriving = np.fft.rfft(turn[0]) * np.exp(2j * np.pi * hz * leads[:, None])
            turn = np.fft.irfft(arriving, TURN_SAMPLES)
        heard = turn.astype(np.float32)
        begun = time.thread_time()
        array.process(heard)
        spent.append((time.thread_time() - begun) * 1000)
    return float(np.percentile(spent, 50)), float(np.percentile(spent, 95))


def measure(places: int, out: Path) -> None:
    geometry = load_geometry("respeaker_4", 6)
    where, dry = geometry.positions_m(), speech()
    medians: dict[float, list[float]] = {}
    print("| T60 | SNR | bearing error, median | 90 % | turns without |")
    print("|---|---|---|---|---|")
    rooms = {t60: [placed(dry, where, t60, seed) for seed in range(places)] for t60 in T60_S}
    for t60, heard in rooms.items():
        for snr in SNR_DB:
            off = np.array([e for n, h in enumerate(heard) for e in errors_deg(h, where, snr, n)])
            known = off[np.isfinite(off)]
            p50, p90 = (float(np.percentile(known, share)) for share in (50, 90))
            medians.setdefault(snr, []).append(p50)
            print(
                f"| {t60:g} s | {snr:g} dB | {p50:.1f}° | {p90:.1f}° | {np.mean(off > 180):.0%} |"
            )
    gains: dict[str, list[float]] = {}
    print("\n| T60 | noise | delay-and-sum | MVDR |\n|---|---|---|---|")
    for t60, heard in rooms.items():
        for diffuse in (True, False):
            name = "of the microphones" if diffuse else "from another place"
            cells = []
            for adaptive in (False, True):
                each = [gain_db(one, where, 10, adaptive, diffuse) for one in heard]
                cells.append(float(np.median(each)))
                gains.setdefault(f"{'MVDR' if adaptive else 'delay-and-sum'}, {name}", []).append(
                    cells[-1]
                )
            print(f"| {t60:g} s | {name} | {cells[0]:+.1f} dB | {cells[1]:+.1f} dB |")
    print("\n| 8 microphones | CPU a turn, p50 | p95 |\n|---|---|---|")
    kinds: tuple[BeamKind, ...] = ("none", "delay_and_sum", "mvdr")
    for beam in kinds:
        p50, p95 = cost_ms(beam)
        print(f"| {beam} | {p50:.1f} ms | {p95:.1f} ms |")
    draw(medians, gains, out / "array.svg")
    print(f"\n{places} places each, {sensors_folder().name}/respeaker_4.yaml, {out / 'array.svg'}")


def draw(medians: dict[float, list[float]], gains: dict[str, list[float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for snr, errors in medians.items():
        left.plot(T60_S, errors, marker="o", label=f"SNR {snr:g} dB")
    left.axhline(10, color="grey", linestyle=":", label="goal")
    left.set(
        xlabel="reverberation time T60, s", ylabel="bearing error, median, degrees", ylim=(0, None)
    )
    for name, gain in gains.items():
        right.plot(T60_S, gain, marker="o", label=name)
    right.set(xlabel="reverberation time T60, s", ylabel="gain of the beam, dB")
    for axes in (left, right):
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--places", type=int, default=24, help="of the person, in each room")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="for the picture")
    given = parser.parse_args()
    measure(given.places, given.out)


if __name__ == "__main__":
    main()
