"""The trend of the optimal rate in ln size and ln epochs, bounds entering as bounds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from scalelaw.fitting import Band, Status
from scalelaw.fitting.checks import check_level, points
from scalelaw.fitting.straightness import t_quantile
from scalelaw.learning_rate.basin import Optimum
from scalelaw.learning_rate.censored import Line, Observed, regression

Array = NDArray[np.float64]

PER = 256.0
"""Images that a rate is also stated for: rates grow with the batch, and rate / batch x 256 compares sweeps."""


@dataclass(frozen=True)
class RateTrend:
    """ln rate = a + b ln size + c ln epochs.

    Attributes:
        names: of the coefficients that the cells determine: a, then b, c where size and epochs vary.
        size, length: columns behind b and c (macs_per_image or params; epochs or images_seen).
        coefficients: (names,).
        covariance: (names, names); None when unknown. Of a monotone trend, that without the constraint.
        scatter: standard deviation of a cell's ln optimum about the trend, beyond its own error.
        dof: for Student's t.
        status: converged, at_bound (a monotone trend holds a slope at 0), not_identified (an interval is unknown) or
            failed (no cells).
        note: what a reader must know.
        monotone: whether slopes above 0 were forbidden.
        free: (names,) coefficients without that constraint; intervals are theirs, cut at 0.
    """

    names: tuple[str, ...]
    size: str
    length: str
    coefficients: Array = field(repr=False)
    covariance: Array | None = field(repr=False)
    scatter: float
    dof: float
    status: Status
    note: str
    monotone: bool = False
    free: Array | None = field(default=None, repr=False)

    @property
    def params(self) -> dict[str, float]:
        """Coefficient -> estimate."""
        return dict(zip(self.names, self.coefficients.tolist(), strict=True))

    @property
    def stderr(self) -> dict[str, float | None]:
        """Coefficient -> standard error, None when unknown and for a slope held at 0."""
        if self.covariance is None:
            return dict.fromkeys(self.names)
        known = dict(zip(self.names, np.sqrt(np.diag(self.covariance)).tolist(), strict=True))
        return {name: None if name in self.held else value for name, value in known.items()}

    @property
    def held(self) -> tuple[str, ...]:
        """Slopes that a monotone trend holds at 0."""
        if self.free is None:
            return ()
        pairs = zip(self.names, self.coefficients, self.free, strict=True)
        return tuple(name for name, value, free in pairs if name != "a" and value == 0 and free > 0)

    @property
    def interval(self) -> dict[str, tuple[float | None, float | None]]:
        """Coefficient -> 95 % interval, (None, None) when unknown."""
        if self.covariance is None:
            return dict.fromkeys(self.names, (None, None))
        half = t_quantile(0.95, self.dof) * np.sqrt(np.diag(self.covariance))
        middle = self.coefficients if self.free is None else self.free
        ends = {n: (float(v - h), float(v + h)) for n, v, h in zip(self.names, middle, half, strict=True)}
        if not self.monotone:
            return {**ends}
        return {n: (low, high) if n == "a" else (min(low, 0.0), min(high, 0.0)) for n, (low, high) in ends.items()}

    def predict(self, size: ArrayLike, length: ArrayLike, level: float = 0.95) -> Band:
        """The trend's rate at a size and length (arrays broadcast), in the units of its columns.

        Raises:
            UserError: for values that are not positive, finite numbers, shapes that do not broadcast, or a level that
                is no probability.
        """
        check_level("predict", level)
        b, c = map(np.log, points("predict", {"size": size, "length": length}).values())
        design = np.stack([{"a": np.ones_like(b), "b": b, "c": c}[name] for name in self.names], axis=-1)
        mid = np.exp(design @ self.coefficients)
        if self.covariance is None:
            return Band(np.asarray(mid), None, None, level)
        variance = np.einsum("...i,ij,...j->...", design, self.covariance, design)
        half = t_quantile(level, self.dof) * np.sqrt(np.maximum(variance, 0))
        return Band(np.asarray(mid), np.asarray(mid * np.exp(-half)), np.asarray(mid * np.exp(half)), level)

    def scaled(self, factor: float) -> RateTrend:
        """The trend of the rate times a constant."""
        shift = np.append(np.log(factor), np.zeros(len(self.names) - 1))
        free = None if self.free is None else self.free + shift
        return replace(self, coefficients=self.coefficients + shift, free=free)


@dataclass(frozen=True)
class Terms:
    """The trend's columns: X (cells, names) = 1 and the logs of what varies; the rest as in `RateTrend`."""

    names: tuple[str, ...]
    size: str
    length: str
    X: Array
    notes: tuple[str, ...]


