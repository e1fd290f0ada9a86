"""Our own voice goes, the person stays; and what a front end is made of."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from edge_runtime.config import Config
from edge_runtime.errors import ConfigError, SourceError
from edge_runtime.micro_turn import TURN_SAMPLES, Channels, Pcm
from edge_runtime.senses import front_end_for
from edge_runtime.sources import echo
from edge_runtime.sources.echo import EchoCanceller

TURNS = 40


def sounds(seed: int, channels: int) -> tuple[Channels, Pcm, Channels]:
    """The echo at each microphone, what was played, and a person in the last quarter only."""
    rng = np.random.default_rng(seed)
    size = TURNS * TURN_SAMPLES
    played = (0.1 * rng.standard_normal(size)).astype(np.float32)
    decay = np.exp(-np.arange(800) / 150) * 0.2
    responses = [rng.standard_normal(800) * decay for _ in range(channels)]
    echoes = np.stack([np.convolve(played, response)[:size] for response in responses])
    echoes *= 0.03 / echoes.std()
    person = np.zeros((channels, size))
    last = size * 3 // 4
    person[:, last:] = 0.02 * np.sin(np.arange(size - last) * 0.3)
    return echoes.astype(np.float32), played, person.astype(np.float32)


def cleaned(canceller: EchoCanceller, microphones: Channels, played: Pcm) -> Channels:
    parts = [slice(n * TURN_SAMPLES, (n + 1) * TURN_SAMPLES) for n in range(TURNS)]
    return np.concatenate([canceller.process(microphones[:, p], played[p]) for p in parts], axis=1)


def canceller(channels: int) -> EchoCanceller:
    """Skips the test where the library is missing."""
    if not echo.available():
        pytest.skip("libspeexdsp1 is not installed")
    return EchoCanceller(channels)


class TestEchoCanceller:
    @pytest.mark.parametrize("channels", [1, 4])
    def test_takes_the_echo_and_leaves_the_person(self, channels: int) -> None:
        echoes, played, person = sounds(1, channels)
        with canceller(channels) as ours:
            out = cleaned(ours, echoes + person, played)
        half, last = out.shape[1] // 2, out.shape[1] * 3 // 4
        for one in range(channels):
            left_db = 20 * np.log10(out[one, half:last].std() / echoes[one, half:last].std())
            assert left_db < -20
            alike = np.corrcoef(out[one, last:], person[one, last:])[0, 1]
            assert alike > 0.95
            assert alike > np.corrcoef((echoes + person)[one, last:], person[one, last:])[0, 1]

    @pytest.mark.parametrize("channels", [1, 2, 4, 8])
    def test_a_clap_that_clips_costs_nothing_that_was_learned(self, channels: int) -> None:
        echoes, played, _ = sounds(3, channels)
        begin = TURNS * TURN_SAMPLES * 3 // 4
        decay = np.exp(-np.arange(1600) / 200)
        clap = np.random.default_rng(4).standard_normal((channels, 1600)) * decay * 3
        echoes[:, begin : begin + 1600] += clap.astype(np.float32)
        with canceller(channels) as ours:
            out = cleaned(ours, echoes, played)
        after = slice(begin + 4800, begin + 4800 + 2 * TURN_SAMPLES)
        left_db = 20 * np.log10(out[:, after].std(1) / echoes[:, after].std(1))
        assert (left_db < -15).all()

    def test_without_a_reference_nothing_changes(self) -> None:
        _, played, person = sounds(2, 1)
        with canceller(1) as ours:
            out = cleaned(ours, person, np.zeros_like(played))
        last = out.shape[1] * 3 // 4
        assert np.corrcoef(out[0, last:], person[0, last:])[0, 1] > 0.99

    def test_without_the_library_the_remedy_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(name: str) -> None:
            raise OSError("cannot open shared object file")

        echo._library.cache_clear()
        monkeypatch.setattr(ctypes, "CDLL", missing)
        with pytest.raises(SourceError, match=r"libspeexdsp1.*audio\.echo: none"):
            EchoCanceller(1).__enter__()
        echo._library.cache_clear()

    def test_has_its_filters_only_while_it_is_entered(self) -> None:
        """And frees them once: a second time is a crash in the library."""
        silence = np.zeros((1, TURN_SAMPLES), np.float32)
        ours = canceller(1)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="outside of its `with`"):
                ours.process(silence, silence[0])
            with ours:
                assert ours.process(silence, silence[0]).shape == silence.shape
            ours.__exit__(None, None, None)

    def test_refuses_more_microphones_than_it_has_filters_for(self) -> None:
        with canceller(1) as ours, pytest.raises(ValueError, match=r"\(1, 3200\), not \(2, 3200\)"):
            ours.process(np.zeros((2, TURN_SAMPLES), np.float32), np.zeros(TURN_SAMPLES))


def configured(**audio: object) -> Config:
    return Config.model_validate({"audio": audio})


class TestFrontEnd:
    def test_there_is_none_by_default(self) -> None:
        assert front_end_for(configured(echo="none")) is None

    def test_by_default_it_cancels_where_the_library_is_installed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert (front_end_for(Config()) is not None) == echo.available()
        monkeypatch.setattr(echo, "available", lambda: False)
        assert front_end_for(Config()) is None

    def test_who_hears_itself_is_warned(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(echo, "available", lambda: False)
        for quiet in ({"echo": "none"}, {"mute": True}, {"volume": 0}):
            front_end_for(configured(**quiet))
        assert caplog.messages == []
        front_end_for(Config())
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert "sudo apt-get install libspeexdsp1" in record.getMessage()

    @pytest.mark.parametrize("beam", ["delay_and_sum", "mvdr", "none"])
    @pytest.mark.parametrize("cancels", ["none", "speex", "hardware"])
    def test_one_channel_comes_out(self, beam: str, cancels: str) -> None:
        if cancels == "speex":
            canceller(1)
        front = front_end_for(configured(array="respeaker_4", channels=6, beam=beam, echo=cancels))
        assert front is not None
        rng = np.random.default_rng(1)
        microphones = (0.01 * rng.standard_normal((6, TURN_SAMPLES))).astype(np.float32)
        with front:
            beam_out, _ = front.process(microphones, np.zeros(TURN_SAMPLES, np.float32))
        assert beam_out.shape == (TURN_SAMPLES,) and beam_out.dtype == np.float32
        if cancels == "hardware":
            np.testing.assert_array_equal(beam_out, microphones[0])

    def test_apm_is_the_older_name_of_speex(self) -> None:
        assert configured(echo="apm").audio.echo == "speex"

    @pytest.mark.parametrize(
        ("audio", "said"),
        [
            ({"echo": "hardware"}, "needs audio.array"),
            ({"echo": "hardware", "array": "uma_8", "channels": 8}, "processed_channel"),
            ({"array": "uma_8", "channels": 2}, "Set audio.channels: 8"),
            ({"array": "no_such"}, r"none of: .*uma_8"),
        ],
    )
    def test_what_cannot_be_is_refused(self, audio: dict[str, object], said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            front_end_for(configured(**audio))
