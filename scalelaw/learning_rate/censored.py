"""Linear regression on optima of which some are known only to lie within limits (Tobin 1958), by Newton's method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

Array = NDArray[np.float64]

_STEPS = 200
_PRIOR = 1e-3
"""Weight of (ln scatter - its start)^2: keeps ln scatter finite where the scatter is 0."""
_HALF_LOG_TAU = 0.5 * float(np.log(2 * np.pi))


@dataclass(frozen=True)
class Observed:
    """Optima in ln rate, each array (cells,).

    Attributes:
        y: estimates; used where `exact`.
        own: standard error of the estimate, or of the limits.
        low, high: limits of what is not exact, infinite where open.
        exact: where a curve gives an estimate.
    """

    y: Array
    own: Array
    low: Array
    high: Array
    exact: NDArray[np.bool_]

    def take(self, rows: NDArray[np.bool_]) -> Observed:
        """The cells where `rows` is true."""
        return Observed(self.y[rows], self.own[rows], self.low[rows], self.high[rows], self.exact[rows])

    @cached_property
    def limited(self) -> NDArray[np.int64]:
        """Numbers of the cells that are not exact."""
        return np.flatnonzero(~self.exact)

    @property
    def bracketed(self) -> NDArray[np.bool_]:
        """Cells known from both sides."""
        return self.exact | (np.isfinite(self.low) & np.isfinite(self.high))

    def miss(self, mean: Array) -> Array:
        """Distance of a prediction from the estimate, or from the limits it oversteps (0 within them)."""
        outside = np.where(mean < self.low, mean - self.low, np.where(mean > self.high, mean - self.high, 0.0))
        return np.asarray(np.where(self.exact, mean - self.y, outside))


@dataclass(frozen=True)
class Line:
    """Coefficients (k,), their covariance at the given scatter (None when singular), scatter, minus ln likelihood."""

    coefficients: Array
    covariance: Array | None
    scatter: float
    objective: float


def regression(X: Array, data: Observed) -> Line:
    """Maximum likelihood of mean X beta and variance own^2 + scatter^2, a common scatter.

    Args:
        X: (cells, k), of full rank on the bracketed cells.
        data: of the same cells.
    """
    k = X.shape[1]
    known = data.bracketed
    # coefficients are found for y less its mean, so that the unit of the rate changes no rounding that matters
    origin = float(data.y[known].mean())
    centred = Observed(data.y - origin, data.own, data.low - origin, data.high - origin, data.exact)
    ones, *_ = np.linalg.lstsq(X, np.ones(len(X)))
    start, *_ = np.linalg.lstsq(X[known], centred.y[known])
    spread = float(np.log(max(float(np.std(centred.y[known] - X[known] @ start)), 0.05)))
    z, H, value = _newton(lambda z: _likelihood(X, centred, z, spread), np.append(start, spread))
    inner = H[:k, :k]  # at given scatter, for where it is near 0 the likelihood is flat in its logarithm
    covariance = None
    if np.linalg.eigvalsh(inner)[0] > 0:
        free = float(known.sum())
        # maximum likelihood divides by n, not by n - k
        covariance = np.linalg.inv(inner) * (free / (free - k) if free > k else 1.0)
    return Line(z[:k] + origin * ones, covariance, float(np.exp(z[k])), value)


def scatter_about(mean: Array, data: Observed) -> Line:
    """The likeliest scatter about given means (cells,); no coefficients."""
    apart = data.miss(mean)
    spread = float(np.log(max(float(apart.std()), 0.05)))

    def of_scatter(z: Array) -> tuple[float, Array, Array]:
        s2 = float(np.exp(2 * z[0]))
        value, gradient, curvature = _Cells.of(data, mean, s2, slopes=False).in_scatter(s2, float(z[0]) - spread)
        return value, np.array([gradient]), np.array([[curvature]])

    z, _, value = _newton(of_scatter, np.array([spread]))
    return Line(np.zeros(0), None, float(np.exp(z[0])), value)


def _likelihood(X: Array, data: Observed, z: Array, spread: float) -> tuple[float, Array, Array]:
    """Minus ln likelihood at z = (beta, ln scatter), its gradient and Hessian."""
    k = X.shape[1]
    s2 = float(np.exp(2 * z[k]))
    cells = _Cells.of(data, X @ z[:k], s2, slopes=True)
    assert cells.in_mean is not None
    fm, fmm, fmv = cells.in_mean
    value, slope, curvature = cells.in_scatter(s2, float(z[k]) - spread)
    H = np.empty((k + 1, k + 1))
    H[:k, :k] = X.T @ (fmm[:, None] * X)
    H[:k, k] = H[k, :k] = X.T @ (fmv * 2 * s2)
    H[k, k] = curvature
    return value, np.append(X.T @ fm, slope), H


class _Cells(NamedTuple):
    """Minus ln likelihood of every cell and its derivatives, each (cells,).

    Attributes:
        f: minus ln likelihood.
        fv, fvv: its derivatives in the variance v.
        in_mean: fm, fmm and fmv, those in the mean m too; None where they were not asked for.
    """

    f: Array
    fv: Array
    fvv: Array
    in_mean: tuple[Array, Array, Array] | None

    @staticmethod
    def of(data: Observed, m: Array, s2: float, *, slopes: bool) -> _Cells:
        """At means m (cells,) and a common squared scatter s2, with derivatives in the mean where `slopes`."""
        v = data.own**2 + s2
        r = data.y - m
        f = 0.5 * r * r / v + 0.5 * np.log(v)
        fv, fvv = 0.5 * (1 - r * r / v) / v, (r * r / v - 0.5) / v**2
        in_mean = (-r / v, 1 / v, r / v**2) if slopes else None
        if len(c := data.limited):
            V, mean = v[c], m[c]
            S = np.sqrt(V)
            a, b = (data.low[c] - mean) / S, (data.high[c] - mean) / S
            logp = _log_mass(a, b)
            ha, hb = _ratio(a, logp), _ratio(b, logp)  # normal density over mass
            a, b = np.where(np.isfinite(a), a, 0), np.where(np.isfinite(b), b, 0)
            f[c] = -logp
            fa, fb = ha, -hb
            faa, fbb, fab = -a * ha + ha * ha, b * hb + hb * hb, -ha * hb
            # d a / d v = -a / 2v, d2 a / dv2 = 3 a / 4v^2, d2 a / dm dv = 1 / (2 v sd)
            fv[c] = -(fa * a + fb * b) / (2 * V)
            fvv[c] = (faa * a * a + 2 * fab * a * b + fbb * b * b + 3 * (fa * a + fb * b)) / (4 * V * V)
            if in_mean is not None:
                fm, fmm, fmv = in_mean
                fm[c], fmm[c] = -(fa + fb) / S, (faa + 2 * fab + fbb) / V
                fmv[c] = (faa * a + fab * (a + b) + fbb * b + fa + fb) / (2 * V * S)
        return _Cells(f, fv, fvv, in_mean)

    def in_scatter(self, s2: float, away: float) -> tuple[float, float, float]:
        """The sum with the prior, and its first two derivatives in ln scatter, `away` from where the prior has it."""
        slope = (self.fv * 2 * s2).sum() + 2 * _PRIOR * away
        curvature = (self.fvv * 4 * s2 * s2 + self.fv * 4 * s2).sum() + 2 * _PRIOR
        return float(self.f.sum()) + _PRIOR * float(away) ** 2, float(slope), float(curvature)


def _log_mass(a: Array, b: Array) -> Array:
    """ln(Phi(b) - Phi(a)), in the lower tail where numbers are exact."""
    flip = a + b > 0
    a, b = np.where(flip, -b, a), np.where(flip, -a, b)
    return np.asarray(log_ndtr(b) + np.log1p(-np.exp(np.minimum(log_ndtr(a) - log_ndtr(b), -1e-300))))


def _ratio(x: Array, logp: Array) -> Array:
    """Normal density at x over a mass; 0 at an open end."""
    return np.asarray(np.exp(-0.5 * x**2 - _HALF_LOG_TAU - logp))


def _newton(f: Callable[[Array], tuple[float, Array, Array]], z: Array) -> tuple[Array, Array, float]:
    """Damped Newton descent until steps vanish: the last point, Hessian and value."""
    value, gradient, H = f(z)
    for _ in range(_STEPS):
        step = _step(gradient, H)
        step *= min(1.0, 1.0 / max(abs(step[-1]), 1e-300))  # at most a factor of e in scatter
        if np.abs(step).max() < 1e-14:
            break
        decrease = float(-gradient @ step)
        length = 1.0
        while length > 1e-9:
            new = f(z + length * step)
            # near the optimum the value is flat within rounding: there Newton's step is trusted
            if new[0] <= value - 1e-4 * length * decrease or (decrease < 1e-9 and np.isfinite(new[0])):
                break
            length /= 2
        else:
            break
        z = z + length * step
        value, gradient, H = new
        if np.abs(length * step).max() < 1e-13:
            break
    return z, H, value


def _step(gradient: Array, H: Array) -> Array:
    """Newton's step with every curvature taken as upward."""
    if len(H) == 1:
        return np.asarray(-gradient / np.abs(H[0]))
    values, vectors = np.linalg.eigh(H)
    curvature = np.maximum(np.abs(values), 1e-10 * np.abs(values).max())
    return np.asarray(-vectors @ ((vectors.T @ gradient) / curvature))