def terms_of(cells: pd.DataFrame) -> Terms:
    """What the cells' rates are regressed on."""
    size = "macs_per_image" if cells["macs_per_image"].notna().all() else "params"
    length = "epochs" if cells["epochs"].notna().all() else "images_seen"
    names, columns = ["a"], [np.ones(len(cells))]
    notes = []
    for name, column in (("b", size), ("c", length)):
        known = cells[column].notna().all()
        logs = np.log(cells[column].astype(float).to_numpy()) if known else np.zeros(len(cells))
        if known and np.ptp(logs) > 0.01:
            names.append(name)
            columns.append(logs)
        else:
            notes.append(f"{column} does not vary, so its coefficient {name} is left out")
    return Terms(tuple(names), size, length, np.stack(columns, axis=1), tuple(notes))


def observed(optima: list[Optimum], noise: float | None) -> Observed:
    """The optima as the regression takes them."""
    bends = [found.bend for found in optima if found.bend is not None and found.bend > 0]
    bend = float(np.median(bends)) if bends else None
    exact = np.array([found.kind == "curve" for found in optima])
    low, high = np.array([found.limits for found in optima]).T
    return Observed(
        y=np.array([found.best for found in optima]),
        own=np.array([_own_error(found, noise, bend) for found in optima]),
        low=np.where(exact, -np.inf, low),
        high=np.where(exact, np.inf, high),
        exact=exact,
    )


def _own_error(found: Optimum, noise: float | None, bend: float | None) -> float:
    """Standard error of a cell's optimum; of its limits where it has no other: the midpoints between two rates.

    Edge and neighbour differ by 2 bend step (midpoint - optimum) in ln loss, with noise sqrt(2) times that of a run.
    """
    if found.stderr is not None:
        return found.stderr
    halves = [abs(end - found.best) for end in found.limits if np.isfinite(end) and end != found.best]
    if found.kind == "curve" or not halves or noise is None or bend is None:
        return 0.0
    return float(np.sqrt(2) * noise / (2 * bend * 2 * min(halves)))


def fit_trend(terms: Terms, data: Observed, monotone: bool = False) -> RateTrend:
    """Maximum likelihood with bounds as censored observations (Tobin 1958).

    An optimum with a curve is normal about the trend with variance stderr^2 + scatter^2; a grid optimum lies within
    half a step of the best tested rate; a bound says that the optimum lies beyond the midpoint of the edge and the rate
    next to it, where the edge becomes the best tested rate.

    Args:
        terms: of the cells.
        data: their optima.
        monotone: forbids slopes above 0: the rate never rises with size or epochs.
    """
    names, notes = terms.names, list(terms.notes)
    known = data.bracketed
    X, centre = centred(terms.X)
    if known.sum() < len(names) or np.linalg.matrix_rank(X[known]) < len(names):
        note = f"{int(known.sum())} optima inside their grid do not determine a trend in {len(names)} terms"
        nan = np.full(len(names), np.nan)
        return RateTrend(names, terms.size, terms.length, nan, None, float("nan"), 1, "failed", note, monotone)
    bounds = int((~known).sum())
    if bounds:
        notes.append(f"{bounds} of {len(known)} optima are bounds at the grid's edge and enter as such")
    if bounds > 0.2 * len(known):
        notes.append("so many bounds pull the slopes towards 0; widen the grid of rates")
    if limited := int((known & ~data.exact).sum()):
        notes.append(f"{limited} optima are known to half a step of their grid and enter so")
    line, free = constrained(X, data, monotone)
    back = np.eye(len(names))
    back[0] -= centre
    dof = float(known.sum() - len(names))
    known_spread = dof >= 1 and free.covariance is not None
    trend = RateTrend(
        names=names,
        size=terms.size,
        length=terms.length,
        coefficients=back @ line.coefficients,
        covariance=back @ free.covariance @ back.T if known_spread and free.covariance is not None else None,
        scatter=line.scatter,
        dof=max(dof, 1.0),
        status="converged" if known_spread else "not_identified",
        note="; ".join(notes),
        monotone=monotone,
        free=back @ free.coefficients if monotone else None,
    )
    if not trend.held:
        return trend
    notes.append(f"{' and '.join(trend.held)} would be above 0, which a monotone trend forbids")
    return replace(trend, status="at_bound" if known_spread else trend.status, note="; ".join(notes))


def centred(X: Array) -> tuple[Array, Array]:
    """X with the means of its columns but the first taken off, and these means."""
    centre = X.mean(axis=0) * (np.arange(X.shape[1]) > 0)
    return X - centre, centre


def constrained(X: Array, data: Observed, monotone: bool) -> tuple[Line, Line]:
    """The regression with no slope above 0 where that is asked for, and the one without constraint.

    Each set of slopes held at 0 is tried, and the likeliest of the allowed ones taken.
    """
    free = regression(X, data)
    slopes = range(1, X.shape[1])
    if not monotone or all(free.coefficients[i] <= 0 for i in slopes):
        return free, free
    allowed = []
    for count in range(1, X.shape[1]):
        for held in combinations(slopes, count):
            kept = [i for i in range(X.shape[1]) if i not in held]
            line = regression(X[:, kept], data)
            if (line.coefficients[1:] <= 0).all():
                full = np.zeros(X.shape[1])
                full[kept] = line.coefficients
                allowed.append(replace(line, coefficients=full))
    return min(allowed, key=lambda line: line.objective), free
