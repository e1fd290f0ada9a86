"""Recorded human speech, noises and rooms from a folder with `manifest.csv` (see CARD.md).

Every file is optional: what is missing is simply not part of the corpus.
"""

from __future__ import annotations

import csv
import gzip
import json
import posixpath
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from edge_runtime.errors import InputError
from engines.reference.corpus.acoustics import in_16_bits
from engines.reference.corpus.bank import RATE_HZ, RMS, Segment, Spoken, trim
from engines.reference.corpus.phones import from_arpabet
from engines.reference.corpus.text import OPEN, normalise

COLUMNS = ("file", "kind", "split")
ALIGNMENTS = "alignments.jsonl.gz"
READING = 3
"""Another number where other speech is made of the same files: what was kept of it is made anew."""
FILLER = "speech_filler_or_laugh"
SPEECH = (
    "speech_sentence", "speech_sentence_tel", "speech_read", "speech_command_intent",
    "speech_keyword", FILLER,
)  # fmt: skip
FILLER_MAX_S = 3.0
"""A longer one is a turn with a filler in it, and nothing to be held against."""
TRAILING = frozenset("um uh er hmm and but so or because the a to of with".split())
"""Who ends with one of these has not come to an end."""
CALLED = frozenset("operator onword wildfire thinkengine voyager".split())
"""What people of the WUW corpora were asked to put into a sentence. Many say it behind one that is
whole, after a while in which anybody would answer."""
CALLED_AFTER_S = 0.3
LEADS_ON = frozenset(
    "a an the to for of on in at by with from and or but is are was be me my your his her our "
    "their this that these i you he she we they not as than about use call called said word".split()
)
"""After one of these the sentence is not whole."""
SOUNDS = ("noise_", "music", "conversation_meeting")
"""How the kinds begin of what sounds in a room."""
RIR = "rir"
MAX_S = 15.0
MIN_PART_S = 0.35
"""A part of a clip between two pauses is at least so long."""
BEYOND_S = 0.1
"""So much longer than its file may an alignment be: aligners round up to their frames."""


@dataclass(frozen=True, slots=True)
class Recorded(Spoken):
    """What somebody said in a recording."""

    recording: str = ""


class Unusable(Exception):
    """Why a row of the manifest is left out."""


def used(kind: str) -> bool:
    """Whether rows of this kind are sound that is made use of."""
    return kind in SPEECH or kind.startswith(SOUNDS) or kind == RIR


def listed(folder: Path) -> list[dict[str, str]]:
    """What `manifest.csv` lists, paths as POSIX writes them; `split` is empty where there is no
    such column. Raises InputError where it cannot be read or lacks another."""
    path = folder / "manifest.csv"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="", skipinitialspace=True)
            reader.fieldnames = names = [name.strip() for name in reader.fieldnames or ()]
            found = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read as a list of recordings: {error}. --data names a folder with "
            "a manifest.csv in UTF-8: file, kind, speaker, split."
        ) from error
    missing = [name for name in COLUMNS if name not in names]
    if set(missing) - {"split"}:
        raise InputError(
            f"{path} has no column {', '.join(missing)}. Its first line names the columns, "
            f"separated by commas: {', '.join(COLUMNS)}, and speaker where it is known."
        )
    return [_tidy(row, names) for row in found]


def _tidy(row: dict[str, str], names: Sequence[str]) -> dict[str, str]:
    cells = {"split": ""} | {name: row[name].strip() for name in names}
    lower = {name: cells[name].lower() for name in ("kind", "split")}
    return cells | lower | {"file": _posix(cells["file"])}


def _posix(name: str) -> str:
    """`./a.wav` and `sub\\a.wav` are found by other names, too."""
    return posixpath.normpath(name.replace("\\", "/"))


def rows(folder: Path, split: str) -> Iterator[dict[str, str]]:
    yield from (row for row in listed(folder) if row["split"] == split)


