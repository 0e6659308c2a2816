"""The basin of one cell: losses against ln(rate), its optimum with a Fieller interval, or a bound.

Near its optimum ln loss = l + c phi(u) + s u with u the distance in ln(rate) from the best tested rate and

    phi(u) = 2 (exp(k u) - 1 - k u) / k^2,

which is u^2, the parabola, at k = 0. The skew k is one number for all cells; for k > 0 the basin climbs exponentially
above the optimum and linearly below it. At given k the curve is linear in its three coefficients and every origin of
u gives the same curve, so three rates determine it and Fieller's interval is exact for it, as for the parabola.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import factorial

from scalelaw.fitting.straightness import t_quantile

Array = NDArray[np.float64]
Bound = Literal["inside", "above", "below"]
Kind = Literal["curve", "grid", "edge"]

WINDOW = float(np.log(2.0)) * 1.05
"""Rates within this distance in ln(rate) of the best one make the parabola; further away basins are lopsided."""
WIDE = 2 * WINDOW
"""The same for the lopsided curve, and for all that is learnt of the basins' shape."""

_SERIES = 2 / factorial(np.arange(2, 72))
_SLOPES = (np.arange(len(_SERIES)) * _SERIES)[1:]


@dataclass(frozen=True)
class Basin:
    """One cell's losses: ln rates ascending, mean ln loss and runs at each; the lowest rate above that diverged."""

    x: Array
    y: Array
    count: Array
    diverged: float | None

    def near(self, width: float) -> NDArray[np.bool_]:
        """Which rates lie within `width` of the best tested one."""
        return np.asarray(np.abs(self.x - self.x[int(np.argmin(self.y))]) <= width)


@dataclass(frozen=True)
class Optimum:
    """The optimum of one cell, in ln rate.

    Attributes:
        best: the curve's lowest point, or the best tested rate.
        low, high: its interval (None: open, or far beyond the rates tested); for a bound one end is the rate next to
            the edge, the other is open.
        stderr: standard error (None when unknown, and for what no curve gives).
        bound: inside the grid, or a bound at its edge.
        bend: the curve's quadratic coefficient at its lowest point (None without a curve).
        kind: whether a curve, the grid alone or its edge tells where the optimum is.
        limits: where the optimum lies by the grid alone: half a step around the best rate, open beyond an edge.
    """

    best: float
    low: float | None
    high: float | None
    stderr: float | None
    bound: Bound
    bend: float | None = None
    kind: Kind = "curve"
    limits: tuple[float, float] = (-np.inf, np.inf)


def unusable(cell: pd.DataFrame) -> NDArray[np.bool_]:
    """Runs (runs,) that did not diverge and yet have no positive, finite loss and rate."""
    loss, rate = cell["val_loss"].to_numpy(float), cell["peak_lr"].to_numpy(float)
    bad = ~(np.isfinite(loss) & (loss > 0) & np.isfinite(rate) & (rate > 0))
    if "status" in cell:
        bad &= (cell["status"] != "diverged").to_numpy()
    return np.asarray(bad)


def basin_of(cell: pd.DataFrame) -> Basin:
    """Means over seeds at each rate, and where divergence begins above the best."""
    loss = cell["val_loss"].to_numpy(float)
    rate = cell["peak_lr"].to_numpy(float)
    ok = ~unusable(cell)
    failed = np.zeros(len(cell), bool)
    if "status" in cell:
        failed = (cell["status"] == "diverged").to_numpy()
        ok &= ~failed
    # a rate at which any seed diverged is too high, whatever its other seeds reached
    ok &= ~np.isin(rate, rate[failed])
    x, which = np.unique(np.log(rate[ok]), return_inverse=True)
    count = np.bincount(which.ravel(), minlength=len(x)).astype(float)
    y = np.bincount(which.ravel(), np.log(loss[ok]), minlength=len(x)) / np.maximum(count, 1)
    above = np.log(rate[failed])
    above = above[above > x.max()] if len(x) else above
    return Basin(x, y, count, float(above.min()) if len(above) else None)


def phi(u: Array, skew: Array | float) -> Array:
    """The basin's shape, u^2 at skew 0; arrays broadcast."""
    return np.asarray(u * u * np.polynomial.polynomial.polyval(skew * u, _SERIES))


