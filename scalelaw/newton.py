"""The certified solver for sums of power laws, E + sum_k A_k prod_j x_j^-a_kj, many weighted copies at once.

The log of such a sum is a log-sum-exp of functions that are linear in theta = (ln E, ln A_k, a_kj), so gradient and
Hessian of any objective in the residuals are closed-form. Each row of weights is a problem of its own (a bootstrap
replicate, or the same data from another start); all rows take their damped Newton steps side by side. The Newton
matrix is the exact Hessian (for Huber, the semismooth one), damped by the iteratively-reweighted Gauss-Newton matrix.
A term that shrinks to nothing is switched off and its face of the parameter space solved as such.

Logs are centred and scaled (condition numbers fall from 1e13 to a few thousand) and the loss is measured in units of
its geometric mean, which makes results independent of the user's units.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Space = Literal["log", "linear"]

CHUNK = 256
"""Rows solved side by side: with about 240 points their working arrays still fit the cache."""
DEAD_SHARE = 1e-9
"""A term that gives less than this share of every prediction is switched off."""
TOLERANCE = 1e-13
"""Stop when the predicted decrease falls below this share of the objective; one more step then squares it."""
CERTIFIED = 1e-9
"""Certified when the Newton decrement is below this share of the objective."""
MAX_STEPS = 200


class Objective(Protocol):
    """What the solver needs of an objective sum_i w_i rho(r_i)."""

    def rho(self, r: Array) -> Array:
        """Loss of a residual, elementwise."""

    def psi(self, r: Array) -> Array:
        """Derivative of rho."""

    def curvature(self, r: Array) -> Array:
        """Second derivative of rho (one-sided where it jumps)."""

    def weight(self, r: Array) -> Array:
        """psi(r) / r, its limit at 0: the weight of iteratively reweighted least squares."""

    def scaled(self, unit: float) -> Objective:
        """The same objective for residuals divided by `unit`."""


@dataclass(frozen=True)
class Form:
    """Which sum of power laws: has it a constant, and which variables (by index) enter each further term.

    theta = ([ln E,] ln A_1, a_11, ..., ln A_2, a_21, ...).
    """

    constant: bool
    terms: tuple[tuple[int, ...], ...]

    @property
    def n_terms(self) -> int:
        """Terms including the constant."""
        return len(self.terms) + self.constant

    @cached_property
    def blocks(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Per term, the constant first: index of its log amplitude in theta, and its variables; exponents follow."""
        blocks: list[tuple[int, tuple[int, ...]]] = [(0, ())] if self.constant else []
        at = len(blocks)
        for variables in self.terms:
            blocks.append((at, variables))
            at += 1 + len(variables)
        return tuple(blocks)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.n_terms + sum(len(variables) for variables in self.terms)


