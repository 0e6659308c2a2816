"""Bootstrap: a fit repeated on resampled runs or residuals, all replicates solved side by side."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw import newton
from scalelaw.errors import UserError
from scalelaw.fitting import quantities
from scalelaw.fitting.band import Band
from scalelaw.fitting.checks import check_level, check_seed
from scalelaw.fitting.replicates import Chunk, leverages, redrawn, signs, smooth, weighted
from scalelaw.fitting.units import labels_of

if TYPE_CHECKING:
    from scalelaw.fitting.result import Fit

Array = NDArray[np.float64]
Ends = tuple[float | None, float | None]

FEWEST = 20
"""Fewer replicates say nothing about a spread."""
CERTIFIED = 0.8
"""With a smaller share of certified replicates nothing is said either."""


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Replicates of a fit.

    Attributes:
        fit: what was resampled.
        n: replicates asked for.
        unit: what was resampled: see `Fit.bootstrap`.
        units: how many different units there are.
        seed: of the resampling.
        certified: (n,) replicates whose optimum is certified; the others are left out of every number.
        disagreed: replicates whose two starts (the fit itself, a global start of its own) ended in different optima;
            the lower one counts.
        theta: (n, size) in the solver's coordinates.
        alive: (n, terms).
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
        return self.fit.named(self.theta[self.certified], self.alive[self.certified])

    @cached_property
    def natural(self) -> Array:
        """(certified replicates, size) working coordinates in the user's units, in the order of the law's fields."""
        return self.fit.point.natural_of(self.theta[self.certified], self.alive[self.certified])

    @property
    def usable(self) -> bool:
        """Whether there are enough certified replicates to speak of a spread."""
        count = int(self.certified.sum())
        return count >= FEWEST and count >= CERTIFIED * self.n

    @property
    def stderr(self) -> dict[str, float | None]:
        """Name -> standard deviation over the replicates; None where a replicate has no value."""
        return {
            name: float(values.std(ddof=1)) if self.usable and np.isfinite(values).all() else None
            for name, values in self.params.items()
        }

    def values(self, name: str, **at: Any) -> Array:
        """(certified replicates,) a parameter or a derived quantity; NaN where a replicate has none.

        Raises:
            UserError: for a name that the law does not have, or arguments that it does not take.
        """
        quantities.check(self.fit.law, name, at)
        if name in self.params:
            return self.params[name]
        with np.errstate(all="ignore"):
            return np.asarray(quantities.value(self.fit.law.decode(self.natural), name, at), float)

    def interval(self, name: str, level: float = 0.95, **at: Any) -> Ends:
        """Percentile interval of a parameter or derived quantity; an end is None (open) where replicates run away.

        Raises:
            UserError: see `values`.
        """
        return self.percentiles(self.values(name, **at), level)

    def percentiles(self, values: Array, level: float = 0.95) -> Ends:
        """Percentile interval of any quantity with one value a certified replicate.

        A replicate without a value may lie on either side, so it counts as beyond both ends.
        """
        check_level("interval", level)
        if not self.usable:
            return None, None
        unknown = np.isnan(values)
        low, high = (
            float(np.quantile(np.where(unknown, beyond, values), q, method="lower" if q < 0.5 else "higher"))
            if unknown.any() or np.isinf(values).any()
            else float(np.quantile(values, q))
            for beyond, q in ((-np.inf, (1 - level) / 2), (np.inf, (1 + level) / 2))
        )
        return low if np.isfinite(low) else None, high if np.isfinite(high) else None

    def predict(self, level: float = 0.95, **variables: ArrayLike) -> Band:
        """Percentile band of the curve.

        Raises:
            UserError: see `Fit.predict`.
        """
        check_level("interval", level)
        x, shape = self.fit.centred(variables)
        mid = self.fit.mean(x).reshape(shape)
        beyond = self.fit.beyond(None, **variables)
        far = None if beyond is None else np.asarray(beyond)
        if not self.usable:
            return Band(mid, None, None, level, far)
        f = self.fit.point.problem.curve(self.theta[self.certified], self.alive[self.certified], x).f
        low, high = np.exp(np.quantile(f, [(1 - level) / 2, (1 + level) / 2], axis=0) + self.fit.point.problem.level)
        return Band(mid, low.reshape(shape), high.reshape(shape), level, far)


def bootstrap(
    fit: Fit, n: int, unit: str | ArrayLike, seed: int, *, starts: int = 2, threads: int | None = None
) -> Bootstrap:
    """Resamples and refits; see `Fit.bootstrap`. Every chunk draws from a stream of its own: threads change nothing."""
    word, labels = labels_of(fit.law, fit.data, unit)
    live = np.unique(labels[fit.weights > 0])  # units of runs that count
    units = len(live)
    check_seed("bootstrap", seed)
    if n < 1:
        raise UserError(f"bootstrap: n = {n} must be at least 1")
    if starts not in (1, 2):
        raise UserError(f"bootstrap: starts = {starts!r} must be 1 (the fit itself) or 2 (and a global start)")
    if units < 2:
        raise UserError(f"bootstrap: unit {word} has {units} value; resampling needs at least two")
    size = max(1, min(newton.CHUNK, newton.CHUNK * 240 // fit.n))
    counts = [min(size, n - start) for start in range(0, n, size)]
    streams = np.random.SeedSequence(seed).spawn(len(counts))
    problem = smooth(fit)
    leverage = leverages(fit) if word in ("wild", "wild-size", "residual") else None

    def one(count: int, stream: np.random.SeedSequence) -> Chunk:
        rng = np.random.default_rng(stream)
        if leverage is None:
            drawn = np.zeros((count, int(labels.max()) + 1))
            drawn[:, live] = rng.multinomial(units, np.full(units, 1.0 / units), size=count)
            return weighted(fit, problem, drawn[:, labels] * fit.point.weights, starts)
        factors = None
        if word != "residual":
            factors = np.ones((count, int(labels.max()) + 1))
            factors[:, live] = signs(rng, units, count)
            factors = factors[:, labels]
        return redrawn(fit, problem, rng, count, factors, leverage)

    workers = min(len(counts), threads or os.cpu_count() or 1)
    if workers < 2:
        chunks = [one(*pair) for pair in zip(counts, streams, strict=True)]
    else:
        with ThreadPoolExecutor(workers) as pool:
            chunks = list(pool.map(one, counts, streams))
    return Bootstrap(
        fit=fit,
        n=n,
        unit=word,
        units=units,
        seed=seed,
        certified=np.concatenate([chunk.certified for chunk in chunks]),
        disagreed=sum(chunk.disagreed for chunk in chunks),
        theta=np.concatenate([chunk.theta for chunk in chunks]),
        alive=np.concatenate([chunk.alive for chunk in chunks]),
    )