def phi_by_skew(u: Array, skew: Array | float) -> Array:
    """Derivative of `phi` by the skew."""
    return np.asarray(u**3 * np.polynomial.polynomial.polyval(skew * u, _SLOPES))


def optimum(basin: Basin, noise: float | None, dof: float, level: float, skew: float | None = 0.0) -> Optimum:
    """The curve's lowest point with its Fieller interval, or what the grid says.

    Args:
        basin: one cell.
        noise: standard deviation of ln loss of a run, None when unknown.
        dof: degrees of freedom of `noise`.
        level: of the interval.
        skew: of the curve; 0 is the parabola; None takes the best tested rate, known to half a step.
    """
    x, y = basin.x, basin.y
    best = int(np.argmin(y))
    at = float(x[best])
    below = float(x[best - 1]) if best else None
    above = float(x[best + 1]) if best < len(x) - 1 else None
    half_below = -np.inf if below is None else (at + below) / 2
    half_above = np.inf if above is None else (at + above) / 2
    if above is None:
        if basin.diverged is None:
            return Optimum(at, below, None, None, "above", kind="edge", limits=(half_below, np.inf))
        # higher rates were tried and diverged: bracketed, but by no curve, and up to the one that diverged
        if below is None:
            return Optimum(at, None, basin.diverged, None, "below", kind="edge", limits=(-np.inf, basin.diverged))
        limits = (half_below, basin.diverged)
        return Optimum(at, *limits, None, "inside", kind="grid", limits=limits)
    if below is None:
        return Optimum(at, None, above, None, "below", kind="edge", limits=(-np.inf, half_above))
    limits = (half_below, half_above)
    grid = Optimum(at, *limits, None, "inside", kind="grid", limits=limits)
    if skew is None:
        return grid
    use = basin.near(WIDE if skew else WINDOW)
    use[[best - 1, best + 1]] = True
    u = x[use] - at
    design = np.stack([np.ones(len(u)), u, phi(u, skew)], axis=1)
    weight = basin.count[use]
    inverse = np.linalg.inv(design.T @ (weight[:, None] * design))
    _, slope, bend = inverse @ (design.T @ (weight * y[use]))
    if bend <= 0:
        return grid
    # the derivative is slope + 2 bend t, with t = (exp(k u) - 1) / k a stretched distance
    lowest = -slope / (2 * bend)
    vertex = float(np.clip(_unstretched(lowest, skew), u.min(), u.max()))
    bend_there = float(bend * np.exp(skew * vertex))
    if noise is None:
        return Optimum(at + vertex, None, None, None, "inside", bend_there, limits=limits)
    V = np.asarray(noise**2 * inverse[1:, 1:], dtype=np.float64)
    along = np.array([1.0, 2 * np.expm1(skew * vertex) / skew if skew else 2 * vertex])
    stderr = float(np.sqrt(along @ V @ along)) / (2 * bend_there)
    ends = _fieller(float(slope), float(bend), V, t_quantile(level, dof))
    low, high = (None if end is None else _seen(at + _unstretched(end, skew), x) for end in ends)
    return Optimum(at + vertex, low, high, stderr, "inside", bend_there, limits=limits)


def _seen(end: float, x: Array) -> float | None:
    """An end of an interval; None further beyond the tested rates than these reach: of those no curve can say."""
    reach = float(x[-1] - x[0])
    return end if x[0] - reach <= end <= x[-1] + reach else None


def _unstretched(t: float, skew: float) -> float:
    """u of t = (exp(k u) - 1) / k; infinite where no u has this t."""
    if not skew:
        return float(t)
    return float(np.log1p(skew * t) / skew) if skew * t > -1 else float(-np.inf * np.sign(skew))


def _fieller(slope: float, bend: float, V: Array, t: float) -> tuple[float | None, float | None]:
    """Where the derivative slope + 2 bend u may be 0 within t standard errors (Fieller 1954); None, None when open."""
    # (slope + 2 bend u)^2 <= t^2 (V00 + 4 u V01 + 4 u^2 V11)
    a = 4 * (bend**2 - t * t * V[1, 1])
    b = 4 * (slope * bend - t * t * V[0, 1])
    c = slope**2 - t * t * V[0, 0]
    root = b * b - 4 * a * c
    if a <= 0 or root < 0:
        return None, None
    return float((-b - np.sqrt(root)) / (2 * a)), float((-b + np.sqrt(root)) / (2 * a))