@dataclass(frozen=True)
class Problem:
    """Centred data of a fit.

    Attributes:
        form: the sum of power laws.
        x: (variables, runs) centred and scaled logs.
        y: (runs,) centred log loss.
        centre, scale: (variables,) what was subtracted from the logs, then divided by.
        level: mean log loss, subtracted.
        objective: in the scaled units (`exp(level)` is the unit of linear residuals).
        space: where residuals are taken: ln L or L.
    """

    form: Form
    x: Array
    y: Array
    centre: Array
    scale: Array
    level: float
    objective: Objective
    space: Space

    @classmethod
    def of(cls, form: Form, logs: Array, log_loss: Array, objective: Objective, space: Space) -> Problem:
        """Centres `logs` (variables, runs) and `log_loss` (runs,)."""
        centre = logs.mean(axis=1)
        x = logs - centre[:, None]
        scale = np.sqrt((x * x).mean(axis=1))
        scale = np.where(scale > 0, scale, 1.0)
        level = float(log_loss.mean())
        unit = float(np.exp(level)) if space == "linear" else 1.0
        return cls(form, x / scale[:, None], log_loss - level, centre, scale, level, objective.scaled(unit), space)

    @property
    def value_unit(self) -> float:
        """Objective in the user's units per objective in scaled units: both objectives are quadratic at 0."""
        return float(np.exp(2 * self.level)) if self.space == "linear" else 1.0

    @cached_property
    def to_natural(self) -> tuple[Array, Array]:
        """(T, shift) with natural theta = T theta + shift."""
        T = np.eye(self.form.size)
        shift = np.zeros(self.form.size)
        for at, variables in self.form.blocks:
            shift[at] = self.level
            for j, v in enumerate(variables, start=at + 1):
                T[at, j] = self.centre[v] / self.scale[v]
                T[j, j] = 1 / self.scale[v]
        return T, shift

    def from_natural(self, theta: Array) -> Array:
        """Centred theta of natural theta (..., size)."""
        T, shift = self.to_natural
        return np.asarray(np.linalg.solve(T, (theta - shift).T).T)

    def logs(self, logs: Array) -> Array:
        """Centres and scales further logs (variables, points)."""
        return np.asarray((logs - self.centre[:, None]) / self.scale[:, None])


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
        step = -np.linalg.solve(matrix, gradient[:, :, None])[:, :, 0]
        step /= np.maximum(1.0, np.abs(step).max(axis=1, keepdims=True) / 2.0)
        gain = -(gradient * step).sum(axis=1)  # twice the decrease that the quadratic model promises
        trial = theta[active] + step
        there = derivatives(problem, trial, w, alive[active])
        slack = 1e-14 * here.value
        small = np.abs(gain) <= TOLERANCE * here.value + floor[active]
        better = (gain > 0) & (there.value <= here.value - 1e-4 * gain + slack)
        better |= small & (there.value <= here.value + slack)
        theta[active[better]] = trial[better]
        steps[active] += 1
        done = small & (better | (damping < 1e-3) | (damping > 1e6))
        done |= damping > 1e12
        damping = np.where(better, np.where(damping < 1e-5, 0.0, damping * 0.1), np.maximum(4 * damping, 1e-4))
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


def _certify(
    problem: Problem, theta: Array, weights: Array, alive: Mask, free: Mask, steps: NDArray[np.int64]
) -> Solution:
    """Judges the final point by itself, whatever path led there."""
    d = derivatives(problem, theta, weights, alive)
    gradient, hessian, _ = _freeze(d, _free_of(problem.form, alive, free))
    values, vectors = np.linalg.eigh(hessian)
    top = np.abs(values).max(axis=1, keepdims=True)
    along = (vectors.transpose(0, 2, 1) @ gradient[:, :, None])[:, :, 0]
    safe = np.maximum(np.abs(values), 1e-13 * top)
    floor = _floor(weights)
    decrement = 0.5 * (along * along / safe).sum(axis=1) / (d.value + floor / CERTIFIED)
    convex = (values >= -1e-7 * top).all(axis=1)
    certified = (decrement <= CERTIFIED) & convex & np.isfinite(d.value)
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


