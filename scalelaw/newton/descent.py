"""Damped Newton steps for many rows at once, within a box, and the certificate of where they end."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.newton.calculus import Derivatives, derivatives, moments_for
from scalelaw.newton.problem import Array, Mask, Problem
from scalelaw.newton.walk import Pace, Proposal, Rows, Solution, Walk

CHUNK = 256
"""Rows that one call solves, with about 240 points; more points, fewer rows."""
SIDE = 96
"""Of them, rows solved side by side: their working arrays still fit the cache. Others follow as rows finish."""
DAMPING = 1e-2
"""Damping of the first step."""
IMPATIENCE = 2.0
"""Factor by which damping grows with the first step that was none; it doubles with every further one."""
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
LEVEL = 1e-14
"""A curvature below this share of the reweighted matrix's largest is rounding: the objective is level along it."""
UNSEEN = 1e-6
"""The longest step that is taken without looking."""
MAX_STEPS = 200


def descend(problem: Problem, theta: Array, rows: Rows, alive: Mask, pace: Pace) -> Solution:
    """Damped Newton steps, every row with its own damping, until each row stops."""
    count, side = len(theta), min(len(theta), pace.side)
    theta = np.clip(theta, problem.lower, problem.upper) if problem.boxed else theta
    look = partial(derivatives, problem, exact=pace.exact, moments=moments_for(problem, side))

    def begun(at: slice) -> Walk:
        own, first = rows.take(at), theta[at]
        return _begun(
            problem, np.arange(at.start, at.stop), first, alive[at], own, look(first, own.weights, alive[at], own.y)
        )

    walk, waiting = begun(slice(0, side)), side
    ended = []
    while True:
        proposal = _proposal(problem, walk, pace.tolerance)
        over = walk.over | (proposal.spent & proposal.short & (walk.damping < 1e-3)) | (walk.steps >= pace.most)
        if over.any():
            ended.append(_last_step(walk, proposal).take(over))
            walk, proposal = walk.take(~over), proposal.take(~over)
            if waiting < count and len(walk.row) <= side // 2:  # few rows cost nearly as much as many
                until = min(count, waiting + side - len(walk.row))
                walk, waiting = walk.joined(begun(slice(waiting, until)), rows), until
                continue
            if over.all():
                break
        there = look(proposal.trial, walk.own.weights, walk.alive, walk.own.y)
        _judge(walk, proposal, there)
        dying = (walk.here.largest < DEAD_SHARE) & walk.alive
        if dying.any():
            walk.alive = walk.alive & ~dying
            walk.movable = problem.owned(walk.alive) & walk.own.free
            walk.here = look(walk.theta, walk.own.weights, walk.alive, walk.own.y)
            walk.over &= ~dying.any(axis=1)
    return _collected(problem, ended, rows, exact=pace.exact)


def _begun(problem: Problem, row: NDArray[np.int64], theta: Array, alive: Mask, own: Rows, here: Derivatives) -> Walk:
    count = len(row)
    return Walk(
        row=row,
        theta=theta,
        alive=alive,
        movable=problem.owned(alive) & own.free,
        damping=np.full(count, DAMPING),
        impatience=np.full(count, IMPATIENCE),
        steps=np.zeros(count, np.int64),
        over=np.zeros(count, bool),
        own=own,
        here=here,
    )


def _proposal(problem: Problem, walk: Walk, tolerance: float) -> Proposal:
    here, movable = walk.here, walk.movable
    if problem.boxed:
        movable = movable & ~_pushed(problem, walk.theta, -here.gradient)
    step, gradient, whole = _step(problem, walk.theta, here, movable, walk.damping)
    gain = -np.einsum("rj,rj->r", gradient, step)
    trial = walk.theta + step
    if problem.boxed:
        trial = np.clip(trial, problem.lower, problem.upper)
    size, floor = np.abs(gain), walk.own.floor
    return Proposal(
        trial=trial,
        gain=gain,
        small=(size <= NEAR * here.value + floor) & whole,
        spent=(size <= tolerance * here.value + floor) & whole,
        short=np.abs(step).max(axis=1) < UNSEEN,
    )


def _judge(walk: Walk, proposal: Proposal, there: Derivatives) -> None:
    """Takes the steps that are better than what is here, and makes every row bolder or more careful."""
    here, gain, small, damping = walk.here, proposal.gain, proposal.small, walk.damping
    slack = 1e-14 * here.value
    better = (gain > 0) & (there.value <= here.value - 1e-4 * gain + slack)
    better |= small & (there.value <= here.value + 100 * slack)  # the rest is below the objective's rounding
    walk.steps = walk.steps + 1
    walk.over = (proposal.spent & (damping < 1e-3)) | (damping > 1e12)
    walk.over |= small & ~better & ((damping < 1e-3) | (damping > 1e6))
    excess = 4 * (here.value - there.value) / np.maximum(gain, 1e-300) - 1
    kept = np.minimum(np.maximum(1 - excess * excess * excess, 0.1), 2.0)
    eased = np.where(small | (damping < 1e-5), 0.0, damping * kept)
    if better.all():
        walk.theta, walk.here, walk.damping = proposal.trial, there, eased
        walk.impatience = np.full(len(gain), IMPATIENCE)
        return
    walk.theta = np.where(better[:, None], proposal.trial, walk.theta)
    walk.here = here.replaced(better, there)
    walk.damping = np.where(better, eased, np.maximum(walk.impatience * damping, 1e-4))
    walk.impatience = np.where(better, IMPATIENCE, 2 * walk.impatience)


