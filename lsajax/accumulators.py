"""What a Monte Carlo study keeps of its values: moments and a sketch, which merge.

All on the host in float64 and int64, where a mean over 10^9 realisations keeps its digits. Two
summaries of different realisations merge into that of both (Chan, Golub and LeVeque, 1979);
`Fold` merges many along a tree that depends on their order alone, so that the bits of the result
depend neither on who computed what nor on how the work was cut.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from scipy import special

Numbers: TypeAlias = Any
"""A NumPy array, or a NumPy number where a value is one number."""

SKETCH_ERROR = 2.0**-13
"""Largest relative error of a value in a `Sketch`: half a bin, of which an octave has 2^12."""

_SHIFT = 23 - 12  # of a float32's 23 bits of mantissa the sketch keeps 12
_HALF = np.int32(1 << (_SHIFT - 1))
_MAGNITUDE = np.int32(0x7FFFFFFF)


class Sketch(NamedTuple):
    """Counts of values by logarithmic bins: any quantile, to `SKETCH_ERROR` of its value.

    The bin of a value is its float32, rounded to 12 bits of the mantissa; the grid is the same for
    all, so that sketches add up exactly. Beyond float32's range, 3e38, is infinity; below 1e-38
    the error is absolute, 1.5e-42.

    Attributes:
        bins: which have a count, ascending; int32.
        counts: of each; int64.
    """

    bins: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Sketch":
        """Of all numbers of an array, whatever its shape; NaN counts as missing."""
        flat = np.asarray(values).ravel()
        if flat.dtype != np.float32:
            with np.errstate(over="ignore"):
                flat = flat.astype(np.float32)
        flat = flat[~np.isnan(flat)]
        word = np.ascontiguousarray(flat).view(np.int32)
        # To the nearest bin: one holds what a float of 12 bits can say, and says it exactly.
        magnitude = ((word & _MAGNITUDE) + _HALF) >> _SHIFT
        # Zero has two signs and one bin; bin -1 - n mirrors bin n.
        bins = np.where((word < 0) & (flat != 0), -1 - magnitude, magnitude)
        found, counts = np.unique(bins, return_counts=True)
        return cls(found.astype(np.int32), counts.astype(np.int64))

    def merge(self, other: "Sketch") -> "Sketch":
        """Of the values of both."""
        bins = np.concatenate([self.bins, other.bins])
        counts = np.concatenate([self.counts, other.counts])
        order = np.argsort(bins, kind="stable")  # two ascending runs: this merges them
        bins = bins[order]
        new = np.ones(len(bins), bool)
        np.not_equal(bins[1:], bins[:-1], out=new[1:])
        start = np.flatnonzero(new)
        return Sketch(bins[start], np.add.reduceat(counts[order], start))

    def values(self) -> np.ndarray:
        """Middle of each bin."""
        magnitude = np.where(self.bins < 0, -1 - self.bins, self.bins).astype(np.int32)
        size = (magnitude << _SHIFT).view(np.float32).astype(float)
        return np.where(self.bins < 0, -size, size)

    def quantile(self, q: Numbers) -> Numbers:
        """The smallest value that at least a share `q` of all reaches up to; NaN of none."""
        if not len(self.bins):
            return np.full(np.shape(q), math.nan)
        below = np.cumsum(self.counts)
        rank = np.clip(np.ceil(np.asarray(q) * below[-1]), 1, below[-1])
        return self.values()[np.searchsorted(below, rank)]

    def cdf(self, x: Numbers) -> Numbers:
        """Share of the values up to `x`, where all of a bin are in its middle."""
        below = np.concatenate([[0], np.cumsum(self.counts)])
        return below[np.searchsorted(self.values(), x, "right")] / max(below[-1], 1)

    def histogram(self, edges: np.ndarray) -> np.ndarray:
        """Counts in [edge, next edge), where all of a bin are in its middle."""
        place = np.searchsorted(edges, self.values(), "right") - 1
        inside = (place >= 0) & (place < len(edges) - 1)
        weights = self.counts[inside]
        return np.bincount(place[inside], weights, minlength=len(edges) - 1).astype(np.int64)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Summary:
    """Moments of a value over realisations, element by element where the value is an array.

    Attributes:
        count: realisations with a number; int64.
        missing: realisations in which the value was NaN; int64.
        mean: of the numbers.
        m2: sum of their squared differences to the mean.
        smallest: of the numbers; inf where there is none.
        largest: likewise, -inf.
        sketch: of the numbers of all elements together, where it was asked for.
    """

    count: Numbers
    missing: Numbers
    mean: Numbers
    m2: Numbers
    smallest: Numbers
    largest: Numbers
    sketch: Sketch | None = None

    @classmethod
    def of(cls, values: np.ndarray, sketch: bool) -> "Summary":
        """Of values [realizations, ...]."""
        number = np.asarray(values, np.float64)
        absent = np.isnan(number)
        missing = absent.sum(axis=0, dtype=np.int64)
        count = len(number) - missing
        plain = not missing.any()
        held = number if plain else np.where(absent, 0.0, number)
        with np.errstate(invalid="ignore", over="ignore"):
            mean = held.sum(axis=0) / np.maximum(count, 1)
            off = held - mean
            m2 = np.square(off if plain else np.where(absent, 0.0, off)).sum(axis=0)
        low = number if plain else np.where(absent, np.inf, number)
        high = number if plain else np.where(absent, -np.inf, number)
        return cls(
            count,
            missing,
            mean,
            m2,
            low.min(axis=0, initial=np.inf),
            high.max(axis=0, initial=-np.inf),
            Sketch.of(values) if sketch else None,
        )

    def merge(self, other: "Summary") -> "Summary":
        """Of the realisations of both."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        with np.errstate(invalid="ignore", over="ignore"):
            off = other.mean - self.mean
            mean = np.where(self.count == 0, other.mean, self.mean + off * share)
            m2 = self.m2 + other.m2 + np.square(off) * (self.count * share)
        both = None
        if self.sketch is not None and other.sketch is not None:
            both = self.sketch.merge(other.sketch)
        return Summary(
            count,
            self.missing + other.missing,
            mean,
            m2,
            np.minimum(self.smallest, other.smallest),
            np.maximum(self.largest, other.largest),
            both,
        )

    @property
    def variance(self) -> Numbers:
        """Unbiased; NaN for fewer than two numbers."""
        return np.where(self.count > 1, self.m2 / np.maximum(self.count - 1, 1), np.nan)

    def half_width(self, level: float = 0.95) -> Numbers:
        """Half of the t interval of the mean at this level; NaN for fewer than two numbers."""
        freedom = np.maximum(self.count - 1, 1)
        t = special.stdtrit(freedom, (1 + level) / 2)
        return t * np.sqrt(self.variance / np.maximum(self.count, 1))

    def pooled(self) -> "Summary":
        """Of the numbers of all elements together.

        Elements of one realisation depend on each other: `half_width` of this is no interval.
        """
        count = self.count.sum()
        mean = (self.count * self.mean).sum() / np.maximum(count, 1)
        m2 = self.m2.sum() + (self.count * np.square(self.mean - mean)).sum()
        smallest, largest = self.smallest.min(), self.largest.max()
        return Summary(count, self.missing.sum(), mean, m2, smallest, largest, self.sketch)

    def quantile(self, q: Numbers) -> Numbers:
        """Of all numbers, see `Sketch.quantile`.

        Raises:
            ValueError: the study was run without `sketch`.
        """
        if self.sketch is None:
            raise ValueError("quantiles need a study with sketch=True")
        return self.sketch.quantile(q)


