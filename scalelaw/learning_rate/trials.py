"""Cells, their trials, and what a second trial of a cell says of its best rate under one basin for all cells.

    ln loss of a run = l + p phi(ln rate - x),

with phi of `basin`; the level l is free, so that one trial of a cell says nothing of x, and two say on which side of
their middle it lies and how far. A run far above its cell's best, or diverged, only says that its rate is far off:
beyond a cliff no basin holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SHAPE = 0.3
"""Share by which basins differ in height between cells."""
CLIFF_ABOVE, CLIFF_BELOW = 0.5, 2.0
"""In units of p: a run further above its cell's best says only that its rate is too high (too low) by as much."""
LEAST_SKEW = 0.05
"""Below it the basin is a parabola to four digits."""
_ANYTHING = 50.0
"""One run in ten lies beyond the cliff, its loss anywhere within a factor exp(5)."""
_REACH = 4.0


@dataclass(frozen=True)
class Cell:
    """What is trained at several rates: a size for a length, and other settings.

    Attributes:
        size: multiply-adds an image, or parameters.
        length: images, tokens or epochs.
        rates: the allowed rates, ascending.
        batch: images or sequences a step.
        numbers: other positive settings, as many in all cells.
        words: other settings; cells that differ in them have levels of their own.
    """

    size: float
    length: float
    rates: tuple[float, ...]
    batch: float = 1.0
    numbers: tuple[float, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """One rate of a cell, tried: ln of the loss (mean over seeds of the ln), None where a run diverged; and runs."""

    cell: int
    rate: float
    log_loss: float | None
    runs: int = 1


@dataclass(frozen=True)
class Bowl:
    """Height p, noise of one run's ln loss, skew."""

    p: float
    noise: float
    skew: float

    def above(self, u: Array) -> Array:
        """ln loss above the lowest at distances u in ln rate; as `basin.phi`, where that needs no series."""
        t = self.skew * np.clip(u, -_REACH, _REACH)
        return np.asarray(2 * self.p * (np.expm1(t) - t) / self.skew**2)

    def slope(self, u: Array) -> Array:
        """Derivative of `above`."""
        return np.asarray(2 * self.p * np.expm1(self.skew * np.clip(u, -_REACH, _REACH)) / self.skew)


@dataclass(frozen=True)
class Pairs:
    """Every other trial against the best one of its cell, each (pairs,).

    Attributes:
        cell: number of the cell.
        best, other: ln rates.
        above: ln loss of the other above the best, infinite where it diverged.
        weight: 1 / runs of the one + 1 / runs of the other.
    """

    cell: NDArray[np.int64]
    best: Array
    other: Array
    above: Array
    weight: Array

    @staticmethod
    def of(trials: Sequence[Trial]) -> Pairs:
        """Those of the cells that have a trial which ended well."""
        by_cell: dict[int, list[Trial]] = {}
        for trial in trials:
            by_cell.setdefault(trial.cell, []).append(trial)
        found = []
        for cell, own in sorted(by_cell.items()):
            known = [(trial.log_loss, trial.rate, trial) for trial in own if trial.log_loss is not None]
            if not known:
                continue
            lowest, _, best = min(known, key=lambda one: one[:2])
            for other in sorted(own, key=lambda trial: trial.rate):
                if other is not best:
                    above = np.inf if other.log_loss is None else other.log_loss - lowest
                    weight = 1 / best.runs + 1 / other.runs
                    found.append((cell, np.log(best.rate), np.log(other.rate), above, weight))
        columns = np.array(found, dtype=float).reshape(-1, 5).T
        return Pairs(columns[0].astype(np.int64), columns[1], columns[2], columns[3], columns[4])

    def residuals(self, bowl: Bowl, x: Array) -> tuple[Array, Array, Array, float]:
        """At the cells' ln best rates: observed less expected, the latter's derivative in x, and its variance; and the
        part of minus ln likelihood that does not depend on x.

        Args:
            bowl: the basin.
            x: (pairs,) of the cell of every pair.
        """
        expected = bowl.above(self.other - x) - bowl.above(self.best - x)
        slope = bowl.slope(self.best - x) - bowl.slope(self.other - x)
        cliff = np.where(self.other > self.best, CLIFF_ABOVE, CLIFF_BELOW) * bowl.p
        beyond = self.above > cliff
        seen = np.where(beyond, cliff, self.above)
        apart = seen - expected
        met = beyond & (apart <= 0)
        variance = bowl.noise**2 * self.weight + (SHAPE * seen) ** 2
        # beyond the cliff a loss may be anything: uniform in its logarithm over a wide range
        wide = np.log(
            _ANYTHING * np.where(np.isfinite(self.above), self.above, 1.0), where=beyond, out=np.zeros(len(x))
        )
        constant = float(np.where(beyond, wide, 0.5 * np.log(2 * np.pi * variance)).sum())
        return np.where(met, 0.0, apart), np.where(met, 0.0, slope), variance, constant
