"""Where a far sound comes from, a beam towards it, and geometries that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_runtime.config import Audio, Config
from edge_runtime.errors import ConfigError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Channels
from edge_runtime.senses import microphone_for
from edge_runtime.sources.geometry import load_geometry, sensors_folder
from edge_runtime.sources.mic_array import TAPS, Beam, Bearing, MicArray, leads_s

ARRAYS = {"respeaker_4": 6, "respeaker_6": 8, "xvf3800_square": 6, "uma_8": 8}
TURNS = 6


def noise(seed: int, size: int) -> NDArray[np.float64]:
    return 0.05 * np.random.default_rng(seed).standard_normal(size)


def from_afar(positions_m: NDArray[np.float64], bearing_deg: float, seed: int = 1) -> Channels:
    """Noise from one bearing, exact to a fraction of a sample, float32 (microphones, 6 turns)."""
    size = TURNS * TURN_SAMPLES
    leads = leads_s(positions_m, np.array([np.radians(bearing_deg)]))[0]
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ)
    spectra = np.fft.rfft(noise(seed, size)) * np.exp(2j * np.pi * hz * leads[:, None])
    return np.fft.irfft(spectra, size).astype(np.float32)


def off_deg(found_rad: float | None, wanted_deg: float) -> float:
    assert found_rad is not None
    return abs(float(np.degrees(np.angle(np.exp(1j * (found_rad - np.radians(wanted_deg)))))))


def turns(sound: Channels) -> list[Channels]:
    return list(np.split(sound, sound.shape[1] // TURN_SAMPLES, axis=1))


class TestBearing:
    @pytest.mark.parametrize("array", ARRAYS)
    @pytest.mark.parametrize("bearing_deg", [0, 37, 90, 178, -64])
    def test_of_a_sound_from_afar(self, array: str, bearing_deg: float) -> None:
        where = load_geometry(array, ARRAYS[array]).positions_m()
        finder = Bearing(where)
        found = [finder.find(turn) for turn in turns(from_afar(where, bearing_deg))]
        assert off_deg(found[-1], bearing_deg) < 3

    def test_a_line_tells_no_sound_behind_from_one_ahead(self) -> None:
        where = load_geometry("xvf3800_linear", 6).positions_m()
        finder = Bearing(where)
        for turn in turns(from_afar(where, 150)):
            found = finder.find(turn)
        assert off_deg(found, 30) < 4

    def test_an_array_that_is_mounted_turned(self) -> None:
        geometry = load_geometry("respeaker_4", 6)
        finder = Bearing(geometry.positions_m())
        for turn in turns(from_afar(geometry.positions_m(np.radians(30)), 70)):
            found = finder.find(turn)
        assert off_deg(found, 40) < 3  # seen from the array itself

    def test_noise_of_the_microphones_has_none(self) -> None:
        where = load_geometry("respeaker_4", 6).positions_m()
        finder = Bearing(where)
        sound = np.stack([noise(seed, TURNS * TURN_SAMPLES) for seed in range(4)])
        assert [finder.find(turn) for turn in turns(sound.astype(np.float32))] == [None] * TURNS

    def test_silence_has_none(self) -> None:
        finder = Bearing(load_geometry("respeaker_4", 6).positions_m())
        assert finder.find(np.zeros((4, TURN_SAMPLES), np.float32)) is None


class TestBeam:
    @pytest.mark.parametrize("adaptive", [False, True])
    def test_gives_the_sound_itself_4_ms_later(self, adaptive: bool) -> None:
        where = load_geometry("respeaker_4", 6).positions_m()
        sound, beam = from_afar(where, 50), Beam(where, adaptive)
        out = np.concatenate([beam.process(turn, np.radians(50)) for turn in turns(sound)])
        late, original = out[TAPS:], noise(1, len(out))[TAPS - TAPS // 2 : -TAPS // 2]
        assert np.corrcoef(late, original)[0, 1] > 0.98

    def test_is_the_same_in_turns_as_in_one(self) -> None:
        """Nothing happens where one micro-turn ends and the next begins."""
        where = load_geometry("respeaker_4", 6).positions_m()
        sound, beam = from_afar(where, 50), Beam(where, False)
        out = np.concatenate([beam.process(turn, 0.5) for turn in turns(sound)])
        later = Beam(where, False)
        shifted = np.concatenate([np.zeros((4, 777), np.float32), sound], axis=1)
        whole = shifted[:, : TURNS * TURN_SAMPLES]
        moved = np.concatenate([later.process(turn, 0.5) for turn in turns(whole)])
        np.testing.assert_allclose(moved[777:], out[: len(out) - 777], atol=1e-5)

    def test_another_bearing_fades_in(self) -> None:
        where = load_geometry("uma_8", 8).positions_m()
        size = TURN_SAMPLES * 2
        tone = np.tile(0.3 * np.sin(2 * np.pi * 500 / SAMPLE_RATE_HZ * np.arange(size)), (7, 1))
        beam = Beam(where, False)
        first, second = turns(tone.astype(np.float32))
        beam.process(first, 0.0)
        out = beam.process(second, np.pi / 2)
        steepest = 0.3 * 2 * np.pi * 500 / SAMPLE_RATE_HZ
        assert np.abs(np.diff(out)).max() < 1.1 * steepest

    @pytest.mark.parametrize("adaptive", [False, True])
    def test_noise_of_the_microphones_is_lowered(self, adaptive: bool) -> None:
        where = load_geometry("uma_8", 8).positions_m()
        beam = Beam(where, adaptive)
        own = np.stack([noise(seed, TURNS * TURN_SAMPLES) for seed in range(7)]).astype(np.float32)
        for turn in turns(own) * 5:
            beam.process(turn, None)  # learns, where it can
        out = np.concatenate([beam.process(turn, 0.0) for turn in turns(own)])
        assert 20 * np.log10(out.std() / own[0].std()) < -6

    def test_who_is_louder_than_the_room_is_no_noise(self) -> None:
        """A person in reverberation may have no clear bearing, and must not be made quieter."""
        where = load_geometry("respeaker_4", 6).positions_m()
        own = np.stack([noise(seed, TURNS * TURN_SAMPLES) for seed in range(4)]).astype(np.float32)
        person, beams = from_afar(where, -60), (Beam(where, True), Beam(where, True))
        for beam, said in zip(beams, (person, own), strict=True):
            for turn in turns(np.concatenate([own, said * 2, own], axis=1)):
                beam.process(turn, None)
        heard = [
            np.concatenate([beam.process(turn, np.radians(20)) for turn in turns(person)])
            for beam in beams
        ]
        assert heard[0].std() > 0.95 * heard[1].std()

    def test_none_hears_the_first_microphone(self) -> None:
        geometry = load_geometry("respeaker_4", 6)
        where = geometry.positions_m()
        array = MicArray(where, geometry.channels, "none")
        for turn in turns(from_afar(where, -30)):
            captured = np.concatenate([np.zeros_like(turn[:1]), turn, np.zeros_like(turn[:1])])
            beam, found = array.process(array.select(captured))
            np.testing.assert_array_equal(beam, turn[0])
        assert off_deg(found, -30) < 3


class TestGeometry:
    @pytest.mark.parametrize("path", sorted(sensors_folder().glob("*.yaml")), ids=lambda p: p.stem)
    def test_ours_can_be_read(self, path: Path) -> None:
        channels = {**ARRAYS, "single": 1, "xvf3800_linear": 6}[path.stem]
        geometry = load_geometry(path.stem, channels)
        array = MicArray(geometry.positions_m(), geometry.channels)
        heard = array.select(np.zeros((channels, TURN_SAMPLES), np.float32))
        assert array.process(heard)[0].shape == (TURN_SAMPLES,)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("microphones: [", "is not valid YAML"),
            ("mics: []", "mics: unknown key"),
            ("capture_channels: 2", "has none"),
            ("microphones: [{channel: 0, x_m: 65, y_m: 0}]", "x_m"),
            ("microphones: [{channel: 3, x_m: 0, y_m: 0}]", "channel 3 is beyond"),
            (
                "microphones: [{channel: 0, x_m: 0, y_m: 0}, {channel: 0, x_m: 0.1, y_m: 0}]",
                "the same channel",
            ),
            (
                "capture_channels: 2\n"
                "microphones: [{channel: 0, x_m: 0, y_m: 0}, {channel: 1, x_m: 0, y_m: 0}]",
                "the same place",
            ),
        ],
    )
    def test_what_cannot_be_is_refused(self, tmp_path: Path, text: str, said: str) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError, match=said) as refused:
            load_geometry(str(path), 1)
        assert str(path) in str(refused.value)


def test_the_devices_own_result_is_no_microphone(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\ncapture_channels: 2\nprocessed_channel: 0\nmicrophones:\n"
        "  - {channel: 0, x_m: 0.0, y_m: 0.05}\n  - {channel: 1, x_m: 0.0, y_m: -0.05}\n"
    )
    with pytest.raises(ConfigError, match="processed_channel 0 is a microphone"):
        load_geometry(str(path), 2)


def test_the_echo_is_measured_at_a_microphone_and_not_at_what_is_played() -> None:
    bare = microphone_for(Config(audio=Audio(array="respeaker_4", channels=6)), bare=True)
    sound = np.arange(6, dtype=np.float32)[:, None] * np.ones(TURN_SAMPLES, np.float32)
    assert bare._front_end is not None
    heard, _ = bare._front_end.process(sound, np.zeros(TURN_SAMPLES, np.float32))
    assert (heard == 1.0).all(), "of the channels 1 to 4, and not the mean of all six"
