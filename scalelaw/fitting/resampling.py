"""Bootstrap: a fit repeated on resampled runs, all replicates solved side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw import newton
from scalelaw.errors import UserError, nearest
from scalelaw.fitting.band import Band

if TYPE_CHECKING:
    from scalelaw.fitting.result import Fit

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bootstrap:
    """Replicates of a fit, each on a resample of the units with replacement.

    Attributes:
        fit: what was resampled.
        n: replicates asked for.
        unit: what was resampled: run, size (all runs of one N together), or labels.
        units: how many different units there are.
        seed: of the resampling.
        certified: (n,) replicates whose optimum is certified; the others are left out of every number.
        disagreed: replicates whose two starts (the fit itself, a global start of its own) ended in different optima;
            the lower one counts.
    """

    fit: Fit
    n: int
    unit: str
    units: int
    seed: int
    certified: newton.Mask = field(repr=False)
    disagreed: int
    theta: Array = field(repr=False)
    alive: newton.Mask = field(repr=False)

    @cached_property
    def params(self) -> dict[str, Array]:
        """Name -> (certified replicates,) values; the exponents of a dead term are NaN."""
        theta, alive = self.natural
        values = {}
        for k, (at, name, exponents) in enumerate(self.fit.layout):
            values[name] = np.where(alive[:, k], np.exp(theta[:, at]), 0.0)
            for j, exponent in enumerate(exponents, start=at + 1):
                values[exponent] = np.where(alive[:, k], theta[:, j], np.nan)
        return {name: values[name] for name in self.fit.law.names()}

    @cached_property
    def natural(self) -> tuple[Array, newton.Mask]:
        """Natural theta (ln amplitudes and exponents) and living terms of the certified replicates."""
        T, shift = self.fit.point.problem.to_natural
        return self.theta[self.certified] @ T.T + shift, self.alive[self.certified]

    @property
    def stderr(self) -> dict[str, float | None]:
        """Name -> standard deviation over the replicates; None where a replicate has no value."""
        return {
            name: None if len(values) < 20 or np.isnan(values).any() else float(values.std(ddof=1))
            for name, values in self.params.items()
        }

    def interval(self, name: str, level: float = 0.95) -> tuple[float | None, float | None]:
        """Percentile interval; an end is None (open) when that share of the replicates has no value."""
        if name not in self.params:
            known = list(self.params)
            raise UserError(f"unknown parameter {name!r}{nearest(name, known)} (known: {', '.join(known)})")
        return self.percentiles(self.params[name], level)

    def percentiles(self, values: Array, level: float = 0.95) -> tuple[float | None, float | None]:
        """Percentile interval of any quantity with one value a certified replicate."""
        tail = (1 - level) / 2
        known = values[~np.isnan(values)]
        if len(known) < 20 or len(known) < (1 - tail) * self.n:
            return None, None
        low, high = np.quantile(known, [tail, 1 - tail])
        return float(low), float(high)

    def predict(self, level: float = 0.95, **variables: ArrayLike) -> Band:
        """Percentile band of the curve."""
        x, shape = self.fit.centred(variables)
        theta, alive = self.theta[self.certified], self.alive[self.certified]
        mid = self.fit.mean(x).reshape(shape)
        if len(theta) < 20 or len(theta) < 0.9 * self.n:
            return Band(mid, None, None, level)
        f = newton.curve(self.fit.point.problem.form, x, theta, alive).f + self.fit.point.problem.level
        low, high = np.exp(np.quantile(f, [(1 - level) / 2, (1 + level) / 2], axis=0))
        return Band(mid, low.reshape(shape), high.reshape(shape), level)


def bootstrap(fit: Fit, n: int, unit: str | ArrayLike, seed: int) -> Bootstrap:
    """Resamples and refits; see `Fit.bootstrap`."""
    word, labels = _units(fit, unit)
    units = int(labels.max()) + 1
    if n < 1:
        raise UserError(f"bootstrap: n = {n} must be at least 1")
    if units < 2:
        raise UserError(f"bootstrap: unit {word} has {units} value; resampling needs at least two")
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(units, np.full(units, 1.0 / units), size=n).astype(float)
    point = fit.point
    theta, alive = np.empty((n, point.problem.form.size)), np.empty((n, point.problem.form.n_terms), bool)
    certified = np.empty(n, bool)
    disagreed = 0
    for start in range(0, n, newton.CHUNK):
        at = slice(start, min(start + newton.CHUNK, n))
        weights = counts[at][:, labels]
        warm = newton.solve(point.problem, np.repeat(fit.start[None], len(weights), axis=0), weights)
        own, _ = newton.screen(point.problem, weights, faces=False)
        cold = newton.solve(point.problem, own[:, 0], weights)
        lower = cold.certified & (~warm.certified | (cold.value < warm.value))
        gap = np.abs(cold.value - warm.value) > 1e-6 * np.minimum(cold.value, warm.value) + 1e-20
        disagreed += int((gap & cold.certified & warm.certified).sum())
        theta[at] = np.where(lower[:, None], cold.theta, warm.theta)
        alive[at] = np.where(lower[:, None], cold.alive, warm.alive)
        certified[at] = warm.certified | cold.certified
    return Bootstrap(fit, n, word, units, seed, certified, disagreed, theta, alive)


def _units(fit: Fit, unit: str | ArrayLike) -> tuple[str, NDArray[np.int64]]:
    """The unit's word and the number of each run's unit."""
    runs = fit.n
    if isinstance(unit, str):
        if unit == "run":
            return unit, np.arange(runs)
        if unit == "size":
            if "N" not in fit.data:
                raise UserError(f"bootstrap: law {fit.law.word} has no size N; pass unit='run' or one label a run")
            return unit, np.unique(fit.data["N"], return_inverse=True)[1].ravel()
        close = nearest(unit, ["run", "size"])
        raise UserError(f"bootstrap: unknown unit {unit!r}{close} (known: run, size, or one label a run)")
    labels = np.asarray(unit)
    if labels.shape != (runs,):
        raise UserError(f"bootstrap: labels have shape {labels.shape}; pass one a run, shape ({runs},)")
    return "labels", np.unique(labels, return_inverse=True)[1].ravel()
