"""Log-sum-exp predictions, and the objective with its closed-form gradient and Hessian."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalelaw.newton.problem import Array, Form, Mask, Problem


@dataclass(frozen=True)
class Curve:
    """Log predictions of rows of theta at points.

    Attributes:
        f: (rows, points) log prediction.
        shares: per term, (rows, points) share of the prediction.
        jacobian: (rows, size, points) derivative of f by theta.
    """

    f: Array
    shares: list[Array]
    jacobian: Array


def curve(form: Form, x: Array, theta: Array, alive: Mask) -> Curve:
    """Evaluates the log-sum-exp and its first derivatives at centred logs `x` (variables, points)."""
    parts = []
    for k, (at, variables) in enumerate(form.blocks):
        part = np.repeat(theta[:, at : at + 1], x.shape[1], axis=1)
        for j, v in enumerate(variables, start=at + 1):
            part -= theta[:, j : j + 1] * x[v]
        if not alive[:, k].all():
            part[~alive[:, k]] = -np.inf
        parts.append(part)
    top = np.maximum.reduce(parts)
    total = np.zeros_like(top)
    for part in parts:
        part -= top
        np.exp(part, out=part)
        total += part
    jacobian = np.empty((theta.shape[0], form.size, x.shape[1]))
    for part, (at, variables) in zip(parts, form.blocks, strict=True):
        part /= total
        jacobian[:, at] = part
        for j, v in enumerate(variables, start=at + 1):
            np.multiply(part, -x[v], out=jacobian[:, j])
    return Curve(top + np.log(total), parts, jacobian)


@dataclass(frozen=True)
class Derivatives:
    """Objective (rows,), gradient (rows, size), exact Hessian and reweighted Gauss-Newton matrix (rows, size, size)."""

    value: Array
    gradient: Array
    hessian: Array
    reweighted: Array
    largest: Array  # (rows, terms): a term's largest share of any prediction


def derivatives(problem: Problem, theta: Array, weights: Array, alive: Mask) -> Derivatives:
    """Closed-form derivatives of sum_i w_i rho(r_i) for every row.

    With shares p_k and z_k the (constant) gradient of ln term k: df = sum_k p_k z_k = g and d2f = S - g g^T, where
    S = sum_k p_k z_k z_k^T. For r = f - ln L: H = sum w (rho'' - psi) g g^T + w psi S; for r = e^f - L with m = e^f:
    H = sum w rho'' m^2 g g^T + w psi m S.
    """
    form = problem.form
    at_theta = curve(form, problem.x, theta, alive)
    g = at_theta.jacobian
    if problem.space == "log":
        r = at_theta.f - problem.y
        first: Array | float = 1.0
    else:
        first = np.exp(at_theta.f)
        r = first - np.exp(problem.y)
    objective = problem.objective
    slope = weights * objective.psi(r) * first
    bend = weights * objective.curvature(r) * first * first
    if problem.space == "log":
        bend = bend - slope
    reweight = weights * objective.weight(r) * first * first
    transposed = g.transpose(0, 2, 1)
    hessian = (g * bend[:, None, :]) @ transposed
    for share, (at, variables) in zip(at_theta.shares, form.blocks, strict=True):
        z = np.concatenate([np.ones((1, problem.x.shape[1])), -problem.x[list(variables)]])
        size = len(z)
        outer = (z[:, None, :] * z[None, :, :]).reshape(size * size, -1)
        block = slice(at, at + size)
        hessian[:, block, block] += ((slope * share) @ outer.T).reshape(-1, size, size)
    return Derivatives(
        value=(weights * objective.rho(r)).sum(axis=1),
        gradient=(g @ slope[:, :, None])[:, :, 0],
        hessian=hessian,
        reweighted=(g * reweight[:, None, :]) @ transposed,
        largest=np.stack([share.max(axis=1) for share in at_theta.shares], axis=1),
    )
