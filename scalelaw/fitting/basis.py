"""What a fit's standard errors rest on."""

from __future__ import annotations

from typing import Literal

from scalelaw.fitting import spread
from scalelaw.fitting.linear import linearised
from scalelaw.fitting.objectives import LeastSquares
from scalelaw.fitting.point import Point

Basis = Literal["residual variance", "sandwich", "bootstrap", "density", "unknown"]
"""What standard errors rest on: the residuals' variance (least squares); the sandwich of a robust objective; where too
few residuals lie inside delta a bootstrap, or for few runs the density of residuals around 0. The density too where one
run alone tells something: its own residual is 0, and resamples cannot be without it."""

ENOUGH_TO_DRAW = 30
"""Runs from which resamples still determine the parameters."""


def basis_of(point: Point) -> Basis:
    """The basis of a certified solution."""
    if point.dof < 1:
        return "unknown"
    if isinstance(point.problem.objective, LeastSquares):
        return "residual variance"
    plain = linearised(point, robust=False)
    if plain is not None and plain.decided_by_one:
        return "density"
    if spread.enough_inside(point):
        return "sandwich"
    runs = int((point.weights > 0).sum())
    return "bootstrap" if runs >= max(ENOUGH_TO_DRAW, 6 * len(point.law.names())) else "density"