def check_trains(folder: Path) -> None:
    """Raises InputError where nothing in it is to train on."""
    if next(rows(folder, "train"), None) is None:
        raise InputError(
            f"{folder / 'manifest.csv'} lists nothing to train on. Give the rows of those who may "
            "be heard in training `train` in the column split."
        )


def check_measures(folder: Path) -> None:
    """Raises InputError where nobody in it is to be measured with."""
    if not any(row["kind"] in SPEECH for row in rows(folder, "dev")):
        raise InputError(
            f"{folder / 'manifest.csv'} lists nobody to measure with. Give the rows of speech of "
            "those who were not heard in training `dev` in the column split."
        )


def _decode(path: Path) -> NDArray[np.float32]:
    """float32 (n,), int16 scale, 16 kHz, first channel. Raises InputError, and Unusable where there
    is no such file."""
    if not path.is_file():
        raise Unusable("no such file")
    try:
        pcm, rate_hz = soundfile.read(path, dtype="int16", always_2d=True)
    except (OSError, RuntimeError) as error:  # libsndfile's are RuntimeErrors
        raise InputError(
            f"{path} cannot be read as sound: {error}. Convert it to WAV, FLAC or Ogg, or take its "
            "row out of manifest.csv."
        ) from error
    mono = pcm[:, 0].astype(np.float32)
    if rate_hz != RATE_HZ:
        common = gcd(rate_hz, RATE_HZ)
        mono = resample_poly(mono, RATE_HZ // common, rate_hz // common).astype(np.float32)
    return mono


def _alignments(folder: Path) -> dict[str, dict[str, Any]]:
    """By file. Raises InputError where one line is no alignment."""
    path, found, number = folder / ALIGNMENTS, {}, 0
    if not path.exists():
        return {}
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                number += 1
                entry = json.loads(line)
                found[_posix(entry["file"])] = _alignment(entry)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}, line {number}, is no alignment: {error!r}. A line is an object with file, "
            "begin_s and end_s, and, where they are known, words, phones, natural_gaps_s and "
            "cut_points_s (engines/reference/CARD.md). Without the file nobody's words are known."
        ) from error
    return found


def _alignment(entry: dict[str, Any]) -> dict[str, Any]:
    """Raises ValueError, KeyError or TypeError."""
    found: dict[str, Any] = {name: float(entry[name]) for name in ("begin_s", "end_s")}
    if not 0 <= found["begin_s"] < found["end_s"]:
        raise ValueError("begin_s must be 0 or more, and end_s after it")
    for name in ("words", "phones"):
        found[name] = [(str(what), float(a), float(b)) for what, a, b in entry.get(name) or ()]
    gaps = sorted((float(a), float(b)) for a, b in entry.get("natural_gaps_s") or ())
    edges = [edge for gap in gaps for edge in gap]
    if not all(a < b for a, b in gaps) or edges != sorted(edges):
        raise ValueError("natural_gaps_s must each begin before they end, and not overlap")
    found["natural_gaps_s"] = gaps
    found["text"] = str(entry.get("text") or "")
    found["cut_points_s"] = [float(at) for at in entry.get("cut_points_s") or ()]
    return found


def _loud_part(pcm: NDArray[np.float32]) -> dict[str, Any]:
    """What is known of a clip without an alignment."""
    kept, first = trim(pcm)
    span = {"begin_s": first / RATE_HZ, "end_s": (first + len(kept)) / RATE_HZ}
    return _alignment(span)


