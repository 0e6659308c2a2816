"""Profile intervals of any quantity: where the objective, minimised with the quantity held, has risen too far.

They show bounds and trade-offs as they are: an end is open where the objective never rises that far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scalelaw import newton
from scalelaw.fitting import spread
from scalelaw.fitting.point import Point
from scalelaw.newton.descent import freeze, solved

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Quantities = Callable[[Array, newton.Mask, Rows], tuple[Array, Array]]
"""(theta (rows, size), alive, which quantity each row holds) -> values (rows,) and gradients (rows, size)."""
TIGHT = 10.0
"""Pull towards the held value, in units of the objective's own curvature along the quantity."""
PASSES = 12
"""Places tried for each end."""
CLOSE = 0.02
"""An end is found when the root of the rise there is this close to its threshold."""
FLAT = 1e-3
"""An end is open when going further raises the root of the rise by less than this share, twice in a row."""
FARTHEST = 100.0
"""It is open too beyond this distance: a factor of e^100, or a hundred in an exponent."""
STEPS = 40
"""Newton steps for one place."""
SETTLED = 5e-3
"""A place is settled when a step promises less than this fall of a squared t statistic."""
DIFFERENCE = 1e-5
"""Step of the differences of exact gradients that give a quantity's second derivatives."""
NOTHING, IDLE = 1e-16, 1e-8
"""Parameters whose curvature is below these shares of the largest: they move no prediction; next to none."""
SMALLEST = 10.0
"""Log amplitudes go down to this far below the smallest loss."""


class _Search:
    """Both ends of every quantity, one row each.

    Attributes:
        held: distance from the estimate at which the quantity is held next.
        inner, outer: the farthest distance reached with a rise below the threshold, the nearest with one above.
        z_inner, z_outer: roots of the rises there, in units of the threshold.
        open: rows whose end was given up as open.
    """

    def __init__(self, first: Array, hopeless: newton.Mask) -> None:
        """Args: first (rows,) distances to try; rows that have no end."""
        rows = len(first)
        self.held = first
        self.inner, self.z_inner, self.outer, self.z_outer = (np.full(rows, v) for v in (0.0, 0.0, np.inf, np.inf))
        self._within, self._beyond = np.zeros(rows), np.full(rows, np.inf)  # what was held there
        self._flat = np.zeros(rows, np.int64)
        self.open = hopeless.copy()

    @property
    def found(self) -> newton.Mask:
        """(rows,) whose search is over."""
        near = np.minimum(np.abs(self.z_outer - 1), np.abs(self.z_inner - 1)) < CLOSE
        narrow = self._beyond - self._within < CLOSE * self._beyond
        return np.asarray(self.open | (np.isfinite(self.outer) & (near | narrow)))

    @property
    def end(self) -> Array:
        """Distance of the end from the estimate, between the two nearest places; inf where it is open."""
        with np.errstate(invalid="ignore"):
            inside = self.inner + self._share(2.0) * (self.outer - self.inner)
        collapsed = (self.inner <= 0) & (self.z_outer > 1 + CLOSE)  # not even the nearest place was found to be inside
        unknown = ~np.isfinite(self.outer) | collapsed
        return np.where(self.open | unknown, np.inf, inside)

    def _share(self, unknown: float) -> Array:
        """How far between inner and outer the threshold lies, roots of rises taken as linear."""
        z_outer = np.where(np.isfinite(self.z_outer), self.z_outer, unknown)
        return np.asarray(np.clip((1 - self.z_inner) / np.maximum(z_outer - self.z_inner, 1e-12), 0.0, 1.0))

    def move(self, rows: Rows, distance: Array, z: Array) -> None:
        """Takes in the distances that were reached and the roots there, in units of the threshold; holds the next."""
        held, inside = self.held[rows], z <= 1
        grown = z > (1 + FLAT) * self.z_inner[rows]
        self._flat[rows] = np.where(inside & ~grown, self._flat[rows] + 1, 0)
        for side, pick in (("inner", inside), ("outer", ~inside)):
            at = rows[pick]
            getattr(self, side)[at], getattr(self, f"z_{side}")[at] = distance[pick], z[pick]
            (self._within if side == "inner" else self._beyond)[at] = held[pick]
        bracketed = np.isfinite(self._beyond[rows])
        gap = np.where(bracketed, self._beyond[rows], 0.0) - self._within[rows]
        further = held * np.clip(1.05 / np.maximum(z, 1e-9), 1.3, 3.0)
        between = self._within[rows] + np.clip(self._share(3.0)[rows], 0.1, 0.9) * gap
        self.held[rows] = np.where(bracketed, between, further)
        self.open[rows] |= ~bracketed & ((self._flat[rows] >= 2) | (held > FARTHEST))


