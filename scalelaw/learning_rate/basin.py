"""The basin of one cell: losses against ln(rate), its optimum with a Fieller interval, and the noise of all cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scalelaw.fitting.straightness import t_quantile

Array = NDArray[np.float64]
Bound = Literal["inside", "above", "below"]

WINDOW = float(np.log(2.0)) * 1.05
"""Rates within this distance in ln(rate) of the best one make the parabola; further away basins are lopsided."""


@dataclass(frozen=True)
class Basin:
    """One cell's losses: ln rates ascending, mean ln loss and runs at each; the lowest rate above that diverged."""

    x: Array
    y: Array
    count: Array
    diverged: float | None


@dataclass(frozen=True)
class Optimum:
    """ln of the best rate, its interval (None: open), its standard error (None for a bound), its kind, and the
    basin's quadratic coefficient (None without a parabola)."""

    best: float
    low: float | None
    high: float | None
    stderr: float | None
    bound: Bound
    bend: float | None = None


def basin_of(cell: pd.DataFrame) -> Basin:
    """Means over seeds at each rate, and where divergence begins above the best."""
    loss = cell["val_loss"].to_numpy(float)
    rate = cell["peak_lr"].to_numpy(float)
    ok = np.isfinite(loss) & (loss > 0) & (rate > 0)
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


def pooled_noise(cells: list[pd.DataFrame], basins: list[Basin]) -> tuple[float | None, float, str]:
    """Standard deviation of ln loss between seeds, its degrees of freedom, and where it comes from.

    Seeds where they leave three degrees of freedom or more, else the residuals of the cells' parabolas.
    """
    squares = dof = 0.0
    for cell in cells:
        done = cell[cell["status"] == "finished"] if "status" in cell else cell
        logs = np.log(done["val_loss"].to_numpy(float))
        rates, which = np.unique(done["peak_lr"].to_numpy(float), return_inverse=True)
        for number in range(len(rates)):
            values = logs[which.ravel() == number]
            squares += float(((values - values.mean()) ** 2).sum())
            dof += len(values) - 1
    if dof >= 3:
        return float(np.sqrt(squares / dof)), dof, "seeds"
    squares = dof = 0.0
    for basin in basins:
        if len(basin.x) < 4:
            continue
        use = np.abs(basin.x - basin.x[int(np.argmin(basin.y))]) <= 2 * WINDOW
        if use.sum() >= 4:
            design = np.stack([np.ones(int(use.sum())), basin.x[use], basin.x[use] ** 2], axis=1)
            coefficients, *_ = np.linalg.lstsq(design, basin.y[use], rcond=None)
            squares += float((basin.count[use] * (basin.y[use] - design @ coefficients) ** 2).sum())
            dof += float(use.sum()) - 3
    return (float(np.sqrt(squares / dof)), dof, "curves") if dof >= 1 and squares > 0 else (None, 0.0, "unknown")


def optimum(basin: Basin, noise: float | None, dof: float, level: float) -> Optimum:
    """The vertex with its Fieller interval, or a bound at the grid's edge."""
    x, y = basin.x, basin.y
    best = int(np.argmin(y))
    if best == len(x) - 1:
        below = float(x[best - 1]) if best else None
        if basin.diverged is not None:  # higher rates were tried and diverged: bracketed, but by no curve
            spread = None if below is None else (basin.diverged - below) / 4
            return Optimum(float(x[best]), below, basin.diverged, spread, "inside" if below is not None else "below")
        return Optimum(float(x[best]), below, None, None, "above")
    if best == 0:
        return Optimum(float(x[0]), None, float(x[1]), None, "below")
    use = np.abs(x - x[best]) <= WINDOW
    use[[best - 1, best + 1]] = True
    u = x[use] - x[best]
    design = np.stack([np.ones(len(u)), u, u * u], axis=1)
    weight = basin.count[use]
    inverse = np.linalg.inv(design.T @ (weight[:, None] * design))
    _, slope, bend = inverse @ (design.T @ (weight * y[use]))
    vertex = float(np.clip(-slope / (2 * bend), u.min(), u.max())) if bend > 0 else 0.0
    if noise is None or bend <= 0:
        return Optimum(float(x[best]) + vertex, None, None, None, "inside")
    V = noise**2 * inverse[1:, 1:]
    along = np.array([1.0, 2 * vertex])
    stderr = float(np.sqrt(along @ V @ along)) / (2 * float(bend))
    low, high = _fieller(float(slope), float(bend), V, t_quantile(level, dof))
    at = float(x[best])
    ends = [None if end is None else at + end for end in (low, high)]
    return Optimum(at + vertex, ends[0], ends[1], stderr, "inside", float(bend))


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
