"""The parametric approach: the lowest loss at given compute on a fitted surface (Hoffmann et al. 2022, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalelaw.fitting import Fit
from scalelaw.fitting.straightness import t_quantile
from scalelaw.frontiers.chance import levelled
from scalelaw.frontiers.columns import Columns
from scalelaw.frontiers.trend import Trend, judged, nothing
from scalelaw.laws import SizeData, Split

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Optimum:
    """ln size = log_amplitude + slope ln C on a surface, with C in the user's unit.

    Attributes:
        log_amplitude, slope: see the class.
        covariance: (2, 2), None when unknown.
        dof: of the surface's residuals.
    """

    log_amplitude: float
    slope: float
    covariance: Array | None
    dof: float


def fit_surface(size: Array, data: Array, loss: Array, points: str, chance: float | None = None) -> Fit:
    """E + A N^-alpha + B D^-beta by least squares in log space, levelling off at the loss of guessing where that shows.

    See `levelled`.

    Args:
        size, data, loss: (runs,).
        points: how the runs were selected, for the record.
        chance: the loss of guessing, None where it is unknown.
    """
    return levelled(SizeData, chance, points=points, N=size, D=data, L=loss)


def optimum(surface: Fit, log_unit: float) -> Optimum:
    """The optimal size against compute, and its spread.

    Args:
        surface: of `fit_surface`.
        log_unit: ln of (unit of C in FLOP / k), so that N D = exp(log_unit) C.
    """
    law = surface.fitted
    assert isinstance(law, Split)
    slope = law.size_exponent
    log_amplitude = law.log_balance + slope * log_unit
    covariance = None
    if surface.covariance is not None:
        G = _gradient(law, log_unit)
        living = ~np.isnan(np.diag(surface.covariance))
        covariance = G[:, living] @ surface.covariance[np.ix_(living, living)] @ G[:, living].T
        covariance = _scaled(covariance, surface, slope)
    return Optimum(log_amplitude, slope, covariance, surface.point.dof)


def _gradient(law: Split, log_unit: float) -> Array:
    """(2, size) derivative of (log_amplitude, slope) by a fit's coordinates: ln A, ln B, alpha, beta, others."""
    total = law.alpha + law.beta
    slope = {"alpha": -law.beta / total**2, "beta": law.alpha / total**2}
    balance = {
        "A": 1 / total,
        "B": -1 / total,
        "alpha": (1 / law.alpha - law.log_balance) / total,
        "beta": (-1 / law.beta - law.log_balance) / total,
    }
    names = law.names()
    by_slope, by_balance = (np.array([part.get(name, 0.0) for name in names]) for part in (slope, balance))
    return np.stack([by_balance + by_slope * log_unit, by_slope])


def _scaled(covariance: Array, surface: Fit, slope: float) -> Array:
    """The covariance at which Student's t reaches the further end of the fit's own interval for the exponent.

    That interval knows of few sizes and of bounds; where it is open, so is all that follows.
    """
    low, high = surface.interval("size_exponent")
    if low is None or high is None:
        return np.full_like(covariance, np.inf)
    half = max(high - slope, slope - low) / t_quantile(0.95, surface.point.dof)
    return np.asarray(covariance * (half**2 / covariance[1, 1]))


def trends(surface: Fit | None, columns: Columns) -> dict[str, Trend]:
    """Trends of the optimal size and of the optimal data; with C = k N D exactly their exponents sum to 1."""
    names = {"size": columns.size_name, "data": columns.data_name}
    if surface is None:
        why = "no surface could be fitted"
        return {key: nothing(name, columns.compute_name, why) for key, name in names.items()}
    law = surface.fitted
    assert isinstance(law, Split)
    if surface.status in ("failed", "dead_term") or not (law.alpha > 0 and law.beta > 0):
        why = "; ".join(surface.warnings) or "an exponent of the surface is not positive, so it has no optimum"
        status = surface.status if surface.status in ("failed", "dead_term") else "not_identified"
        return {key: nothing(name, columns.compute_name, why, status) for key, name in names.items()}
    found = optimum(surface, columns.log_unit)
    note = "" if surface.status == "converged" else f"the surface's own status is {surface.status}"
    if surface.unit.word == "size" and surface.unit.delete_one:
        sizes = f"{surface.unit.sizes} sizes say little about what runs of one size share, hence a wide interval"
        note = "; ".join(part for part in (note, sizes) if part)
    usable = found.covariance is not None and bool(np.isfinite(found.covariance).all())
    V = found.covariance if usable else None
    slopes = {"size": found.slope, "data": 1 - found.slope}
    reached = float(columns.compute.min()), float(columns.compute.max())
    at_one = {"size": found.log_amplitude, "data": columns.log_unit - found.log_amplitude}
    return {
        key: judged(
            Trend(
                name, columns.compute_name, at_one[key], slopes[key], V, found.dof, "converged", note, reached=reached
            )
        )
        for key, name in names.items()
    }