def profile(
    point: Point, start: Array, alive: newton.Mask, quantities: Quantities, scale: Array, threshold: Array
) -> tuple[Array, Array]:
    """Ends of the profile intervals of several quantities.

    Args:
        point: the solution.
        start: (size,) finite theta near it.
        alive: (terms,) terms that may live, the dead ones of the solution too.
        quantities: values and gradients by theta.
        scale: (quantities,) their standard errors by independent runs, roughly: the first distance tried.
        threshold: (quantities,) root of the rise, in standard errors of independent runs, where the intervals end.

    Returns:
        (low, high), each (quantities,): infinite where open, NaN where the quantity has no value at the solution.
    """
    problem = replace(point.problem, objective=spread.smoothed(point))
    base = newton.solve(problem, point.theta[None], point.weights[None], alive=point.alive[None])
    count = len(scale)
    which = np.arange(count)
    lower = np.maximum(problem.lower, floor_of(problem))
    begin = np.clip(start, lower, problem.upper)
    estimate, _ = quantities(np.repeat(base.theta, count, axis=0), np.repeat(base.alive, count, axis=0), which)
    revived, _ = quantities(np.repeat(begin[None], count, axis=0), np.repeat(alive[None], count, axis=0), which)
    estimate = np.where(np.isfinite(estimate), estimate, revived)  # of a dead term: where it still does nothing
    unit = _unit(point, problem, base)
    rows, sign = np.concatenate([which, which]), np.repeat([-1.0, 1.0], count)
    middle = estimate[rows]
    first = np.maximum(scale[rows], 1e-9)
    search = _Search(2 * first, np.isnan(middle))
    living = np.repeat(alive[None], 2 * count, axis=0)
    warm = np.repeat(begin[None], 2 * count, axis=0)
    for _ in range(PASSES):
        todo = np.flatnonzero(~search.found)
        if not len(todo):
            break
        held = middle[todo] + sign[todo] * search.held[todo]
        pulled = _Pulled(
            problem, point.weights, living[todo], lower, quantities, rows[todo], held, TIGHT / (unit * first[todo] ** 2)
        )
        theta = _held(pulled, pulled.nearer(warm[todo], middle[todo] + sign[todo] * search.inner[todo]), SETTLED / unit)
        values, _ = quantities(theta, living[todo], rows[todo])
        distance = sign[todo] * (values - middle[todo])
        z = np.sqrt(np.maximum(pulled.objective(theta) - base.value[0], 0.0) * unit)
        with np.errstate(invalid="ignore", divide="ignore"):
            z = z / threshold[rows[todo]]
        good = np.isfinite(z) & np.isfinite(distance)
        search.move(todo, np.where(good, distance, search.held[todo]), np.where(good, z, np.inf))
        further = good & (z <= 1)
        warm[todo[further]] = theta[further]
    end = search.end
    ends = middle + sign * end
    return ends[:count], ends[count:]


