"""Devices that are lost and come back, on hardware that is played."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from played_hardware import BLOCK, FIRST, OUTPUT_UNDERFLOW, Card, Hardware, Stream

from edge_runtime.errors import MissingDeviceError, SourceError
from edge_runtime.micro_turn import TURN_SAMPLES
from edge_runtime.sound_status import DeviceState, SoundStatus
from edge_runtime.sources import sound_opener, sound_supervisor
from edge_runtime.sources.duplex_buffer import DuplexBuffer
from edge_runtime.sources.front_end import SoundFrontEnd
from edge_runtime.sources.microphone import MicrophoneSource
from edge_runtime.sources.portaudio import PortAudio
from edge_runtime.sources.sound_opener import SoundOpener
from edge_runtime.sources.sound_plan import Wanted

MIC, SPEAKER = Card("ReSpeaker", 4, 0), Card("Speaker", 0, 2)
LOUD = np.full(TURN_SAMPLES, 0.5, np.float32)


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hardware]:
    there = Hardware(MIC, SPEAKER)
    there.install(monkeypatch)
    yield there
    assert not any(stream.open for stream in there.streams)


def source(block_ms: float | None = 20.0, channels: int = 1) -> MicrophoneSource:
    return MicrophoneSource(Wanted("respeaker", "speaker", channels, block_ms))


def await_status(sound: MicrophoneSource, fits: Callable[[SoundStatus], bool]) -> SoundStatus:
    until_s = time.monotonic() + 10
    while not fits(sound.status()):
        assert time.monotonic() < until_s, sound.status()
        time.sleep(0.002)
    return sound.status()


def test_a_lost_microphone_leaves_the_loudspeaker_and_comes_back(hardware: Hardware) -> None:
    with source() as sound:
        assert len(hardware.await_streams(lambda those: len(those) == 2)) == 2
        hardware.cards.remove(MIC)
        status = await_status(sound, lambda s: s.microphone.state is DeviceState.LOST)
        deaf = hardware.await_stream(input=False, after=2)
        assert status.loudspeaker.state is DeviceState.PRESENT
        sound.play(LOUD)
        sound.play(LOUD)
        assert np.frombuffer(deaf.pass_a_turn(), np.float32)[-1] == 0.5
        for _ in range(2):  # to the end of what it has to say, which is not interrupted
            deaf.pass_a_turn()
        reading = sound.read_turn()
        assert reading.lost_samples == TURN_SAMPLES
        assert not reading.pcm[0].any()
        # Another card takes its number meanwhile: it is found by its name all the same.
        hardware.cards[:0] = [Card("Webcam", 1, 0, heard=0.9)]
        hardware.cards.append(MIC)
        status = await_status(sound, lambda s: s.microphone.state is DeviceState.PRESENT)
        assert (status.microphone.reopened, status.loudspeaker.reopened) == (1, 0)
        ears = next(one for one in hardware.await_streams(lambda s: len(s) == 2) if one.input)
        for _ in range(2):
            ears.pass_a_turn()
        assert (sound.read_turn().pcm[0] == np.float32(0.25)).all()


def test_a_lost_loudspeaker_leaves_the_microphone(hardware: Hardware) -> None:
    with source() as sound:
        hardware.cards.remove(SPEAKER)
        status = await_status(sound, lambda s: s.loudspeaker.state is DeviceState.LOST)
        assert status.microphone.state is DeviceState.PRESENT
        ears = hardware.await_stream(input=True, after=2)
        sound.play(LOUD)
        for _ in range(2):
            ears.pass_a_turn()
        reading = sound.read_turn()
        assert reading.pcm[0].all() and reading.lost_samples == 0
        assert not reading.pcm[1].any(), "what nobody hears is no reference"
        hardware.cards.append(SPEAKER)
        await_status(sound, lambda s: s.loudspeaker.state is DeviceState.PRESENT)


def test_a_loudspeaker_that_takes_nothing_makes_nobody_deaf(
    hardware: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, deaf = Stream.start_stream, []

    def noted(stream: Stream) -> None:
        if not stream.input and not any(one.open and one.input for one in hardware.streams):
            deaf.append(stream)
        start(stream)

    monkeypatch.setattr(Stream, "start_stream", noted)
    monkeypatch.setattr(SPEAKER, "hangs", True)
    monkeypatch.setattr(sound_opener, "START_S", 0.02)
    with late() as sound:
        status = sound.status()
        assert status.microphone.state is DeviceState.PRESENT
        assert "'Speaker' cannot be opened: It opens, but no" in status.loudspeaker.reason
        ears = hardware.await_stream(input=True)
        tried = len(hardware.streams)
        hardware.await_streams(lambda _: len(hardware.streams) > tried + 3)
        assert ears.open and not any(one.input for one in hardware.streams[tried:])
        # Listing all anew closes the microphone too, but not to wait for the loudspeaker.
        deaf.clear()
        monkeypatch.setattr(sound_supervisor, "LOOK_ANEW_S", 0.1)
        tried = len(hardware.streams)
        hardware.await_streams(lambda _: sum(s.input for s in hardware.streams[tried:]) > 2)
        assert not deaf
        monkeypatch.setattr(SPEAKER, "hangs", False)
        await_status(sound, lambda s: s.loudspeaker.state is DeviceState.PRESENT)
        assert sound.status().microphone.state is DeviceState.PRESENT


def test_a_microphone_that_ends_at_one_rate_is_tried_at_the_next(
    hardware: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loudspeaker beside it, which had no time to begin, does not hang."""
    start, active = Stream.start_stream, Stream.is_active

    def ends(stream: Stream) -> bool:
        return bool(stream.input and stream.options["rate"] == 16_000)

    def begun(stream: Stream) -> None:
        first = not any(one.input == stream.input for one in hardware.streams)
        if not (first or ends(stream)):
            return start(stream)
        with hardware.changed:
            hardware.streams.append(stream)

    monkeypatch.setattr(Stream, "start_stream", begun)
    monkeypatch.setattr(Stream, "is_active", lambda one: active(one) and not ends(one))
    with source() as sound:
        assert sound.status().microphone.state is DeviceState.PRESENT
        assert sound.status().loudspeaker.state is DeviceState.PRESENT
        (ears,) = [one for one in hardware.streams if one.open and one.input]
        assert ears.options["rate"] != 16_000


