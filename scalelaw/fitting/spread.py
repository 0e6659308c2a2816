"""The noise as an objective sees it: curvature at the residuals, calibration of its rises, plain covariance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scalelaw import newton
from scalelaw.fitting.objectives import AbsoluteDeviation, Huber, LeastSquares
from scalelaw.fitting.point import Point

Array = NDArray[np.float64]

ENOUGH_INSIDE = 30, 0.5
"""This many residuals, and this share of them, must lie inside delta before their count is taken for the density of
residuals around 0: with 16 % inside it made standard errors 1.6 times those of 12,000 bootstrap replicates."""


def enough_inside(point: Point) -> bool:
    """Whether the objective's second derivative can be read off the residuals inside delta."""
    objective = point.problem.objective
    if isinstance(objective, AbsoluteDeviation):
        return False
    if not isinstance(objective, Huber):
        return True
    r, _ = point.residuals()
    inside = np.abs(r[point.weights > 0]) <= objective.width
    return bool(inside.sum() >= ENOUGH_INSIDE[0] and inside.mean() >= ENOUGH_INSIDE[1])


def smoothed(point: Point) -> newton.Objective:
    """The objective, its delta widened to `Point.window` where too few residuals lie inside to see its curvature."""
    objective = point.problem.objective
    if isinstance(objective, Huber | AbsoluteDeviation) and not enough_inside(point):
        return Huber(point.window)
    return objective


def slopes(point: Point, at: Array | None = None) -> tuple[Array, float]:
    """(runs,) the objective's first derivative at the residuals (or at others, `at`), and its mean second derivative.

    Where few residuals lie inside delta the latter comes from the density of residuals in `Point.window`.
    """
    r, _ = point.residuals()
    at = r if at is None else at
    objective, w = point.problem.objective, point.weights
    if enough_inside(point):
        return objective.psi(at), float((w * objective.curvature(r)).sum() / w.sum())
    wide = point.window
    delta = objective.width if isinstance(objective, Huber) else 1e-3 * wide  # sign(r), but 0 for r = 0 to rounding
    wide = max(wide, delta)
    rest = np.sort(np.abs(r[w > 0]))[int(point.free.sum()) :]
    inside = float((rest <= wide).mean()) if len(rest) else 1.0
    unit = 1.0 if isinstance(objective, Huber) else delta
    return np.clip(at, -delta, delta) / unit, min(delta, inside * delta**2 / wide) / unit / delta


def calibration(point: Point) -> float:
    """c such that c times the rise of the objective over its minimum is a squared t statistic in one parameter.

    c = 2 mean(w rho'') / mean(w^2 rho'^2), the ratio that makes a robust likelihood ratio chi-square (Ronchetti 1982),
    with n - p in place of n; for least squares (see `score_weights`) it is one over the residual variance.
    """
    psi, bend = slopes(point)
    w = point.weights
    n = int((w > 0).sum())
    scores = score_weights(point.problem.objective, w) * psi
    return 2 * float(w.sum()) * bend / max(float(scores @ scores), 1e-300) * point.dof / n


def score_weights(objective: newton.Objective, w: Array) -> Array:
    """(runs,) factors of the objective's derivatives whose sum of squares is the variance of the sum of scores w psi.

    Least squares takes weights for inverse variances, as its standard errors do: each run's square stands for w^2 psi^2
    in proportion to its weight, so that no run of large weight decides by its own residual.
    """
    return np.sqrt(w * (w.sum() / (w > 0).sum())) if isinstance(objective, LeastSquares) else w


def variance_ratio(point: Point) -> float:
    """Variance of the estimate over that of the least-squares formula at the same residuals."""
    r, _ = point.residuals()
    w = point.weights
    psi, bend = slopes(point)
    return float((w * psi * psi).sum()) / bend**2 / max(float((w * r * r).sum()), 1e-300)


def covariance(point: Point) -> Array | None:
    """Least-squares covariance (size, size) of the solver's theta: residual variance RSS / (n - p) times (J J^T)^-1.

    NaN for what was not estimated; None when it does not exist.
    """
    if point.dof < 1 or not point.free.any():
        return None
    free, w = point.free, point.weights
    r, jacobian = point.residuals()
    J = jacobian[free]
    inner = inverse((J * w) @ J.T)
    if inner is None:
        return None
    full = np.full((len(free), len(free)), np.nan)
    full[np.ix_(free, free)] = inner * float((w * r) @ r) / point.dof
    return full


def inverse(matrix: Array) -> Array | None:
    """Inverse of a symmetric positive definite matrix, scaled to unit diagonal; None when it is singular."""
    scale = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        return None
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    if values[0] < 1e-12:
        return None
    return np.asarray((vectors / values) @ vectors.T / np.outer(scale, scale))