def _unit(point: Point, problem: newton.Problem, base: newton.Solution) -> float:
    """What turns rises of the (perhaps smoothed) objective into squared t statistics; see `spread.calibration`."""
    r, _ = problem.residuals(problem.curve(base.theta, base.alive).f[0], point.y)
    w = point.weights
    bend = float((w * problem.objective.curvature(r)).sum())
    power = float(((spread.score_weights(problem.objective, w) * problem.objective.psi(r)) ** 2).sum())
    return 2 * max(bend, 1e-300) / max(power, 1e-300) * point.dof / int((w > 0).sum())


def floor_of(problem: newton.Problem) -> Array:
    """(size,) how far down log amplitudes of a sum, or the constant of another law, may go: they are then nothing.

    Where a constant is at its floor its logarithm counts as -inf, from which no profile could set out.
    """
    floor = np.full(problem.size, -np.inf)
    if isinstance(problem, newton.SmoothProblem) and "E" in problem.law.vanishing:
        floor[problem.law.names().index("E")] = problem.y.min() - SMALLEST
    if isinstance(problem, newton.SumProblem):
        for at, _ in problem.form.blocks:
            floor[at] = problem.y.min() - SMALLEST
    return floor


@dataclass(frozen=True)
class _Pulled:
    """objective + pull / 2 (quantity - held)^2, a row each: wherever its minimum lies, it lies on the profile."""

    problem: newton.Problem
    weights: Array
    alive: newton.Mask
    lower: Array
    quantities: Quantities
    which: Rows
    held: Array
    pull: Array

    def take(self, rows: Rows | newton.Mask) -> _Pulled:
        """Some of the rows."""
        return replace(self, alive=self.alive[rows], which=self.which[rows], held=self.held[rows], pull=self.pull[rows])

    def objective(self, theta: Array) -> Array:
        """(rows,) the objective alone."""
        with np.errstate(all="ignore"):
            r, _ = self.problem.residuals(self.problem.curve(theta, self.alive).f, self.problem.y)
            return np.asarray((self.weights * self.problem.objective.rho(r)).sum(axis=1))

    def at(self, theta: Array) -> newton.Derivatives:
        """Value and derivatives of the sum."""
        d = newton.derivatives(self.problem, theta, np.repeat(self.weights[None], len(theta), axis=0), self.alive)
        values, gradients = self.quantities(theta, self.alive, self.which)
        gap = values - self.held
        outer = self.pull[:, None, None] * gradients[:, :, None] * gradients[:, None, :]
        bent = (self.pull * gap)[:, None, None] * _bent(self.quantities, theta, self.alive, self.which)
        return replace(
            d,
            value=d.value + 0.5 * self.pull * gap**2,
            gradient=d.gradient + (self.pull * gap)[:, None] * gradients,
            hessian=d.hessian + outer + np.where(np.isfinite(bent), bent, 0.0),
            reweighted=d.reweighted + outer,
        )

    def nearer(self, theta: Array, there: Array) -> Array:
        """Starts: theta, whose quantity is `there`, or that moved along the profile's tangent where this is lower."""
        with np.errstate(all="ignore"):
            d = self.at(theta)
            _, gradients = self.quantities(theta, self.alive, self.which)
            _, _, reweighted = freeze(d, self.problem.owned(self.alive))
            ridge = 1e-9 * np.einsum("bii->bi", reweighted).max(axis=1)[:, None, None] * np.eye(theta.shape[1])
            along = solved(reweighted + ridge, self.pull[:, None] * gradients) * (self.held - there)[:, None]
            along /= np.maximum(1.0, np.abs(along).max(axis=1, keepdims=True) / 4.0)
            moved = np.clip(theta + along, self.lower, self.problem.upper)
            return np.where((self.at(moved).value < d.value)[:, None], moved, theta)


