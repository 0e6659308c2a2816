"""Damped Newton steps for many rows at once, and the certificate of where they end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalelaw.newton.calculus import Derivatives, curve, derivatives
from scalelaw.newton.problem import Array, Form, Mask, Problem

CHUNK = 256
"""Rows solved side by side: with about 240 points their working arrays still fit the cache."""
DEAD_SHARE = 1e-9
"""A term that gives less than this share of every prediction is switched off."""
NEAR = 1e-13
"""Once the predicted decrease is below this share of the objective, steps are undamped and converge quadratically."""
TOLERANCE = 1e-22
"""Stop when the predicted decrease falls below this share of the objective."""
CERTIFIED = 1e-9
"""Certified when the Newton decrement is below this share of the objective."""
MAX_STEPS = 200


@dataclass(frozen=True)
class Solution:
    """Rows of solutions.

    Attributes:
        theta: (rows, size) in centred coordinates; a dead term's entries mean nothing.
        value: (rows,) objective, scaled units, a sum.
        decrement: (rows,) predicted further decrease of the objective by an undamped Newton step, over the objective.
        alive: (rows, terms) False where a term was switched off.
        certified: (rows,) stationary to `CERTIFIED`, with a positive semidefinite Hessian.
        steps: (rows,) Newton steps taken.
    """

    theta: Array
    value: Array
    decrement: Array
    alive: Mask
    certified: Mask
    steps: NDArray[np.int64]


def _freeze(d: Derivatives, free: Mask) -> tuple[Array, Array, Array]:
    """Gradient, Hessian and damping matrix with the rows and columns of fixed parameters those of the identity."""
    gradient = np.where(free, d.gradient, 0.0)
    both = free[:, :, None] & free[:, None, :]
    eye = np.eye(free.shape[1])
    return gradient, np.where(both, d.hessian, eye), np.where(both, d.reweighted, eye)


def _free_of(form: Form, alive: Mask, free: Mask) -> Mask:
    """Parameters that may move: those asked for, of living terms."""
    result = free.copy()
    for k, (at, variables) in enumerate(form.blocks):
        result[:, at : at + 1 + len(variables)] &= alive[:, k : k + 1]
    return result


def _floor(weights: Array) -> Array:
    """Objective of residuals at rounding level: below it a fit is exact and nothing more is asked of it."""
    return np.asarray(1e-24 * weights.sum(axis=1) + 1e-300)


def solve(
    problem: Problem, theta: Array, weights: Array, *, alive: Mask | None = None, free: Mask | None = None
) -> Solution:
    """Minimises every row's objective from its start.

    Args:
        problem: the centred data.
        theta: (rows, size) starts in centred coordinates.
        weights: (rows, runs) or (1, runs), not negative.
        alive: (rows, terms) False for terms that are to stay away.
        free: (rows, size) False for parameters that are to keep their value.
    """
    rows = theta.shape[0]
    alive = np.ones((rows, problem.form.n_terms), bool) if alive is None else alive
    free = np.ones(theta.shape, bool) if free is None else free
    parts = []
    chunk = max(1, min(CHUNK, CHUNK * 240 // max(1, problem.x.shape[1])))
    for start in range(0, rows, chunk):
        at = slice(start, min(start + chunk, rows))
        w = weights if weights.shape[0] == 1 else weights[at]
        w = np.broadcast_to(w, (theta[at].shape[0], weights.shape[1]))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a step too far is not taken
            found = _descend(problem, theta[at], w, alive[at], free[at])
            again = _revivable(problem, found, w, alive[at], free[at])
            if again.any():
                found = _revive(problem, found, w, alive[at], free[at], again)
        parts.append(found)
    names = Solution.__dataclass_fields__
    return Solution(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _descend(problem: Problem, theta: Array, weights: Array, alive: Mask, free: Mask) -> Solution:
    """Damped Newton steps, every row with its own damping, until each row stops."""
    form = problem.form
    theta, alive = theta.copy(), alive.copy()
    rows = theta.shape[0]
    steps = np.zeros(rows, np.int64)
    eye = np.eye(form.size)
    active = np.arange(rows)
    w, floor = weights, _floor(weights)
    damping = np.full(rows, 1e-2)
    here = derivatives(problem, theta, w, alive)
    for _ in range(MAX_STEPS):
        gradient, hessian, reweighted = _freeze(here, _free_of(form, alive[active], free[active]))
        ridge = np.einsum("bii->bi", reweighted).max(axis=1) * (1e-14 + 1e-6 * damping)
        matrix = hessian + damping[:, None, None] * reweighted + ridge[:, None, None] * eye
        step = -_solved(matrix, gradient)
        step /= np.maximum(1.0, np.abs(step).max(axis=1, keepdims=True) / 2.0)
        gain = -(gradient * step).sum(axis=1)  # twice the decrease that the quadratic model promises
        trial = theta[active] + step
        there = derivatives(problem, trial, w, alive[active])
        slack = 1e-14 * here.value
        small = np.abs(gain) <= NEAR * here.value + floor[active]
        spent = np.abs(gain) <= TOLERANCE * here.value + floor[active]
        better = (gain > 0) & (there.value <= here.value - 1e-4 * gain + slack)
        better |= small & (there.value <= here.value + 100 * slack)  # the rest is below the objective's rounding
        theta[active[better]] = trial[better]
        steps[active] += 1
        done = (spent & (damping < 1e-3)) | (small & ~better & ((damping < 1e-3) | (damping > 1e6)))
        done |= damping > 1e12
        damping = np.where(
            better, np.where(small | (damping < 1e-5), 0.0, damping * 0.1), np.maximum(4 * damping, 1e-4)
        )
        here = Derivatives(
            *(
                np.where(better.reshape(-1, *[1] * (a.ndim - 1)), a, b)
                for a, b in zip(vars(there).values(), vars(here).values(), strict=True)
            )
        )
        dying = (here.largest < DEAD_SHARE) & alive[active]
        if dying.any():
            alive[active] &= ~dying
            here = derivatives(problem, theta[active], w, alive[active])
            done &= ~dying.any(axis=1)
        if done.any():
            keep = ~done
            active, damping, w = active[keep], damping[keep], w[keep]
            here = Derivatives(*(a[keep] for a in vars(here).values()))
        if active.size == 0:
            break
    return _certify(problem, theta, weights, alive, free, steps)


def _solved(matrix: Array, gradient: Array) -> Array:
    """matrix^-1 gradient, (rows, size); of least norm in rows whose matrix is singular to working precision.

    A row whose step went out of range has no finite matrix: its step is 0, so it is not taken.
    """
    finite = np.asarray(np.isfinite(matrix).all(axis=(1, 2)) & np.isfinite(gradient).all(axis=1))
    if not finite.all():
        matrix = np.where(finite[:, None, None], matrix, np.eye(matrix.shape[1]))
        gradient = np.where(finite[:, None], gradient, 0.0)
    try:
        return np.asarray(np.linalg.solve(matrix, gradient[:, :, None])[:, :, 0])
    except np.linalg.LinAlgError:
        return np.asarray((np.linalg.pinv(matrix, hermitian=True) @ gradient[:, :, None])[:, :, 0])


def _certify(
    problem: Problem, theta: Array, weights: Array, alive: Mask, free: Mask, steps: NDArray[np.int64]
) -> Solution:
    """Judges the final point by itself, whatever path led there."""
    d = derivatives(problem, theta, weights, alive)
    gradient, hessian, _ = _freeze(d, _free_of(problem.form, alive, free))
    finite = np.isfinite(hessian).all(axis=(1, 2)) & np.isfinite(d.value)
    values, vectors = np.linalg.eigh(np.where(finite[:, None, None], hessian, np.eye(problem.form.size)))
    top = np.abs(values).max(axis=1, keepdims=True)
    along = (vectors.transpose(0, 2, 1) @ gradient[:, :, None])[:, :, 0]
    safe = np.maximum(np.abs(values), 1e-13 * top + 1e-300)
    floor = _floor(weights)
    decrement = 0.5 * (along * along / safe).sum(axis=1) / (d.value + floor / CERTIFIED)
    convex = (values >= -1e-7 * top).all(axis=1)
    certified = (decrement <= CERTIFIED) & convex & finite
    return Solution(theta, d.value, decrement, alive, certified, steps)


def _revivable(problem: Problem, found: Solution, weights: Array, allowed: Mask, free: Mask) -> Mask:
    """Rows whose constant was switched off although the objective would fall with it."""
    if not problem.form.constant:
        return np.zeros(len(found.value), bool)
    f = curve(problem.form, problem.x, found.theta, found.alive).f
    if problem.space == "log":
        push = problem.objective.psi(f - problem.y) * np.exp(-f)
    else:
        push = problem.objective.psi(np.exp(f) - np.exp(problem.y))
    return np.asarray(allowed[:, 0] & free[:, 0] & ~found.alive[:, 0] & ((weights * push).sum(axis=1) < 0))


def _revive(problem: Problem, found: Solution, weights: Array, allowed: Mask, free: Mask, again: Mask) -> Solution:
    """Descends once more from a small constant; keeps what is lower."""
    theta = found.theta[again].copy()
    theta[:, 0] = problem.y.min() + np.log(1e-3)
    alive = found.alive[again].copy()
    alive[:, 0] = True
    second = _descend(problem, theta, weights[again], alive, free[again])
    merged = {name: getattr(found, name).copy() for name in Solution.__dataclass_fields__}
    lower = second.value < found.value[again]
    at = np.flatnonzero(again)[lower]
    for name, values in merged.items():
        values[at] = getattr(second, name)[lower]
    return Solution(**merged)