def _tone(pcm: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean magnitude spectrum (129,) of the quietest tenth of a clip."""
    frames = pcm[: len(pcm) // 160 * 160].reshape(-1, 160)
    level = (frames * frames).mean(1)
    quiet = np.flatnonzero(level <= np.sort(level)[max(3, len(level) // 10)])
    quiet = [f for f in quiet[:60] if f * 160 + 256 <= len(pcm)]
    if not quiet:
        return np.zeros(129, np.float32)
    window = np.hanning(256)
    spectra = [np.abs(np.fft.rfft(pcm[f * 160 : f * 160 + 256] * window)) for f in quiet]
    return np.mean(spectra, axis=0).astype(np.float32)


def _without_a_call(entry: dict[str, Any]) -> dict[str, Any]:
    """Up to the end of a sentence after which the person calls somebody by name."""
    words = [(_plain(word), at) for word, at, _ in entry["words"] if _is_said(word)]
    if len(words) < 3 or not entry["natural_gaps_s"]:
        return entry
    (before, begun), (name, called) = words[-2:]
    pause, on = entry["natural_gaps_s"][-1]
    apart = begun < pause and called > (pause + on) / 2 and on - pause >= CALLED_AFTER_S
    if name not in CALLED or before in LEADS_ON or not apart:
        return entry
    return entry | {
        "end_s": pause,
        "words": [word for word in entry["words"] if word[1] < pause],
        "natural_gaps_s": entry["natural_gaps_s"][:-1],
        "text": entry["text"].rsplit(maxsplit=1)[0] if entry["text"] else "",
    }


def _is_said(word: str) -> bool:
    return not word.startswith(("<", "["))


def _plain(word: str) -> str:
    """Without the number of a pronunciation: `a(2)`."""
    return word.split("(")[0]


def _cuts(
    entry: dict[str, Any], rng: np.random.Generator
) -> tuple[list[tuple[float, float]], bool]:
    """Up to two gaps (start_s, end_s) where a clip is taken apart; whether they are natural."""
    begin, end = entry["begin_s"], entry["end_s"]
    natural = [(a, b) for a, b in entry["natural_gaps_s"] if a - begin > MIN_PART_S]
    natural = [(a, b) for a, b in natural if end - b > MIN_PART_S]
    if natural and rng.random() < 0.85:
        chosen = sorted(rng.permutation(len(natural))[: int(rng.integers(1, 3))])
        first, *second = (natural[i] for i in chosen)
        return [first, *(gap for gap in second if gap[0] - first[1] > MIN_PART_S)], True
    points = [c for c in entry["cut_points_s"] if c - begin > MIN_PART_S and end - c > MIN_PART_S]
    if points and rng.random() < 0.35:
        point = points[int(rng.integers(len(points)))]
        return [(point, point)], False
    return [], True


def _segment(
    pcm: NDArray[np.float32],
    start_s: float,
    end_s: float,
    gain: float,
    entry: dict[str, Any],
    words: Sequence[str],
) -> Segment:
    first, last = max(0, int(start_s * RATE_HZ)), int(end_s * RATE_HZ)
    part = pcm[first:last] * gain
    fade = min(160, len(part) // 4)
    if fade:
        part = part.copy()
        part[:fade] *= np.linspace(0, 1, fade)
        part[-fade:] *= np.linspace(1, 0, fade)
    phones = tuple(
        (from_arpabet(p), a - start_s, b - start_s)
        for p, a, b in entry["phones"]
        if a >= start_s - 0.02 and b <= end_s + 0.05
    )
    text = normalise(" ".join(words))
    return Segment(in_16_bits(part), text, phones)


def _words(entry: dict[str, Any], spans: Sequence[tuple[float, float]]) -> list[list[str]]:
    """The words of each span: one belongs where most of it lies. Aligners draw the last word before
    a pause out into it, and one that lies in none of them was not said."""
    said: list[list[str]] = [[] for _ in spans]
    for word, begin_s, end_s in entry["words"]:
        shared = [min(end_s, b) - max(begin_s, a) for a, b in spans]
        best = int(np.argmax(shared))
        if shared[best] > 0 and _is_said(word):
            said[best].append(_plain(word))
    return said


def _spoken(row: dict[str, str], folder: Path, entry: dict[str, Any] | None, seed: int) -> Recorded:
    """Raises InputError, and Unusable where it is left out."""
    pcm = _decode(folder / row["file"])
    length_s = len(pcm) / RATE_HZ
    if not 0.3 < length_s < MAX_S:
        raise Unusable(f"speech that does not last 0.3 to {MAX_S:g} s")
    filler = row["kind"] == FILLER and length_s < FILLER_MAX_S
    if row["kind"] == FILLER and not filler and not (entry and entry["words"]):
        raise Unusable(f"a filler of {FILLER_MAX_S:g} s and more without words")
    if entry is not None and entry["end_s"] > length_s + BEYOND_S:
        raise InputError(
            f"{folder / ALIGNMENTS}: {row['file']} ends at {entry['end_s']:g} there, and lasts "
            f"{length_s:.2f} s. Times are seconds of the file."
        )
    rng = np.random.default_rng(seed)
    entry = _without_a_call(entry) if entry else _loud_part(pcm)
    begin, end = entry["begin_s"], min(entry["end_s"], length_s)
    if end - begin < 0.2:
        raise Unusable("less than 0.2 s of speech")
    speech = pcm[int(begin * RATE_HZ) : int(end * RATE_HZ)]
    gain = RMS / (float(np.sqrt((speech * speech).mean())) + 1.0)
    gaps, natural = _cuts(entry, rng)
    edges = [begin, *(t for gap in gaps for t in gap), end]
    spans = list(zip(edges[::2], edges[1::2], strict=True))
    said = _words(entry, spans)
    whole = normalise(" ".join(word for words in said for word in words)).split()
    if whole and entry["text"] and whole != normalise(entry["text"]).split():
        raise Unusable("speech of which not all words were found")
    trails_off = row["kind"] == FILLER and bool(whole) and whole[-1] in TRAILING
    segments = tuple(
        _segment(pcm, *span, gain, entry, words) for span, words in zip(spans, said, strict=True)
    )
    return Recorded(
        segments=segments,
        kind="backchannel" if filler else "incomplete" if trails_off else "turn",
        intent=OPEN,
        source="human",
        voice=row.get("speaker", ""),
        room=_tone(pcm) * np.float32(gain),
        gap_is_natural=natural,
        recording=row["file"],
    )


def load_speech(
    folder: Path,
    split: str,
    share: float = 1.0,
    seed: int = 0,
    left_out: Counter[str] | None = None,
) -> list[Spoken]:
    """Turns and backchannels of the given split (`train` or `dev`); what has no alignment is in one
    piece, and its words are unknown. `left_out` counts what cannot be used, by reason."""
    aligned = _alignments(folder)
    found: list[Spoken] = []
    for index, row in enumerate(rows(folder, split)):
        if row["kind"] not in SPEECH:
            continue
        if np.random.default_rng([seed, index]).random() >= share:
            continue
        with _counted(left_out):
            entry = aligned.get(row["file"])
            found.append(_spoken(row, folder, entry, seed * 100_003 + index))
    return found


@contextmanager
def _counted(left_out: Counter[str] | None) -> Iterator[None]:
    """A row in it may be unusable."""
    try:
        yield
    except Unusable as reason:
        if left_out is not None:
            left_out[str(reason)] += 1


def load_noises(
    folder: Path, split: str, left_out: Counter[str] | None = None
) -> list[NDArray[np.int16]]:
    """Noise, music and other people's meetings, int16 (n,); `left_out` as above."""
    found: list[NDArray[np.int16]] = []
    for row in rows(folder, split):
        if not row["kind"].startswith(SOUNDS):
            continue
        with _counted(left_out):
            pcm = _decode(folder / row["file"])
            if len(pcm) <= 1600:
                raise Unusable("a noise of 0.1 s or less")
            found.append(in_16_bits(pcm))
    return found


def load_rirs(
    folder: Path, split: str, left_out: Counter[str] | None = None
) -> list[NDArray[np.float32]]:
    """Impulse responses of real rooms from the direct peak on, peak 1, at most 0.5 s; `left_out` as
    above."""
    found: list[NDArray[np.float32]] = []
    for row in rows(folder, split):
        if row["kind"] != RIR:
            continue
        with _counted(left_out):
            response = _decode(folder / row["file"])
            if not response.any():
                raise Unusable("an impulse response of silence")
            peak = int(np.abs(response).argmax())
            tail = response[peak : peak + RATE_HZ // 2]
            found.append((tail / (np.abs(tail[0]) + 1e-9)).astype(np.float32))
    return found