def _held(pulled: _Pulled, theta: Array, enough: float) -> Array:
    """theta (rows, size) of the minimum by damped Newton steps, every row with its own damping.

    Args:
        pulled: what to minimise.
        theta: starts.
        enough: a step that promises less than this fall ends a row.
    """
    theta = theta.copy()
    problem, lower = pulled.problem, pulled.lower
    active, damping = np.arange(len(theta)), np.full(len(theta), 1e-3)
    timid = np.zeros(len(theta), bool)  # rows that have failed a step: those may have run away along what is idle
    with np.errstate(all="ignore"):
        here = pulled.at(theta)
        for _ in range(STEPS):
            low, high = theta[active] <= lower, theta[active] >= problem.upper
            stuck = (low & (here.gradient > 0)) | (high & (here.gradient < 0))
            if timid.any():
                diagonal = np.einsum("bii->bi", here.reweighted)
                stuck |= timid[:, None] & (diagonal < IDLE * diagonal.max(axis=1, keepdims=True))
            gradient, hessian, reweighted = freeze(here, problem.owned(pulled.alive) & ~stuck)
            step = -_downhill(hessian, reweighted, gradient, damping)
            gain = -(gradient * step).sum(axis=1)
            step /= np.maximum(1.0, np.abs(step).max(axis=1, keepdims=True) / 2.0)
            trial = np.clip(theta[active] + step, lower, problem.upper)
            there = pulled.at(trial)
            better = there.value <= here.value + 1e-14 * np.abs(here.value)
            theta[active[better]] = trial[better]
            timid |= ~better & (problem.n_terms == 0)
            done = (np.abs(gain) <= enough + 1e-14 * here.value) | (damping > 1e9) | ~np.isfinite(here.value)
            damping = np.where(better, np.where(damping < 1e-6, 0.0, 0.1 * damping), np.maximum(5 * damping, 1e-3))
            here = newton.Derivatives(
                *(
                    np.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)
                    for new, old in zip(vars(there).values(), vars(here).values(), strict=True)
                )
            )
            if done.any():
                keep = ~done
                active, damping, timid, pulled = active[keep], damping[keep], timid[keep], pulled.take(keep)
                here = newton.Derivatives(*(values[keep] for values in vars(here).values()))
            if not len(active):
                break
    return theta


def _downhill(hessian: Array, reweighted: Array, gradient: Array, damping: Array) -> Array:
    """Newton directions with the curvatures' signs made positive: away from saddles, where small amplitudes sit.

    Curvatures are those of parameters scaled by the reweighted matrix's diagonal, plus the damping.
    """
    diagonal = np.einsum("bii->bi", reweighted)  # what moves nothing must not take up the whole length of the step
    scale = 1 / np.sqrt(np.maximum(diagonal, NOTHING * diagonal.max(axis=1, keepdims=True) + 1e-300))
    matrix = hessian * scale[:, :, None] * scale[:, None, :]
    finite = np.isfinite(matrix).all(axis=(1, 2))
    values, vectors = np.linalg.eigh(np.where(finite[:, None, None], matrix, np.eye(matrix.shape[1])))
    values = np.maximum(np.abs(values), 1e-12 * np.abs(values).max(axis=1, keepdims=True)) + damping[:, None]
    along = np.einsum("bij,bi->bj", vectors, scale * np.where(finite[:, None], gradient, 0.0))
    return np.asarray(scale * np.einsum("bij,bj->bi", vectors, along / values))


def _bent(quantities: Quantities, theta: Array, alive: newton.Mask, which: Rows) -> Array:
    """(rows, size, size) second derivatives of the quantities: central differences of their gradients."""
    rows, size = theta.shape
    moves = DIFFERENCE * np.concatenate([np.eye(size), -np.eye(size)])
    places = (theta[:, None, :] + moves).reshape(-1, size)
    _, slopes = quantities(places, np.repeat(alive, 2 * size, axis=0), np.repeat(which, 2 * size))
    slopes = slopes.reshape(rows, 2, size, size)
    bent = (slopes[:, 0] - slopes[:, 1]) / (2 * DIFFERENCE)
    return np.asarray(0.5 * (bent + bent.transpose(0, 2, 1)))