Summaries: TypeAlias = dict[str, Summary]
"""By the name of the value."""


def merge_all(left: Summaries, right: Summaries) -> Summaries:
    """Of the realisations of both, value by value."""
    return {name: summary.merge(right[name]) for name, summary in left.items()}


class Fold:
    """Merges summaries in the order in which they come, along a binary tree.

    Two of the same height merge as soon as there are two, as in a binary counter, and what is
    left merges from the right. Any aligned run of 2^k of them may be merged beforehand, by
    whomever: the tree, and so every rounding, is the same.
    """

    def __init__(self) -> None:
        self._stack: list[tuple[int, Summaries]] = []

    def add(self, summaries: Summaries) -> None:
        """The next one."""
        height = 0
        while self._stack and self._stack[-1][0] == height:
            summaries = merge_all(self._stack.pop()[1], summaries)
            height += 1
        self._stack.append((height, summaries))

    def result(self) -> Summaries:
        """Of all so far; empty of none."""
        if not self._stack:
            return {}
        *rest, (_, merged) = self._stack
        for _, summaries in reversed(rest):
            merged = merge_all(summaries, merged)
        return merged


def fold(summaries: Iterable[Summaries]) -> Summaries:
    """All of them merged by `Fold`."""
    tree = Fold()
    for one in summaries:
        tree.add(one)
    return tree.result()


class Accumulator:
    """Summaries of values that come chunk by chunk: moments by `Fold`, one sketch of each value.

    Sketches add up exactly in any order, and one of many values costs less than many of few: the
    values of some chunks wait for it.

    Args:
        sketch: whether to keep sketches.
    """

    WAITING = 2**14
    """Numbers of a value that wait at most, beside those of a chunk; at most 256 chunks wait."""

    def __init__(self, sketch: bool) -> None:
        self._sketch = sketch
        self._moments = Fold()
        self._waiting: dict[str, list[np.ndarray]] = {}
        self._sketches: dict[str, Sketch] = {}

    def add(self, values: dict[str, np.ndarray]) -> None:
        """The next chunk: values [realizations, ...] by name."""
        self._moments.add({name: Summary.of(one, sketch=False) for name, one in values.items()})
        if not self._sketch:
            return
        for name, one in values.items():
            waiting = self._waiting.setdefault(name, [])
            waiting.append(one)
            # An array costs more than the few numbers that it may have.
            if len(waiting) * max(one.size, 64) >= self.WAITING:
                self._empty(name)

    def _empty(self, name: str) -> None:
        waiting = self._waiting.pop(name, [])
        if waiting:
            new = Sketch.of(np.concatenate(waiting))
            old = self._sketches.get(name)
            self._sketches[name] = new if old is None else old.merge(new)

    def result(self) -> Summaries:
        """Of all so far; empty of none."""
        moments = self._moments.result()
        if not self._sketch:
            return moments
        for name in moments:
            self._empty(name)
        return {
            name: dataclasses.replace(one, sketch=self._sketches[name])
            for name, one in moments.items()
        }
