"""PortAudio's callbacks, called as PortAudio calls them: bytes, rates, channels, two clocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm
from edge_runtime.sources.audio_device import AudioDevice
from edge_runtime.sources.duplex_buffer import DuplexBuffer
from edge_runtime.sources.echo_delay import lateness
from edge_runtime.sources.portaudio import PortAudio, StreamForm
from edge_runtime.sources.resampling import RateAdapter
from edge_runtime.sources.sound_plan import Plan
from edge_runtime.sources.sound_streams import SoundStreams

MIC = AudioDevice("microphone", 0, "m", 16, 48_000, True)
SPEAKER = AudioDevice("loudspeaker", 0, "m", 16, 48_000, True)
Callback = Callable[[Any, int, Any, int], Any]


@dataclass
class OpenStream:
    input_s: float = 0.0
    output_s: float = 0.0
    alive: bool = True

    def start(self) -> None: ...


@dataclass
class Library:
    """Keeps what PortAudio would call; its streams do not end."""

    latency_s: float = 0.0
    opened: list[tuple[StreamForm, Callback]] = field(default_factory=list)

    def open(self, form: StreamForm, mic: Any, speaker: Any, on_block: Callback) -> OpenStream:
        self.opened.append((form, on_block))
        return OpenStream(self.latency_s if form.heard else 0.0)

    def close(self, streams: Any) -> None: ...


def opened(
    plan: Plan, keep: int = 1, latency_s: float = 0.0, **more: Any
) -> tuple[SoundStreams, list[tuple[StreamForm, Callback]]]:
    library = Library(latency_s)
    streams = SoundStreams(DuplexBuffer(volume=0.5), plan, keep, **more)
    streams.open(cast(PortAudio, library))
    return streams, library.opened


def together(rate_hz: int = SAMPLE_RATE_HZ, channels: int = 1) -> Plan:
    return Plan(MIC, SPEAKER, True, rate_hz, channels, 20.0)


def interleaved(*channels: Pcm) -> bytes:
    return np.stack(channels, axis=1).astype(np.float32).tobytes()


class TestOneStream:
    def test_bytes_in_and_bytes_out(self) -> None:
        streams, [(form, on_block)] = opened(together())
        assert (form.rate_hz, form.block, form.heard, form.played) == (16_000, 320, 1, 1)
        heard = np.linspace(-1, 1, TURN_SAMPLES, dtype=np.float32)
        streams.buffer.play(np.full(2 * TURN_SAMPLES, 0.5, np.float32))
        data, going_on = on_block(heard.tobytes(), TURN_SAMPLES, None, 0)
        assert going_on == 0
        played = np.frombuffer(data, np.float32)
        assert played.size == TURN_SAMPLES
        assert played[-1] == 0.25
        reading = streams.buffer.read_turn(0)
        np.testing.assert_array_equal(reading.pcm[0], heard)
        np.testing.assert_array_equal(reading.pcm[1], played)

    def test_stereo_for_want_of_mono_is_averaged_and_given_to_both_sides(self) -> None:
        streams, [(_, on_block)] = opened(together(channels=2))
        streams.buffer.play(np.full(TURN_SAMPLES, 0.5, np.float32))
        left, right = (np.full(TURN_SAMPLES, level, np.float32) for level in (0.2, 0.4))
        data, _ = on_block(interleaved(left, right), TURN_SAMPLES, None, 0)
        assert np.frombuffer(data, np.float32)[-2:].tolist() == [0.25, 0.25]
        np.testing.assert_allclose(streams.buffer.read_turn(0).pcm[0], 0.3, atol=1e-6)

    @pytest.mark.parametrize("channels", [2, 7, 16])
    @pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
    def test_every_channel_of_an_array_is_kept_at_any_rate(
        self, channels: int, rate_hz: int
    ) -> None:
        streams, [(_, on_block)] = opened(together(rate_hz, channels), keep=channels)
        block = rate_hz // 50
        t_s = np.arange(rate_hz) / rate_hz
        tones = [np.sin(2 * np.pi * 200 * (n + 1) * t_s) / (n + 1) for n in range(channels)]
        for start in range(0, rate_hz, block):
            part = [tone[start : start + block] for tone in tones]
            data, _ = on_block(interleaved(*part), block, None, 0)
            assert len(data) == 4 * block * channels
        turn = streams.buffer.take_turn(0).microphones
        assert turn.shape == (channels, TURN_SAMPLES)
        spectrum = np.abs(np.fft.rfft(turn, axis=1))
        strongest_hz = spectrum.argmax(axis=1) * SAMPLE_RATE_HZ / TURN_SAMPLES
        np.testing.assert_allclose(strongest_hz, 200 * (np.arange(channels) + 1))
        levels = spectrum.max(axis=1) * 2 / TURN_SAMPLES
        np.testing.assert_allclose(levels, 1 / (np.arange(channels) + 1), rtol=0.02)

    @pytest.mark.parametrize("rate_hz", [16_000, 48_000])
    def test_the_delay_of_devices_and_resamplers_is_known(self, rate_hz: int) -> None:
        streams, _ = opened(together(rate_hz), latency_s=0.025)
        resampling = RateAdapter(rate_hz).latency_samples
        assert bool(resampling) == (rate_hz != 16_000)
        assert round(streams.latency_s * SAMPLE_RATE_HZ) == 400 + resampling

    def test_an_exception_does_not_end_the_stream(self) -> None:
        streams, [(_, on_block)] = opened(together(channels=2))
        for _ in range(3):
            data, going_on = on_block(b"123", 320, None, 0)
            assert (data, going_on) == (bytes(4 * 2 * 320), 0)
        assert streams.callback_errors == 3
        on_block(bytes(8 * TURN_SAMPLES), TURN_SAMPLES, None, 0)
        assert streams.buffer.read_turn(0).lost_samples == 0

    def test_a_stream_that_would_not_end_is_not_listened_to(self) -> None:
        streams, [(_, on_block)] = opened(together())
        streams.close(cast(PortAudio, Library()))
        streams.buffer.play(np.full(TURN_SAMPLES, 0.5, np.float32))
        data, _ = on_block(np.ones(TURN_SAMPLES, np.float32).tobytes(), TURN_SAMPLES, None, 0)
        assert data == bytes(4 * TURN_SAMPLES)
        assert streams.buffer.take_turn(0).lost_samples == TURN_SAMPLES

    def test_without_a_microphone_its_samples_are_missing(self) -> None:
        plan = Plan(None, SPEAKER, False, 48_000, 1, 20.0)
        streams, [(form, on_block)] = opened(plan, keep=4)
        assert (form.heard, form.played) == (0, 2)
        for _ in range(20):
            data, _ = on_block(None, 960, None, 0)
            assert len(data) == 4 * 2 * 960
        turn = streams.buffer.take_turn(0)
        assert turn.microphones.shape == (4, TURN_SAMPLES)
        assert turn.lost_samples == TURN_SAMPLES
        assert not turn.microphones.any()

    def test_exact_zeros_are_timed(self) -> None:
        now = 5
        streams, [(_, on_block)] = opened(together(), now_ns=lambda: now)
        assert streams.capture is not None
        on_block(bytes(4 * 320), 320, None, 0)
        now = 9
        on_block(bytes(4 * 320), 320, None, 0)
        assert streams.capture.zeros_since_ns == 5
        on_block(np.full(320, 1e-5, np.float32).tobytes(), 320, None, 0)
        assert streams.capture.zeros_since_ns is None


def two_clocks(
    drift_ppm: float, seconds: float, path_ms: float, rate_hz: int
) -> tuple[SoundStreams, list[tuple[Pcm, Pcm]]]:
    """A microphone and a loudspeaker whose clocks differ, whose blocks come up to 6 ms late, and
    between which sound takes `path_ms`. Returns what was read of the last seconds."""
    now_s = 0.0
    speaker = AudioDevice("loudspeaker", 1, "l", 2, rate_hz, True)
    plan = Plan(MIC, speaker, False, SAMPLE_RATE_HZ, 1, 20.0)
    streams, [(form, on_wanted), (_, on_heard)] = opened(plan, now_ns=lambda: int(now_s * 1e9))
    rng = np.random.default_rng(1)
    true_hz = rate_hz * (1 + drift_ppm * 1e-6)
    air = np.zeros(round(rate_hz * (seconds + 1)), np.float32)
    given = heard = 0
    readings: list[tuple[Pcm, Pcm]] = []
    calls = [(n * 0.02 + rng.uniform(0, 0.006), True) for n in range(1, round(seconds * 50))]
    played = [
        (n * form.block / true_hz + rng.uniform(0, 0.006), False)
        for n in range(1, round(seconds * 50))
    ]
    for now_s, hears in sorted(calls + played):  # noqa: B007 - read by now_ns
        if not hears:
            data, _ = on_wanted(None, form.block, None, 0)
            air[given : given + form.block] = np.frombuffer(data, np.float32)[::2]
            given += form.block
            continue
        # Sample k of the microphone is heard at k / 16,000 s; of the loudspeaker at k / true_hz.
        at_s = np.arange(heard, heard + 320) / SAMPLE_RATE_HZ - path_ms / 1e3 - 0.04
        at = np.maximum(at_s * true_hz, 0.0)
        before = at.astype(int)
        block = air[before] + (at - before) * (air[before + 1] - air[before])
        on_heard(block.astype(np.float32).tobytes(), 320, None, 0)
        heard += 320
        if heard % TURN_SAMPLES == 0:
            streams.buffer.play(rng.uniform(-0.5, 0.5, TURN_SAMPLES).astype(np.float32))
            turn = streams.buffer.take_turn(0)
            readings = [*readings, (turn.microphones[0], turn.reference)][-10:]
    return streams, readings


class TestTwoStreams:
    @pytest.mark.parametrize("drift_ppm", [0.0, 150.0, -300.0])
    @pytest.mark.parametrize("rate_hz", [16_000, 44_100])
    def test_the_reference_stays_where_it_is_however_the_clocks_drift(
        self, drift_ppm: float, rate_hz: int
    ) -> None:
        late = []
        for seconds in (30.0, 60.0):
            streams, readings = two_clocks(drift_ppm, seconds, path_ms=25.0, rate_hz=rate_hz)
            assert streams.drift_ppm == pytest.approx(drift_ppm, abs=60)
            microphone, reference = (
                np.concatenate(channel) for channel in zip(*readings, strict=True)
            )
            found = lateness(microphone, reference)
            assert found is not None
            late.append(found)
        # Unnoticed, 150 ppm would have moved it by 72 samples in these 30 s.
        assert abs(late[1] - late[0]) <= 16, "more than 1 ms"

    def test_the_array_at_one_end_is_independent_of_the_loudspeaker(self) -> None:
        plan = Plan(MIC, SPEAKER, False, SAMPLE_RATE_HZ, 8, 10.0)
        streams, [(out, on_wanted), (form, on_heard)] = opened(plan, keep=8)
        assert (out.rate_hz, out.heard, out.played) == (48_000, 0, 2)
        assert (form.rate_hz, form.heard, form.played) == (16_000, 8, 0)
        on_wanted(None, 480, None, 0)
        on_heard(bytes(4 * 8 * TURN_SAMPLES), TURN_SAMPLES, None, 0)
        assert streams.buffer.take_turn(0).microphones.shape == (8, TURN_SAMPLES)
