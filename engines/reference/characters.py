"""Count the character n-gram that the transcript is read with:
`python -m engines.reference.characters --out engines/reference`.

Of the same texts as the network's training: turns of the grammar with their training phrasings, and
prose. Nothing of the tests' phrasings is in it. Writes `characters.npz` and names it in the
manifest.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.inference.character_model import BOUNDARY, Numbers, pack
from edge_runtime.inference.manifest import MANIFEST_FILE, LanguageModel, redescribe
from edge_runtime.whole_file import write_whole
from engines.reference.command import command
from engines.reference.corpus.factory import GRAMMAR
from engines.reference.corpus.text import Grammar, Line, load_prose, load_words, normalise
from engines.reference.vocabulary import SYMBOLS

FILE = "characters.npz"
ORDER = 6
TURNS, PHRASES = 60_000, 6_000
"""Drawn from the grammar: finished turns, and of each kind of what else is said."""
RARE_FROM, RARE = 4, 1
"""n-grams of so many symbols and more that were seen only so often are left out: they are half of
all, and without them the readings are as good."""


def texts(seed: int = 0) -> Iterator[str]:
    """What people say in training, a turn or a sentence each."""
    rng = np.random.default_rng(seed)
    grammar = Grammar.load(GRAMMAR, nouns=load_words("train"))
    for _ in range(TURNS):
        yield _joined(grammar.turn(rng, "train"))
    for _ in range(PHRASES):
        yield _joined(grammar.incomplete(rng, "train"))
        for kind in ("interruption", "cancel", "backchannel"):
            yield _joined(grammar.phrase(rng, kind, "train"))
    yield from load_prose("train")


def _joined(line: Line) -> str:
    return normalise(" ".join(line.segments))


def count(
    lines: Iterable[str], order: int = ORDER, alphabet: Sequence[str] = SYMBOLS
) -> tuple[list[Numbers], list[Numbers]]:
    """Keys and counts as `CharacterModel` has them; every line ends in a space. `alphabet`: the
    model's symbols, with a space; what else stands in a line is left out."""
    code = {symbol: index for index, symbol in enumerate(alphabet)}
    found: list[Counter[int]] = [Counter() for _ in range(order)]
    for line in lines:
        symbols = [BOUNDARY] * (order - 1) + [code[c] for c in f"{line} " if c in code]
        for end in range(order, len(symbols) + 1):
            number, scale = 0, 1
            for length, counter in enumerate(found, 1):
                number += symbols[end - length] * scale
                scale *= len(alphabet)
                counter[number] += 1
    keys: list[Numbers] = []
    counts: list[Numbers] = []
    for length, counter in enumerate(found, 1):
        least = RARE + 1 if length >= RARE_FROM else 1
        kept = sorted(key for key, often in counter.items() if often >= least)
        keys.append(np.array(kept, np.uint64))
        counts.append(np.array([counter[key] for key in kept], np.uint64))
    return keys, counts


def describe(folder: Path) -> dict[str, object] | None:
    """What a manifest says of the file in `folder`; None where there is none."""
    path = folder / FILE
    if not path.exists():
        return None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return LanguageModel(file=FILE, sha256=digest).model_dump()


def write(
    folder: Path,
    keys: list[Numbers],
    counts: list[Numbers],
    alphabet: Sequence[str] = SYMBOLS,
) -> Path:
    """The file, then the manifest that names it, each atomically."""
    path, manifest = folder / FILE, folder / MANIFEST_FILE
    write_whole(path, pack(keys, counts, alphabet))
    described = describe(folder)
    if described and manifest.exists():
        write_whole(manifest, redescribe(folder, "language_model", described))
    return path


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("engines/reference"))
    parser.add_argument("--order", type=int, default=ORDER)
    arguments = parser.parse_args()
    if not arguments.out.is_dir():  # before a minute of counting
        raise InputError(
            f"--out {arguments.out}: no such folder. Give a model folder (engines/reference is "
            "one), or make it first."
        )
    path = write(arguments.out, *count(texts(), arguments.order))
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
