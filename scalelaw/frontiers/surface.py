"""The parametric approach: the lowest loss at given compute on a fitted surface (Hoffmann et al. 2022, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalelaw.fitting import Fit, fit
from scalelaw.frontiers.columns import Columns
from scalelaw.frontiers.trend import Trend, judged, nothing
from scalelaw.laws import SizeData

Array = NDArray[np.float64]

ENOUGH_SIZES = 8
"""Below this many sizes their bootstrap is not to be believed: the spread then ignores what runs of a size share."""
REPLICATES = 1000


@dataclass(frozen=True)
class Optimum:
    """ln size = log_amplitude + slope ln C on a surface, with C in the user's unit.

    Attributes:
        log_amplitude, slope: see the class.
        covariance: (2, 2), None when unknown.
        dof: of the surface's residuals.
        note: how the spread was obtained where that matters.
    """

    log_amplitude: float
    slope: float
    covariance: Array | None
    dof: float
    note: str


def fit_surface(size: Array, data: Array, loss: Array, points: str) -> Fit:
    """E + A N^-alpha + B D^-beta by least squares in log space."""
    return fit(SizeData, N=size, D=data, L=loss, points=points)


def optimum(surface: Fit, log_unit: float) -> Optimum:
    """The optimal size against compute, and its spread.

    Args:
        surface: a fitted SizeData.
        log_unit: ln of (unit of C in FLOP / k), so that N D = exp(log_unit) C.
    """
    law = surface.fitted
    assert isinstance(law, SizeData)
    slope = law.size_exponent
    log_amplitude = law.log_balance + slope * log_unit
    covariance, note = None, ""
    if surface.covariance is not None:
        G = _gradient(law, log_unit)
        living = ~np.isnan(np.diag(surface.covariance))
        covariance = G[:, living] @ surface.covariance[np.ix_(living, living)] @ G[:, living].T
    sizes = len(np.unique(surface.data["N"]))
    if covariance is not None and sizes >= ENOUGH_SIZES:
        covariance = _widened(covariance, surface, "size")
    elif covariance is not None:
        note = f"{sizes} sizes are too few to resample: effects that runs of one size share are not in the interval"
    if covariance is not None and surface.status in ("not_identified", "at_bound"):
        covariance = _widened(covariance, surface, "run")
    return Optimum(log_amplitude, slope, covariance, surface.point.dof, note)


def _gradient(law: SizeData, log_unit: float) -> Array:
    """(2, 5) derivative of (log_amplitude, slope) by the coordinates of a fit's covariance (ln E, ln A, ln B, alpha,
    beta)."""
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


def _widened(covariance: Array, surface: Fit, unit: str) -> Array:
    """The covariance, scaled up where a bootstrap by `unit` gives the exponent a wider 95 % interval."""
    replicates = surface.bootstrap(REPLICATES, unit=unit)
    alpha, beta = replicates.params["alpha"], replicates.params["beta"]
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = replicates.percentiles(beta / (alpha + beta))
    if low is None or high is None:
        return np.full_like(covariance, np.inf)
    spread = (high - low) / (2 * 1.959964)
    return np.asarray(covariance * max(1.0, spread**2 / covariance[1, 1]))


def trends(surface: Fit | None, columns: Columns) -> dict[str, Trend]:
    """Trends of the optimal size and of the optimal data; with C = k N D exactly their exponents sum to 1."""
    names = {"size": columns.size_name, "data": columns.data_name}
    if surface is None:
        why = "no surface could be fitted"
        return {key: nothing(name, columns.compute_name, why) for key, name in names.items()}
    law = surface.fitted
    assert isinstance(law, SizeData)
    if surface.status in ("failed", "dead_term") or not (law.alpha > 0 and law.beta > 0):
        why = "; ".join(surface.warnings) or "an exponent of the surface is not positive, so it has no optimum"
        status = surface.status if surface.status in ("failed", "dead_term") else "not_identified"
        return {key: nothing(name, columns.compute_name, why, status) for key, name in names.items()}
    found = optimum(surface, columns.log_unit)
    note = found.note
    if surface.status != "converged":
        note = "; ".join(part for part in (note, f"the surface's own status is {surface.status}") if part)
    usable = found.covariance is not None and bool(np.isfinite(found.covariance).all())
    V = found.covariance if usable else None
    slopes = {"size": found.slope, "data": 1 - found.slope}
    at_one = {"size": found.log_amplitude, "data": columns.log_unit - found.log_amplitude}
    return {
        key: judged(Trend(name, columns.compute_name, at_one[key], slopes[key], V, found.dof, "converged", note))
        for key, name in names.items()
    }
