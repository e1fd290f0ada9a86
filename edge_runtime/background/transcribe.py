"""Speech to text for the background model: PocketSphinx, because its model ships in its package."""

from __future__ import annotations

import difflib
import itertools
import logging
import os
import re
import signal
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context, parent_process
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from typing_extensions import Self

from edge_runtime.background import grammar
from edge_runtime.background.commands import NONE, Commands, in_letters
from edge_runtime.background.nearest import Nearest, Rules
from edge_runtime.errors import BackgroundError, InputError
from edge_runtime.grammar_search import GrammarSearch, Likeliest
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, Letters, Pcm

log = logging.getLogger(__name__)
LEVEL = 0.1
"""RMS that the sound is brought to: a quiet microphone costs words otherwise."""
NOISE = 4e-4
"""RMS of the noise added then: exact zeros, as in gaps, put the recogniser off everything else."""
MOST_GRAMMARS = 16
"""Of as many devices the grammars stay loaded: a worker may serve many."""
BRITISH = (("metre", "meter"), ("litre", "liter"), ("neighbour", "neighbor"), ("grey", "gray"))
"""The recogniser's dictionary is American."""


@dataclass(frozen=True, slots=True)
class Transcript:
    text: str
    in_grammar: bool
    """The words come from the skills' grammar, not from free dictation."""
    confidence: float
    """0..1"""


class Transcriber(Protocol):
    def load(self) -> None:
        """Read the model; takes a second or two. Raises BackgroundError."""
        ...

    def transcribe(
        self,
        pcm: Pcm,
        rough: str = "",
        commands: Commands = NONE,
        letters: Letters | None = None,
    ) -> Transcript:
        """float32 (n,), 16 kHz; `rough` is what the interaction model spelled of it, from
        `letters`; `commands` are what may have been said beside what every device is asked."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Costs of what the interaction model heard."""

    sure: float
    """Up to which the recogniser is not asked; nor is it where the model has spelled the same."""
    near: float
    """From which the question is none of the grammar's."""
    tie: float
    """By which the recogniser's may cost more than the model's, and still be taken."""


class PocketSphinxTranscriber:
    """A grammar of what the skills understand first, free dictation beside it.

    Where what the interaction model heard comes close to a sentence of the grammar, that is
    taken: its ear was trained on rooms and noise, the recogniser's was not. Else the grammar finds
    some path through most sounds. It is believed when free dictation, which knows nothing of the
    skills, wrote something that looks alike; otherwise the question is about something else.
    """

    LIKENESS = 0.42
    """Share of letters in common (difflib's ratio) from which the grammar is believed."""

    BY_LETTERS = Limits(sure=0.4, near=0.85, tie=0.15)
    """Of `GrammarSearch`. Of 80 questions in four voices and noise these understood 61; each by
    itself 55 (letters) and 48."""
    BY_SPELLING = Limits(sure=0.03, near=0.2, tie=0.12)
    """Of `Rules.nearest`, where there is a transcript and no letters: 53, and 41 by itself."""

    def __init__(self) -> None:
        self._grammar: Any = None
        self._free: Any = None
        self._searches: OrderedDict[Commands, str] = OrderedDict()
        """The grammars that are loaded, the latest last."""
        self._made = itertools.count()

    def load(self) -> None:
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise BackgroundError(
                "PocketSphinx is missing: pip install 'edge-runtime[background]'"
            ) from error
        quiet = {"loglevel": "FATAL", "samprate": SAMPLE_RATE_HZ}
        self._grammar = Decoder(lm=None, **quiet)
        _add_spellings(self._grammar, grammar.words())
        self._expect(NONE)
        self._free = Decoder(**quiet)

    def _expect(self, commands: Commands) -> None:
        """Make these the commands of the grammar."""
        name = self._searches.pop(commands, None)
        if name is None:
            name = f"{grammar.NAME}{next(self._made)}"
            _add_spellings(self._grammar, commands.words())
            heard = commands.pronounceable(lambda word: self._grammar.lookup_word(word) is not None)
            self._grammar.add_jsgf_string(name, grammar.jsgf(heard))
        self._grammar.activate_search(name)
        self._searches[commands] = name
        if len(self._searches) > MOST_GRAMMARS:
            _, oldest = self._searches.popitem(last=False)
            self._grammar.remove_search(oldest)

    def transcribe(
        self,
        pcm: Pcm,
        rough: str = "",
        commands: Commands = NONE,
        letters: Letters | None = None,
    ) -> Transcript:
        if self._free is None:
            self.load()
        letters = letters if letters and letters.spell else None
        limits = self.BY_LETTERS if letters else self.BY_SPELLING
        near = _nearest(commands, rough, letters)
        if near is not None and (near.cost <= limits.sure or near.text == in_letters(rough)):
            return Transcript(near.text, True, 1.0 - near.cost)
        self._expect(commands)
        data = _prepare(pcm)
        text, free = _decode(self._grammar, data), _decode(self._free, data)
        if near is not None and near.cost <= limits.near:
            # Both heard a question of the grammar: the recogniser's, if the letters allow it.
            cost = _cost(text, rough, letters)
            agreed = cost is not None and cost <= near.cost + limits.tie
            return Transcript(text if agreed else near.text, True, 1.0 - near.cost)
        likeness = difflib.SequenceMatcher(None, text, free).ratio() if text else 0.0
        if likeness >= self.LIKENESS:
            return Transcript(text, True, likeness)
        return Transcript(free, False, 0.5 if free else 0.0)


