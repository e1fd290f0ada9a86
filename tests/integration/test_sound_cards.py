"""Real PCM through real PyAudio, PortAudio and ALSA, on sound cards that need no hardware.

Here is what must hold on any machine, however busy; `make soak ARGS='-k sound'` prints figures over
many tries.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
from virtual_sound import VirtualSound, needs_virtual_sound, virtual_sound

from edge_runtime.config import Audio, Config, Video
from edge_runtime.errors import SourceError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, AudioReading, Pcm
from edge_runtime.senses import topic_senses_for
from edge_runtime.sinks.messages import pcm16
from edge_runtime.sound_status import DeviceState
from edge_runtime.sources.duplex_buffer import DuplexBuffer
from edge_runtime.sources.echo_delay import lateness
from edge_runtime.sources.front_end import SoundFrontEnd
from edge_runtime.sources.loudspeaker import Loudspeaker
from edge_runtime.sources.microphone import MicrophoneSource
from edge_runtime.sources.portaudio import PortAudio, audio_devices
from edge_runtime.sources.ros_topics import StampClock
from edge_runtime.sources.sound_plan import Plan, Wanted
from edge_runtime.sources.sound_streams import SoundStreams

pytestmark = needs_virtual_sound
TONE_HZ = 440
SILENCE: Pcm = np.zeros(TURN_SAMPLES, np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualSound]:
    with virtual_sound(tmp_path_factory.mktemp("sound"), "kiosk", "array") as there:
        yield there


@pytest.fixture
def card(server: VirtualSound) -> Iterator[VirtualSound]:
    """The server with the card `kiosk` plugged in, in a room with a tone."""
    server.plug("kiosk", tone_hz=TONE_HZ)
    yield server
    server.unplug_all()


def wanted(channels: int = 1, microphone: str = "kiosk_mic") -> Wanted:
    return Wanted(microphone, "kiosk", channels, block_ms=10.0)


def read_until(
    sound: MicrophoneSource, fits: Callable[[AudioReading], bool], play: Pcm = SILENCE
) -> list[AudioReading]:
    """The turns up to the first that fits; `play` is what the loop gives in each."""
    readings = []
    until_s = time.monotonic() + 30
    while not readings or not fits(readings[-1]):
        assert time.monotonic() < until_s, sound.status()
        sound.play(play)
        readings.append(sound.read_turn())
    return readings


def whole(reading: AudioReading) -> bool:
    return reading.lost_samples == 0 and bool(reading.pcm[0].any())


def tone(hz: int) -> Pcm:
    t_s = np.arange(TURN_SAMPLES) / SAMPLE_RATE_HZ
    return (0.5 * np.sin(2 * np.pi * hz * t_s)).astype(np.float32)


def strongest_hz(pcm: Pcm) -> float:
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(pcm.size)))
    return float(spectrum.argmax() * SAMPLE_RATE_HZ / pcm.size)


def test_the_cards_are_found_by_name(card: VirtualSound) -> None:
    names = {(device.kind, device.name) for device in audio_devices()}
    assert {("microphone", "kiosk_mic"), ("loudspeaker", "kiosk")} <= names


def test_what_sounds_in_the_room_is_heard(card: VirtualSound) -> None:
    with MicrophoneSource(wanted()) as sound:
        reading = read_until(sound, whole)[-1]
        following = [sound.read_turn() for _ in range(3)]
    assert strongest_hz(reading.pcm[0]) == pytest.approx(TONE_HZ, abs=5)
    apart_ns = np.diff([one.captured_ns for one in (reading, *following)])
    assert (apart_ns > 0).all()


def test_what_is_played_is_heard_and_muted_it_is_not(card: VirtualSound) -> None:
    card.hush("kiosk")
    with MicrophoneSource(wanted()) as sound:
        reading = read_until(sound, lambda one: one.pcm[0].min() < -0.4, tone(1000))[-1]
        assert strongest_hz(reading.pcm[0]) == pytest.approx(1000, abs=5)
    with MicrophoneSource(wanted(), volume=0.0) as sound:
        silent = read_until(sound, lambda one: one.lost_samples == 0, tone(1000))
        silent += [sound.read_turn() for _ in range(5)]
    assert not any(one.pcm.any() for one in silent)


def test_the_ros_node_speaks_through_the_loudspeaker_beside_its_own_microphone(
    card: VirtualSound,
) -> None:
    """As `audio:=microphone` of its launch file chooses them, with pictures from a topic."""
    card.hush("kiosk")
    chosen = Audio(source="microphone", input_device="kiosk_mic", output_device="kiosk")
    senses = topic_senses_for(Config(audio=chosen, video=Video(source="ros")), StampClock(), str)
    assert isinstance(senses.audio, MicrophoneSource)
    with senses.audio as sound:
        reading = read_until(sound, lambda one: one.pcm[0].min() < -0.4, tone(1000))[-1]
        assert sound.status().loudspeaker.state is DeviceState.PRESENT
    assert strongest_hz(reading.pcm[0]) == pytest.approx(1000, abs=5)


@pytest.mark.parametrize("streams", ["one", "two"])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
def test_streams_run_at_the_device_s_own_rate(
    card: VirtualSound, rate_hz: int, streams: str
) -> None:
    """One stream for both ends, which ALSA's PulseAudio device ends by itself at times, only has to
    say so."""
    buffer = DuplexBuffer()
    with PortAudio() as portaudio:
        there = {(device.kind, device.name): device for device in portaudio.devices()}
        microphone, loudspeaker = there["microphone", "kiosk_mic"], there["loudspeaker", "kiosk"]
        plan = Plan(microphone, loudspeaker, streams == "one", rate_hz, 1, 20.0)
        open_now = SoundStreams(buffer, plan)
        open_now.open(portaudio)
        try:
            turn = buffer.take_turn(5.0)
            while turn.lost_samples or not turn.microphones.any():
                if not open_now.alive:
                    assert streams == "one"
                    pytest.skip("this PortAudio ends a shared stream on PulseAudio's device")
                turn = buffer.take_turn(5.0)
            later = buffer.take_turn(5.0)
        finally:
            open_now.close(portaudio)
    assert open_now.callback_errors == 0
    assert strongest_hz(later.microphones[0]) == pytest.approx(TONE_HZ, abs=5)


@pytest.mark.parametrize("channels", [4, 16])
def test_every_channel_of_an_array_arrives(card: VirtualSound, channels: int) -> None:
    card.plug("array", channels)

    class FrontEnd(SoundFrontEnd):
        shapes: tuple[int, ...] = ()

        def process(self, microphones: np.ndarray, reference: Pcm) -> tuple[Pcm, float | None]:
            self.shapes = microphones.shape
            return microphones[-1], 0.5

    front_end = FrontEnd()
    with MicrophoneSource(wanted(channels, "array_mic"), front_end=front_end) as sound:
        reading = read_until(sound, whole)[-1]
    assert front_end.shapes == (channels, TURN_SAMPLES)
    assert reading.direction_rad == 0.5
    assert strongest_hz(reading.pcm[0]) == pytest.approx(TONE_HZ, abs=5)


def test_the_reference_stands_beside_its_echo_within_a_millisecond(card: VirtualSound) -> None:
    """After the device has spoken for some seconds, and found itself in what it hears."""
    rng = np.random.default_rng(0)
    card.hush("kiosk")
    heard: list[AudioReading] = []
    with MicrophoneSource(wanted()) as sound:
        until_s = time.monotonic() + 40
        while len(heard) < 8 or not sound.status().delay_found or not aligned(heard[-8:]):
            if sound.status().underrun_samples:
                pytest.skip("this machine is too busy to play without gaps")
            assert time.monotonic() < until_s, sound.status()
            sound.play(rng.uniform(-0.3, 0.3, TURN_SAMPLES).astype(np.float32))
            heard.append(sound.read_turn())
        assert sound.status().delay_ms > 10


def aligned(readings: list[AudioReading]) -> bool:
    microphone, reference = np.concatenate([one.pcm for one in readings], axis=1)
    late = lateness(microphone, reference)
    return late is not None and abs(late) <= SAMPLE_RATE_HZ // 1000


def test_flush_silences_the_loudspeaker(card: VirtualSound) -> None:
    """In samples, which no busy machine changes: what is still heard after it was told to stop was
    in the devices' buffers already."""
    loud = tone(1000)
    card.hush("kiosk")
    with MicrophoneSource(wanted()) as sound:
        read_until(sound, lambda one: one.pcm[0].min() < -0.4, loud)
        sound.play(loud)
        assert sound.flush(20) > 0
        readings = read_until(sound, lambda one: one.lost_samples == 0 and not one.pcm[0].any())
    after = np.concatenate([one.pcm[0] for one in readings])
    audible = np.flatnonzero(np.abs(after) > 1e-3)  # nothing at all where it was silent at once
    last_ms = audible.max(initial=0) * 1000 / SAMPLE_RATE_HZ
    # What was played before lasts for another 400 ms if it is not cut off.
    assert last_ms < 250