def screen(problem: Problem, weights: Array, *, starts: int = 12, faces: bool = True) -> tuple[Array, Mask]:
    """Global starts: on a log grid of exponents the amplitudes solve a tiny linear problem (relative errors squared).

    The normal equations of every row and every grid point are sums over runs of products of features, so they are one
    matrix product. The best grid point for each value of the first exponent makes the starts, best first.

    Args:
        problem: the centred data.
        weights: (rows, runs).
        starts: how many starts a row.
        faces: also grid points where some amplitude is 0 (it then starts small).

    Returns:
        theta (rows, starts, size) and whether each start is a real one (rows, starts).
    """
    form, rows = problem.form, weights.shape[0]
    blocks = form.blocks
    grid = _grid(problem, starts)  # (points, exponents), natural exponents
    choice, columns = [], []  # per term: column of each grid point
    at, width = 0, 0
    for _, variables in blocks:
        mine = grid[:, at : at + len(variables)]
        distinct, which = np.unique(mine, axis=0, return_inverse=True)
        scaled = distinct * problem.scale[list(variables)] if variables else distinct
        columns.append(np.exp(-scaled @ problem.x[list(variables)] - problem.y))
        choice.append(width + which.ravel())
        width += len(distinct)
        at += len(variables)
    features = np.concatenate(columns)  # (width, runs), over the loss
    upper = np.triu_indices(width)
    products = weights @ (features[upper[0]] * features[upper[1]]).T
    gram = np.empty((rows, width, width))
    gram[:, upper[0], upper[1]] = gram[:, upper[1], upper[0]] = products
    target, total = weights @ features.T, weights.sum(axis=1)
    picks = np.stack(choice, axis=1)  # (points, terms)
    best = np.full((rows, len(grid)), np.inf)
    amplitudes = np.zeros((rows, len(grid), len(blocks)))
    for subset in _subsets(len(blocks), faces):
        own = picks[:, subset]
        G = gram[:, own[:, :, None], own[:, None, :]]
        b = target[:, own]
        G = G + 1e-12 * np.einsum("bgkk->bg", G)[:, :, None, None] * np.eye(len(subset))
        solved = np.linalg.solve(G, b[..., None])[..., 0]
        loss = total[:, None] - (b * solved).sum(axis=2)
        wins = (solved > 0).all(axis=2) & (loss < best)
        best = np.where(wins, loss, best)
        full = np.zeros_like(amplitudes)
        full[:, :, subset] = solved
        amplitudes = np.where(wins[:, :, None], full, amplitudes)
    order = np.argsort(best, axis=1, kind="stable")
    taken = _diverse(order, grid, starts)
    real = np.isfinite(np.take_along_axis(best, taken, axis=1))
    theta = np.empty((rows, taken.shape[1], form.size))
    low = np.exp(problem.y.min()) * 1e-2
    at = 0
    for k, (position, variables) in enumerate(blocks):
        amplitude = np.take_along_axis(amplitudes[:, :, k], taken, axis=1)
        theta[:, :, position] = np.log(np.maximum(amplitude, low))
        for j, v in enumerate(variables, start=1):
            theta[:, :, position + j] = grid[taken, at] * problem.scale[v]
            at += 1
    return theta, real


def _grid(problem: Problem, starts: int) -> Array:
    """(points, exponents): a log grid of exponents from .02 to 3, a fixed spread of points when they are many."""
    count = sum(len(variables) for variables in problem.form.terms)
    values = np.geomspace(0.02, 3.0, max(starts, 2) if count <= 2 else 6)
    if count <= 3:
        return np.stack([axis.ravel() for axis in np.meshgrid(*[values] * count, indexing="ij")], axis=1)
    drawn = np.random.default_rng(0).uniform(np.log(0.02), np.log(3.0), (400, count))
    return np.asarray(np.exp(drawn))


def _subsets(terms: int, faces: bool) -> list[list[int]]:
    """Sets of terms whose amplitudes are solved for: all of them, and every smaller set where asked (few terms)."""
    whole = list(range(terms))
    if not faces or terms == 1:
        return [whole]
    sizes = range(terms, 0, -1) if terms <= 3 else (terms, terms - 1)
    return [list(chosen) for size in sizes for chosen in combinations(whole, size)]


def _diverse(order: NDArray[np.int64], grid: Array, starts: int) -> NDArray[np.int64]:
    """Per row the best grid point for each value of the first exponent, best first: (rows, up to starts)."""
    _, first = np.unique(grid[:, 0], return_inverse=True)
    values = int(first.max()) + 1
    taken = np.empty((order.shape[0], min(starts, values)), np.int64)
    for row, ranked in enumerate(order):
        _, earliest = np.unique(first[ranked], return_index=True)
        taken[row] = ranked[np.sort(earliest)[: taken.shape[1]]]
    return taken
