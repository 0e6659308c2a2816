"""The corner in which least absolute deviations end: as many runs are met exactly as there are parameters."""

from __future__ import annotations

import numpy as np

from scalelaw.newton.problem import Array, Problem
from scalelaw.newton.walk import Rows, Solution

STEPS = 4
FARTHEST = 1e-3
"""A corner further away than this, in the solver's coordinates, is not the one that was approached."""


def on_corners(problem: Problem, found: Solution, rows: Rows, delta: float) -> Array:
    """Theta (rows, size) moved into the corner at hand, if there is one and the sum of absolute residuals is no larger.

    Args:
        problem: with the objective of absolute deviations.
        found: rows solved with that objective rounded off within `delta`.
        rows: their weights and losses.
        delta: residuals within ten times this count as met.
    """
    theta = found.theta.copy()
    movable = problem.owned(found.alive) & rows.free
    movable &= (theta > problem.lower) & (theta < problem.upper)
    for i in np.flatnonzero(np.isfinite(found.value)):
        free, alive = movable[i], found.alive[i : i + 1]
        y, w = rows.y[i if len(rows.y) > 1 else 0], rows.weights[i if len(rows.weights) > 1 else 0]
        r, _ = problem.residuals(problem.curve(theta[i : i + 1], alive).f[0], y)
        order = np.argsort(np.where(w > 0, np.abs(r), np.inf), kind="stable")[: free.sum()]
        if len(order) < free.sum() or not (np.abs(r[order]) <= 10 * delta).all():
            continue
        moved = theta[i].copy()
        try:
            for _ in range(STEPS):
                at = problem.curve(moved[None], alive)
                moved[free] -= np.linalg.solve(at.jacobian[0][free][:, order].T, at.f[0][order] - y[order])
        except np.linalg.LinAlgError:
            continue
        there, _ = problem.residuals(problem.curve(moved[None], alive).f[0], y)
        near = np.abs(moved - theta[i]).max() <= FARTHEST
        if near and float(w @ np.abs(there)) <= float(w @ np.abs(r)) * (1 + 1e-12):
            theta[i] = moved
    return theta