def _last_step(walk: Walk, proposal: Proposal) -> Walk:
    """Rows that are spent take the promised step without looking: what it gains is below the objective's rounding.

    A long one, along something of which the runs say little, was looked at.
    """
    unseen = proposal.spent & proposal.short & ~walk.over
    return replace(walk, theta=np.where(unseen[:, None], proposal.trial, walk.theta), steps=walk.steps + unseen)


def _collected(problem: Problem, ended: list[Walk], rows: Rows, *, exact: bool) -> Solution:
    """All rows in order again, judged by the derivatives before their last step; by new ones where that fails."""
    order = np.argsort(np.concatenate([walk.row for walk in ended]))

    def whole(parts: list[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(parts)[order]

    d = Derivatives(*(whole(list(parts)) for parts in zip(*(vars(walk.here).values() for walk in ended), strict=True)))
    theta, alive = whole([walk.theta for walk in ended]), whole([walk.alive for walk in ended])
    found = _judged(problem, theta, rows, alive, whole([walk.steps for walk in ended]), d)
    doubtful = np.flatnonzero(~found.certified)
    if len(doubtful):
        own = rows.take(doubtful)
        again = certify(problem, theta[doubtful], own, alive[doubtful], found.steps[doubtful], exact=exact)
        for name, values in vars(found).items():
            values[doubtful] = vars(again)[name]
    return found


def _pushed(problem: Problem, theta: Array, direction: Array) -> Mask:
    """Parameters at a bound that `direction` would push through it."""
    return ((theta <= problem.lower) & (direction < 0)) | ((theta >= problem.upper) & (direction > 0))


def _step(
    problem: Problem, theta: Array, here: Derivatives, movable: Mask, damping: Array
) -> tuple[Array, Array, Mask]:
    """The damped Newton step, cut where it meets the box; the gradient of what may move; whether it was left whole.

    A parameter at its bound that the step would push out is held, and the step of the others solved again.
    """
    ridge = np.einsum("bii->bi", here.reweighted).max(axis=1) * (1e-14 + 1e-6 * damping)
    far = (damping > FAR) & problem.objective.quadratic
    diagonal = np.arange(problem.size)
    while True:
        gradient, hessian, reweighted = freeze(here, movable)
        matrix = damping[:, None, None] * reweighted
        matrix += hessian
        if far.any():
            matrix[far] = (1 + damping[far, None, None]) * reweighted[far]
        matrix[:, diagonal, diagonal] += ridge[:, None]
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
    try:
        step = np.asarray(np.linalg.solve(matrix, gradient[:, :, None])[:, :, 0])
        if np.isfinite(step).all():
            return step
    except np.linalg.LinAlgError:
        pass
    finite = np.asarray(np.isfinite(matrix).all(axis=(1, 2)) & np.isfinite(gradient).all(axis=1))
    matrix = np.where(finite[:, None, None], matrix, np.eye(matrix.shape[1]))
    gradient = np.where(finite[:, None], gradient, 0.0)
    try:
        return np.asarray(np.linalg.solve(matrix, gradient[:, :, None])[:, :, 0])
    except np.linalg.LinAlgError:
        return np.asarray((np.linalg.pinv(matrix, hermitian=True) @ gradient[:, :, None])[:, :, 0])


def certify(
    problem: Problem, theta: Array, rows: Rows, alive: Mask, steps: NDArray[np.int64], *, exact: bool
) -> Solution:
    """Judges points by themselves, whatever path led there."""
    d = derivatives(problem, theta, rows.weights, alive, rows.y, exact=exact)
    return _judged(problem, theta, rows, alive, steps, d)


def _judged(
    problem: Problem, theta: Array, rows: Rows, alive: Mask, steps: NDArray[np.int64], d: Derivatives
) -> Solution:
    movable = problem.owned(alive) & rows.free
    if problem.boxed:
        movable &= ~_pushed(problem, theta, -d.gradient)
    gradient, hessian, _ = freeze(d, movable)
    finite = np.isfinite(hessian).all(axis=(1, 2)) & np.isfinite(d.value)
    if not finite.all():
        hessian = np.where(finite[:, None, None], hessian, np.eye(problem.size))
    values, vectors = np.linalg.eigh(hessian)
    top = np.abs(values).max(axis=1, keepdims=True)
    # where no run lies inside delta the Hessian is 0, or rounding: what is less than this is not told from 0
    nothing = LEVEL * np.where(movable, np.einsum("bii->bi", d.reweighted), 0.0).max(axis=1, keepdims=True)
    nothing = np.where(np.isfinite(nothing), nothing, 0.0)
    along = (vectors.transpose(0, 2, 1) @ gradient[:, :, None])[:, :, 0]
    safe = np.maximum(np.abs(values), np.maximum(1e-13 * top, nothing) + 1e-300)
    decrement = 0.5 * (along * along / safe).sum(axis=1) / (d.value + rows.floor / CERTIFIED)
    convex = (values >= -np.maximum(1e-7 * top, nothing)).all(axis=1)
    return Solution(theta, d.value, decrement, alive, (decrement <= CERTIFIED) & convex & finite, steps)