class SpellingTranscriber:
    """Nothing is listened to again: the nearest question to what the interaction model heard."""

    NEAR_BY_LETTERS, NEAR_BY_SPELLING = 0.85, 0.27
    """Costs from which it is none of them."""

    def load(self) -> None:
        return None

    def transcribe(
        self,
        pcm: Pcm,
        rough: str = "",
        commands: Commands = NONE,
        letters: Letters | None = None,
    ) -> Transcript:
        letters = letters if letters and letters.spell else None
        near = _nearest(commands, rough, letters)
        limit = self.NEAR_BY_LETTERS if letters else self.NEAR_BY_SPELLING
        if near is None or near.cost > limit:
            return Transcript(rough, False, 0.0)
        return Transcript(near.text, True, 1.0 - near.cost)


class ProcessTranscriber:
    """A transcriber in a process of its own, for use beside the loop.

    PocketSphinx holds Python's global lock for as long as it decodes, two seconds and more: in the
    device's own process that would cost ten micro-turns. The process yields the processor, too.
    """

    NICENESS = 5

    def __init__(self, make: Callable[[], Transcriber] = PocketSphinxTranscriber) -> None:
        self._make = make
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """A decode under way is ended, not awaited."""
        pool, self._pool = self._pool, None
        if pool is not None:
            processes = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            for process in processes:
                process.join(timeout=2)

    def load(self) -> None:
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), _begin, (self._make,))
        self._ask(_load)

    def transcribe(
        self,
        pcm: Pcm,
        rough: str = "",
        commands: Commands = NONE,
        letters: Letters | None = None,
    ) -> Transcript:
        found: Transcript = self._ask(_transcribe, pcm, rough, commands, letters)
        return found

    def _ask(self, call: Callable[..., Any], *arguments: object) -> Any:
        if self._pool is None:
            self.load()
        assert self._pool is not None
        try:
            return self._pool.submit(call, *arguments).result()
        except BrokenProcessPool as error:
            self._pool = None
            raise BackgroundError("the recogniser's process has ended; it starts again") from error


_here: Transcriber
"""In the process of its own: the transcriber that works there."""


def _begin(make: Callable[[], Transcriber]) -> None:
    global _here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the device, which ends this
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    os.nice(ProcessTranscriber.NICENESS)
    _here = make()


def _end_with_parent() -> None:
    """A device that was killed cannot end its recogniser."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _load() -> None:
    _here.load()


def _transcribe(pcm: Pcm, rough: str, commands: Commands, letters: Letters | None) -> Transcript:
    return _here.transcribe(pcm, rough, commands, letters)


@lru_cache(maxsize=MOST_GRAMMARS)
def _rules(commands: Commands) -> Rules:
    return Rules(grammar.rules(commands), grammar.START)


@lru_cache(maxsize=MOST_GRAMMARS)
def _search(commands: Commands, symbols: tuple[str, ...]) -> GrammarSearch:
    """Without the commands where these are too much."""
    try:
        return GrammarSearch(grammar.rules(commands, True), grammar.START, symbols)
    except InputError as error:
        log.warning("the phrases of a device's actions are left out: %s", error)
        return GrammarSearch(grammar.rules(NONE, True), grammar.START, symbols)


def _nearest(commands: Commands, rough: str, letters: Letters | None) -> Nearest | Likeliest | None:
    """What may have been said and comes nearest to what the model heard."""
    if letters is None:
        return _rules(commands).nearest(rough)
    return _search(commands, letters.symbols).likeliest(letters, rough)


def _cost(text: str, rough: str, letters: Letters | None) -> float | None:
    """Of just these words; None where they are nothing like it."""
    if not text:
        return None
    near: Nearest | Likeliest | None
    if letters is None:
        near = Rules({"it": text}, "it").nearest(rough)
    else:
        near = GrammarSearch({"it": text}, "it", letters.symbols).likeliest(letters)
    return None if near is None else near.cost


def _add_spellings(decoder: Any, words: Iterable[str]) -> None:
    """Teach the dictionary the words that it spells differently."""
    for word in sorted(words):
        if decoder.lookup_word(word) is None:
            known = word
            for british, american in BRITISH:
                known = known.replace(british, american)
            sounds = decoder.lookup_word(known)
            if sounds is None:
                log.warning(
                    "the recogniser does not know the word %r: phrases with it are understood only "
                    "as the interaction model spells them",
                    word,
                )
            else:
                decoder.add_word(word, sounds, True)


def _prepare(pcm: Pcm) -> bytes:
    """Levelled, with a little noise, the same every time; int16."""
    level = float(np.sqrt(np.mean(pcm * pcm))) if len(pcm) else 0.0
    gain = min(LEVEL / level, 30.0) if level > 1e-5 else 1.0
    noise = np.random.default_rng(0).standard_normal(len(pcm), np.float32) * NOISE
    data: bytes = (np.clip(pcm * gain + noise, -1, 1) * 32767).astype("<i2").tobytes()
    return data


def _decode(decoder: Any, data: bytes) -> str:
    if not data:
        return ""
    decoder.start_utt()
    try:
        decoder.process_raw(data, full_utt=True)
    finally:
        decoder.end_utt()
    found = decoder.hyp()
    if found is None:
        return ""
    words = re.sub(r"\(\d+\)|<[^>]+>|\[[^\]]+\]", " ", found.hypstr)
    return " ".join(words.split())
