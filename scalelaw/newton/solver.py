"""solve(): rows in chunks that fit the cache, on all cores; revival of a constant; absolute deviations."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from scalelaw.newton.corner import on_corners
from scalelaw.newton.descent import CHUNK, LOOSE, MAX_STEPS, SIDE, TOLERANCE, descend
from scalelaw.newton.problem import Array, Mask, Objective, Problem
from scalelaw.newton.sums import SumProblem
from scalelaw.newton.walk import Pace, Rows, Solution

SHARPER = 0.1
"""Each pass of the absolute deviations shrinks delta by this factor."""
PASSES = 10
"""Passes from a delta of the size of the spread of log loss: at the last one it is 1e-9 of that."""


@runtime_checkable
class Kinked(Protocol):
    """An objective without a second derivative, the limit of smooth ones as their delta goes to 0."""

    def smooth(self, delta: float) -> Objective:
        """A smooth objective that differs by at most delta / 2 for each residual."""


def solve(
    problem: Problem,
    theta: Array,
    weights: Array,
    *,
    alive: Mask | None = None,
    free: Mask | None = None,
    y: Array | None = None,
    exact: bool | None = None,
    most: int = MAX_STEPS,
    tolerance: float | None = None,
    threads: int | None = None,
) -> Solution:
    """Minimises every row's objective from its start.

    Args:
        problem: the data.
        theta: (rows, size) starts in the solver's coordinates.
        weights: (rows, runs) or (1, runs), not negative.
        alive: (rows, terms) False for terms that are to stay away.
        free: (rows, size) False for parameters that are to keep their value.
        y: (rows, runs) log loss of every row, scaled as the problem's own, which is the default.
        exact: second derivatives of f too; by default for sums of power laws, where they cost nothing.
        most: steps after which a row is given up, uncertified.
        tolerance: share of the objective below which a promised decrease ends a row; by default rounding for exact
            steps, a millionth of a standard error for Gauss-Newton's.
        threads: chunks solved at once, by default one a core; the result does not depend on it.
    """
    count = len(theta)
    alive = np.ones((count, problem.n_terms), bool) if alive is None else alive
    rows = Rows(weights, problem.y if y is None else y, np.ones((1, problem.size), bool) if free is None else free)
    exact = isinstance(problem, SumProblem) if exact is None else exact
    chunk, side = (max(1, min(full, full * 240 // max(1, problem.runs))) for full in (CHUNK, SIDE))
    pace = Pace(exact, most, (TOLERANCE if exact else LOOSE) if tolerance is None else tolerance, side)
    slices = [slice(start, min(start + chunk, count)) for start in range(0, count, chunk)]

    def one(at: slice) -> Solution:
        with np.errstate(all="ignore"):  # a step too far is not taken
            return _chunk(problem, theta[at], rows.take(at), alive[at], pace)

    workers = min(len(slices), threads or os.cpu_count() or 1)
    if workers < 2:
        return Solution.joined([one(at) for at in slices])
    with ThreadPoolExecutor(workers) as pool:
        return Solution.joined(list(pool.map(one, slices)))


def _chunk(problem: Problem, theta: Array, rows: Rows, alive: Mask, pace: Pace) -> Solution:
    if isinstance(problem.objective, Kinked):
        return _sharpened(problem, problem.objective, theta, rows, alive, pace)
    found = descend(problem, theta, rows, alive, pace)
    if isinstance(problem, SumProblem):
        again = _revivable(problem, found, rows, alive)
        if again.any():
            found = _revive(problem, found, rows, again)
    return found


def _sharpened(problem: Problem, kinked: Kinked, theta: Array, rows: Rows, alive: Mask, pace: Pace) -> Solution:
    """Smooth problems with delta to 0, each from the last one's end; then into the corner that they approach.

    The decrement is a bound: the smooth objective's own, plus delta / 2 for every residual inside delta, for that is
    all by which the two objectives can differ.
    """
    spread = float(problem.y.std()) or 1.0
    for delta in spread * SHARPER ** np.arange(PASSES):
        found = _chunk(replace(problem, objective=kinked.smooth(float(delta))), theta, rows, alive, pace)
        usable = np.isfinite(found.value)[:, None]
        theta, alive = np.where(usable, found.theta, theta), np.where(usable, found.alive, alive)
    theta = on_corners(problem, found, rows, float(delta))
    r, _ = problem.residuals(problem.curve(theta, found.alive).f, rows.y)
    value = (rows.weights * np.abs(r)).sum(axis=1)
    gap = (rows.weights * 0.5 * np.minimum(np.abs(r), delta)).sum(axis=1)
    decrement = (found.decrement * found.value / delta + gap) / (value + 1e-12 * rows.weights.sum(axis=1))
    return replace(found, theta=theta, value=value, decrement=decrement)


def _revivable(problem: SumProblem, found: Solution, rows: Rows, allowed: Mask) -> Mask:
    """Rows whose constant was switched off although the objective would fall with it."""
    if not problem.form.constant or problem.lower[0] == problem.upper[0]:
        return np.zeros(len(found.value), bool)
    again = np.asarray(allowed[:, 0] & rows.free[:, 0] & ~found.alive[:, 0])
    if again.any():
        dead = rows.take(again)
        f = problem.curve(found.theta[again], found.alive[again]).f
        r, _ = problem.residuals(f, dead.y)
        push = problem.objective.psi(r) * (np.exp(-f) if problem.space == "log" else 1.0)
        again[again] = (dead.weights * push).sum(axis=1) < 0
    return again


def _revive(problem: SumProblem, found: Solution, rows: Rows, again: Mask) -> Solution:
    """Descends once more from a small constant; keeps what is lower."""
    own = rows.take(again)
    theta = found.theta[again]
    theta[:, 0] = own.y.min(axis=1) + np.log(1e-3)
    alive = found.alive[again]
    alive[:, 0] = True
    second = descend(problem, theta, own, alive, Pace(True, MAX_STEPS, TOLERANCE, len(theta)))
    lower = second.value < found.value[again]
    at = np.flatnonzero(again)[lower]
    merged = {}
    for name, values in vars(found).items():
        merged[name] = values.copy()
        merged[name][at] = vars(second)[name][lower]
    return Solution(**merged)