@pytest.mark.parametrize("times", [3])
def test_a_card_that_is_taken_away_comes_back(card: VirtualSound, times: int) -> None:
    with MicrophoneSource(wanted()) as sound:
        read_until(sound, whole)
        for n in range(times):
            card.unplug("kiosk")
            read_until(sound, lambda _: sound.status().microphone.state is DeviceState.LOST)
            lost = read_until(sound, lambda one: one.lost_samples == TURN_SAMPLES)[-1]
            assert not lost.pcm[0].any()
            assert sound.status().loudspeaker.state is DeviceState.LOST
            card.plug("kiosk", tone_hz=TONE_HZ)
            back = read_until(sound, whole)[-1]
            assert strongest_hz(back.pcm[0]) == pytest.approx(TONE_HZ, abs=20)
            read_until(sound, lambda _: sound.status().microphone.state is DeviceState.PRESENT)
            assert sound.status().microphone.reopened == n + 1


LOST_AT_ITS_START = """
import gc, sys
from edge_runtime.sources.portaudio import PortAudio, StreamForm

with PortAudio() as portaudio:
    def opened():
        at = next(one for one in portaudio.devices() if [one.kind, one.name] == sys.argv[1:])
        heard = at.kind == "microphone"
        form = StreamForm(48_000, 480, **{"heard" if heard else "played": 1})
        ends = (at, None) if heard else (None, at)
        return portaudio.open(form, *ends, lambda *block: (bytes(4 * block[1]), 0))

    stream = opened()
    print("open", flush=True)
    sys.stdin.readline()
    try:
        stream.start()
    except OSError as error:
        print("refused:", error, flush=True)
    portaudio.close([stream])
    del stream
    gc.collect()
    portaudio.renew()
    sys.stdin.readline()
    again = opened()
    again.start()
    print("it runs" if again.alive else "it does not run", flush=True)
    portaudio.close([again])
"""


