"""The objective with its gradient and Hessian."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalelaw.newton.moments import Moments
from scalelaw.newton.problem import Array, Mask, Problem
from scalelaw.newton.smooth import SmoothProblem
from scalelaw.newton.sums import SumProblem


@dataclass(frozen=True)
class Derivatives:
    """Objective (rows,), gradient (rows, size), Hessian and reweighted Gauss-Newton matrix (rows, size, size)."""

    value: Array
    gradient: Array
    hessian: Array
    reweighted: Array
    largest: Array  # (rows, terms): a term's largest share of any prediction

    def take(self, kept: Mask) -> Derivatives:
        """Some of the rows."""
        return Derivatives(*(values[kept] for values in vars(self).values()))

    def joined(self, other: Derivatives) -> Derivatives:
        """With the rows of another."""
        return Derivatives(
            *(np.concatenate(both) for both in zip(vars(self).values(), vars(other).values(), strict=True))
        )

    def replaced(self, mask: Mask, other: Derivatives) -> Derivatives:
        """Rows of `other` where `mask` (rows,), else these."""
        pairs = zip(vars(other).values(), vars(self).values(), strict=True)
        return Derivatives(*(np.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in pairs))


def moments_for(problem: Problem, rows: int) -> Moments | None:
    """Working arrays of `derivatives` for up to so many rows, where the law is a sum of power laws."""
    return Moments(problem.tables, rows) if isinstance(problem, SumProblem) else None


def derivatives(
    problem: Problem,
    theta: Array,
    weights: Array,
    alive: Mask,
    y: Array | None = None,
    *,
    exact: bool = False,
    moments: Moments | None = None,
) -> Derivatives:
    """Derivatives of sum_i w_i rho(r_i) for every row, with g = df / dtheta.

    For r = f - ln L: H = sum w rho'' g g^T + w psi d2f. For r = m - L with m = e^f: H = sum w rho'' m^2 g g^T +
    w psi m (g g^T + d2f).

    Args:
        problem: the data.
        theta: (rows, size).
        weights: (rows or 1, runs).
        alive: (rows, terms).
        y: (rows or 1, runs) log loss, the problem's own by default.
        exact: for laws without a closed form: second derivatives of f too (by differences), else Gauss-Newton.
        moments: working arrays of `moments_for`, when there are many calls.
    """
    y = problem.y if y is None else y
    if isinstance(problem, SumProblem):
        return _of_sum(problem, theta, weights, alive, y, moments or Moments(problem.tables, len(theta)))
    assert isinstance(problem, SmoothProblem)
    at_theta = problem.curve(theta, alive)
    g = at_theta.jacobian
    value, slope, bend, reweight = _coefficients(problem, at_theta.f, weights, y)
    transposed = g.transpose(0, 2, 1)
    if not exact:
        hessian = (g * bend[:, None, :]) @ transposed
    else:  # `bent` holds d2f + g g^T: what the log space has too much is taken off again
        hessian = (g * (bend - slope if problem.space == "log" else bend)[:, None, :]) @ transposed
        hessian += problem.bent(theta, at_theta, slope)
    return Derivatives(
        value=value,
        gradient=(g @ slope[:, :, None])[:, :, 0],
        hessian=hessian,
        reweighted=(g * reweight[:, None, :]) @ transposed,
        largest=np.ones((len(theta), 0)),
    )


def _of_sum(problem: SumProblem, theta: Array, weights: Array, alive: Mask, y: Array, moments: Moments) -> Derivatives:
    f, shares = moments.shares(theta, alive)
    value, slope, bend, reweight = _coefficients(problem, f, weights, y)
    if problem.space == "log":  # the moments' second derivative holds g g^T, as above
        bend -= slope
    gradient, hessian, reweighted = moments.sums(shares, slope, bend, reweight)
    return Derivatives(value, gradient, hessian, reweighted, shares.max(axis=2).T)


def _coefficients(problem: Problem, f: Array, weights: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """The objective (rows,); by f its first derivative, the factor of g g^T in its second, and the reweighted one."""
    r, first = problem.residuals(f, y)
    objective = problem.objective
    slope, bend, reweight = weights * objective.psi(r), weights * objective.curvature(r), weights * objective.weight(r)
    if problem.space == "linear":
        slope *= first
        bend *= first * first
        reweight *= first * first
    return np.einsum("ri,ri->r", np.broadcast_to(weights, r.shape), objective.rho(r)), slope, bend, reweight
