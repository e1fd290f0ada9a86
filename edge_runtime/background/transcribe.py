"""Speech to text for the background model: PocketSphinx, because its model ships in its package."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edge_runtime.errors import BackgroundError
from edge_runtime.micro_turn import SAMPLE_RATE_HZ, Pcm

LEVEL = 0.1
"""RMS that the sound is brought to: a quiet microphone costs words otherwise."""
PAD_S = 0.3
_GRAMMAR = """#JSGF V1.0;
grammar skills;
<unit9> = one | two | three | four | five | six | seven | eight | nine;
<teen> = ten | eleven | twelve | thirteen | fourteen | fifteen | sixteen | seventeen | eighteen
  | nineteen;
<tens> = twenty | thirty | forty | fifty | sixty | seventy | eighty | ninety;
<below100> = <unit9> | <teen> | <tens> [<unit9>];
<number> = /10/ <below100> | (<unit9> | a) hundred [and] [<below100>] | (<unit9> | a) thousand;
<filler> = um | uh | er;
<f> = [<filler>];
<operator> = plus | minus | times | divided by | multiplied by;
<unit> = millimeters | centimeters | meters | kilometers | inches | feet | yards | miles | mile |
  grams | kilograms | ounces | pounds | pound | milliliters | liters | pints | gallons | gallon;
<span> = second | seconds | minute | minutes | hour | hours | day | days;
<lead> = [hey robot | robot | okay | please | excuse me] [can you | could you] [tell me | calculate];
<sum> = (what is | how much is | what do you get for | calculate) <f> <number> <f> <operator> <f> <number>;
<units> = how many <unit> <f> (are | are in | are there in) <f> <number> <unit>
  | (convert | what is) <f> <number> <unit> <f> (to | in | into) <unit>;
<thing> = [my | the] (mother | father | sister | brother | friend | boss | tea | oven | pizza | doctor);
<timer> = set [a] (timer | countdown) <f> (for | of) <f> <number> <span>
  | remind me <f> in <number> <span> [<f> to (call | check | visit | watch) <thing>]
  | (cancel | stop) the timer | how long is left on the timer;
<time> = what time is it | the time | what day is it [today] | what is the date [today] | what time it is;
<about> = [tell me] [something] [what you can] <f> about yourself | what can you do | what are you
  | what can you <f> tell me <f> about yourself | tell me about yourself | who are you
  | tell me a story | a story | tell me a joke | a joke | what you can do;
public <any> = <f> <lead> <f> (<sum> | <units> | <timer> | <time> | <about>);
"""


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

    def transcribe(self, pcm: Pcm) -> Transcript:
        """float32 (n,), 16 kHz."""
        ...


class PocketSphinxTranscriber:
    """A grammar of what the skills understand first, free dictation beside it.

    The grammar finds some path through most sounds. It is believed when free dictation, which knows
    nothing of the skills, wrote something that looks alike; otherwise the question is about
    something else.
    """

    LIKENESS = 0.4
    """Share of letters in common (difflib's ratio) from which the grammar is believed."""

    def __init__(self) -> None:
        self._grammar: Any = None
        self._free: Any = None

    def load(self) -> None:
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise BackgroundError(
                "PocketSphinx is missing: pip install 'edge-runtime[background]'"
            ) from error
        quiet = {"loglevel": "FATAL", "samprate": SAMPLE_RATE_HZ}
        self._grammar = Decoder(lm=None, **quiet)
        self._grammar.add_jsgf_string("skills", _GRAMMAR)
        self._grammar.activate_search("skills")
        self._free = Decoder(**quiet)

    def transcribe(self, pcm: Pcm) -> Transcript:
        if self._free is None:
            self.load()
        data = _prepare(pcm)
        text, free = _decode(self._grammar, data), _decode(self._free, data)
        likeness = difflib.SequenceMatcher(None, text, free).ratio() if text else 0.0
        if likeness >= self.LIKENESS:
            return Transcript(text, True, likeness)
        return Transcript(free, False, 0.5 if free else 0.0)


def _prepare(pcm: Pcm) -> bytes:
    """Levelled, with a little silence around it, int16."""
    level = float(np.sqrt(np.mean(pcm * pcm))) if len(pcm) else 0.0
    gain = min(LEVEL / level, 30.0) if level > 1e-5 else 1.0
    pad = np.zeros(int(PAD_S * SAMPLE_RATE_HZ), np.float32)
    loud = np.clip(np.concatenate([pad, pcm * gain, pad]), -1, 1)
    data: bytes = (loud * 32767).astype("<i2").tobytes()
    return data


def _decode(decoder: Any, data: bytes) -> str:
    decoder.start_utt()
    decoder.process_raw(data, full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    if found is None:
        return ""
    words = re.sub(r"\(\d+\)|<[^>]+>|\[[^\]]+\]", " ", found.hypstr)
    return " ".join(words.split())
