"""Recorded human speech, noises and rooms from a folder with `manifest.csv` (see CARD.md).

Every file is optional: what is missing is simply not part of the corpus.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Sequence
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from engines.reference.corpus.bank import RATE_HZ, RMS, Segment, Spoken
from engines.reference.corpus.phones import from_arpabet
from engines.reference.corpus.text import OPEN, normalise

SENTENCES = ("speech_sentence", "speech_sentence_tel", "speech_read", "speech_command_intent")
KEYWORDS = ("speech_keyword",)
NOISES = ("noise_", "music")
MAX_S = 15.0
MIN_PART_S = 0.35
"""A part of a clip between two pauses is at least so long."""


def rows(folder: Path, split: str) -> Iterator[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        yield from (row for row in csv.DictReader(file) if row["split"] == split)


def _decode(path: Path) -> NDArray[np.float32]:
    """float32 (n,), int16 scale, 16 kHz, first channel."""
    pcm, rate_hz = soundfile.read(path, dtype="int16", always_2d=True)
    mono = pcm[:, 0].astype(np.float32)
    if rate_hz != RATE_HZ:
        common = gcd(rate_hz, RATE_HZ)
        mono = resample_poly(mono, RATE_HZ // common, rate_hz // common).astype(np.float32)
    return mono


def _alignments(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / "alignments.jsonl.gz"
    if not path.exists():
        return {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        entries = [json.loads(line) for line in file]
    return {entry["file"]: entry for entry in entries}


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


def _cuts(
    entry: dict[str, Any], rng: np.random.Generator
) -> tuple[list[tuple[float, float]], bool]:
    """Up to two gaps (start_s, end_s) where a clip is taken apart; whether they are natural."""
    begin, end = entry["begin_s"], entry["end_s"]
    natural = [(a, b) for a, b in entry["natural_gaps_s"] or () if a - begin > MIN_PART_S]
    natural = [(a, b) for a, b in natural if end - b > MIN_PART_S]
    if natural and rng.random() < 0.85:
        chosen = sorted(rng.permutation(len(natural))[: int(rng.integers(1, 3))])
        return [natural[i] for i in chosen], True
    points = [
        c for c in entry["cut_points_s"] or () if c - begin > MIN_PART_S and end - c > MIN_PART_S
    ]
    if points and rng.random() < 0.35:
        point = points[int(rng.integers(len(points)))]
        return [(point, point)], False
    return [], True


def _segment(
    pcm: NDArray[np.float32],
    start_s: float,
    end_s: float,
    gain: float,
    entry: dict[str, Any] | None,
    words: Sequence[str],
) -> Segment:
    first, last = max(0, int(start_s * RATE_HZ)), int(end_s * RATE_HZ)
    part = pcm[first:last] * gain
    fade = min(160, len(part) // 4)
    if fade:
        part = part.copy()
        part[:fade] *= np.linspace(0, 1, fade)
        part[-fade:] *= np.linspace(1, 0, fade)
    text, phones = "", ()
    if entry is not None and entry["words"]:
        text = normalise(" ".join(words))
        phones = tuple(
            (from_arpabet(p), a - start_s, b - start_s)
            for p, a, b in entry["phones"] or ()
            if a >= start_s - 0.02 and b <= end_s + 0.05
        )
    return Segment(np.clip(part, -32000, 32000).astype(np.int16), text, phones)


def _words(entry: dict[str, Any] | None, spans: Sequence[tuple[float, float]]) -> list[list[str]]:
    """The words of each span: one belongs where most of it lies. Aligners draw the last word before
    a pause out into it, and one that lies in none of them was not said."""
    said: list[list[str]] = [[] for _ in spans]
    for word, begin_s, end_s in (entry and entry["words"]) or ():
        shared = [min(end_s, b) - max(begin_s, a) for a, b in spans]
        best = int(np.argmax(shared))
        if shared[best] > 0 and word[0] not in "<[":
            said[best].append(word.split("(")[0])
    return said


def _spoken(
    row: dict[str, str], folder: Path, entry: dict[str, Any] | None, seed: int
) -> Spoken | None:
    pcm = _decode(folder / row["file"])
    if not 0.3 * RATE_HZ < len(pcm) < MAX_S * RATE_HZ:
        return None
    rng = np.random.default_rng(seed)
    begin = entry["begin_s"] if entry else 0.0
    end = min(entry["end_s"] if entry else len(pcm) / RATE_HZ, len(pcm) / RATE_HZ)
    if end - begin < 0.2:
        return None
    speech = pcm[int(begin * RATE_HZ) : int(end * RATE_HZ)]
    gain = RMS / (float(np.sqrt((speech * speech).mean())) + 1.0)
    gaps, natural = _cuts(entry, rng) if entry else ([], True)
    edges = [begin, *(t for gap in gaps for t in gap), end]
    spans = list(zip(edges[::2], edges[1::2], strict=True))
    said = _words(entry, spans)
    segments = tuple(
        _segment(pcm, *span, gain, entry, words) for span, words in zip(spans, said, strict=True)
    )
    filler = row["kind"] == "speech_filler_or_laugh"
    return Spoken(
        segments=segments,
        kind="backchannel" if filler else "turn",
        intent=OPEN,
        source="human",
        voice=row["speaker"],
        room=_tone(pcm) * np.float32(gain),
        gap_is_natural=natural,
    )


def load_speech(folder: Path, split: str, share: float = 1.0, seed: int = 0) -> list[Spoken]:
    """Turns and backchannels of the given split (`train` or `dev`)."""
    aligned = _alignments(folder)
    found: list[Spoken] = []
    for index, row in enumerate(rows(folder, split)):
        kind, entry = row["kind"], aligned.get(row["file"])
        wanted = kind in SENTENCES or kind in KEYWORDS
        short_filler = kind == "speech_filler_or_laugh" and float(row["seconds"] or 99) < 3.0
        if not (wanted or short_filler) or not (folder / row["file"]).exists():
            continue
        if kind in SENTENCES and entry is None and kind != "speech_read":
            continue
        if np.random.default_rng([seed, index]).random() >= share:
            continue
        spoken = _spoken(row, folder, entry, seed * 100_003 + index)
        if spoken is not None:
            found.append(spoken)
    return found


def load_noises(folder: Path, split: str) -> list[NDArray[np.int16]]:
    """Noise, music and other people's meetings, int16 (n,)."""
    kinds = (*NOISES, "conversation_meeting")
    files = [r["file"] for r in rows(folder, split) if r["kind"].startswith(kinds)]
    pcms = [_decode(folder / name) for name in files if (folder / name).exists()]
    return [np.clip(pcm, -32000, 32000).astype(np.int16) for pcm in pcms if len(pcm) > 1600]


def load_rirs(folder: Path, split: str) -> list[NDArray[np.float32]]:
    """Impulse responses of real rooms from the direct peak on, peak 1, at most 0.5 s."""
    files = [r["file"] for r in rows(folder, split) if r["kind"] == "rir"]
    out = []
    for name in files:
        if not (folder / name).exists():
            continue
        response = _decode(folder / name)
        peak = int(np.abs(response).argmax())
        tail = response[peak : peak + RATE_HZ // 2]
        out.append((tail / (np.abs(tail[0]) + 1e-9)).astype(np.float32))
    return out
