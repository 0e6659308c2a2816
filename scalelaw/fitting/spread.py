"""Spread of the parameters of one fit: covariance, and profile intervals where the covariance is not to be believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalelaw import newton

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """A solution: one row of the solver's, with the data it belongs to.

    Attributes:
        problem: the centred data.
        theta: (size,) centred.
        alive: (terms,).
        value: objective in scaled units.
    """

    problem: newton.Problem
    theta: Array
    alive: newton.Mask
    value: float

    @property
    def free(self) -> newton.Mask:
        """(size,) parameters of living terms."""
        free = np.ones(self.problem.form.size, bool)
        for k, (at, variables) in enumerate(self.problem.form.blocks):
            free[at : at + 1 + len(variables)] = self.alive[k]
        return free

    @property
    def dof(self) -> int:
        """Runs less living parameters."""
        return int(self.problem.x.shape[1] - self.free.sum())

    def curve(self, x: Array) -> tuple[Array, Array]:
        """Log prediction (points,) and its derivative by theta (size, points) at centred logs `x`."""
        found = newton.curve(self.problem.form, x, self.theta[None], self.alive[None])
        return found.f[0], found.jacobian[0]

    def residuals(self) -> tuple[Array, Array]:
        """Residuals (runs,) in the objective's space, scaled units, and their derivative by theta (size, runs)."""
        f, jacobian = self.curve(self.problem.x)
        if self.problem.space == "log":
            return f - self.problem.y, jacobian
        return np.exp(f) - np.exp(self.problem.y), jacobian * np.exp(f)

    def hessian(self) -> Array:
        """(size, size) exact Hessian of the objective."""
        weights = np.ones((1, self.problem.x.shape[1]))
        found = newton.derivatives(self.problem, self.theta[None], weights, self.alive[None])
        return np.asarray(found.hessian[0])


def calibration(point: Point) -> float:
    """c such that c times the rise of the objective over its minimum is a squared t statistic in one parameter.

    c = 2 mean(rho'') / mean(rho'^2), the ratio that makes a robust likelihood ratio chi-square (Ronchetti 1982), with
    n - p in place of n; for least squares it is one over the residual variance.
    """
    r, _ = point.residuals()
    objective = point.problem.objective
    bend = max(float(objective.curvature(r).sum()), 1.0)
    power = float((objective.psi(r) ** 2).sum())
    return 2 * bend / max(power, 1e-300) * point.dof / len(r)


def covariance(point: Point, *, robust: bool) -> Array | None:
    """Covariance (size, size) of the centred theta, NaN for dead terms; None when it does not exist.

    Least squares: residual variance RSS / (n - p) times inverse J J^T. Robust: the sandwich H^-1 (sum psi^2 J J^T) H^-1
    times n / (n - p) (Huber 1967).
    """
    if point.dof < 1:
        return None
    free = point.free
    r, jacobian = point.residuals()
    J = jacobian[free]
    if robust:
        inverse = _inverse(point.hessian()[np.ix_(free, free)])
        if inverse is None:
            return None
        meat = (J * point.problem.objective.psi(r) ** 2) @ J.T
        inner = inverse @ meat @ inverse * (len(r) / point.dof)
    else:
        inverse = _inverse(J @ J.T)
        if inverse is None:
            return None
        inner = inverse * float(r @ r) / point.dof
    full = np.full((len(free), len(free)), np.nan)
    full[np.ix_(free, free)] = inner
    return full


def _inverse(matrix: Array) -> Array | None:
    """Inverse of a symmetric positive definite matrix, scaled to unit diagonal; None when it is singular."""
    scale = np.sqrt(np.diag(matrix))
    if not (scale > 0).all():
        return None
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    if values[0] < 1e-12:
        return None
    return np.asarray((vectors / values) @ vectors.T / np.outer(scale, scale))


def profile(point: Point, index: int, threshold: float, start: Array) -> tuple[float | None, float | None]:
    """Ends of a profile interval of centred theta[index]: where the minimum over all others has risen by `threshold`.

    Args:
        point: the solution.
        index: which parameter; its term is alive in all solves (a dead one starts from `start`).
        threshold: rise of the objective, scaled units.
        start: (size,) finite start.

    Returns:
        (low, high); None where the objective never rises that far: the end is open.
    """
    far = np.geomspace(1e-3, 30.0, 40)
    ends = []
    for sign in (-1.0, 1.0):
        inner, outer = 0.0, None
        offsets = far
        for _ in range(3):
            rise = _rises(point, index, sign * offsets, start)
            over = np.flatnonzero(rise > threshold)
            if not len(over):
                break
            first = int(over[0])
            outer = float(offsets[first])
            inner = float(offsets[first - 1]) if first else inner
            offsets = np.linspace(inner, outer, 12)[1:]
        ends.append(None if outer is None else float(start[index] + sign * 0.5 * (inner + outer)))
    return ends[0], ends[1]


def _rises(point: Point, index: int, offsets: Array, start: Array) -> Array:
    """Rise of the objective with theta[index] held at start[index] + offset, minimised over the others."""
    rows = len(offsets)
    theta = np.repeat(start[None], rows, axis=0)
    theta[:, index] += offsets
    free = np.ones((rows, len(start)), bool)
    free[:, index] = False
    weights = np.ones((1, point.problem.x.shape[1]))
    held = newton.solve(point.problem, theta, weights, free=free)
    return np.asarray(held.value - point.value)
