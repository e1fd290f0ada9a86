"""Bearing and beam of an array in simulated rooms: a table, a picture, and what a turn costs.

    python -m calibration.sensors.rooms --out docs

Rooms come from pyroomacoustics (image sources); noise is independent at each microphone, as is that
of the microphones themselves, or comes from a second place in the room. Last, the device speaks
from a loudspeaker of its own beside the array, and the person speaks over it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Channels, Pcm
from edge_runtime.sources.echo import EchoCanceller, available
from edge_runtime.sources.front_end import SoundFrontEnd
from edge_runtime.sources.geometry import load_geometry, sensors_folder
from edge_runtime.sources.mic_array import TAPS, Beam, BeamKind, Bearing, MicArray, leads_s
from edge_runtime.voice.espeak import EspeakSynthesizer

# It would import sounddevice for its examples, and that would hold the sound cards from then on.
_hidden = sys.modules.setdefault("sounddevice", None) is None  # type: ignore[arg-type]
import pyroomacoustics  # noqa: E402

if _hidden:
    del sys.modules["sounddevice"]

T60_S = (0.0, 0.2, 0.4, 0.7)
SNR_DB = (0.0, 10.0, 20.0)
ROOM_M = (6.0, 5.0, 2.8)
DISTANCE_M = 1.5
SETTLING_TURNS = 3
LONGEST_ORDER = 30
"""Of reflections; what comes later is far below the rest."""
TEXT = "Excuse me, where do I find the exhibition about early computers? I have an hour of time."
OURS = "The museum opens at nine and closes at six. The cafe is on the second floor. " * 3
LOUDSPEAKER_M = 0.3
ECHO_DB = 6.0
"""Our voice over the person's, at the microphones."""
GAP_TURNS = 3
BEAMS: tuple[BeamKind, BeamKind] = ("delay_and_sum", "mvdr")


@dataclass(frozen=True)
class Heard:
    """One place of the person: speech and noise apart, float32 (microphones, n)."""

    speech: Channels
    noise: Channels
    bearing_rad: float


@dataclass(frozen=True)
class Dialogue:
    """Somebody speaks, we answer, and they speak again while we still do. Float32 (microphones, n)
    and (n,)."""

    person: Channels
    echo: Channels
    played: Pcm
    bearing_rad: float
    first_turn: int
    """Of ours."""
    over_turn: int
    """From here on both speak."""


def speech(text: str = TEXT, voice: str = "en-us+m3") -> Pcm:
    return np.concatenate(list(EspeakSynthesizer(voice, 165, 50).synthesize(text)))


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


