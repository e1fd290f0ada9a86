"""Figures with their 95 % intervals, and the curves they are read from. Plain arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Figure = dict[str, Any]
"""`{"value": x or None, "n": n, "ci95": [low, high]}`; also `texts` where few were said, and
`recordings` where few were played."""
Floats = NDArray[np.float64]
Z95 = 1.96
RESAMPLES = 400
MATCHED_RATIO = 1.1
"""Two items count as equally long when their lengths differ by less than a tenth."""


def figure(value: float | None, n: float, low: float | None, high: float | None) -> Figure:
    def short(number: float | None) -> float | None:
        return None if number is None or not math.isfinite(number) else round(number, 4)

    return {"value": short(value), "n": n, "ci95": [short(low), short(high)]}


def nothing() -> Figure:
    """What was not measured."""
    return figure(None, 0, None, None)


def share(hits: float, total: int) -> Figure:
    """A share with Wilson's interval (Wilson 1927)."""
    if total == 0:
        return nothing()
    part = hits / total
    middle = part + Z95**2 / (2 * total)
    spread = Z95 * math.sqrt(part * (1 - part) / total + Z95**2 / (4 * total**2))
    scale = 1 + Z95**2 / total
    low, high = max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
    return figure(part, total, low, high)


class Item(NamedTuple):
    """One of those that a share or a rate of errors is made of: `hits` of `total`, and what it may
    have in common with others."""

    hits: int
    total: int = 1
    text: str = ""
    voice: str = ""
    recording: str = ""


def of_their_own(names: Sequence[str]) -> list[str]:
    """What has no name is like nothing else."""
    return [name or f"{at} of its own" for at, name in enumerate(names)]


def few_recordings(names: Sequence[str]) -> dict[str, int]:
    """`recordings`: of how many files these are, where each was played twice and more."""
    files = len(set(of_their_own(names)))
    return {"recordings": files} if any(names) and 2 * files <= len(names) else {}


def ratio(items: Sequence[Item], seed: int = 0) -> Figure:
    """All hits of all totals. The same few texts in the same few voices say less than as many of
    their own: the interval is the widest of those by bootstrap over texts, over voices, and over
    items (Wilson's for a share), likewise over recordings. `texts` and `recordings` say how many,
    where each was said or played twice and more; so few recordings count as one item each, too:
    what two of them have in common is not known of all."""
    total = sum(item.total for item in items)
    if not total:
        return nothing()
    hits = sum(item.hits for item in items)
    shares = all(item.total == 1 and item.hits <= 1 for item in items)
    texts = of_their_own([item.text for item in items])
    voices = of_their_own([item.voice for item in items])
    recordings = [item.recording for item in items]
    keys = [texts, voices] if shares else [list(map(str, range(len(items)))), texts, voices]
    keys += [of_their_own(recordings)] if any(recordings) else []
    bounds = [_by_cluster(items, names, seed) for names in keys if len(set(names)) > 1]
    bounds += [tuple(share(hits, total)["ci95"])] if shares else []
    played = few_recordings(recordings)
    if shares and (files := played.get("recordings")):
        bounds.append(tuple(share(hits / total * files, files)["ci95"]))
    lows, highs = zip(*bounds, strict=True) if bounds else ((math.nan,), (math.nan,))
    found = figure(hits / total, total, min(lows), max(highs))
    few = len(set(texts))
    return found | ({"texts": few} if 2 * few <= len(items) else {}) | played


def _by_cluster(items: Sequence[Item], names: Sequence[str], seed: int) -> tuple[float, float]:
    """The bootstrap interval of hits by total where all items of one name are drawn together."""
    _, of = np.unique(names, return_inverse=True)
    sums = np.stack([np.bincount(of, [item[column] for item in items]) for column in (0, 1)])
    drawn = np.random.default_rng(seed).integers(sums.shape[1], size=(RESAMPLES, sums.shape[1]))
    hits, totals = sums[:, drawn].sum(2)
    low, high = np.percentile(hits / totals, [2.5, 97.5])
    return float(low), float(high)


def mean_of(parts: Sequence[Figure]) -> Figure:
    """The mean of independent shares, each of the same weight however many it counts; nothing where
    one of them is. The interval is made of theirs (Zou and Donner 2008)."""
    if not parts or any(part["value"] is None for part in parts):
        return nothing()
    value = sum(part["value"] for part in parts) / len(parts)
    below, above = (
        math.sqrt(sum((part["value"] - part["ci95"][end]) ** 2 for part in parts)) / len(parts)
        for end in (0, 1)
    )
    return figure(value, sum(part["n"] for part in parts), value - below, value + above)


