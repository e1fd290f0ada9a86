"""espeak-ng as it is installed: its sound at 16 kHz, any text, and every way it can fail."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import correlate, resample_poly

from edge_runtime.errors import VoiceError
from edge_runtime.micro_turn import Pcm
from edge_runtime.voice.espeak import EspeakSynthesizer
from edge_runtime.voice.silence import QUIET_LEVEL, SilenceTrimmer

SENTENCE = "Hello there, how are you?"
LONG = ("The quick brown fox jumps over the lazy dog. " * 120)[:5000]
HEADER = r"RIFF....WAVEfmt \020\0\0\0\1\0\1\0\200>\0\0\0}\0\0\2\0\020\0data\0\0\0\0"
"""Of 16-bit mono sound at 16 kHz, as `printf` writes it."""
installed = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


def joined(blocks: Iterable[Pcm]) -> Pcm:
    return np.concatenate([np.zeros(0, np.float32), *blocks])


def speech(text: str, voice: EspeakSynthesizer | None = None) -> Pcm:
    """The sound of `text`, every block of it checked."""
    blocks = list((voice or EspeakSynthesizer()).synthesize(text))
    assert all(block.dtype == np.float32 and block.ndim == 1 for block in blocks)
    pcm = joined(blocks)
    assert np.abs(pcm).max(initial=0) <= 1
    return pcm


def seconds(text: str) -> float:
    return speech(text).size / 16_000


def program(folder: Path, script: str) -> EspeakSynthesizer:
    """A synthesizer that runs `script` in the place of espeak-ng."""
    path = folder / "voice"
    path.write_text(f"#!/bin/sh\ncat > {folder}/text\n{script}\n")
    path.chmod(0o755)
    return EspeakSynthesizer(program=str(path))


@installed
def test_the_speech_is_what_the_program_says_resampled_to_16_khz() -> None:
    command = ["espeak-ng", "-v", "en-us+f2", "-s", "165", "-p", "50", "-z", "--stdout", SENTENCE]
    wav = subprocess.run(command, capture_output=True, check=True).stdout
    assert int.from_bytes(wav[24:28], "little") == 22_050
    whole = resample_poly(np.frombuffer(wav[44:], "<i2") / 32768, 320, 441)
    spoken = speech(SENTENCE)
    assert 0.9 < spoken.size / whole.size <= 1
    at = int(np.argmax(correlate(whole, spoken, "valid")))
    np.testing.assert_allclose(spoken, whole[at : at + spoken.size], atol=0.02)
    left_out = np.concatenate([whole[:at], whole[at + spoken.size :]])
    assert np.abs(left_out).max(initial=0) < 0.01


@installed
def test_the_speech_begins_at_once_and_ends_soon_after_its_last_sound() -> None:
    loud = np.flatnonzero(np.abs(speech(SENTENCE)) > QUIET_LEVEL)
    assert loud[0] <= 80
    assert speech(SENTENCE).size - loud[-1] <= 1 + 800


@installed
def test_the_same_text_always_gives_the_same_samples() -> None:
    np.testing.assert_array_equal(speech(SENTENCE), speech(SENTENCE))


@installed
def test_a_faster_rate_is_shorter_and_another_voice_sounds_different() -> None:
    plain = speech(SENTENCE)
    assert speech(SENTENCE, EspeakSynthesizer(rate_wpm=320)).size < 0.7 * plain.size
    german = speech(SENTENCE, EspeakSynthesizer("de"))
    assert not np.array_equal(german, plain)


@installed
def test_a_long_text_comes_in_small_blocks_and_ends_with_close() -> None:
    synthesis = EspeakSynthesizer().synthesize(LONG)
    first = next(synthesis)
    synthesis.close()
    assert 0 < first.size < 16_000
    assert joined(synthesis).size == 0


@installed
def test_a_synthesis_closed_before_its_first_block_gives_nothing() -> None:
    synthesis = EspeakSynthesizer().synthesize(LONG)
    synthesis.close()
    assert joined(synthesis).size == 0


@installed
@pytest.mark.parametrize("text", ["", "   ", "\n\n", "\t", "?!... ,;:-", "\0"])
def test_a_text_without_words_is_silent(text: str) -> None:
    assert speech(text).size == 0


@installed
def test_5000_characters_are_spoken_to_the_end() -> None:
    # 111 sentences of 9 words at 165 words a minute.
    assert 240 < seconds(LONG) < 600


@installed
@pytest.mark.parametrize("text", ["-v evil", "--version", "--stdin", "-w out.wav", "-f /etc/hosts"])
def test_a_text_that_looks_like_an_option_is_spoken(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert 0.3 < seconds(text) < 4
    assert list(tmp_path.iterdir()) == []


@installed
def test_markup_is_spoken_and_not_obeyed() -> None:
    marked = seconds("wait <break time='20s'/> go")
    assert seconds("wait go") < marked < 10


@installed
@pytest.mark.parametrize("brackets", ["[[", "[[[", "[[[["])
def test_brackets_do_not_begin_phoneme_codes(brackets: str) -> None:
    # As codes, it would say `hello` three times; as text, it spells the letters and signs.
    assert seconds(f"{brackets}h@l'oU h@l'oU h@l'oU]]") > 1.5 * seconds("hello hello hello")


@installed
@pytest.mark.parametrize("separator", ["\n", "\r\n", "\n\n", "\0", "\x01", " \U0001f600 "])
def test_what_follows_a_line_break_a_control_sign_or_an_emoji_is_spoken_too(separator: str) -> None:
    assert seconds(f"before{separator}after the break") > 1.5 * seconds("before")


@installed
@pytest.mark.parametrize(
    "text", ["\U0001f600", "مرحبا", "你好", "\ud800 hi", "\x1b[31m hi", "'; ls"]
)
def test_any_unicode_is_spoken(text: str) -> None:
    assert seconds(text) > 0.1


@installed
@pytest.mark.parametrize("voice", ["en-us", "en-us+f2", "de"])
def test_an_installed_voice_passes_the_check(voice: str) -> None:
    EspeakSynthesizer(voice).check()


@installed
@pytest.mark.parametrize(
    ("voice", "says"),
    [
        ("xx-none", r"no voice 'xx-none'.*espeak-ng --voices"),
        ("", r"no voice ''"),
        ("--help", r"no voice '--help'"),
        ("en-u", r"no voice 'en-u'. Try one of .*en-us"),
        ("en-us+nope", r"no variant 'nope'.*espeak-ng --voices=variant"),
    ],
)
def test_an_unknown_voice_is_named_with_others_to_try(voice: str, says: str) -> None:
    with pytest.raises(VoiceError, match=says):
        EspeakSynthesizer(voice).check()


@installed
def test_speaking_with_an_unknown_voice_fails_with_what_the_program_says() -> None:
    with pytest.raises(VoiceError, match=r"voice does not exist.*espeak-ng --voices"):
        speech("hello", EspeakSynthesizer("xx-none"))


def test_a_missing_program_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    remedy = "espeak-ng is not installed.*sudo apt-get install espeak-ng"
    with pytest.raises(VoiceError, match=remedy):
        EspeakSynthesizer().check()
    with pytest.raises(VoiceError, match=remedy):
        EspeakSynthesizer().synthesize("hello")


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo no sound today >&2; exit 3", "status 3: no sound today"),
        ("exit 1", "status 1: no message"),
        ("echo this is not sound at all", "did not write WAV"),
        (r"printf 'RIFF....WAVEfmt \020\0\0\0\1\0\2\0\200>\0\0\0\0\0\0\4\0\020\0'", "16-bit mono"),
    ],
)
def test_a_program_that_fails_is_reported_with_its_own_words(
    tmp_path: Path, script: str, says: str
) -> None:
    with pytest.raises(VoiceError, match=says):
        speech("hello", program(tmp_path, script))


def test_the_sound_made_before_the_program_fails_is_given_first(tmp_path: Path) -> None:
    loud = r"\0\100" * 4096  # 0.5, at 16 kHz
    failing = program(tmp_path, f"printf '{HEADER}{loud}'; echo broken >&2; exit 9")
    synthesis = failing.synthesize("hello")
    assert next(synthesis).max() == pytest.approx(0.5)
    with pytest.raises(VoiceError, match="status 9: broken"):
        joined(synthesis)
    assert (tmp_path / "text").read_text() == "hello"


def test_sound_at_another_rate_keeps_its_length_to_the_last_sample(tmp_path: Path) -> None:
    loud = r"\0\100" * 4410
    header = HEADER.replace(r"\200>", r"\042V")  # 22,050 Hz
    spoken = speech("hello", program(tmp_path, f"printf '{header}{loud}'"))
    assert abs(spoken.size - 3200) <= 2
    assert spoken[500:-100] == pytest.approx(0.5, abs=0.01)


def test_close_ends_a_program_that_would_speak_for_ever(tmp_path: Path) -> None:
    synthesis = program(tmp_path, f"printf '{HEADER}'; exec yes").synthesize("hello")
    next(synthesis)
    synthesis.close()
    assert joined(synthesis).size == 0


@given(
    sound=st.lists(st.sampled_from([0.0, 0.0005, 0.3]), max_size=12),
    cuts=st.lists(st.integers(0, 12 * 400), max_size=6),
)
def test_the_trimmed_sound_does_not_depend_on_how_it_was_cut_in_blocks(
    sound: list[float], cuts: list[int]
) -> None:
    pcm = np.repeat(np.float32(sound), 400)
    loud = np.flatnonzero(pcm > QUIET_LEVEL)
    expected = pcm[max(0, loud[0] - 80) : loud[-1] + 1 + 800] if loud.size else pcm[:0]
    trim = SilenceTrimmer()
    blocks = [trim.push(block) for block in np.split(pcm, sorted(cuts))]
    np.testing.assert_array_equal(joined([*blocks, trim.finish()]), expected)