@pytest.mark.parametrize(("kind", "name"), [("microphone", "kiosk_mic"), ("loudspeaker", "kiosk")])
def test_a_card_that_goes_between_being_opened_and_started_holds_nobody_up(
    card: VirtualSound, kind: str, name: str
) -> None:
    """PortAudio itself never comes back from it. In a process of its own, which has to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", LOST_AT_ITS_START, kind, name],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "open\n"
        card.unplug("kiosk")
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith("refused: ")
        card.plug("kiosk", tone_hz=TONE_HZ)
        said, _ = process.communicate("\n", timeout=60)
    finally:
        process.kill()
    assert (process.returncode, said) == (0, "it runs\n")


def test_speech_from_a_topic_is_heard_also_after_the_card_was_taken_away(
    card: VirtualSound,
) -> None:
    """From a loudspeaker alone, beside a microphone of another program."""
    speech = SimpleNamespace(sample_rate_hz=SAMPLE_RATE_HZ, channels=1, data=pcm16(tone(1000)))
    with Loudspeaker("kiosk") as loudspeaker, MicrophoneSource(wanted()) as sound:

        def heard(reading: AudioReading) -> bool:
            loudspeaker.feed(speech)
            loud = bool(reading.pcm[0].min() < -0.4) and not reading.lost_samples
            return loud and abs(strongest_hz(reading.pcm[0]) - 1000) < 20

        card.hush("kiosk")
        for _ in range(2):
            read_until(sound, heard)
            assert loudspeaker.status().loudspeaker.state is DeviceState.PRESENT
            card.unplug("kiosk")
            read_until(sound, lambda _: loudspeaker.status().loudspeaker.state is DeviceState.LOST)
            card.plug("kiosk", tone_hz=None)


def test_a_card_that_comes_late_is_waited_for(card: VirtualSound) -> None:
    card.unplug("kiosk")
    with MicrophoneSource(wanted(), may_be_late=True) as sound:
        assert read_until(sound, lambda _: True)[-1].lost_samples == TURN_SAMPLES
        assert sound.status().microphone.state is DeviceState.LOST
        card.plug("kiosk", tone_hz=TONE_HZ)
        heard = read_until(sound, whole)[-1]
    assert strongest_hz(heard.pcm[0]) == pytest.approx(TONE_HZ, abs=20)


def test_a_server_that_stands_still_is_noticed_and_gone_on_with(card: VirtualSound) -> None:
    with MicrophoneSource(wanted()) as sound:
        read_until(sound, whole)
        card.freeze()
        read_until(sound, lambda _: sound.status().microphone.state is DeviceState.STUCK)
        card.thaw()
        read_until(sound, whole)
        read_until(sound, lambda _: sound.status().microphone.state is DeviceState.PRESENT)


def test_a_microphone_that_gives_only_zeros_is_noticed(card: VirtualSound) -> None:
    """Within 2 s: ten turns of zeros at most are read before."""
    with MicrophoneSource(wanted()) as sound:
        read_until(sound, whole)
        card.hush("kiosk")
        readings = read_until(
            sound, lambda _: sound.status().microphone.state is DeviceState.SILENT
        )
        zeros = sum(not one.pcm[0].any() for one in readings)
        assert 1 <= zeros <= 10
        assert "zeros" in sound.status().microphone.reason
        card.sound("kiosk", TONE_HZ)
        read_until(sound, lambda _: sound.status().microphone.state is DeviceState.PRESENT)


def test_block_sizes_are_measured_at_the_start_and_shown(card: VirtualSound) -> None:
    with MicrophoneSource(Wanted("kiosk_mic", "kiosk")) as sound:
        status = sound.status()
        assert status.block_ms in (5.0, 10.0, 20.0, 40.0)
        assert status.buffer_ms >= status.block_ms
        assert f"{status.block_ms:g} ms blocks" in sound.description
        assert "ms of buffer" in sound.description


def test_a_name_that_no_card_has_lists_those_there_are(card: VirtualSound) -> None:
    with pytest.raises(SourceError, match=r"No microphone is called 'jabra'.*'kiosk_mic'"):
        MicrophoneSource(Wanted("jabra", "kiosk")).__enter__()