def dialogue(
    theirs: Pcm, ours: Pcm, positions_m: NDArray[np.float64], t60_s: float, seed: int
) -> Dialogue:
    """Of dry voices: somebody 1.5 m away in a random direction, our loudspeaker in another."""
    rng = np.random.default_rng([seed, 2])
    bearing_rad = float(rng.uniform(-np.pi, np.pi))
    loudspeaker_rad = bearing_rad + float(rng.choice([-1, 1]) * rng.uniform(np.pi / 3, np.pi))
    centre = np.array([3.0, 2.5, 1.2]) + rng.uniform(-0.3, 0.3, 3)
    said, spoken = (-(-len(one) // TURN_SAMPLES) for one in (theirs, ours))
    first = said + GAP_TURNS
    over = max(first + spoken - said, first + spoken // 2)
    size = (first + spoken) * TURN_SAMPLES
    person, played = np.zeros(size, np.float32), np.zeros(size, np.float32)
    person[: len(theirs)] = theirs
    again = theirs[: size - over * TURN_SAMPLES]
    person[over * TURN_SAMPLES :][: len(again)] = again
    played[first * TURN_SAMPLES :][: len(ours)] = ours * np.float32(0.1 / ours.std())
    heard = _through(person, bearing_rad, centre, positions_m, t60_s)[:, :size]
    echo = _through(played, loudspeaker_rad, centre, positions_m, t60_s, LOUDSPEAKER_M)[:, :size]
    echo *= np.float32(10 ** (ECHO_DB / 20))
    return Dialogue(heard, echo, played, bearing_rad, first, over)


def beside_ourselves(
    scene: Dialogue, positions_m: NDArray[np.float64], beam: BeamKind, cancels: bool, told: bool
) -> tuple[list[float], float]:
    """Of the turns in which we speak: the bearing's errors in degrees, inf where there is none; and
    of the last part, in which the person speaks as well, the person over all else in the beam, dB.

    Not `told`: the array does not know when we speak.
    """
    rng, silence = np.random.default_rng(4), np.zeros(TURN_SAMPLES, np.float32)
    noise = (0.0005 * rng.standard_normal(scene.person.shape)).astype(np.float32)
    microphones = turns(scene.person + scene.echo + noise)
    played = turns(scene.played[None])
    array = MicArray(positions_m, list(range(len(positions_m))), beam)
    front = SoundFrontEnd(None, array)
    beams, errors = [], []
    with EchoCanceller(len(positions_m)) if cancels else nullcontext() as canceller:
        for heard, (reference,) in zip(microphones, played, strict=True):
            if canceller is not None:
                heard = canceller.process(heard, reference)
            one, bearing_rad = front.process(heard, reference if told else silence)
            beams.append(one)
            errors.append(_off_deg(bearing_rad, scene.bearing_rad))
    ideal = Beam(positions_m, adaptive=False)
    wanted = [ideal.process(turn, scene.bearing_rad) for turn in turns(scene.person)]
    both = slice(scene.over_turn, None)
    over_db = _over_rest_db(np.concatenate(beams[both]), np.concatenate(wanted[both]))
    return errors[scene.first_turn :], over_db


def _over_rest_db(heard: Pcm, wanted: Pcm) -> float:
    share = wanted * (np.dot(heard, wanted) / np.dot(wanted, wanted))
    return float(10 * np.log10(np.mean(share**2) / np.mean((heard - share) ** 2)))


def _off_deg(found_rad: float | None, wanted_rad: float) -> float:
    if found_rad is None:
        return float("inf")
    return float(np.degrees(abs(np.angle(np.exp(1j * (found_rad - wanted_rad))))))


def _through(
    sound: Pcm,
    bearing_rad: float,
    centre: NDArray[np.float64],
    positions_m: NDArray[np.float64],
    t60_s: float,
    distance_m: float = DISTANCE_M,
) -> Channels:
    absorbed, order = (1.0, 0) if t60_s == 0 else pyroomacoustics.inverse_sabine(t60_s, ROOM_M)
    room = pyroomacoustics.ShoeBox(
        ROOM_M,
        fs=SAMPLE_RATE_HZ,
        materials=pyroomacoustics.Material(absorbed),
        max_order=min(order, LONGEST_ORDER),
    )
    towards = np.array([np.cos(bearing_rad), np.sin(bearing_rad), 0.1])
    room.add_source(centre + distance_m * towards, signal=sound)
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
    finder = Bearing(positions_m)
    sound = turns((heard.speech + noise).astype(np.float32))
    found = [_off_deg(finder.find(turn), heard.bearing_rad) for turn in sound]
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
    ourselves(places, where)
    draw(medians, gains, out / "array.svg")
    print(f"\n{places} places each, {sensors_folder().name}/respeaker_4.yaml, {out / 'array.svg'}")


def ourselves(places: int, positions_m: NDArray[np.float64]) -> None:
    """Each cell: told when the device speaks / not told."""
    theirs, ours = speech(), speech(OURS, "en-us+f2")
    print("\n| T60 | canceller | bearing error, median | 90 % | delay-and-sum | MVDR |")
    print("|---|---|---|---|---|---|")
    for t60 in T60_S:
        scenes = [dialogue(theirs, ours, positions_m, t60, seed) for seed in range(places)]
        for cancels in (True, False) if available() else (False,):
            columns: list[list[str]] = []
            for told in (True, False):
                found = [beside_ourselves(s, positions_m, BEAMS[0], cancels, told) for s in scenes]
                off = np.concatenate([errors for errors, _ in found])
                mvdr = [beside_ourselves(s, positions_m, BEAMS[1], cancels, told) for s in scenes]
                columns.append(
                    [
                        f"{float(np.percentile(off, share, method='nearest')):.1f}°"
                        for share in (50, 90)
                    ]
                    + [f"{np.median([db for _, db in each]):+.1f} dB" for each in (found, mvdr)]
                )
            cells = [f"{told} / {not_told}" for told, not_told in zip(*columns, strict=True)]
            print(f"| {t60:g} s | {'speex' if cancels else 'none'} | {' | '.join(cells)} |")
    print("\ntold when the device speaks / not told; beams: the person over all else")


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
