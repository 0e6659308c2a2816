"""Point: a solution of the solver with the data it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from scalelaw import newton
from scalelaw.laws import Law, SumOfPowers

Array = NDArray[np.float64]
Layout = tuple[tuple[int, str, tuple[str, ...]], ...]


@cache
def layout(law: type[Law]) -> Layout:
    """Where the parameters of a sum are in the solver's theta: per term its index, amplitude and exponents."""
    if not issubclass(law, SumOfPowers):
        return ()
    rows: list[tuple[int, str, tuple[str, ...]]] = [(0, law.constant, ())] if law.constant else []
    at = len(rows)
    for term in law.terms:
        rows.append((at, term.amplitude, tuple(name for _, name in term.exponents)))
        at += 1 + len(term.exponents)
    return tuple(rows)


@cache
def solver_order(law: type[Law]) -> NDArray[np.int64]:
    """(size,) index in the solver's theta of each of the law's fields."""
    names = solver_names(law)
    return np.array([names.index(name) for name in law.names()])


@cache
def solver_names(law: type[Law]) -> tuple[str, ...]:
    """Names of the solver's theta: term by term for a sum, the law's own order otherwise."""
    rows = layout(law)
    return tuple(name for _, amplitude, exponents in rows for name in (amplitude, *exponents)) or law.names()


@dataclass(frozen=True)
class Point:
    """A solution.

    Attributes:
        law: the law's class.
        problem: the data in the solver's units.
        theta: (size,) in the solver's coordinates and order.
        alive: (terms,) False for terms that were switched off.
        value: objective in scaled units.
        weights: (runs,) of the runs.
    """

    law: type[Law]
    problem: newton.Problem
    theta: Array
    alive: newton.Mask
    value: float
    weights: Array

    @property
    def y(self) -> Array:
        """(runs,) centred log loss."""
        return np.asarray(self.problem.y[0])

    @cached_property
    def living(self) -> newton.Mask:
        """(size,) parameters of living terms."""
        mask = np.ones(self.problem.size, bool)
        for k, (at, _, exponents) in enumerate(layout(self.law)):
            mask[at : at + 1 + len(exponents)] = self.alive[k]
        return mask

    @cached_property
    def at_low(self) -> newton.Mask:
        """(size,) living parameters at the lower end of their box, pinned ones not counted."""
        p = self.problem
        return np.asarray(self.living & (p.lower < p.upper) & (self.theta <= p.lower))

    @cached_property
    def at_high(self) -> newton.Mask:
        """(size,) the same at the upper end."""
        p = self.problem
        return np.asarray(self.living & (p.lower < p.upper) & (self.theta >= p.upper))

    @cached_property
    def pinned(self) -> newton.Mask:
        """(size,) parameters that may not move."""
        return np.asarray(self.problem.lower == self.problem.upper)

    @cached_property
    def free(self) -> newton.Mask:
        """(size,) parameters that were estimated: living, not pinned, inside their box."""
        return self.living & ~self.pinned & ~self.at_low & ~self.at_high

    @cached_property
    def dof(self) -> int:
        """Runs of positive weight less estimated parameters."""
        return int((self.weights > 0).sum() - self.free.sum())

    def curve(self, x: Array) -> tuple[Array, Array]:
        """Log prediction (points,) and its derivative by theta (size, points) at the solver's `x`."""
        found = self.problem.curve(self.theta[None], self.alive[None], x)
        return found.f[0], found.jacobian[0]

    def residuals(self) -> tuple[Array, Array]:
        """Residuals (runs,) in the objective's space, scaled units, and their derivative by theta (size, runs)."""
        return self._residuals

    @cached_property
    def _residuals(self) -> tuple[Array, Array]:
        f, jacobian = self.curve(self.problem.x)
        r, first = self.problem.residuals(f, self.y)
        return r, jacobian * first

    @cached_property
    def window(self) -> float:
        """Half width around 0 in which enough residuals lie to estimate their density.

        Residuals that the curve can always bring to 0, one for each parameter, are left out; of the others the window
        holds half, and a share that falls as 2 n^(-1/3) from 64 runs on.
        """
        r, _ = self.residuals()
        size = np.sort(np.abs(r[self.weights > 0]))
        rest = size[min(int(self.free.sum()), len(size) - 1) :]
        share = min(0.5, 2 * len(size) ** (-1 / 3))
        return max(float(np.quantile(rest, share)), 1e-12)

    def hessian(self) -> Array:
        """(size, size) exact Hessian of the objective."""
        found = newton.derivatives(self.problem, self.theta[None], self.weights[None], self.alive[None], exact=True)
        return np.asarray(found.hessian[0])

    @cached_property
    def natural(self) -> Array:
        """(size,) the law's working coordinates in the user's units, in the order of its fields."""
        return np.asarray(self.problem.natural(self.theta[None])[0][solver_order(self.law)])

    @cached_property
    def natural_jacobian(self) -> Array:
        """(size, size) derivative of `natural`, in the order of the law's fields, by the solver's theta."""
        return np.asarray(self.problem.natural_jacobian(self.theta)[solver_order(self.law)])

    def natural_of(self, theta: Array, alive: newton.Mask) -> Array:
        """(rows, size) the same of other rows of theta (rows, size) with terms (rows, terms) alive.

        The logarithm of what vanished is -inf, the exponent of a dead term NaN.
        """
        found = self.problem.natural(theta)
        for k, (at, _, exponents) in enumerate(layout(self.law)):
            found[~alive[:, k], at] = -np.inf
            found[~alive[:, k], at + 1 : at + 1 + len(exponents)] = np.nan
        if isinstance(self.problem, newton.SmoothProblem):
            for j, name in enumerate(self.law.names()):
                if name in self.problem.zeros:
                    found[theta[:, j].real <= self.problem.lower[j], j] = -np.inf
        return np.asarray(found[:, solver_order(self.law)])