def test_a_microphone_is_closed_at_once_while_a_loudspeaker_is_tried(
    hardware: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SPEAKER, "hangs", True)
    monkeypatch.setattr(sound_opener, "START_S", 0.02)
    with late() as sound:
        ears = hardware.await_stream(input=True)
        monkeypatch.setattr(sound_opener, "START_S", 3600.0)
        tried = len(hardware.streams)
        hardware.await_streams(lambda those: len(those) == 2 and len(hardware.streams) > tried)
        sound.switch(False)
        hardware.await_streams(lambda _: not ears.open)


def test_the_first_failure_is_a_warning_and_the_rest_is_for_those_who_look_closely(
    hardware: Hardware, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound_supervisor, "LOOK_ANEW_S", 0.01)
    caplog.set_level(logging.DEBUG, sound_supervisor.__name__)
    with source() as sound:
        hardware.cards.remove(MIC)
        await_status(sound, lambda s: s.microphone.state is DeviceState.LOST)
        attempts = len(hardware.streams)
        hardware.await_streams(lambda _: len(hardware.streams) > attempts + 3)
        hardware.cards.append(MIC)
        await_status(sound, lambda s: s.microphone.state is DeviceState.PRESENT)
    about = [one for one in caplog.records if "microphone ReSpeaker is" in one.getMessage()]
    levels = [one.levelno for one in about]
    assert levels.count(logging.WARNING) == 1
    assert levels[0] == logging.WARNING and levels[-1] == logging.INFO
    assert set(levels[1:-1]) == {logging.DEBUG}
    assert "is back after" in about[-1].getMessage()


def test_a_device_that_stands_still_is_opened_again(
    hardware: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound_supervisor, "STUCK_S", 0.05)
    with source() as sound:
        await_status(sound, lambda s: s.microphone.reopened >= 1)
        assert len(hardware.streams) >= 4
        monkeypatch.setattr(sound_supervisor, "STUCK_S", 1e9)
        await_status(sound, lambda s: s.microphone.state is DeviceState.PRESENT)


