"""What the trials so far say of every cell's best rate: a trend in size, length and what else varies, near which
neighbouring cells agree, and one basin for all cells.

    ln loss of a run = l + p phi(ln rate - x),    x = trend + departure of the cell,

with phi of `basin`. Departures are a Gaussian process over ln size, ln length and so on, so that neighbours share
them; the level l is free, so one trial of a cell says nothing of x, and two say on which side of their middle it lies
and how far. A run far above its cell's best, or diverged, only says that its rate is far off: beyond a cliff no basin
holds. The posterior is Laplace's (Rasmussen and Williams 2006, chapter 3); the basin's height, the noise and the size
of departures are the likeliest ones, from vague priors that are written down here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from scalelaw.learning_rate.basin import phi

Array = NDArray[np.float64]

SLOPE, SLOPE_SPREAD = -0.2, 0.3
"""Of ln rate in ln size and ln length, before any trial: it falls (Smith et al. 2023, Figure 3)."""
BATCH_SLOPE, BATCH_SPREAD = 0.5, 0.5
"""In ln batch size: between no dependence and the proportion of linear scaling."""
OTHER_SPREAD = 0.5
"""In the log of any other number that varies; and between cells that differ by a word."""
LEVEL_SHARE = 0.15
"""Spread of the trend's level about the middle of the grid, as a share of the grid's range."""
REACH = 2.0
"""Distance in logs over which departures from the trend are shared by neighbours."""
OWN = 0.1
"""Departure of one cell that no neighbour shares, in ln rate."""
SHAPE = 0.3
"""Share by which basins differ in height between cells."""
CLIFF_ABOVE, CLIFF_BELOW = 0.5, 2.0
"""In units of p: a run further above its cell's best says only that its rate is too high (too low) by as much."""
_PRIOR = np.array([[np.log(0.05), 1.5], [np.log(0.07), 0.7], [0.5, 0.3], [np.log(0.3), 0.5]])
"""Middle and spread of ln p, ln(noise / p), skew, and ln of the shared departures' size."""
_ANYTHING = 5.0
_STEPS = 12


@dataclass(frozen=True)
class Cell:
    """What is trained at several rates: a size for a length, and other settings.

    Attributes:
        size: multiply-adds an image, or parameters.
        length: epochs, images or tokens.
        rates: the allowed rates, ascending.
        batch: images or sequences a step.
        numbers: other positive settings, alike in all cells.
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
class Basin:
    """Height p, noise of one run's ln loss, skew; and size of the departures that neighbours share."""

    p: float
    noise: float
    skew: float
    shared: float

    def above(self, u: Array) -> Array:
        """ln loss above the lowest at distances u in ln rate."""
        return self.p * phi(np.clip(u, -4, 4), self.skew)

    def slope(self, u: Array) -> Array:
        """Derivative of `above`."""
        u = np.clip(u, -4, 4)
        return np.asarray(2 * self.p * (np.expm1(self.skew * u) / self.skew if self.skew else u))


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
        found = []
        for cell in sorted({trial.cell for trial in trials}):
            own = sorted((trial for trial in trials if trial.cell == cell), key=lambda trial: trial.rate)
            known = [trial for trial in own if trial.log_loss is not None]
            if not known:
                continue
            best = min(known, key=lambda trial: trial.log_loss)  # type: ignore[arg-type, return-value]
            assert best.log_loss is not None
            for other in own:
                if other is not best:
                    above = np.inf if other.log_loss is None else other.log_loss - best.log_loss
                    weight = 1 / best.runs + 1 / other.runs
                    found.append((cell, np.log(best.rate), np.log(other.rate), above, weight))
        columns = np.array(found, dtype=float).reshape(-1, 5).T
        return Pairs(columns[0].astype(np.int64), columns[1], columns[2], columns[3], columns[4])

    def residuals(self, basin: Basin, x: Array) -> tuple[Array, Array, Array, float]:
        """At x (cells,): observed less expected, the latter's derivative in x, its variance, each (pairs,); and the
        part of minus ln likelihood that does not depend on x.
        """
        at = x[self.cell]
        expected = basin.above(self.other - at) - basin.above(self.best - at)
        slope = basin.slope(self.best - at) - basin.slope(self.other - at)
        cliff = np.where(self.other > self.best, CLIFF_ABOVE, CLIFF_BELOW) * basin.p
        beyond = self.above > cliff
        seen = np.where(beyond, cliff, self.above)
        apart = seen - expected
        met = beyond & (apart <= 0)
        variance = basin.noise**2 * self.weight + (SHAPE * seen) ** 2
        # beyond the cliff a loss may be anything: uniform in its logarithm over a wide range
        wide = np.log(_ANYTHING * np.where(np.isfinite(self.above), self.above, 1.0))
        constant = float(np.where(beyond, wide, 0.5 * np.log(2 * np.pi * variance)).sum())
        return np.where(met, 0.0, apart), np.where(met, 0.0, slope), variance, constant


