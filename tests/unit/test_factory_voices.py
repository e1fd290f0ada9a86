"""Other voices say the same, as high and through as long a throat as was asked for."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the corpus needs scipy: pip install 'edge-runtime[train]'")
pytest.importorskip("pyworld", reason="WORLD is missing: pip install pyworld-prebuilt")

import pyworld
from numpy.typing import NDArray
from scipy.signal import lfilter

from engines.reference.corpus import bank as bank_module
from engines.reference.corpus import factory
from engines.reference.corpus.bank import RATE_HZ, Bank, Segment, Spoken, in_voice
from engines.reference.corpus.voices import Voice, draw
from engines.reference.corpus.voices import in_voice as sound_in_voice

PITCH, FORMANT = 120.0, 900.0
SAME = Voice(pitch=1.0, melody=1.0, formants=1.0, breath=0.0)


def vowel(pitch: float = PITCH, seconds: float = 1.0) -> NDArray[np.float32]:
    """float32 on int16 scale: a buzz through one resonance, 100 Hz wide."""
    phase = np.cumsum(np.full(int(seconds * RATE_HZ), pitch / RATE_HZ))
    buzz = np.diff(np.floor(phase), prepend=0.0)
    radius = np.exp(-np.pi * 100 / RATE_HZ)
    poles = [1.0, -2 * radius * np.cos(2 * np.pi * FORMANT / RATE_HZ), radius**2]
    sound = lfilter([1.0], poles, buzz)
    return (sound / np.abs(sound).max() * 12_000).astype(np.float32)


def pitch_of(sound: NDArray[np.float32]) -> float:
    pitch, _ = pyworld.harvest(sound.astype(np.float64), RATE_HZ)
    return float(np.median(pitch[pitch > 0]))


def formant_of(sound: NDArray[np.float32]) -> float:
    """Of the smoothed spectrum."""
    wide = sound.astype(np.float64)
    pitch, times = pyworld.harvest(wide, RATE_HZ)
    envelope = pyworld.cheaptrick(wide, pitch, times, RATE_HZ).mean(0)
    return float(np.argmax(envelope)) * RATE_HZ / 2 / (len(envelope) - 1)


def test_nothing_changed_is_the_same_voice() -> None:
    sound = vowel()
    found = sound_in_voice(sound, RATE_HZ, SAME)
    assert found.dtype == np.float32 and found.shape == sound.shape
    assert pitch_of(found) == pytest.approx(PITCH, rel=0.03)
    assert formant_of(found) == pytest.approx(FORMANT, rel=0.06)


def test_pitch_and_throat_move_by_themselves() -> None:
    higher = sound_in_voice(vowel(), RATE_HZ, Voice(1.5, 1.0, 1.0, 0.0))
    assert pitch_of(higher) == pytest.approx(1.5 * PITCH, rel=0.03)
    assert formant_of(higher) == pytest.approx(FORMANT, rel=0.1)
    shorter = sound_in_voice(vowel(), RATE_HZ, Voice(1.0, 1.0, 1.25, 0.0))
    assert pitch_of(shorter) == pytest.approx(PITCH, rel=0.03)
    assert formant_of(shorter) == pytest.approx(1.25 * FORMANT, rel=0.06)


def test_breath_is_noise_between_the_harmonics() -> None:
    def between(sound: NDArray[np.float32]) -> float:
        """The share of the energy that is not near a harmonic."""
        spectrum = np.abs(np.fft.rfft(sound[4000:12000] * np.hanning(8000))) ** 2
        hz = np.fft.rfftfreq(8000, 1 / RATE_HZ)
        off = np.abs((hz / PITCH + 0.5) % 1 - 0.5) > 0.25
        return float(spectrum[off].sum() / spectrum.sum())

    clear, breathy = (
        sound_in_voice(vowel(), RATE_HZ, Voice(1.0, 1.0, 1.0, breath)) for breath in (0.0, 0.5)
    )
    assert between(breathy) > 3 * between(clear)


def test_a_flatter_melody_stays_nearer_to_its_middle() -> None:
    sliding = np.concatenate([vowel(pitch, 0.25) for pitch in (100, 120, 140, 120)])

    def spread(sound: NDArray[np.float32]) -> float:
        pitch, _ = pyworld.harvest(sound.astype(np.float64), RATE_HZ)
        return float(np.std(np.log(pitch[pitch > 0])))

    flat = sound_in_voice(sliding, RATE_HZ, Voice(1.0, 0.6, 1.0, 0.0))
    assert spread(flat) < 0.8 * spread(sliding)


@pytest.mark.parametrize("samples", [200, 900])
@pytest.mark.parametrize("silent", [True, False])
def test_the_shortest_and_the_quietest_stay_finite(samples: int, silent: bool) -> None:
    noise = np.random.default_rng(0).normal(0, 0 if silent else 2000, samples)
    found = sound_in_voice(noise.astype(np.float32), RATE_HZ, Voice(1.8, 1.4, 1.2, 0.4))
    assert found.shape == (samples,) and np.isfinite(found).all()


def test_voices_reach_from_a_low_man_to_a_child() -> None:
    rng = np.random.default_rng(0)
    voices = [draw(rng) for _ in range(2000)]
    assert min(v.pitch for v in voices) < 0.7 and max(v.pitch for v in voices) > 1.7
    assert min(v.formants for v in voices) < 0.88 and max(v.formants for v in voices) > 1.2
    together = np.corrcoef([v.pitch for v in voices], [v.formants for v in voices])[0, 1]
    assert together > 0.5, "who speaks high has a short throat, as a rule"
    assert 0.2 < np.mean([v.breath > 0 for v in voices]) < 0.4


def spoken(kind: str = "turn") -> Spoken:
    pcm = (vowel() / 6).astype(np.int16)
    segment = Segment(pcm, "ah", ((3, 0.1, 0.9),))
    return Spoken((segment,), kind, "fact", "human", "somebody")


def test_an_utterance_keeps_its_words_times_and_loudness() -> None:
    before = spoken()
    after = in_voice(before, Voice(1.4, 1.0, 1.2, 0.2))
    (old,), (new,) = before.segments, after.segments
    assert (new.text, new.phones, len(new.pcm)) == (old.text, old.phones, len(old.pcm))
    assert (after.kind, after.intent, after.source) == ("turn", "fact", "human")
    rms = [np.sqrt((s.pcm.astype(np.float64) ** 2).mean()) for s in (old, new)]
    assert rms[1] == pytest.approx(rms[0], rel=0.02)
    assert not np.array_equal(old.pcm, new.pcm)


def test_half_of_the_people_are_there_once_more() -> None:
    people = [spoken() for _ in range(40)]
    others = bank_module._in_other_voices(people, 0.5)
    assert 10 < len(others) < 30
    assert bank_module._in_other_voices(people, 0.5)[0].segments[0].pcm.tolist() == (
        others[0].segments[0].pcm.tolist()
    )


def test_so_many_of_those_who_are_synthesized_have_a_voice_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[float] = []

    def note(pcm: NDArray[np.float32], rate_hz: int, voice: Voice) -> NDArray[np.float32]:
        asked.append(voice.pitch)
        return pcm

    monkeypatch.setattr(bank_module.voices, "in_voice", note)
    monkeypatch.setattr(bank_module, "vocoders", lambda: ThreadPoolExecutor(1))  # to be noted here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of synthesizers that are not here
        plain = bank_module.Bank.build(seed=3, scale=0.001, human_dir=None)
        assert not asked
        bank = bank_module.Bank.build(seed=3, scale=0.001, human_dir=None, moved=0.5)
    said = [[u.segments[0].text for u in one["turn"]] for one in (plain, bank)]
    assert said[0] == said[1], "the same words, whoever says them"
    utterances = sum(len(bank[kind]) for kind in bank if not kind.startswith("device"))
    assert 0.2 * utterances < len(asked) < 1.5 * utterances
    assert len(set(asked)) > len(asked) / 3, "each has one of its own"


def test_only_training_has_other_voices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, float] = {}

    def build(*, split: str, moved: float, **_: object) -> Bank:
        asked[split] = moved
        raise RuntimeError(split)

    monkeypatch.setattr(factory.Bank, "build", build)
    settings = SimpleNamespace(
        data=None, folder=tmp_path, turns=20, scale=0.001, human_share=0.0, moved=0.4, seed=3
    )
    for split in ("train", "test_seen"):
        with pytest.raises(RuntimeError, match=split):
            factory.build_composers(settings, split=split)
    assert asked == {"train": 0.4, "test_seen": 0.0}