def test_what_piled_up_while_it_stood_still_does_not_make_all_that_follows_late(
    hardware: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    with source() as sound:
        before = len(hardware.streams)
        for _ in range(8):
            sound.play(LOUD)
        monkeypatch.setattr(sound_supervisor, "STUCK_S", 0.05)
        hardware.await_streams(lambda _: len(hardware.streams) >= before + 2)
        monkeypatch.setattr(sound_supervisor, "STUCK_S", 1e9)
        await_status(sound, lambda s: s.loudspeaker.state is DeviceState.PRESENT)
        there = hardware.await_streams(lambda those: len(those) == 2)
        speaker = next(one for one in there if not one.input)
        speaker.pass_a_turn()
        assert not np.frombuffer(speaker.pass_a_turn(), np.float32)[-BLOCK:].any()


def test_zeros_are_noticed_and_after_a_while_it_is_opened_anew(
    hardware: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound_supervisor, "SILENT_S", 0.02)
    monkeypatch.setattr(sound_supervisor, "REOPEN_SILENT_S", 0.2)
    monkeypatch.setattr(MIC, "heard", 0.0)
    with source() as sound:
        status = await_status(sound, lambda s: s.microphone.state is DeviceState.SILENT)
        assert "zeros" in status.microphone.reason
        before = len(hardware.streams)
        hardware.await_streams(lambda _: len(hardware.streams) > before)
        monkeypatch.setattr(MIC, "heard", 0.25)
        ears = next(one for one in hardware.await_streams(lambda s: len(s) == 2) if one.input)
        ears.pass_block()
        await_status(sound, lambda s: s.microphone.state is DeviceState.PRESENT)


def test_gaps_are_counted_and_many_get_larger_blocks(
    hardware: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound_opener, "MEASURE_S", 0.01)
    with source(block_ms=None) as sound:
        assert sound.status().block_ms == 5.0
        mouth = next(one for one in hardware.await_streams(lambda s: len(s) == 2) if one.mouth)
        for _ in range(8):
            mouth.pass_block(OUTPUT_UNDERFLOW)
        status = await_status(sound, lambda s: s.block_ms == 10.0)
        # Those of the first blocks are the device's buffer filling up, and are not counted.
        assert status.loudspeaker.xruns == 8 + FIRST - 5
        assert status.microphone.xruns == 0


def test_blocks_that_are_too_small_are_found_at_the_start(
    hardware: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(stream: Stream) -> None:
        hardware.streams.append(stream)
        small = stream.options["frames_per_buffer"] < 320
        for _ in range(10):
            stream.pass_block(OUTPUT_UNDERFLOW if small and stream.mouth else 0)

    monkeypatch.setattr(Stream, "start_stream", start)
    monkeypatch.setattr(sound_opener, "MEASURE_S", 0.01)
    with source(block_ms=None) as sound:
        assert sound.status().block_ms == 20.0
        assert "two streams, 20 ms blocks" in sound.description


def test_all_microphones_of_an_array_reach_its_front_end(hardware: Hardware) -> None:
    class Loudest(SoundFrontEnd):
        """Gives one microphone, and says which."""

        def process(
            self, microphones: np.ndarray, reference: np.ndarray
        ) -> tuple[np.ndarray, float | None]:
            assert microphones.shape == (4, TURN_SAMPLES) and reference.shape == (TURN_SAMPLES,)
            return microphones[2], 1.5

    sound = MicrophoneSource(Wanted("respeaker", "speaker", 4, 20.0), front_end=Loudest())
    with sound:
        ears = next(one for one in hardware.await_streams(lambda s: len(s) == 2) if one.input)
        assert ears.options["channels"] == 4
        ears.pass_a_turn()
        reading = sound.read_turn()
    assert reading.direction_rad == 1.5
    assert (reading.pcm[0] == np.float32(0.25)).all()


def test_what_is_in_use_elsewhere_is_an_error_with_a_remedy(hardware: Hardware) -> None:
    hardware.refuses = 1000
    with pytest.raises(SourceError) as caught:
        source().__enter__()
    for part in ("'ReSpeaker' cannot be opened", "Another program has it", "edge-runtime devices"):
        assert part in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_microphone_that_is_not_there_is_an_error_at_the_start(hardware: Hardware) -> None:
    hardware.cards.remove(MIC)
    with pytest.raises(SourceError, match="There is no microphone"):
        source().__enter__()
    assert not any(stream.open for stream in hardware.streams)


def test_too_few_channels_are_an_error_at_the_start(hardware: Hardware) -> None:
    with pytest.raises(SourceError, match="has only 4 of the 6 channels"):
        source(channels=6).__enter__()


def late(channels: int = 1, microphone: str | None = "respeaker", mic: int = 0) -> MicrophoneSource:
    wanted = Wanted(microphone, "speaker", channels, 20.0)
    return MicrophoneSource(wanted, delay_channel=mic, may_be_late=True)


def test_a_microphone_that_comes_late_is_waited_for(
    hardware: Hardware, caplog: pytest.LogCaptureFixture
) -> None:
    hardware.cards.remove(MIC)
    with late() as sound:
        status = sound.status()
        assert status.microphone.state is DeviceState.LOST
        assert status.loudspeaker.state is DeviceState.PRESENT
        hardware.await_stream(input=False).pass_a_turn()
        assert sound.read_turn().lost_samples == TURN_SAMPLES
        hardware.cards.append(MIC)
        await_status(sound, lambda s: s.microphone.state is DeviceState.PRESENT)
        ears = next(one for one in hardware.await_streams(lambda s: len(s) == 2) if one.input)
        for _ in range(2):
            ears.pass_a_turn()
        assert sound.read_turn().pcm[0].all()
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert len(warnings) == 1 and "There is no microphone on this machine" in warnings[0]


def test_without_any_device_the_turns_of_an_array_come_by_the_clock(hardware: Hardware) -> None:
    hardware.cards.clear()
    with late(channels=4, mic=3) as sound:
        begun_s = time.monotonic()
        readings = [sound.read_turn() for _ in range(3)]
        took_s = time.monotonic() - begun_s
        parts = sound.status().parts()
    assert all(one.lost_samples == TURN_SAMPLES and not one.pcm.any() for one in readings)
    assert 0.5 < took_s < 5
    assert [part.state.value for part in parts] == ["failed", "failed"]


def test_one_that_is_busy_at_the_start_is_tried_again(hardware: Hardware) -> None:
    hardware.refuses = 50
    with late() as sound:
        await_status(sound, lambda s: s.microphone.state is DeviceState.PRESENT)


def test_a_library_that_does_not_start_at_once_is_waited_for(
    hardware: Hardware, caplog: pytest.LogCaptureFixture
) -> None:
    hardware.fails_to_start = 3
    with late() as sound:
        assert sound.status().microphone.state is DeviceState.LOST
        await_status(sound, lambda s: s.microphone.state is DeviceState.PRESENT)
    assert "PortAudio does not start: Unanticipated host error" in caplog.text


def test_a_library_that_does_not_start_is_an_error_for_who_does_not_wait(
    hardware: Hardware,
) -> None:
    hardware.fails_to_start = 1
    with pytest.raises(MissingDeviceError, match="PortAudio does not start: Unanticipated"):
        source().__enter__()


def test_what_no_waiting_helps_against_is_an_error_at_once(hardware: Hardware) -> None:
    with pytest.raises(SourceError, match="has only 4 of the 6 channels"):
        late(channels=6).__enter__()
    hardware.cards.append(Card("ReSpeaker Lite", 1, 0))
    with pytest.raises(SourceError, match="fits several microphones") as caught:
        late(microphone="speak").__enter__()
    assert not isinstance(caught.value, MissingDeviceError)


def test_a_default_with_too_few_channels_may_be_another_later(hardware: Hardware) -> None:
    hardware.cards.insert(0, Card("Webcam", 1, 0))
    with late(channels=4, microphone=None) as sound:
        assert "has only 1 of the 4 channels" in sound.status().microphone.reason
        del hardware.cards[0]
        await_status(sound, lambda s: s.microphone.name == "ReSpeaker")


def test_whoever_leaves_waits_for_one_attempt_to_open_and_not_for_all(
    hardware: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener = SoundOpener(PortAudio(), Wanted("respeaker", "speaker"), DuplexBuffer())
    attempts: list[object] = []

    def fail(**options: object) -> None:
        attempts.append(options)
        opener.leaving.set()
        raise OSError(-9985, "Device unavailable")

    monkeypatch.setattr(hardware, "open", fail)
    with opener.portaudio:
        opened = opener.open(deaf=False)
    assert opened.streams is None and set(opened.problems) == {"microphone", "loudspeaker"}
    assert len(attempts) == 1
