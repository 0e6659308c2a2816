"""What the trials so far say of every cell's best rate: a trend, near which neighbouring cells agree.

    x = ln best rate of a cell = trend in ln size, ln length, ln batch ... + departure.

Departures are a Gaussian process over the same logs, so that neighbours share them. What trials say of x is that of
`trials`. The posterior is Laplace's (Rasmussen and Williams 2006, chapter 3); the basin's height and skew, the noise
and the size of departures are the likeliest ones, from vague priors that are written down here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from scalelaw.learning_rate.trials import LEAST_SKEW, Bowl, Cell, Pairs, Trial

Array = NDArray[np.float64]

SIZE_SLOPE, LENGTH_SLOPE, SLOPE_SPREAD = -0.2, -0.3, 0.3
"""Of ln rate in ln size and ln length, before any trial. In Figure 3 of Smith et al. 2023 the best rate falls from 1.6
to .8 or .4 over 32 times the epochs, which is -.2 to -.4, faster for larger models.
"""
BATCH_SLOPE, BATCH_SPREAD = 0.5, 0.5
"""In ln batch size: between no dependence and the proportion of linear scaling."""
OTHER_SPREAD = 0.5
"""In the log of any other number that varies; and between cells that differ by a word."""
LEVEL_SHARE = 0.15
"""Spread of the trend's level about the middle of the grid, as a share of the grid's range."""
LEAST_LEVEL = 0.2
REACH = 2.0
"""Distance in logs over which departures from the trend are shared by neighbours."""
OWN = 0.1
"""Departure of one cell that no neighbour shares, in ln rate."""
_PRIOR = np.array([[np.log(0.05), 1.5], [np.log(0.07), 0.7], [0.5, 0.3], [np.log(0.3), 0.5]])
"""Middle and spread of ln p, ln(noise / p), skew, and ln of the shared departures' size."""
_RANGE = np.array([[-12, 3], [-6, 3], [LEAST_SKEW, 1.5], [-6, 2]])
_EVALUATIONS = 120
_STEPS, _STEP = 20, 1e-4


@dataclass(frozen=True)
class Belief:
    """What is believed of the cells' best rates.

    Attributes:
        x, spread: (cells,) mean and standard deviation of the ln of the best rate.
        bowl: the likeliest basin.
        slopes: of the trend, for size, length, batch and other numbers.
    """

    x: Array
    spread: Array
    bowl: Bowl
    slopes: Array


def believe(cells: Sequence[Cell], trials: Sequence[Trial]) -> Belief:
    """The posterior of every cell's best rate, tried or not.

    Args:
        cells: all cells of the sweep.
        trials: those that have ended.
    """
    return _believe(tuple(cells), tuple(trials))


@lru_cache(maxsize=1024)
def _believe(cells: tuple[Cell, ...], trials: tuple[Trial, ...]) -> Belief:
    prior, pairs = _Prior(cells), Pairs.of(trials)
    free = np.zeros(prior.features.shape[1], bool)
    z = _PRIOR[:, 0]
    if len(pairs.cell):
        search = _Mode(prior, pairs, free)
        start = np.vstack([z, z + 0.7 * np.diag(_PRIOR[:, 1])])
        options = {"maxfev": _EVALUATIONS, "xatol": 0.02, "fatol": 0.01, "initial_simplex": start}
        z = minimize(search, z, method="Nelder-Mead", options=options).x  # type: ignore[call-overload]
    found = _posterior(prior, pairs, z, free)
    # the trend never rises with size or length
    held = free.copy()
    held[:2] = found.slopes[:2] > 0
    return _posterior(prior, pairs, z, held) if held.any() else found


