"""The objective with its gradient and Hessian."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalelaw.newton.problem import Array, Mask, Problem


@dataclass(frozen=True)
class Derivatives:
    """Objective (rows,), gradient (rows, size), Hessian and reweighted Gauss-Newton matrix (rows, size, size)."""

    value: Array
    gradient: Array
    hessian: Array
    reweighted: Array
    largest: Array  # (rows, terms): a term's largest share of any prediction


def derivatives(
    problem: Problem, theta: Array, weights: Array, alive: Mask, y: Array | None = None, *, exact: bool = False
) -> Derivatives:
    """Derivatives of sum_i w_i rho(r_i) for every row, with g = df / dtheta.

    For r = f - ln L: H = sum w rho'' g g^T + w psi d2f. For r = m - L with m = e^f: H = sum w rho'' m^2 g g^T +
    w psi m (g g^T + d2f).

    Args:
        problem: the data.
        theta: (rows, size).
        weights: (rows, runs).
        alive: (rows, terms).
        y: (rows or 1, runs) log loss, the problem's own by default.
        exact: for laws without a closed form: second derivatives of f too (by differences), else Gauss-Newton.
    """
    at_theta = problem.curve(theta, alive)
    g = at_theta.jacobian
    r, first = problem.residuals(at_theta.f, problem.y if y is None else y)
    objective = problem.objective
    slope = weights * objective.psi(r) * first
    bend = weights * objective.curvature(r) * first * first
    reweight = weights * objective.weight(r) * first * first
    transposed = g.transpose(0, 2, 1)
    second = problem.bent(theta, at_theta, slope, exact)
    if second is None:
        hessian = (g * bend[:, None, :]) @ transposed
    else:  # `second` holds d2f + g g^T: what the log space has too much is taken off again
        hessian = (g * (bend - slope if problem.space == "log" else bend)[:, None, :]) @ transposed + second
    return Derivatives(
        value=(weights * objective.rho(r)).sum(axis=1),
        gradient=(g @ slope[:, :, None])[:, :, 0],
        hessian=hessian,
        reweighted=(g * reweight[:, None, :]) @ transposed,
        largest=np.stack([share.max(axis=1) for share in at_theta.shares], axis=1)
        if at_theta.shares
        else np.ones((len(theta), 0)),
    )
