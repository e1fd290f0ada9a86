"""A character n-gram: which symbol of the transcript is likely after the last ones."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from edge_runtime.errors import ManifestError
from edge_runtime.inference.manifest import Manifest, read_file

BOUNDARY = 0
"""Stands before the first symbol of a sentence; in the transcript it is the blank."""
SYMBOLS = "symbols"
"""The array of a file that names them."""
MOST_CONTEXTS = 20_000
"""Kept ready, some 10 MB."""
Numbers = NDArray[np.uint64]


class CharacterModel:
    """Counts of n-grams for n = 1 to the model's order.

    `keys[n - 1]`, sorted, uint64 (k,): the n-grams that were seen, each as a number whose digits in
    base `symbols` are its symbols. `counts[n - 1]`, uint64 (k,): how often, at least once.
    `weight` is the exponent of a chance beside the sound's, `bonus` the logarithm by which every
    symbol is preferred to none, or else the shortest reading would win.
    """

    def __init__(
        self,
        keys: Sequence[Numbers],
        counts: Sequence[Numbers],
        symbols: int,
        weight: float = 1.0,
        bonus: float = 0.0,
    ) -> None:
        self._keys, self._counts, self._symbols = keys, counts, symbols
        self._weight, self._bonus = weight, bonus
        self.looks_back = len(keys) - 1
        """Symbols."""
        self._known = lru_cache(MOST_CONTEXTS)(self._weights)

    @classmethod
    def load(cls, manifest: Manifest) -> Self | None:
        """As the manifest describes it; None when it has none. Raises ManifestError."""
        described = manifest.language_model
        if described is None:
            return None
        symbols = len(manifest.vocabularies.symbols)
        data = read_file(manifest.folder, described)
        try:
            keys, counts = _parse(data, manifest.vocabularies.symbols)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ManifestError(
                f"{manifest.folder / described.file} is no character model of {symbols} symbols: "
                f"{error}. Copy the whole folder again, or make it anew "
                "(`python -m engines.reference.characters`)."
            ) from None
        return cls(keys, counts, symbols, described.weight, described.bonus)

    def weights(self, past: Sequence[int]) -> Sequence[float]:
        """By what the sound's chance of each symbol is multiplied after the symbols `past`."""
        context = (BOUNDARY,) * self.looks_back + tuple(past)
        return self._known(context[len(context) - self.looks_back :])

    def _weights(self, context: tuple[int, ...]) -> Sequence[float]:
        weights = self.chances(context) ** self._weight * np.exp(self._bonus)
        values: list[float] = weights.tolist()
        return values

    def chances(self, context: Sequence[int]) -> NDArray[np.float64]:
        """(symbols,), summing up to 1, after `looks_back` symbols: each order interpolated with the
        one below it (Witten and Bell 1991)."""
        chances = np.full(self._symbols, 1.0 / self._symbols)
        for length, (keys, counts) in enumerate(zip(self._keys, self._counts, strict=True)):
            first = 0
            for symbol in context[len(context) - length :]:
                first = (first + symbol) * self._symbols
            start, end = np.searchsorted(keys, np.array([first, first + self._symbols], np.uint64))
            if start == end:
                break  # what was never seen with less before it was never seen with more
            seen = np.zeros(self._symbols)
            seen[(keys[start:end] - np.uint64(first)).astype(np.intp)] = counts[start:end]
            kinds = end - start
            chances = (seen + kinds * chances) / (seen.sum() + kinds)
        return chances


def pack(
    keys: Sequence[Numbers], counts: Sequence[Numbers], symbols: Sequence[str] | None = None
) -> bytes:
    """The file that `CharacterModel.load` reads: an .npz with `keys1`, `counts1`, `keys2`, ..., and
    with the `symbols` that were counted it is refused for a model of others."""
    arrays: dict[str, Any] = {} if symbols is None else {SYMBOLS: np.array(symbols, np.str_)}
    for order, (some, often) in enumerate(zip(keys, counts, strict=True), 1):
        arrays[f"keys{order}"] = some.astype(np.min_scalar_type(int(some[-1])))
        arrays[f"counts{order}"] = often.astype(np.min_scalar_type(int(often.max())))
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _parse(data: bytes, names: Sequence[str]) -> tuple[list[Numbers], list[Numbers]]:
    """Raises ValueError, and what NumPy raises for a file that is none of its own."""
    symbols = len(names)
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        if SYMBOLS in file and file[SYMBOLS].tolist() != list(names):
            raise ValueError(f"it was counted for {len(file[SYMBOLS])} other ones")
        order = len([name for name in file.files if name != SYMBOLS]) // 2
        if order < 1 or symbols**order > np.iinfo(np.uint64).max:
            raise ValueError(f"{len(file.files)} arrays make no model")
        found: list[list[Numbers]] = []
        for name in ("keys", "counts"):
            arrays = [file[f"{name}{n}"] for n in range(1, order + 1)]
            if any(a.ndim != 1 or a.dtype.kind != "u" for a in arrays):
                raise ValueError(f"{name} must be rows of unsigned numbers")
            found.append([a.astype(np.uint64) for a in arrays])
    keys, counts = found
    for n, (some, often) in enumerate(zip(keys, counts, strict=True), 1):
        sorted_ = bool((some[1:] > some[:-1]).all())
        if len(some) != len(often) or not sorted_ or (some >= symbols**n).any():
            raise ValueError(f"keys{n} must be sorted n-grams, one for each of counts{n}")
        if not often.all():
            raise ValueError(f"counts{n} has n-grams that were never seen")
    return keys, counts
