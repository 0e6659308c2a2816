"""Damped Newton steps for many rows at once, within a box, and the certificate of where they end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.newton.calculus import Derivatives, derivatives
from scalelaw.newton.problem import Array, Mask, Problem

CHUNK = 256
"""Rows solved side by side: with about 240 points their working arrays still fit the cache."""
DEAD_SHARE = 1e-9
"""A term that gives less than this share of every prediction is switched off."""
NEAR = 1e-13
"""Once the predicted decrease is below this share of the objective, steps are undamped and converge quadratically."""
TOLERANCE = 1e-22
"""Stop when the predicted decrease falls below this share of the objective."""
LOOSE = 1e-13
"""The same where steps are Gauss-Newton's, which converge linearly: a millionth of a standard error."""
CERTIFIED = 1e-9
"""Certified when the Newton decrement is below this share of the objective."""
FAR = 5e-3
"""A damping above this means that the optimum is far: second derivatives of the curve then mislead more than help.
Not so for Huber, whose reweighted matrix crawls along the kinks."""
MAX_STEPS = 200


@dataclass(frozen=True)
class Solution:
    """Rows of solutions.

    Attributes:
        theta: (rows, size) in the solver's coordinates; a dead term's entries mean nothing.
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

    def take(self, rows: slice | NDArray[np.int64]) -> Solution:
        """Some of the rows."""
        return Solution(*(values[rows] for values in vars(self).values()))

    @staticmethod
    def joined(parts: list[Solution]) -> Solution:
        """Rows of all parts, in order."""
        return Solution(*(np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])))


@dataclass(frozen=True)
class Pace:
    """How far rows go: with exact second derivatives or not, at most so many steps, down to which tolerance."""

    exact: bool
    most: int
    tolerance: float


@dataclass(frozen=True)
class Rows:
    """What the rows of a solve have of their own: weights, log loss, and which parameters may move."""

    weights: Array
    y: Array
    free: Mask

    def take(self, kept: NDArray[np.int64] | Mask | slice) -> Rows:
        """Some of the rows; what is shared by all stays."""

        def pick(values: NDArray[Any]) -> NDArray[Any]:
            return values if len(values) == 1 else values[kept]

        return Rows(pick(self.weights), pick(self.y), pick(self.free))

    @property
    def floor(self) -> Array:
        """Objective of residuals at rounding level: below it a fit is exact and nothing more is asked of it."""
        return np.asarray(1e-24 * self.weights.sum(axis=1) + 1e-300)


def descend(problem: Problem, theta: Array, rows: Rows, alive: Mask, pace: Pace) -> Solution:
    """Damped Newton steps, every row with its own damping, until each row stops."""
    theta, alive = np.clip(theta, problem.lower, problem.upper), alive.copy()
    count, size = theta.shape
    steps = np.zeros(count, np.int64)
    eye = np.eye(size)
    exact = pace.exact
    active = np.arange(count)
    own = rows
    damping, impatience = np.full(count, 1e-2), np.full(count, 2.0)
    here = derivatives(problem, theta, own.weights, alive, own.y, exact=exact)
    for _ in range(pace.most):
        movable = problem.owned(alive[active]) & own.free
        if problem.boxed:
            movable &= ~_pushed(problem, theta[active], -here.gradient)
        ridge = np.einsum("bii->bi", here.reweighted).max(axis=1) * (1e-14 + 1e-6 * damping)
        step, gradient, whole = _step(problem, theta[active], here, movable, damping, ridge[:, None, None] * eye)
        gain = -(gradient * step).sum(axis=1)  # twice the decrease that the quadratic model promises
        trial = theta[active] + step
        if problem.boxed:
            trial = np.clip(trial, problem.lower, problem.upper)
        there = derivatives(problem, trial, own.weights, alive[active], own.y, exact=exact)
        slack = 1e-14 * here.value
        small = (np.abs(gain) <= NEAR * here.value + own.floor) & whole
        spent = (np.abs(gain) <= pace.tolerance * here.value + own.floor) & whole
        better = (gain > 0) & (there.value <= here.value - 1e-4 * gain + slack)
        better |= small & (there.value <= here.value + 100 * slack)  # the rest is below the objective's rounding
        theta[active[better]] = trial[better]
        steps[active] += 1
        done = (spent & (damping < 1e-3)) | (small & ~better & ((damping < 1e-3) | (damping > 1e6)))
        done |= damping > 1e12
        kept = np.clip(1 - (4 * (here.value - there.value) / np.maximum(gain, 1e-300) - 1) ** 3, 0.1, 2.0)
        eased = np.where(small | (damping < 1e-5), 0.0, damping * kept)
        damping = np.where(better, eased, np.maximum(impatience * damping, 1e-4))
        impatience = np.where(better, 2.0, 2 * impatience)
        here = _chosen(better, there, here)
        dying = (here.largest < DEAD_SHARE) & alive[active]
        if dying.any():
            alive[active] &= ~dying
            here = derivatives(problem, theta[active], own.weights, alive[active], own.y, exact=exact)
            done &= ~dying.any(axis=1)
        if done.any():
            keep = ~done
            active, damping, impatience, own = active[keep], damping[keep], impatience[keep], own.take(keep)
            here = Derivatives(*(values[keep] for values in vars(here).values()))
        if active.size == 0:
            break
    return certify(problem, theta, rows, alive, steps, exact=exact)


def _chosen(mask: Mask, yes: Derivatives, no: Derivatives) -> Derivatives:
    if mask.all():
        return yes
    pairs = zip(vars(yes).values(), vars(no).values(), strict=True)
    return Derivatives(*(np.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in pairs))


def _pushed(problem: Problem, theta: Array, direction: Array) -> Mask:
    """Parameters at a bound that `direction` would push through it."""
    return ((theta <= problem.lower) & (direction < 0)) | ((theta >= problem.upper) & (direction > 0))


def _step(
    problem: Problem, theta: Array, here: Derivatives, movable: Mask, damping: Array, ridge: Array
) -> tuple[Array, Array, Mask]:
    """The damped Newton step, cut where it meets the box; the gradient of what may move; whether it was left whole.

    A parameter at its bound that the step would push out is held, and the step of the others solved again.
    """
    while True:
        gradient, hessian, reweighted = freeze(here, movable)
        matrix = hessian + damping[:, None, None] * reweighted + ridge
        if problem.objective.quadratic:
            matrix = np.where((damping > FAR)[:, None, None], (1 + damping[:, None, None]) * reweighted + ridge, matrix)
        step = -solved(matrix, gradient)
        if not problem.boxed:
            break
        out = movable & _pushed(problem, theta, step)
        if not out.any():
            break
        movable = movable & ~out
    step /= np.maximum(1.0, np.abs(step).max(axis=1, keepdims=True) / 2.0)
    if not problem.boxed:
        return step, gradient, np.ones(len(step), bool)
    bound = np.where(step > 0, problem.upper, problem.lower)
    room = np.where(step != 0, (bound - theta) / np.where(step != 0, step, 1.0), np.inf).min(axis=1)
    fraction = np.minimum(1.0, room)
    return step * fraction[:, None], gradient, fraction == 1.0


def freeze(d: Derivatives, free: Mask) -> tuple[Array, Array, Array]:
    """Gradient, Hessian and damping matrix with the rows and columns of fixed parameters those of the identity."""
    if free.all():
        return d.gradient, d.hessian, d.reweighted
    both = free[:, :, None] & free[:, None, :]
    eye = np.eye(free.shape[1])
    return np.where(free, d.gradient, 0.0), np.where(both, d.hessian, eye), np.where(both, d.reweighted, eye)


def solved(matrix: Array, gradient: Array) -> Array:
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


def certify(
    problem: Problem, theta: Array, rows: Rows, alive: Mask, steps: NDArray[np.int64], *, exact: bool
) -> Solution:
    """Judges the final point by itself, whatever path led there."""
    d = derivatives(problem, theta, rows.weights, alive, rows.y, exact=exact)
    movable = problem.owned(alive) & rows.free
    if problem.boxed:
        movable &= ~_pushed(problem, theta, -d.gradient)
    gradient, hessian, _ = freeze(d, movable)
    finite = np.isfinite(hessian).all(axis=(1, 2)) & np.isfinite(d.value)
    values, vectors = np.linalg.eigh(np.where(finite[:, None, None], hessian, np.eye(problem.size)))
    top = np.abs(values).max(axis=1, keepdims=True)
    along = (vectors.transpose(0, 2, 1) @ gradient[:, :, None])[:, :, 0]
    safe = np.maximum(np.abs(values), 1e-13 * top + 1e-300)
    decrement = 0.5 * (along * along / safe).sum(axis=1) / (d.value + rows.floor / CERTIFIED)
    convex = (values >= -1e-7 * top).all(axis=1)
    return Solution(theta, d.value, decrement, alive, (decrement <= CERTIFIED) & convex & finite, steps)