@dataclass(frozen=True)
class Belief:
    """What is believed of the cells' best rates.

    Attributes:
        x, spread: (cells,) mean and standard deviation of the ln of the best rate.
        basin: the likeliest one.
        slopes: of the trend, for size, length and so on.
    """

    x: Array
    spread: Array
    basin: Basin
    slopes: Array


@dataclass(frozen=True, eq=False)
class Prior:
    """The cells, as the Gaussian process takes them."""

    cells: tuple[Cell, ...]

    @cached_property
    def features(self) -> Array:
        """(cells, k) logs of size, length, batch and other numbers, about their means."""
        raw = np.log([[one.size, one.length, one.batch, *one.numbers] for one in self.cells])
        return np.asarray(raw - raw.mean(axis=0))

    @cached_property
    def level(self) -> tuple[float, float]:
        """Middle of the grids in ln rate, and its spread."""
        low, high = np.log([(one.rates[0], one.rates[-1]) for one in self.cells]).T
        return float((low + high).mean() / 2), float(max(LEVEL_SHARE * (high.max() - low.min()), 0.2))

    @cached_property
    def slopes(self) -> tuple[Array, Array]:
        """Middles and spreads of the trend's slopes."""
        others = self.features.shape[1] - 3
        middle = [SLOPE, SLOPE, BATCH_SLOPE, *[0.0] * others]
        return np.array(middle), np.array([SLOPE_SPREAD, SLOPE_SPREAD, BATCH_SPREAD, *[OTHER_SPREAD] * others])

    @cached_property
    def nearness(self) -> Array:
        """(cells, cells) how much of a departure two cells share, 1 for the same setting."""
        apart = self.features[:, None] - self.features[None]
        return np.asarray(np.exp(-0.5 * (apart**2).sum(axis=-1) / REACH**2))

    @cached_property
    def alike(self) -> Array:
        """(cells, cells) whether two cells have the same words."""
        return np.array([[float(one.words == other.words) for other in self.cells] for one in self.cells])

    def moments(self, shared: float, held: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Mean (cells,) and covariance of x; slopes that are `held` are 0."""
        middle, spread = (np.where(held, 0.0, values) for values in self.slopes)
        sloped = self.features * spread
        cov = self.level[1] ** 2 + sloped @ sloped.T + shared**2 * self.nearness * self.alike
        cov += OTHER_SPREAD**2 * self.alike if self.alike.min() < 1 else 0.0
        return self.level[0] + self.features @ middle, cov + OWN**2 * np.eye(len(cov))


def believe(cells: Sequence[Cell], trials: Sequence[Trial]) -> Belief:
    """The posterior of every cell's best rate, tried or not.

    Args:
        cells: all cells of the sweep.
        trials: those that have ended; the order does not matter.
    """
    prior, pairs = Prior(tuple(cells)), Pairs.of(trials)
    free = np.zeros(prior.features.shape[1], bool)
    z = _PRIOR[:, 0]
    if len(pairs.cell):
        found = minimize(
            lambda z: _Posterior.at(prior, pairs, z, free).objective,
            z,
            method="Nelder-Mead",
            options={"maxfev": 120, "xatol": 0.02, "fatol": 0.01, "initial_simplex": z + _simplex(len(z))},
        )
        z = found.x
    posterior = _Posterior.at(prior, pairs, z, free)
    # the trend never rises with size or length
    held = free.copy()
    held[:2] = posterior.slopes[:2] > 0
    if held.any():
        posterior = _Posterior.at(prior, pairs, z, held)
    return Belief(posterior.x, posterior.spread, posterior.basin, posterior.slopes)


def _simplex(k: int) -> Array:
    return np.vstack([np.zeros(k), 0.7 * _PRIOR[:, 1] * np.eye(k)])


@dataclass(frozen=True, eq=False)
class _Posterior:
    """x at its mode, the basin, the slopes, and minus ln evidence with the priors of the basin."""

    prior: Prior
    basin: Basin
    x: Array
    cov: Array
    slopes: Array
    objective: float
    _seen: NDArray[np.int64]
    _noise: Array

    @staticmethod
    def at(prior: Prior, pairs: Pairs, z: Array, held: NDArray[np.bool_]) -> _Posterior:
        p = float(np.exp(np.clip(z[0], -12, 3)))
        basin = Basin(
            p,
            p * float(np.exp(np.clip(z[1], -6, 3))),
            float(np.clip(z[2], 0, 1.5)),
            float(np.exp(np.clip(z[3], -6, 2))),
        )
        mean, cov = prior.moments(basin.shared, held)
        seen = np.unique(pairs.cell)
        x = mean.copy()
        K = cov[np.ix_(seen, seen)]
        place = np.searchsorted(seen, pairs.cell)
        f = mean[seen].copy()
        noise = np.full(len(seen), np.inf)
        value = 0.0
        alpha = np.zeros(len(seen))
        factor = None
        for _ in range(_STEPS if len(seen) else 0):
            x[seen] = f
            r, g, v, _ = pairs.residuals(basin, x)
            W = np.bincount(place, g * g / v, len(seen)) + 1e-9
            pull = np.bincount(place, g * r / v, len(seen))
            noise = 1 / W
            target = f + pull / W
            factor = cho_factor(K + np.diag(noise), lower=True)
            alpha = cho_solve(factor, target - mean[seen])
            new = mean[seen] + K @ alpha
            step = np.clip(new - f, -1, 1)
            f = f + step
            if np.abs(step).max() < 1e-4:
                break
        if factor is not None:
            x[seen] = f
            r, _, v, constant = pairs.residuals(basin, x)
            back = cho_solve(cho_factor(K + 1e-9 * np.eye(len(K)), lower=True), f - mean[seen])
            value = constant + 0.5 * float((r * r / v).sum()) + 0.5 * float((f - mean[seen]) @ back)
            value += float(np.log(np.diag(factor[0])).sum()) - 0.5 * float(np.log(noise).sum())
            x = mean + cov[:, seen] @ alpha
        value += 0.5 * float((((z - _PRIOR[:, 0]) / _PRIOR[:, 1]) ** 2).sum())
        middle, spread = (np.where(held, 0.0, values) for values in prior.slopes)
        slopes = middle + spread**2 * (prior.features[seen].T @ alpha)
        return _Posterior(prior, basin, x, cov, slopes, value, seen, noise)

    @property
    def spread(self) -> Array:
        """Standard deviation of x, (cells,)."""
        K = self.cov[np.ix_(self._seen, self._seen)]
        across = self.cov[:, self._seen]
        variance = np.diag(self.cov).copy()
        if len(self._seen):
            factor = cho_factor(K + np.diag(self._noise), lower=True)
            variance -= np.einsum("ij,ji->i", across, cho_solve(factor, across.T))
        return np.asarray(np.sqrt(np.maximum(variance, 1e-8)))
