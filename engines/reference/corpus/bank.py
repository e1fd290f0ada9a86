"""A bank of utterances with phone times, from several synthesizers and from people."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from edge_runtime.whole_file import write_whole
from engines.reference.children import end_with_parent, out_of_reach_of_ctrl_c
from engines.reference.corpus import festival as festival_module
from engines.reference.corpus import flite as flite_module
from engines.reference.corpus import pico as pico_module
from engines.reference.corpus import voices
from engines.reference.corpus.acoustics import in_16_bits
from engines.reference.corpus.espeak import (
    ACCENTS,
    Espeak,
    EspeakVoice,
    MissingSynthesizerError,
    Phones,
)
from engines.reference.corpus.festival import Festival
from engines.reference.corpus.flite import Flite
from engines.reference.corpus.pico import Pico
from engines.reference.corpus.text import (
    KNOWN,
    PHRASED,
    PHRASINGS,
    TUNE_PHRASED,
    Grammar,
    Line,
    load_prose,
    load_words,
)

RATE_HZ = 16_000
RMS = 2000.0
"""int16 scale: -24 dBFS."""
HELD_VARIANTS = 18
DEVICE_VOICE = EspeakVoice("en-us+f2", 165, 50, 50)
COUNTS = {
    "turn": (4500, 2600, 2500, 2500),
    "incomplete": (700, 400, 400, 400),
    "backchannel": (1400, 700, 700, 700),
    "interruption": (1200, 600, 600, 600),
    "cancel": (300, 150, 150, 150),
    "device": (1400, 200, 100, 200),
    "device_backchannel": (60, 10, 10, 10),
}
"""By kind: utterances of espeak-ng, flite, festival and Pico at scale 1; Pico in training only, so
that what is measured stays the same."""
IN_TESTS = {
    "asked_on": (600, 300, 300, 0),
    "known_backchannel": (160, 80, 80, 0),
    "known_interruption": (160, 80, 80, 0),
}
"""Likewise, of what only tests have; in training the first are turns as others are. The known ones
are in words of the training's lists: only their voices are new."""
MORE_IN_TRAINING = {"backchannel": 3, "interruption": 2, "cancel": 2}
"""So many times as much besides. An hour of conversation has 150 "mhm"s and 90 interruptions: in
200 hours each of the above would be heard ten times, and it would be learned which of them are
reasons to stop, and not why."""
SPLITS = {
    "train": 1, "test_seen": 2, "test_unseen": 3, PHRASED: 4,
    "tune_seen": 5, "tune_unseen": 6, TUNE_PHRASED: 7,
}  # fmt: skip
"""What differs from training in those of the tests: voices and phrasings; synthesizers, too;
templates, too. In those for tuning, what is said for "mhm", to interrupt and to cancel differs from
both."""
MOVED = {"espeak": 0.5, "flite": 1.0, "festival": 1.0, "pico": 1.0}
"""By source: how much of the share of moved voices (`voices.py`); espeak-ng has a hundred of its
own."""
GRAMMAR = Path(__file__).parent / "grammar.yaml"
Engine = TypeVar("Engine")


@dataclass(frozen=True, slots=True)
class Segment:
    """Speech without a pause that matters."""

    pcm: NDArray[np.int16]
    """(n,), 16 kHz, RMS about 2,000."""
    text: str
    phones: Phones
    """(phone index, start_s, end_s); empty if unknown."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """An utterance; the composer puts pauses between its segments."""

    segments: tuple[Segment, ...]
    kind: str
    intent: str
    source: str
    voice: str
    room: NDArray[np.float32] | None = None
    """Mean magnitude spectrum (129,) of the recording's own silence."""
    gap_is_natural: bool = True

    @property
    def recording(self) -> str:
        """The file it is from; empty where it is synthesized."""
        return ""


_ALOUD = {"mhm": "umhum", "mm hm": "umhum", "hmm": "hum", "hm": "hum", "mm": "um"}
_SPELLED = re.compile(rf"\b(?:{'|'.join(_ALOUD)})\b")
Take = Callable[[], Spoken | None]
Later = Callable[[], Future[Spoken] | None]
"""It comes in another voice."""
Sound = tuple[NDArray[np.float32], Phones, int]
"""Sound, its phones, and its rate in Hz."""