def rate(count: int, units: float) -> Figure:
    """Events per unit with Byar's approximation of the Poisson interval; n is the units."""
    if units <= 0:
        return nothing()
    low = 0.0
    if count:
        low = count * (1 - 1 / (9 * count) - Z95 / (3 * math.sqrt(count))) ** 3
    more = count + 1
    high = more * (1 - 1 / (9 * more) + Z95 / (3 * math.sqrt(more))) ** 3
    return figure(count / units, round(units, 3), low / units, high / units)


def percentile(
    values: Sequence[float], percent: float, seed: int = 0, alike: Sequence[Sequence[str]] = ()
) -> Figure:
    """A percentile; the interval is the widest of those by bootstrap over the values and over each
    of their names, as `auc_figure` has it."""
    if not values:
        return nothing()
    array = np.asarray(values, np.float64)
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(array), size=(RESAMPLES, len(array)))
    bounds = [_spread(np.percentile(array[picks], percent, axis=1).tolist())]
    for names in alike:
        times = _drawn_by((names, ()), seed)[0].astype(np.int64)
        drawn = [np.percentile(np.repeat(array, often), percent) for often in times]
        bounds.append(_spread([float(value) for value in drawn]))
    low, high = zip(*bounds, strict=True)
    return figure(float(np.percentile(array, percent)), len(array), min(low), max(high))


