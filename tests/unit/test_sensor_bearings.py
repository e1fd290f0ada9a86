"""Where claps come from, and what that says of how an array is mounted."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.calibrate_sensors import (
    Bearings,
    Calibration,
    Levels,
    bearing_of,
    write,
)
from edge_runtime.config import Audio, Config
from edge_runtime.micro_turn import TURN_SAMPLES, AudioReading
from edge_runtime.senses import front_end_for
from edge_runtime.sources.geometry import load_geometry
from edge_runtime.sources.mic_array import leads_s

ROOM_DBFS = -60.0


def reading(level: float, bearing_deg: float | None) -> AudioReading:
    pcm = np.full((2, TURN_SAMPLES), level, np.float32)
    return AudioReading(pcm, 0, 0, None if bearing_deg is None else np.radians(bearing_deg))


def test_only_what_is_louder_than_the_room_counts() -> None:
    heard = [reading(0.1, 20), reading(0.001, -90), reading(0.1, None), reading(0.1, 24)]
    assert bearing_of(heard, ROOM_DBFS) == pytest.approx(22, abs=0.1)
    assert bearing_of(heard[1:3], ROOM_DBFS) is None


def test_behind_is_the_middle_of_both_sides_of_it() -> None:
    behind = bearing_of([reading(0.1, 175), reading(0.1, -175)], ROOM_DBFS)
    assert behind is not None and abs(behind) == pytest.approx(180)


@pytest.mark.parametrize(
    ("ahead", "left", "words"),
    [
        (2, 93, "as configured"),
        (-30, 61, r"turned by \+30°"),
        (170, -100, r"turned by -170°"),
        (1, -88, "exchanged"),
        (None, 90, "stood out"),
    ],
)
def test_the_line_says_what_to_do(ahead: float | None, left: float, words: str) -> None:
    assert re.search(words, Bearings(ahead, left).line)


def test_one_clap_alone_turns_nothing(tmp_path: Path) -> None:
    found = Calibration("", Levels(-60, -26, -6), None, Bearings(40.0, None))
    audio = Audio(array="respeaker_4", channels=6)
    assert write(tmp_path / "c.yaml", Config(audio=audio), found).audio.array_turned_deg == 0


@pytest.mark.parametrize(("ahead", "turned"), [(-30.0, 40.0), (2.0, 10.0), (-175.0, -175.0)])
def test_the_configuration_gets_how_the_array_is_turned(
    tmp_path: Path, ahead: float, turned: float
) -> None:
    audio = Audio(array="respeaker_4", channels=6, array_turned_deg=10)
    levels = Levels(-60, -26, -6)
    found = Calibration("", levels, None, Bearings(ahead, ahead + 90))
    written = write(tmp_path / "c.yaml", Config(audio=audio), found)
    assert written.audio.array_turned_deg == pytest.approx(turned)


@pytest.mark.parametrize("turned_deg", [0, 35, -120])
def test_claps_ahead_of_a_turned_array_set_it_right(turned_deg: float, tmp_path: Path) -> None:
    """The real geometry and bearing: what is heard, corrected, and heard again."""

    def ahead(audio: Audio) -> float | None:
        geometry = load_geometry("respeaker_4", 6)
        leads = leads_s(geometry.positions_m(np.radians(turned_deg)), np.array([0.0]))[0]
        front = front_end_for(Config(audio=audio))
        assert front is not None
        rng, heard = np.random.default_rng(0), []
        hz = np.fft.rfftfreq(TURN_SAMPLES, 1 / 16_000)
        for _ in range(12):
            clap = np.fft.rfft(0.1 * rng.standard_normal(TURN_SAMPLES))
            shifted = np.fft.irfft(clap * np.exp(2j * np.pi * np.outer(leads, hz)), axis=1)
            captured = np.zeros((6, TURN_SAMPLES), np.float32)
            captured[geometry.channels] = shifted
            pcm, bearing_rad = front.process(captured, np.zeros(TURN_SAMPLES, np.float32))
            heard.append(AudioReading(np.stack([pcm, pcm]), 0, 0, bearing_rad))
        return bearing_of(heard, ROOM_DBFS)

    audio = Audio(array="respeaker_4", channels=6, echo="none")
    first = ahead(audio)
    assert first == pytest.approx(-turned_deg, abs=3)
    bearings = Bearings(first, first + 90)
    found = Calibration("", Levels(-60, -26, -6), None, bearings)
    right = write(tmp_path / "c.yaml", Config(audio=audio), found)
    assert ahead(right.audio) == pytest.approx(0, abs=3)