def trim(pcm: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Without the silence around it, and how many samples were cut in front."""
    if len(pcm) < 400:
        return pcm, 0
    level = np.convolve(np.abs(pcm), np.ones(160) / 160, "same")
    loud = np.flatnonzero(level > 0.01 * level.max() + 5)
    first = max(0, int(loud[0]) - 160) if len(loud) else 0
    last = int(loud[-1]) + 320 if len(loud) else len(pcm)
    return pcm[first:last], first


def _segment(pcm: NDArray[np.float32], rate_hz: int, text: str, phones: Phones) -> Segment | None:
    if len(pcm) < rate_hz // 20:
        return None
    if rate_hz != RATE_HZ:
        common = gcd(rate_hz, RATE_HZ)
        pcm = resample_poly(pcm, RATE_HZ // common, rate_hz // common)
    pcm, cut = trim(pcm)
    pcm = pcm * (RMS / (np.sqrt((pcm * pcm).mean()) + 1.0))
    shift = cut / RATE_HZ
    moved = tuple((p, max(0.0, a - shift), b - shift) for p, a, b in phones if b > shift)
    return Segment(in_16_bits(pcm), text, moved)


class Speaker:
    """Speaks lines with the synthesizers that are installed.

    Whatever is drawn is drawn when a line is given; what comes back speaks it, whenever that is.
    """

    def __init__(self, split: str) -> None:
        self.split = split
        unseen = split.endswith("unseen")
        self.espeak = None if unseen else Espeak()
        self.flite_voices = flite_module.HELD_OUT if unseen else flite_module.VOICES
        voices = festival_module.HELD_OUT if unseen else festival_module.VOICES
        self.flite = _if_there(Flite)
        self.festival = _if_there(lambda: Festival(voices))
        self.pico = _if_there(Pico) if split == "train" else None
        if not (self.espeak or self.flite or self.festival):
            raise MissingSynthesizerError("no synthesizer is here: apt-get install libflite1")
        variants = self.espeak.variants() if self.espeak else []
        np.random.default_rng(5).shuffle(variants)
        held = variants[:HELD_VARIANTS]
        self.variants = variants[HELD_VARIANTS:] if split == "train" else held

    def with_espeak(self, rng: np.random.Generator, line: Line, kind: str) -> Take:
        espeak = self.espeak
        assert espeak is not None
        accent = ACCENTS[int(rng.integers(len(ACCENTS)))]
        variant = self.variants[int(rng.integers(len(self.variants)))]
        rate, pitch, spread = rng.integers((125, 20, 25), (215, 80, 80))
        voice = EspeakVoice(f"{accent}+{variant}", int(rate), int(pitch), int(spread))
        if kind.startswith("device") and rng.random() < 0.6:
            voice = DEVICE_VOICE
        texts = _punctuate(rng, line, kind)

        def say(text: str) -> Sound:
            return (*espeak.say(text, voice), espeak.rate_hz)

        return _take(say, texts, line, kind, "espeak", voice.name)

    def with_flite(self, rng: np.random.Generator, line: Line, kind: str) -> Take:
        assert self.flite is not None
        return self._stretched(self.flite, self.flite_voices, "flite", rng, line, kind)

    def with_festival(self, rng: np.random.Generator, line: Line, kind: str) -> Take:
        assert self.festival is not None
        voices = self.festival.voices
        return self._stretched(self.festival, voices, "festival", rng, line, kind)

    def with_pico(self, rng: np.random.Generator, line: Line, kind: str) -> Take:
        pico = self.pico
        assert pico is not None
        voice = pico_module.VOICES[int(rng.integers(len(pico_module.VOICES)))]
        pitch, pace = map(int, rng.integers((55, 80), (160, 130)))
        texts = _punctuate(rng, line, kind)

        def say(text: str) -> Sound:
            return pico.say(text, voice, pitch, pace)

        return _take(say, texts, line, kind, "pico", voice)

    @staticmethod
    def _stretched(
        engine: Flite | Festival,
        voices: Sequence[str],
        source: str,
        rng: np.random.Generator,
        line: Line,
        kind: str,
    ) -> Take:
        """With an engine whose voices know one setting, their pace."""
        voice = voices[int(rng.integers(len(voices)))]
        stretch, texts = float(rng.uniform(0.85, 1.25)), _punctuate(rng, line, kind)

        def say(text: str) -> Sound:
            return engine.say(text, voice, stretch)

        return _take(say, texts, line, kind, source, voice)

    @property
    def sources(self) -> set[str]:
        """Of what it can say."""
        engines = {
            "espeak": self.espeak,
            "flite": self.flite,
            "festival": self.festival,
            "pico": self.pico,
        }
        return {name for name, engine in engines.items() if engine is not None}

    def close(self) -> None:
        for program in (self.festival, self.pico):
            if program is not None:
                program.close()


def _if_there(make: Callable[[], Engine]) -> Engine | None:
    try:
        return make()
    except RuntimeError as error:
        warnings.warn(f"{error}; the corpus has one synthesizer less", stacklevel=3)
        return None


def at_pace(spoken: Spoken, longer: int, shorter: int) -> Spoken:
    """The same in `longer / shorter` of the time and as much lower: another voice, another pace
    (speed perturbation: Ko et al., Audio Augmentation for Speech Recognition, 2015)."""
    ratio = longer / shorter

    def stretched(segment: Segment) -> Segment:
        pcm = resample_poly(segment.pcm.astype(np.float32), longer, shorter)
        phones = tuple((p, begin * ratio, end * ratio) for p, begin, end in segment.phones)
        return replace(segment, pcm=in_16_bits(pcm), phones=phones)

    return replace(spoken, segments=tuple(map(stretched, spoken.segments)))


def in_voice(spoken: Spoken, voice: voices.Voice) -> Spoken:
    """The same in another voice, as loud as it was."""

    def changed(segment: Segment) -> Segment:
        sound = segment.pcm.astype(np.float32)
        found = voices.in_voice(sound, RATE_HZ, voice)
        found *= np.sqrt((sound * sound).mean() / ((found * found).mean() + 1.0))
        return replace(segment, pcm=in_16_bits(found))

    return replace(spoken, segments=tuple(map(changed, spoken.segments)))


@contextmanager
def vocoders() -> Iterator[Executor]:
    """For `in_voice`, as many at once as there are processors: WORLD keeps the interpreter's
    lock."""
    pool = ProcessPoolExecutor(
        os.cpu_count(), multiprocessing.get_context("spawn"), initializer=end_with_parent
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: Executor, spoken: Spoken, voice: voices.Voice) -> Future[Spoken]:
    with out_of_reach_of_ctrl_c():  # it may start a process
        return pool.submit(in_voice, spoken, voice)


def _in_voice_later(take: Take, voice: voices.Voice, pool: Executor) -> Later:
    def changed() -> Future[Spoken] | None:
        spoken = take()
        return None if spoken is None else _submit(pool, spoken, voice)

    return changed


def aloud(text: str) -> str:
    """For a synthesizer: each of them spells what has no vowel, "em aitch em"."""
    return _SPELLED.sub(lambda found: _ALOUD[found[0]], text)


def _plain(text: str) -> str:
    return text.rstrip(".,?")


def _punctuate(rng: np.random.Generator, line: Line, kind: str) -> list[str]:
    """Intonation by punctuation: a comma where more comes."""
    texts = []
    for index, text in enumerate(line.segments):
        last = index == len(line.segments) - 1
        if last and kind == "incomplete":
            mark = "," if rng.random() < 0.7 else "."
        elif last:
            mark = "?" if line.question and rng.random() < 0.7 else "."
        else:
            mark = "," if rng.random() < 0.65 else "." if rng.random() < 0.6 else "?"
        texts.append(text + mark)
    return texts


def _take(
    say: Callable[[str], Sound],
    texts: Sequence[str],
    line: Line,
    kind: str,
    source: str,
    voice: str,
) -> Take:
    def take() -> Spoken | None:
        parts = []
        for text in texts:
            pcm, phones, rate_hz = say(aloud(text))
            parts.append(_segment(pcm, rate_hz, _plain(text), phones))
        return _spoken(parts, line, kind, source, voice)

    return take


def _spoken(
    parts: list[Segment | None], line: Line, kind: str, source: str, voice: str
) -> Spoken | None:
    if any(part is None for part in parts):
        return None
    segments = tuple(p for p in parts if p)
    return Spoken(segments, kind, line.intent, source, voice, gap_is_natural=line.natural)


def _line(grammar: Grammar, rng: np.random.Generator, kind: str, split: str) -> Line:
    if kind == "turn":
        return grammar.turn(rng, split)
    if kind == "incomplete":
        return grammar.incomplete(rng, split)
    if kind == "device":
        return grammar.device(rng)
    if kind == "device_backchannel":
        return grammar.device_backchannel(rng)
    if kind.startswith(f"{KNOWN}_"):
        return grammar.phrase(rng, kind.removeprefix(f"{KNOWN}_"), KNOWN)
    return grammar.phrase(rng, kind, split)


class Bank(dict[str, list[Spoken]]):
    """Utterances by kind."""

    @classmethod
    def build(
        cls,
        seed: int,
        scale: float,
        human_dir: Path | None,
        split: str = "train",
        cache: Path | None = None,
        progress: Callable[[str], None] | None = None,
        moved: float = 0.0,
    ) -> Bank:
        """Synthesize, or take from the cache; `split` is one of SPLITS. `moved`: the share of what
        people say that is in another voice (`voices.py`); so many of those who were recorded are
        there once more."""
        if moved and not voices.is_there():
            warnings.warn("voices stay as they come: pip install pyworld-prebuilt", stacklevel=2)
            moved = 0.0
        if cache is None:
            bank = cls(_synthesize(seed, scale, split, progress, moved))
        else:
            path = cls.into_cache(seed, scale, cache, split, progress, moved)
            bank = cls(pickle.loads(path.read_bytes()))
            _warn_of_less(path, bank, split)
        if human_dir is not None:
            from engines.reference.corpus import human

            part = "train" if split == "train" else "dev"
            people = human.load_speech(human_dir, part)
            others: Sequence[Spoken] = ()
            if moved and cache is not None:
                kept = cls.people_into_cache(human_dir, cache, moved)
                others = pickle.loads(kept.read_bytes())
            elif moved:
                others = _in_other_voices(people, moved)
            listed = sum(row["kind"] in human.SPEECH for row in human.rows(human_dir, part))
            if progress:
                progress(f"people: {len(people)} of {listed} clips of speech with split {part}")
            for spoken in (*people, *others):
                bank[spoken.kind].append(spoken)
        if progress:
            hours = sum(len(g.pcm) for s in bank.values() for u in s for g in u.segments)
            counts = ", ".join(f"{len(v)} {k}" for k, v in bank.items())
            progress(f"bank {split}: {counts}; {hours / RATE_HZ / 3600:.1f} h of speech")
        return bank

    @staticmethod
    def into_cache(
        seed: int,
        scale: float,
        cache: Path,
        split: str = "train",
        progress: Callable[[str], None] | None = None,
        moved: float = 0.0,
    ) -> Path:
        """Synthesize, unless it is there; returns the file. A changed grammar makes a new one."""
        texts = GRAMMAR.read_bytes() + GRAMMAR.with_name(PHRASINGS).read_bytes()
        name = f"{split}-{seed}-{scale:g}-{zlib.crc32(texts):08x}"
        path = cache / f"{name}{f'-moved-{moved:g}' if moved else ''}.pickle"
        return _kept(path, lambda: dict(_synthesize(seed, scale, split, progress, moved)))

    @staticmethod
    def people_into_cache(human_dir: Path, cache: Path, moved: float) -> Path:
        """Give some of the people who train other voices, unless that was done; returns the file,
        which holds those alone."""
        from engines.reference.corpus import human

        files = [human_dir / name for name in ("manifest.csv", human.ALIGNMENTS)]
        content = b"".join(file.read_bytes() for file in files if file.exists())
        listed = zlib.crc32(content, human.READING)
        path = cache / f"people-{listed:08x}-moved-{moved:g}.pickle"
        return _kept(path, lambda: _in_other_voices(human.load_speech(human_dir, "train"), moved))


def _kept(path: Path, make: Callable[[], object]) -> Path:
    if not path.exists():
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, pickle.dumps(made, pickle.HIGHEST_PROTOCOL))
    return path


def _warn_of_less(path: Path, bank: Mapping[str, Sequence[Spoken]], split: str) -> None:
    """Where a synthesizer is here that was not when the bank was made."""
    with closing(Speaker(split)) as speaker:
        less = speaker.sources - {spoken.source for spoken in bank["turn"]}
    if less:
        warnings.warn(
            f"{path} was made without {', '.join(sorted(less))}, which is here by now: remove it, "
            "and a new one will be made",
            stacklevel=3,
        )


def _in_other_voices(people: Sequence[Spoken], share: float) -> list[Spoken]:
    """So many of them."""
    rng = np.random.default_rng(0)
    chosen = [spoken for spoken in people if rng.random() < share]
    with vocoders() as pool:
        coming = [_submit(pool, spoken, voices.draw(rng)) for spoken in chosen]
        return [one.result() for one in coming]


def _synthesize(
    seed: int,
    scale: float,
    split: str,
    progress: Callable[[str], None] | None,
    moved: float = 0.0,
) -> Mapping[str, list[Spoken]]:
    grammar = Grammar.load(GRAMMAR, load_prose(split), load_words(split))
    rng = np.random.default_rng([seed, SPLITS[split]])
    counts = COUNTS if split == "train" else COUNTS | IN_TESTS
    takes: dict[str, list[Future[Spoken | Future[Spoken] | None]]] = {kind: [] for kind in counts}
    other = np.random.default_rng([seed, SPLITS[split], 1])  # the texts are the same without it
    # The two libraries draw from the same numbers of the C library, so they keep their order.
    with (
        closing(Speaker(split)) as speaker,
        ThreadPoolExecutor(1) as libraries,
        ThreadPoolExecutor(1) as festival,
        ThreadPoolExecutor(1) as pico,
        vocoders() as pool,
    ):
        engines = (
            ("espeak", speaker.espeak, speaker.with_espeak, libraries),
            ("flite", speaker.flite, speaker.with_flite, libraries),
            ("festival", speaker.festival, speaker.with_festival, festival),
            ("pico", speaker.pico, speaker.with_pico, pico),
        )
        rounds = list(counts)
        if split == "train":
            rounds += [kind for kind, times in MORE_IN_TRAINING.items() for _ in range(times)]
        for kind in rounds:
            for (name, engine, plan, thread), count in zip(engines, counts[kind], strict=True):
                for _ in range(max(4, int(count * scale)) if engine is not None else 0):
                    take: Take | Later = plan(rng, _line(grammar, rng, kind, split), kind)
                    here = 0.0 if kind.startswith("device") else moved * MOVED[name]
                    if here and other.random() < here:
                        take = _in_voice_later(take, voices.draw(other), pool)
                    takes[kind].append(thread.submit(take))
        bank: dict[str, list[Spoken]] = {}
        try:
            for kind, coming in takes.items():
                if progress:
                    progress(f"synthesizing {split}: {kind}")
                bank[kind] = [spoken for one in coming if (spoken := _said(one)) is not None]
        except BaseException:  # minutes of work that nobody waits for
            for thread in (libraries, festival, pico):
                thread.shutdown(wait=False, cancel_futures=True)
            raise
    return bank


def _said(one: Future[Spoken | Future[Spoken] | None]) -> Spoken | None:
    found = one.result()
    return found.result() if isinstance(found, Future) else found