@dataclass(frozen=True, eq=False)
class _Prior:
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
        return float((low + high).mean() / 2), float(max(LEVEL_SHARE * (high.max() - low.min()), LEAST_LEVEL))

    def slopes(self, held: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Middles and spreads of the trend's slopes; 0 for those that are held."""
        others = len(held) - 3
        middle = np.array([SIZE_SLOPE, LENGTH_SLOPE, BATCH_SLOPE, *[0.0] * others])
        spread = np.array([SLOPE_SPREAD, SLOPE_SPREAD, BATCH_SPREAD, *[OTHER_SPREAD] * others])
        return np.where(held, 0.0, middle), np.where(held, 0.0, spread)

    @cached_property
    def alike(self) -> Array:
        """(cells, cells) whether two cells have the same words."""
        return np.array([[float(one.words == other.words) for other in self.cells] for one in self.cells])

    @cached_property
    def nearness(self) -> Array:
        """(cells, cells) how much of a departure two cells share, 1 for the same setting."""
        apart = self.features[:, None] - self.features[None]
        return np.asarray(np.exp(-0.5 * (apart**2).sum(axis=-1) / REACH**2) * self.alike)

    def mean(self, held: NDArray[np.bool_]) -> Array:
        """Of x, (cells,)."""
        return np.asarray(self.level[0] + self.features @ self.slopes(held)[0])

    def trend(self, held: NDArray[np.bool_]) -> Array:
        """Covariance of x but for the shared departures, (cells, cells)."""
        sloped = self.features * self.slopes(held)[1]
        cov = self.level[1] ** 2 + sloped @ sloped.T + OWN**2 * np.eye(len(self.cells))
        return np.asarray(cov + OTHER_SPREAD**2 * self.alike if self.alike.min() < 1 else cov)


class _Mode:
    """Minus ln evidence of (ln p, ln(noise / p), skew, ln shared), with their priors; x at its mode, kept from call to
    call as the next one's start.
    """

    def __init__(self, prior: _Prior, pairs: Pairs, held: NDArray[np.bool_]) -> None:
        self.pairs = pairs
        self.seen, self.place = np.unique(pairs.cell, return_inverse=True)
        rows = np.ix_(self.seen, self.seen)
        self.mean, self.trend, self.nearness = (
            prior.mean(held)[self.seen],
            prior.trend(held)[rows],
            prior.nearness[rows],
        )
        self.x = self.mean.copy()
        self.alpha = np.zeros(len(self.seen))
        self.noise = np.full(len(self.seen), np.inf)

    def __call__(self, z: Array) -> float:
        """The value at z; x, alpha (the covariance's inverse on x less its mean) and noise are left behind."""
        bowl, shared = _bowl(z)
        K = self.trend + shared**2 * self.nearness
        count = len(self.seen)
        for _ in range(_STEPS):
            r, slope, variance, _ = self.pairs.residuals(bowl, self.x[self.place])
            W = np.bincount(self.place, slope * slope / variance, count) + 1e-9
            pull = np.bincount(self.place, slope * r / variance, count)
            self.noise = 1 / W
            factor = cho_factor(K + np.diag(self.noise), lower=True, check_finite=False)
            self.alpha = cho_solve(factor, self.x + pull / W - self.mean, check_finite=False)
            step = np.clip(self.mean + K @ self.alpha - self.x, -1, 1)
            self.x = self.x + step
            if np.abs(step).max() < _STEP:
                break
        r, _, variance, constant = self.pairs.residuals(bowl, self.x[self.place])
        value = constant + 0.5 * float((r * r / variance).sum()) + 0.5 * float((self.x - self.mean) @ self.alpha)
        value += float(np.log(np.diag(factor[0])).sum()) - 0.5 * float(np.log(self.noise).sum())
        return value + 0.5 * float((((z - _PRIOR[:, 0]) / _PRIOR[:, 1]) ** 2).sum())


def _posterior(prior: _Prior, pairs: Pairs, z: Array, held: NDArray[np.bool_]) -> Belief:
    bowl, shared = _bowl(z)
    mode = _Mode(prior, pairs, held)
    x, cov = prior.mean(held), prior.trend(held) + shared**2 * prior.nearness
    variance = np.diag(cov).copy()
    middle, spread = prior.slopes(held)
    if len(mode.seen):
        mode(z)
        across = cov[:, mode.seen]
        factor = cho_factor(cov[np.ix_(mode.seen, mode.seen)] + np.diag(mode.noise), lower=True)
        variance -= np.einsum("ij,ji->i", across, cho_solve(factor, across.T))
        x = x + across @ mode.alpha
        middle = middle + spread**2 * (prior.features[mode.seen].T @ mode.alpha)
    return Belief(x, np.sqrt(np.maximum(variance, 1e-8)), bowl, middle)


def _bowl(z: Array) -> tuple[Bowl, float]:
    """The basin, and the size of shared departures."""
    z = np.clip(z, *_RANGE.T)
    return Bowl(float(np.exp(z[0])), float(np.exp(z[0] + z[1])), float(z[2])), float(np.exp(z[3]))
