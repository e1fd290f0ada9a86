"""The exchange between audio callback and loop, by sample count, without any device."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from edge_runtime.micro_turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm
from edge_runtime.sources.duplex_buffer import DuplexBuffer

BLOCK = 320
CUSHION = 640
TURN_NS = 200_000_000


def count_up(start: int, count: int) -> Pcm:
    """Samples that carry their own number, below 1 as float32 tells them apart."""
    return (np.arange(start, start + count) / 2**20).astype(np.float32)


def silence(count: int = BLOCK) -> Pcm:
    return np.zeros(count, np.float32)


def run(buffer: DuplexBuffer, count: int, block: int = BLOCK) -> Pcm:
    """Let the device take `count` samples; returns what it was given."""
    blocks = [buffer.callback(silence(min(block, count - n))) for n in range(0, count, block)]
    return np.concatenate([silence(0), *blocks])


class TestHearing:
    @pytest.mark.parametrize("block", [1, 64, 320, 441, 3_200])
    def test_turns_follow_each_other_without_gap_whatever_the_block(self, block: int) -> None:
        buffer = DuplexBuffer()
        heard: list[Pcm] = []
        given = 0
        while len(heard) < 4:
            buffer.callback(count_up(given, block))
            given += block
            if given - len(heard) * TURN_SAMPLES >= TURN_SAMPLES:
                reading = buffer.read_turn(timeout_s=0)
                assert reading.pcm.shape == (2, TURN_SAMPLES)
                assert reading.pcm.dtype == np.float32
                assert reading.lost_samples == 0
                heard.append(reading.pcm[0])
        np.testing.assert_array_equal(np.concatenate(heard), count_up(0, 4 * TURN_SAMPLES))
        assert buffer.lost_samples == 0

    def test_a_sample_that_is_known_to_be_missing_is_silence_and_counted(self) -> None:
        buffer = DuplexBuffer()
        gap = np.full(200, np.nan, np.float32)
        buffer.callback(np.concatenate([count_up(1, 1_000), gap, count_up(1_201, 2_000)]))
        reading = buffer.read_turn(timeout_s=0)
        assert reading.lost_samples == buffer.lost_samples == 200
        expected = np.concatenate([count_up(1, 1_000), silence(200), count_up(1_201, 2_000)])
        np.testing.assert_array_equal(reading.pcm[0], expected)

    def test_missing_samples_add_to_those_that_never_came(self) -> None:
        buffer = DuplexBuffer()
        buffer.callback(np.full(200, np.nan, np.float32))
        reading = buffer.read_turn(timeout_s=0)
        assert reading.lost_samples == buffer.lost_samples == TURN_SAMPLES
        assert not reading.pcm.any()

    def test_who_knows_when_it_was_captured_says_so(self) -> None:
        buffer = DuplexBuffer(now_ns=lambda: 10 * TURN_NS)
        buffer.callback(silence(TURN_SAMPLES + BLOCK), until_ns=5 * TURN_NS)
        assert buffer.read_turn(timeout_s=0).captured_ns == 5 * TURN_NS - TURN_NS // 10

    def test_a_turn_waits_for_its_last_sample(self) -> None:
        buffer = DuplexBuffer()
        buffer.callback(count_up(0, TURN_SAMPLES - 1))
        turns = []
        reader = threading.Thread(target=lambda: turns.append(buffer.read_turn(timeout_s=30)))
        reader.start()
        reader.join(timeout=0.05)
        assert reader.is_alive()
        buffer.callback(count_up(TURN_SAMPLES - 1, 1))
        reader.join(timeout=30)
        np.testing.assert_array_equal(turns[0].pcm[0], count_up(0, TURN_SAMPLES))

    def test_captured_is_the_time_of_the_last_sample_of_the_turn(self) -> None:
        buffer = DuplexBuffer(now_ns=lambda: 10**12)
        buffer.callback(silence(TURN_SAMPLES + 1_600))
        assert buffer.read_turn(timeout_s=0).captured_ns == 10**12 - TURN_NS // 2

    def test_an_overrun_drops_whole_turns_and_stays_on_the_grid(self) -> None:
        buffer = DuplexBuffer(now_ns=lambda: 10**12)
        buffer.callback(count_up(0, 3 * TURN_SAMPLES + 500))
        reading = buffer.read_turn(timeout_s=0)
        np.testing.assert_array_equal(reading.pcm[0], count_up(2 * TURN_SAMPLES, TURN_SAMPLES))
        assert reading.lost_samples == 0
        assert buffer.lost_samples == 2 * TURN_SAMPLES
        buffer.callback(count_up(3 * TURN_SAMPLES + 500, TURN_SAMPLES - 500))
        following = buffer.read_turn(timeout_s=0)
        np.testing.assert_array_equal(following.pcm[0], count_up(3 * TURN_SAMPLES, TURN_SAMPLES))

    def test_what_came_while_nobody_read_is_lost_but_no_fault_of_the_loop(self) -> None:
        now_ns = 10**12
        buffer = DuplexBuffer(now_ns=lambda: now_ns)
        buffer.callback(silence(4 * TURN_SAMPLES))  # before the loop began
        buffer.take_turn(timeout_s=0)
        assert (buffer.lost_samples, buffer.dropped_samples) == (3 * TURN_SAMPLES, 0)
        now_ns += 3 * TURN_NS
        buffer.callback(silence(3 * TURN_SAMPLES))  # the loop was late
        buffer.take_turn(timeout_s=0)
        assert buffer.dropped_samples == 2 * TURN_SAMPLES
        now_ns += 60_000_000_000
        buffer.callback(silence(8 * TURN_SAMPLES))  # the loop was stopped
        buffer.take_turn(timeout_s=0)
        assert buffer.dropped_samples == 2 * TURN_SAMPLES

    def test_memory_is_bounded_when_nobody_reads(self) -> None:
        buffer = DuplexBuffer(capacity_s=0.5)
        for n in range(100):
            buffer.callback(count_up(n * BLOCK, BLOCK))
        assert buffer._captured.shape[1] == 8_000
        assert buffer.lost_samples == 100 * BLOCK - 8_000
        newest = buffer.read_turn(timeout_s=0)
        assert newest.pcm[0, 0] == count_up(100 * BLOCK - 8_000 + TURN_SAMPLES, 1)[0]
        assert buffer.lost_samples == 100 * BLOCK - 8_000 + TURN_SAMPLES

    def test_a_stalled_device_is_filled_up_and_counted(self) -> None:
        buffer = DuplexBuffer()
        buffer.callback(count_up(0, 1_000))
        reading = buffer.read_turn(timeout_s=0)
        assert reading.lost_samples == TURN_SAMPLES - 1_000
        np.testing.assert_array_equal(reading.pcm[0, :1_000], count_up(0, 1_000))
        assert not reading.pcm[0, 1_000:].any()
        buffer.callback(count_up(1_000, TURN_SAMPLES))
        assert buffer.read_turn(timeout_s=0).lost_samples == 0
        assert buffer.lost_samples == TURN_SAMPLES - 1_000

    def test_without_a_device_turns_stay_on_their_grid_and_so_does_what_comes_back(self) -> None:
        """Turns are due at 0.2, 0.4, ...; each waits for 0.1 s, and none shifts the next."""
        now_ns = 2 * TURN_NS
        buffer = DuplexBuffer(now_ns=lambda: now_ns, patience_s=0.1)
        buffer.callback(count_up(0, TURN_SAMPLES))
        assert buffer.read_turn(0).captured_ns == 2 * TURN_NS
        for turn in (3, 4, 5):
            now_ns = turn * TURN_NS + TURN_NS // 2
            reading = buffer.read_turn()
            assert reading.captured_ns == turn * TURN_NS
            assert reading.lost_samples == TURN_SAMPLES
        # The device is back 150 ms before turn 6 waits no longer: 50 ms of it are the turn's.
        now_ns = 6 * TURN_NS + TURN_NS // 2
        buffer.callback(count_up(1, 2_400))
        reading = buffer.read_turn(0)
        assert reading.captured_ns == 6 * TURN_NS
        np.testing.assert_array_equal(reading.pcm[0, -800:], count_up(1, 800))
        assert not reading.pcm[0, :-800].any()
        assert reading.lost_samples == TURN_SAMPLES - 800
        now_ns = 7 * TURN_NS
        buffer.callback(count_up(2_401, 1_600))
        reading = buffer.read_turn(0)
        assert (reading.captured_ns, reading.lost_samples) == (7 * TURN_NS, 0)
        np.testing.assert_array_equal(reading.pcm[0], count_up(801, TURN_SAMPLES))

    def test_what_should_have_been_said_without_a_device_is_not_said_later(self) -> None:
        buffer = DuplexBuffer(cushion_ms=0)
        for _ in range(5):
            buffer.play(np.full(TURN_SAMPLES, 0.5, np.float32))
            buffer.read_turn(timeout_s=0)
        assert buffer.flush(0) <= TURN_SAMPLES

    def test_a_buffer_too_short_for_two_turns_is_refused(self) -> None:
        with pytest.raises(ValueError, match="capacity_s"):
            DuplexBuffer(capacity_s=0.3)


class TestPlaying:
    def test_the_first_block_comes_after_the_cushion_and_sample_for_sample(self) -> None:
        buffer = DuplexBuffer()
        pcm = count_up(1, 2 * TURN_SAMPLES)
        buffer.play(pcm[:TURN_SAMPLES])
        buffer.play(pcm[TURN_SAMPLES:])
        played = run(buffer, CUSHION + pcm.size, block=441)
        assert not played[:CUSHION].any()
        np.testing.assert_array_equal(played[CUSHION:], pcm)
        assert buffer.underrun_samples == 0

    @pytest.mark.parametrize("late_samples", [0, 160, 600])
    def test_jitter_within_the_cushion_never_tears_an_utterance(self, late_samples: int) -> None:
        buffer = DuplexBuffer()
        pcm, played = count_up(1, 6 * TURN_SAMPLES), []
        for turn in range(6):
            late = late_samples if turn % 2 else 0
            played.append(run(buffer, late))
            buffer.play(pcm[turn * TURN_SAMPLES : (turn + 1) * TURN_SAMPLES])
            played.append(run(buffer, TURN_SAMPLES - late))
        played.append(run(buffer, CUSHION))
        np.testing.assert_array_equal(np.concatenate(played)[CUSHION:], pcm)
        assert buffer.underrun_samples == 0

    def test_a_late_block_is_counted_and_gets_a_new_cushion(self) -> None:
        buffer = DuplexBuffer()
        buffer.play(count_up(1, TURN_SAMPLES))
        run(buffer, CUSHION + TURN_SAMPLES + 100)
        assert buffer.underrun_samples == 100
        buffer.play(count_up(1, TURN_SAMPLES))
        played = run(buffer, CUSHION + TURN_SAMPLES)
        assert not played[:CUSHION].any()
        np.testing.assert_array_equal(played[CUSHION:], count_up(1, TURN_SAMPLES))

    def test_after_an_overrun_the_next_silence_brings_the_delay_back(self) -> None:
        buffer = DuplexBuffer()
        loud = np.full(TURN_SAMPLES, 0.5, np.float32)
        for _ in range(3):
            buffer.play(loud)
        run(buffer, TURN_SAMPLES)
        buffer.play(silence(TURN_SAMPLES))
        assert (run(buffer, 2 * TURN_SAMPLES + CUSHION) == 0.5).all()
        buffer.play(loud)
        assert run(buffer, CUSHION + TURN_SAMPLES).nonzero()[0][0] <= CUSHION
        assert buffer.underrun_samples == 0

    def test_where_a_loudspeaker_begins_anew_it_says_the_newest_and_is_no_later_than_before(
        self,
    ) -> None:
        buffer = DuplexBuffer()
        for turn in range(8):
            buffer.play(count_up(1 + turn * TURN_SAMPLES, TURN_SAMPLES))
        buffer.drop_late()
        first = 1 + 7 * TURN_SAMPLES - CUSHION
        played = run(buffer, TURN_SAMPLES)
        np.testing.assert_array_equal(played, count_up(first, TURN_SAMPLES))
        buffer.play(count_up(1 + 8 * TURN_SAMPLES, TURN_SAMPLES))
        buffer.drop_late()
        played = run(buffer, TURN_SAMPLES)
        np.testing.assert_array_equal(played, count_up(first + TURN_SAMPLES, TURN_SAMPLES))

    @pytest.mark.parametrize("drift", [-16, 16])
    def test_silence_makes_up_for_a_loudspeaker_of_another_pace(self, drift: int) -> None:
        """5,000 ppm: what a real one drifts in minutes, in seconds."""
        buffer = DuplexBuffer()
        loud, played = np.full(TURN_SAMPLES, 0.5, np.float32), []
        for turn in range(136):
            buffer.play(loud if turn % 45 >= 38 else silence(TURN_SAMPLES))
            played.append(buffer.next_to_play(TURN_SAMPLES + drift))
            assert buffer._to_play.size <= CUSHION + 8 * abs(drift), "no delay piles up"
        edges = np.flatnonzero(np.diff(np.concatenate(played) != 0))
        assert edges.size == 6, "three utterances, each in one piece"
        assert buffer.underrun_samples == 0

    def test_silence_before_the_first_block_is_no_underrun(self) -> None:
        buffer = DuplexBuffer()
        assert not run(buffer, 1_000).any()
        assert buffer.underrun_samples == 0

    def test_volume_scales_and_the_device_never_gets_more_than_1(self) -> None:
        buffer = DuplexBuffer(cushion_ms=0, volume=0.5)
        buffer.play(np.array([1.0, -1.0, 0.5, 4.0, -4.0], np.float32))
        np.testing.assert_array_equal(run(buffer, 5), np.array([0.5, -0.5, 0.25, 1.0, -1.0]))

    def test_another_volume_comes_without_a_click(self) -> None:
        buffer = DuplexBuffer(cushion_ms=0, volume=0.2)
        buffer.play(np.ones(4 * 160, np.float32))
        assert (run(buffer, 160) == np.float32(0.2)).all()
        buffer.volume = 0.8
        changed = run(buffer, 160)
        assert np.abs(np.diff(changed)).max() < 0.005
        assert (changed[0], changed[-1]) == (np.float32(0.2), np.float32(0.8))
        assert (run(buffer, 160) == np.float32(0.8)).all()

    def test_a_stalled_device_does_not_hoard_speech(self) -> None:
        buffer = DuplexBuffer(capacity_s=0.5)
        for n in range(100):
            buffer.play(count_up(n * TURN_SAMPLES, TURN_SAMPLES))
        assert buffer.flush(0) == 8_000


class TestReference:
    @pytest.mark.parametrize("latency", [0, 1, 137, 5_000])
    @pytest.mark.parametrize("block", [64, 441])
    def test_a_loopback_hears_what_the_reference_says(self, latency: int, block: int) -> None:
        """What the device plays comes into its microphone `latency` samples later."""
        buffer = DuplexBuffer(latency_samples=latency)
        on_the_air = np.zeros(latency + block, np.float32)
        rng = np.random.default_rng(0)
        given = 0
        for _ in range(5 * TURN_SAMPLES // block):
            if given % 2_000 < block:
                buffer.play(rng.uniform(-0.9, 0.9, 2_000).astype(np.float32))
            heard, on_the_air = on_the_air[:block], on_the_air[block:]
            on_the_air = np.concatenate([on_the_air, buffer.callback(heard)])
            given += block
            if buffer._captured.shape[1] >= TURN_SAMPLES:
                turn = buffer.read_turn(timeout_s=0).pcm
                # One block passes between giving and taking in the same exchange.
                np.testing.assert_array_equal(turn[0, block:], turn[1, :-block])
                assert latency >= TURN_SAMPLES or turn[1].any()

    def test_it_is_what_the_device_was_given_not_what_was_asked_for(self) -> None:
        buffer = DuplexBuffer(volume=0.5)
        buffer.play(np.full(TURN_SAMPLES, 0.8, np.float32))
        run(buffer, 1_600)
        buffer.flush(10)
        run(buffer, 1_600)
        reference = buffer.read_turn(timeout_s=0).pcm[1]
        assert not reference[:CUSHION].any()
        assert (reference[CUSHION:1_600] == np.float32(0.4)).all()
        assert (np.diff(reference[1_599:1_760]) < 0).all()
        assert not reference[1_760:].any()

    def test_after_two_clocks_one_counts_in_step_again(self) -> None:
        buffer = DuplexBuffer(cushion_ms=0)
        buffer.capture(silence(7_000))
        buffer.next_to_play(1_234)
        buffer.count_in_step()
        buffer.take_turn(timeout_s=0)
        buffer.play(count_up(1, TURN_SAMPLES))
        buffer.callback(silence(TURN_SAMPLES))
        reference = buffer.take_turn(timeout_s=0).reference
        # 600 samples of the time before were left.
        np.testing.assert_array_equal(reference[600:], count_up(1, TURN_SAMPLES - 600))

    def test_two_clocks_are_followed_between_the_samples(self) -> None:
        buffer = DuplexBuffer(cushion_ms=0, latency_samples=100)
        t_s = np.arange(8_000) / SAMPLE_RATE_HZ
        buffer.play((0.5 * np.sin(2 * np.pi * 300 * t_s)).astype(np.float32))
        buffer.next_to_play(8_000)
        buffer.capture(silence(TURN_SAMPLES))
        buffer.played_at = lambda heard: 1_000.25 + heard * 1.001
        at = 900.25 + np.arange(TURN_SAMPLES) * 1.001
        expected = 0.5 * np.sin(2 * np.pi * 300 * at / SAMPLE_RATE_HZ)
        np.testing.assert_allclose(buffer.take_turn(0).reference, expected, atol=1e-3)


class TestFlush:
    @pytest.mark.parametrize("fade_ms", [0.0, 5.0, 20.0])
    def test_it_is_silent_within_the_fade_from_the_next_sample_on(self, fade_ms: float) -> None:
        buffer = DuplexBuffer()
        buffer.play(np.full(TURN_SAMPLES, 0.5, np.float32))
        assert (run(buffer, 1_000)[CUSHION:] == 0.5).all()
        assert buffer.flush(fade_ms) == CUSHION + TURN_SAMPLES - 1_000
        after = run(buffer, TURN_SAMPLES, block=100)
        fade = round(fade_ms * 16)
        assert not after[fade:].any()
        assert (np.diff(after[:fade]) < 0).all()
        assert np.abs(np.diff(np.concatenate([[0.5 if fade else 0.0], after]))).max() < 0.01

    def test_a_remainder_shorter_than_the_fade_still_ends_in_silence(self) -> None:
        buffer = DuplexBuffer(cushion_ms=0)
        buffer.play(np.full(100, 0.5, np.float32))
        assert buffer.flush(20) == 100
        after = run(buffer, 200)
        assert (np.diff(after[:101]) <= 0).all()
        assert after[98] > 0
        assert not after[99:].any()

    def test_nothing_queued_is_nothing_dropped(self) -> None:
        assert DuplexBuffer().flush(20) == 0

    def test_the_silence_after_it_is_no_underrun(self) -> None:
        buffer = DuplexBuffer()
        buffer.play(silence(TURN_SAMPLES))
        buffer.flush(20)
        run(buffer, TURN_SAMPLES)
        assert buffer.underrun_samples == 0

    def test_the_cushion_is_there_again_for_what_follows(self) -> None:
        buffer = DuplexBuffer()
        buffer.play(count_up(1, TURN_SAMPLES))
        run(buffer, 1_000)
        buffer.flush(20)
        run(buffer, TURN_SAMPLES)
        buffer.play(count_up(1, TURN_SAMPLES))
        after = run(buffer, CUSHION + TURN_SAMPLES)
        np.testing.assert_array_equal(after[CUSHION:], count_up(1, TURN_SAMPLES))

    def test_there_is_one_fade_and_not_two(self) -> None:
        buffer = DuplexBuffer()
        buffer.play(np.full(TURN_SAMPLES, 0.5, np.float32))
        run(buffer, 1_000)
        buffer.flush(20)
        buffer.play(np.full(TURN_SAMPLES, 0.5, np.float32))
        after = run(buffer, TURN_SAMPLES)
        assert (np.diff(after[:320]) < 0).all()
        assert not after[320:].any()


def test_two_threads_lose_no_sample() -> None:
    """A device thread at full speed, a loop that answers each turn with what it heard."""
    buffer = DuplexBuffer(capacity_s=60)
    turns = 40
    played: list[Pcm] = []

    def device() -> None:
        for n in range(turns * TURN_SAMPLES // BLOCK):
            played.append(buffer.callback(count_up(n * BLOCK, BLOCK)))

    thread = threading.Thread(target=device)
    thread.start()
    heard = 0
    while heard + buffer.lost_samples < turns * TURN_SAMPLES:
        reading = buffer.read_turn(timeout_s=10)
        assert reading.lost_samples == 0
        first = round(float(reading.pcm[0, 0]) * 2**20)
        np.testing.assert_array_equal(reading.pcm[0], count_up(first, TURN_SAMPLES))
        heard += TURN_SAMPLES
        buffer.play(reading.pcm[0])
    thread.join()
    assert np.concatenate(played).size == turns * TURN_SAMPLES
