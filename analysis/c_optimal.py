"""Designs of the lowest variance of c'x where x has precision m0 before any run, with a bound that no design passes.

A run of row r adds r r' to the precision and costs its price of a budget of 1. The variance c' (m0 + sum w r r')^-1 c
is convex in the numbers w of runs, taken as real numbers (c-optimality: Elfving 1952, Silvey 1980). For every z it is
at least (c'z)^2 / (z' m0 z + max (r'z)^2 / price), by Cauchy and Schwarz: what `least` gives is this, for the best z
met, and so holds for every design whether or not the iteration has converged.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
CLOSE = 1e-3
"""Relative distance of a design's variance from the bound at which iterations end."""
MIXES = np.linspace(0, 1, 11)
"""Shares of the price that the budget makes; the rest is what the number of runs makes."""


def lower(z: Array, c: Array, m0: Array, rows: Array) -> float:
    """A variance below which no design gets, of rows (runs, n) over the roots of their prices."""
    return float((c @ z) ** 2 / (z @ m0 @ z + ((rows @ z) ** 2).max()))


def fractional(c: Array, m0: Array, rows: Array, steps: int = 100_000) -> tuple[float, float, Array]:
    """Variance, bound and shares of the budget (runs,) of a design of real numbers of runs; rows as in `lower`.

    Multiplicative steps (Silvey, Titterington and Torsney 1978).
    """
    shares, bound = np.full(len(rows), 1 / len(rows)), 0.0
    for step in range(steps):
        z = np.linalg.solve(m0 + (rows * shares[:, None]).T @ rows, c)
        if step % 10 == 0:
            bound = max(bound, lower(z, c, m0, rows))
            if c @ z - bound <= CLOSE * (c @ z):
                break
        shares = shares * abs(rows @ z)
        shares /= shares.sum()
    return float(c @ z), bound, shares


def prices(cost: Array, spend: float, most: int | None) -> list[Array]:
    """A run's prices of one budget that every design of this cost and at most so many runs can pay."""
    if most is None:
        return [cost / spend]
    return [mix * cost / spend + (1 - mix) / most for mix in MIXES]


def least(c: Array, m0: Array, rows: Array, cost: Array, spend: float, most: int | None = None) -> float:
    """A variance below which no design gets that costs at most the spend and has at most so many runs."""
    found = [fractional(c, m0, rows / np.sqrt(price)[:, None])[1] for price in prices(cost, spend, most)]
    return max(found)


def whole(c: Array, m0: Array, rows: Array, cost: Array, spend: float, most: int) -> Array:
    """(runs,) whole numbers of runs of a good design: real numbers rounded down, filled up, runs exchanged."""

    def variance(counts: Array) -> float:
        return float(c @ np.linalg.solve(m0 + (rows * counts[:, None]).T @ rows, c))

    def filled(counts: Array, barred: int | None = None) -> Array:
        counts = counts.copy()
        while counts.sum() < most:
            room = spend - counts @ cost
            inverse = np.linalg.inv(m0 + (rows * counts[:, None]).T @ rows)
            moved = rows @ inverse
            gain = (moved @ c) ** 2 / (1 + (moved * rows).sum(axis=1))
            gain[cost > room * (1 + 1e-9) + 1e-12 * spend] = 0.0
            if barred is not None:
                gain[barred] = 0.0
            if not gain.any():
                break
            counts[np.argmax(gain / np.maximum(cost / max(room, 1e-300), 1 / (most - counts.sum())))] += 1
        return counts

    starts = [np.zeros(len(cost))]
    for cell in np.flatnonzero(
        (cost > spend / 8) & (cost <= spend * (1 + 1e-9))
    ):  # what a filling would not begin with
        starts.append(np.eye(1, len(cost), cell)[0])
    for price in prices(cost, spend, most)[::2]:
        real = fractional(c, m0, rows / np.sqrt(price)[:, None])[2] / price
        for part in (0.9, 0.6, 0.3):
            down = np.floor(part * real)
            if down.sum() <= most and down @ cost <= spend * (1 + 1e-9):
                starts.append(down)
    now, counts = min(((variance(one), one) for one in map(filled, starts)), key=lambda pair: pair[0])
    better = True
    while better:
        better = False
        for cell in np.flatnonzero(counts):
            for gone in sorted({1.0, float(counts[cell])}):
                fewer = counts.copy()
                fewer[cell] = max(fewer[cell] - gone, 0)
                other = filled(fewer, barred=int(cell))
                if variance(other) < now * (1 - 1e-4):
                    now, counts, better = variance(other), other, True
    return counts
