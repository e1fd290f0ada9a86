"""An array that knows when its own device speaks: in simulated rooms, and turn by turn."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.micro_turn import TURN_SAMPLES, Channels
from edge_runtime.sources import echo
from edge_runtime.sources.front_end import SoundFrontEnd
from edge_runtime.sources.geometry import load_geometry
from edge_runtime.sources.mic_array import HELD_TURNS, BeamKind, MicArray, leads_s

rooms = pytest.importorskip("calibration.sensors.rooms", reason="needs pyroomacoustics")

WHERE = load_geometry("respeaker_4", 6).positions_m()
SILENCE = np.zeros(TURN_SAMPLES, np.float32)
OURS = np.full(TURN_SAMPLES, 0.1, np.float32)


def from_afar(bearing_deg: float) -> Channels:
    """A turn of noise, float32 (4, 3200)."""
    leads = leads_s(WHERE, np.array([np.radians(bearing_deg)]))[0]
    hz = np.fft.rfftfreq(TURN_SAMPLES, 1 / 16_000)
    dry = np.fft.rfft(0.05 * np.random.default_rng(1).standard_normal(TURN_SAMPLES))
    shifted = np.fft.irfft(dry * np.exp(2j * np.pi * hz * leads[:, None]), TURN_SAMPLES)
    return shifted.astype(np.float32)


def front_end(beam: BeamKind = "delay_and_sum") -> SoundFrontEnd:
    return SoundFrontEnd(None, MicArray(WHERE, [0, 1, 2, 3], beam))


def degrees(bearing_rad: float | None) -> float | None:
    return None if bearing_rad is None else float(np.degrees(bearing_rad))


@pytest.mark.parametrize("cancels", [False, True])
def test_the_bearing_stays_the_person_s_while_the_device_speaks(cancels: bool) -> None:
    """Its loudspeaker is 6 dB louder at the microphones than the person, and elsewhere."""
    if cancels and not echo.available():
        pytest.skip("libspeexdsp1 is not installed")
    theirs = rooms.speech()
    ours = rooms.speech(
        "The museum opens at nine and closes at six. The cafe is upstairs.", "en-us+f2"
    )
    for seed in range(3):
        scene = rooms.dialogue(theirs, ours, WHERE, 0.25, seed)
        errors, over_db = rooms.beside_ourselves(scene, WHERE, "delay_and_sum", cancels, told=True)
        assert max(errors) < 10
        untold, untold_db = rooms.beside_ourselves(
            scene, WHERE, "delay_and_sum", cancels, told=False
        )
        assert np.median(untold) > 30  # so the scene is a hard one
        if not cancels:
            assert over_db > untold_db + 1


def test_the_beam_stays_where_it_was_and_turns_once_we_are_silent() -> None:
    front = front_end()
    for _ in range(5):
        front.process(from_afar(90), SILENCE)
    before, _ = front.process(from_afar(90), SILENCE)
    for _ in range(10):
        beam, bearing_rad = front.process(from_afar(-90), OURS)
        assert degrees(bearing_rad) == pytest.approx(90, abs=3)
        assert beam.std() < 0.8 * before.std()  # the loudspeaker is beside the beam
    after = [degrees(front.process(from_afar(-90), SILENCE)[1]) for _ in range(6)]
    assert after[0] == pytest.approx(90, abs=3)  # the room still sounds of us
    assert after[-1] == pytest.approx(-90, abs=3)


def test_a_bearing_that_is_long_ago_is_none() -> None:
    front = front_end()
    front.process(from_afar(90), SILENCE)
    for _ in range(HELD_TURNS + 1):
        front.process(np.zeros((4, TURN_SAMPLES), np.float32), SILENCE)
    assert front.process(from_afar(-90), OURS)[1] is None


def test_mvdr_learns_no_noise_from_us() -> None:
    """What it would learn is where our voice comes from, and it would be deaf to there."""
    told, never = front_end("mvdr"), front_end("mvdr")
    rng = np.random.default_rng(2)
    for _ in range(10):
        diffuse = (0.05 * rng.standard_normal((4, TURN_SAMPLES))).astype(np.float32)
        diffuse[3] *= 0.1  # unlike the noise that it begins with
        told.process(diffuse, OURS)
    for front in (told, never):  # the beam turns there
        for _ in range(12):
            front.process(from_afar(20), SILENCE)
    sound = from_afar(-60)
    beams = [front.process(sound, SILENCE)[0] for front in (told, never)]
    assert np.corrcoef(beams)[0, 1] > 0.99
