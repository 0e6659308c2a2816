"""The numbers behind a Random Hierarchy Model: rules, their probabilities, patches, noise; drawn once, with NumPy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

GRAMMAR, PATCHES = 0x67726D, 0x706174  # keep draws from one seed for different ends apart


def rules(entropy: list[int], level: int, parents: int, m: int, symbols: int, s: int) -> NDArray[np.int32]:
    """The productions of one level, [parents, m, s]: for each parent m tuples of s symbols, all of a level distinct."""
    tuples = distinct(generator([GRAMMAR, *entropy, level]), symbols**s, parents * m)
    digits = tuples[:, None] // symbols ** np.arange(s, dtype=np.int64) % symbols
    return digits.reshape(parents, m, s).astype(np.int32)


def patches(seed: int, symbols: int, pixels: int) -> NDArray[np.float64]:
    """One random patch of colours per symbol, [symbols, pixels, 3], of mean 0 and variance 1 over all of them."""
    bits = generator([PATCHES, seed]).random_raw(symbols * pixels * 3) >> np.uint64(11)
    values = ndtri((bits.astype(float) + 0.5) * 2.0**-53)
    return np.asarray((values - values.mean()) / values.std()).reshape(symbols, pixels, 3)


def rule_probabilities(m: int, a: float | None) -> NDArray[np.float64]:
    """P(rule k), k = 1 ... m: proportional to k^-(1 + a) (Zipf's law), or 1 / m where a is None."""
    weights = np.ones(m) if a is None else np.arange(1.0, m + 1) ** -(1 + a)
    return np.asarray(weights / weights.sum())


def thresholds(m: int, a: float | None) -> NDArray[np.uint32]:
    """The draws of 32 bits from which on rules 2 ... m are chosen; probabilities are exact to 2^-32."""
    cumulative = np.cumsum(rule_probabilities(m, a))[:-1]
    return np.minimum(np.rint(cumulative * 2.0**32), 2.0**32 - 1).astype(np.uint32)


def normal_quantiles(count: int) -> NDArray[np.float64]:
    """Equally probable values with the standard normal's distribution function to 1 / (2 count), and variance 1."""
    values = ndtri((np.arange(count) + 0.5) / count)
    return np.asarray(values / values.std())


def generator(entropy: list[int]) -> np.random.PCG64:
    """A bit generator: numpy promises its raw words for good, but not the algorithms of `Generator`."""
    return np.random.PCG64(np.random.SeedSequence(entropy))


def distinct(bits: np.random.PCG64, bound: int, count: int) -> NDArray[np.int64]:
    """`count` different integers below `bound`, each set and order equally likely."""
    if bound <= 2**22:
        return np.argsort(bits.random_raw(bound), kind="stable")[:count]
    found = np.empty(0, np.int64)
    while len(found) < count:
        more = (bits.random_raw(2 * count) % np.uint64(bound)).astype(np.int64)
        found = np.concatenate([found, more])
        found = found[np.sort(np.unique(found, return_index=True)[1])]
    return found[:count]


def parents(branching: tuple[int, ...]) -> list[int]:
    """How many choices each level makes."""
    return [math.prod(branching[:level]) for level in range(len(branching))]


def splits(branching: tuple[int, ...]) -> list[tuple[int, int]]:
    """Rows and columns of children per level."""
    found, sideways = [], True
    for s in branching:
        found.append((2, 2) if s == 4 else (1, 2) if sideways else (2, 1))
        sideways ^= s == 2
    return found