def auc(positive: Floats, negative: Floats) -> float:
    """Chance that a positive scores above a negative; a tie counts half (Mann and Whitney 1947)."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left")
    upto = np.searchsorted(ordered, positive, "right")
    return float((below + upto).sum() / (2 * len(positive) * len(negative)))


def matched_auc(
    positive: Floats, negative: Floats, positive_length: Floats, negative_length: Floats
) -> float:
    """The AUC over pairs of about equal length only; NaN without such a pair."""
    pairs = _as_long(positive_length, negative_length)
    return float(_above(positive, negative)[pairs].mean()) if pairs.any() else math.nan


def _as_long(positive: Floats, negative: Floats) -> NDArray[np.bool_]:
    """Which pairs of lengths are about equal, (positives, negatives)."""
    distance = np.abs(np.log(positive)[:, None] - np.log(negative))
    return np.asarray(distance < math.log(MATCHED_RATIO))


def _above(positive: Floats, negative: Floats) -> Floats:
    """1 where the positive is higher, half where it is equal, (positives, negatives)."""
    higher, equal = positive[:, None] > negative, positive[:, None] == negative
    return np.asarray(higher + 0.5 * equal, np.float64)


Names = tuple[Sequence[str], Sequence[str]]
"""What the items of two classes have in common with others, such as their texts; "" is nothing."""


def auc_figure(
    positive: Floats,
    negative: Floats,
    lengths: tuple[Floats, Floats] | None = None,
    seed: int = 0,
    alike: Sequence[Names] = (),
) -> Figure:
    """An AUC, matched where lengths are given. The interval is the widest of those by bootstrap
    over both classes and over each of the names, all of whose items are drawn together."""
    if not len(positive) or not len(negative):
        return nothing()
    p, q = len(positive), len(negative)
    pairs = np.ones((p, q)) if lengths is None else _as_long(*lengths).astype(np.float64)
    won = _above(positive, negative) * pairs

    def spread(drawn: tuple[Floats, Floats]) -> tuple[float, float]:
        """`drawn`: how often each item of either class, (draws, n)."""
        ups, downs = drawn
        compared = (ups @ pairs * downs).sum(1)
        known = compared > 0
        return _spread(((ups @ won * downs).sum(1)[known] / compared[known]).tolist())

    rng = np.random.default_rng(seed)
    draws = [(rng.integers(p, size=p), rng.integers(q, size=q)) for _ in range(RESAMPLES)]
    ups, downs = zip(*draws, strict=True)
    bounds = [spread((_counts(ups, p), _counts(downs, q)))]
    bounds += [spread(_drawn_by(names, seed)) for names in alike]
    value = float(won.sum() / pairs.sum()) if pairs.any() else math.nan
    known = [ends for ends in bounds if math.isfinite(ends[0])]
    low = min((ends[0] for ends in known), default=math.nan)
    high = max((ends[1] for ends in known), default=math.nan)
    return figure(value, p + q, low, high)


def _counts(drawn: Sequence[NDArray[np.int64]], n: int) -> Floats:
    """How often each of n was drawn, (draws, n)."""
    return np.array([np.bincount(one, minlength=n) for one in drawn], np.float64)


def _drawn_by(names: Names, seed: int) -> tuple[Floats, Floats]:
    """How often the items of either class are drawn where names are, (draws, n)."""
    own = [[name or f"{at} of {side}" for at, name in enumerate(names[side])] for side in (0, 1)]
    _, of = np.unique(own[0] + own[1], return_inverse=True)
    n = int(of.max()) + 1
    rng = np.random.default_rng(seed)
    counts = _counts([rng.integers(n, size=n) for _ in range(RESAMPLES)], n)[:, of]
    return counts[:, : len(own[0])], counts[:, len(own[0]) :]


def difference(values: Callable[[NDArray[np.int64]], float], n: int, seed: int = 0) -> Figure:
    """Any figure of n items, such as a difference of two AUCs, with its bootstrap interval.

    `values` computes it from the indices of the items drawn.
    """
    if n == 0:
        return nothing()
    rng = np.random.default_rng(seed)
    low, high = _spread([values(rng.integers(n, size=n)) for _ in range(RESAMPLES)])
    return figure(values(np.arange(n)), n, low, high)


def _spread(found: Sequence[float]) -> tuple[float, float]:
    kept = [value for value in found if math.isfinite(value)]
    if not kept:
        return math.nan, math.nan
    low, high = np.percentile(kept, [2.5, 97.5])
    return float(low), float(high)


class Crossings:
    """When each item's score first reaches a threshold: curves over all thresholds.

    An item is a score over time since its gap began: `times_ms` and `scores`, float64 (k,), only
    within the gap.
    """

    def __init__(self, items: Sequence[tuple[Floats, Floats]]) -> None:
        self._times = [times for times, _ in items]
        self._peaks = [np.maximum.accumulate(scores) for _, scores in items]

    def __len__(self) -> int:
        return len(self._times)

    def first_ms(self, threshold: float) -> Floats:
        """(items,): infinite where it is never reached."""
        return np.array(
            [
                times[at] if (at := int(np.searchsorted(peaks, threshold))) < len(peaks) else np.inf
                for times, peaks in zip(self._times, self._peaks, strict=True)
            ]
        )

    def highest(self) -> Floats:
        return np.array([peaks[-1] if len(peaks) else -np.inf for peaks in self._peaks])

    def thresholds(self) -> Floats:
        """Every score at which something changes."""
        scores = [np.unique(peaks) for peaks in self._peaks if len(peaks)]
        return np.unique(np.concatenate(scores)) if scores else np.zeros(0)


def trade_off(
    ends: Crossings, pauses: Crossings, points: int = 200
) -> list[tuple[float, float, float, float]]:
    """(threshold, share of pauses cut off, median latency in ms, share of ends taken).

    The median counts a miss as infinite: whoever takes less than half of the turns has none.
    """
    known = np.unique(np.concatenate([ends.thresholds(), pauses.thresholds()]))
    if not len(ends) or not len(pauses) or not len(known):
        return []
    picked = known[np.unique(np.linspace(0, len(known) - 1, points).round().astype(int))]
    highest, curve = pauses.highest(), []
    for threshold in picked:
        latency = np.sort(ends.first_ms(threshold))
        median = float(latency[(len(latency) - 1) // 2])
        taken = float(np.isfinite(latency).mean())
        curve.append((float(threshold), float((highest >= threshold).mean()), median, taken))
    return curve


def latency_at_cutoffs(
    ends: Crossings, pauses: Crossings, allowed: float = 0.05, seed: int = 0
) -> Figure:
    """Median latency at the threshold that cuts off at most `allowed` of the pauses; bootstrapped
    over both, each draw with its own threshold."""
    if not len(ends) or not len(pauses):
        return nothing()
    highest, thresholds, n, m = pauses.highest(), ends.thresholds(), len(ends), len(pauses)
    spared = int(allowed * m + 1e-9)

    @cache
    def latencies(bound: float) -> Floats:
        """At the first threshold above it."""
        at = int(np.searchsorted(thresholds, bound, "right"))
        return ends.first_ms(thresholds[at]) if at < len(thresholds) else np.full(n, np.inf)

    def median(drawn: NDArray[np.int64], paused: NDArray[np.int64]) -> float:
        # Over misses, which are infinite: an interpolated one would be no number.
        latency = latencies(float(np.sort(highest[paused])[-1 - spared]))[drawn]
        return float(np.sort(latency)[(n - 1) // 2])

    rng = np.random.default_rng(seed)
    drawn = [median(rng.integers(n, size=n), rng.integers(m, size=m)) for _ in range(RESAMPLES)]
    low, high = np.sort(drawn)[[int(0.025 * RESAMPLES), int(0.975 * RESAMPLES)]]
    return figure(median(np.arange(n), np.arange(m)), n, float(low), float(high))


def cutoffs_at_latency(
    curve: Sequence[tuple[float, float, float, float]], n: int, median_ms: float = 300.0
) -> Figure:
    """The least share of pauses cut off by anyone who answers in `median_ms` at the median."""
    fast = [cut for _, cut, latency, _ in curve if latency <= median_ms]
    return share(round(min(fast) * n), n) if fast else nothing()
