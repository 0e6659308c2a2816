"""First steps towards the optimum in the exponents alone, the amplitudes always at their own optimum.

Variable projection (Golub and Pereyra 1973, SIAM J. Numer. Anal. 10) with Kaufman's Jacobian. Far from the optimum a
sum of power laws has long curved valleys, along which amplitudes follow the exponents: here they are no valleys.
"""

from __future__ import annotations

import numpy as np

from scalelaw.newton.problem import Array, Mask
from scalelaw.newton.sums import SumProblem

STEPS = 7
NEAR = 1e-3
"""Enough: the rest of the way, less than this share of the objective, is Newton's."""

State = tuple[Array, Array, Array, Array]


def approach(problem: SumProblem, theta: Array, weights: Array, alive: Mask) -> Array:
    """Rows of theta (rows, size) after a few damped steps down the sum of squared relative errors.

    Args:
        problem: the data.
        theta: starts; of their amplitudes nothing is used.
        weights: (1, runs).
        alive: (rows, terms) False for terms that are to stay away.
    """
    exponents = [j for at, variables in problem.form.blocks for j in range(at + 1, at + 1 + len(variables))]
    rows, count = len(theta), len(exponents)
    theta, w = theta.copy(), weights
    damping = np.full(rows, 1e-3)
    here = _projected(problem, theta, w, alive)
    for _ in range(STEPS):
        value, gradient, hessian, _ = here
        ridge = (damping[:, None] * np.einsum("rii->ri", hessian) + 1e-12)[:, :, None] * np.eye(count)
        step = -np.linalg.solve(hessian + ridge, gradient[:, :, None])[:, :, 0]
        trial = theta.copy()
        trial[:, exponents] += np.clip(step, -1.0, 1.0)
        there = _projected(problem, trial, w, alive)
        better = there[0] < value
        gain = np.where(better, value - there[0], value)
        theta = np.where(better[:, None], trial, theta)
        damping = np.where(better, 0.2 * damping, 5 * damping)
        here = _chosen(better, there, here)
        if (gain < NEAR * value).all():
            break
    places = [at for at, _ in problem.form.blocks]
    smallest = 1e-4 * np.exp(problem.y.min())
    theta[:, places] = np.log(np.maximum(here[3], smallest))
    return theta


def _chosen(mask: Mask, yes: State, no: State) -> State:
    a, b, c, d = (np.where(mask.reshape(-1, *[1] * (y.ndim - 1)), y, n) for y, n in zip(yes, no, strict=True))
    return a, b, c, d


def _projected(problem: SumProblem, theta: Array, w: Array, alive: Mask) -> State:
    """Sum of squared relative errors (rows,), its gradient and Gauss-Newton matrix in the exponents, the amplitudes."""
    x, y = problem.x, problem.y
    parts, peaks, slopes, owner = [], [], [], []
    for k, (at, variables) in enumerate(problem.form.blocks):
        log = -y - theta[:, at + 1 : at + 1 + len(variables)] @ x[list(variables)]
        peaks.append(log.max(axis=1))  # over its largest value, so that no product overflows
        parts.append(np.exp(log - peaks[-1][:, None]) * alive[:, k : k + 1])
        for v in variables:
            slopes.append(-x[v])
            owner.append(k)
    features = np.stack(parts, axis=1)  # (rows, terms, runs)
    weighted = features * w[:, None, :]
    gram = weighted @ features.transpose(0, 2, 1)
    gram += (1e-12 * np.einsum("rkk->rk", gram) + 1e-300)[:, :, None] * np.eye(len(parts))
    gram += (~alive)[:, :, None] * np.eye(len(parts))
    amplitudes = np.maximum(np.linalg.solve(gram, weighted.sum(axis=2)[:, :, None])[:, :, 0], 0.0)
    r = (amplitudes[:, None, :] @ features)[:, 0] - 1.0
    moves = (amplitudes[:, :, None] * features)[:, owner] * np.stack(slopes)
    moves -= np.linalg.solve(gram, weighted @ moves.transpose(0, 2, 1)).transpose(0, 2, 1) @ features
    bent = moves * w[:, None, :]
    gradient = (bent @ r[:, :, None])[:, :, 0]
    with np.errstate(over="ignore"):
        return (
            (w * r * r).sum(axis=1),
            gradient,
            bent @ moves.transpose(0, 2, 1),
            amplitudes * np.exp(-np.stack(peaks, 1)),
        )
