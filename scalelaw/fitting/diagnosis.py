"""What is wrong with a fit: the status word, the parameters that the data do not determine, and the warnings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scalelaw.fitting import spread
from scalelaw.fitting.constraints import Constraints
from scalelaw.fitting.objectives import Huber
from scalelaw.fitting.point import Point, layout, solver_names
from scalelaw.fitting.straightness import t_quantile
from scalelaw.fitting.warnings import FitWarning
from scalelaw.laws import Law, Smooth, SumOfPowers

Array = NDArray[np.float64]
Status = Literal["converged", "at_bound", "not_identified", "dead_term", "set_by_grid", "failed"]

WIDE_EXPONENT = 0.5
"""An exponent beside other terms is not identified when its standard error exceeds this share of it."""
WIDE_AMPLITUDE = 1.0
"""The same for the logarithm of a positive parameter of other laws, in units of the data's geometric means."""
ROUNDING = 1e-12
"""An exponent this near to 0 is 0, as where all losses are equal: then what else stands in its term is not told."""
FLAT = 1e-6
"""A descent that stops with a smaller promised decrease than this, far below any noise, has ended in a flat valley."""
MOVES = 0.1
"""A constant and an exponent trade off when a constant of 0 fits as well and moves the exponent by more than this."""
ONE_COMPUTE = 0.02
"""Runs whose size x data differ by less than this share have one compute."""


@dataclass(frozen=True)
class Seen:
    """What else the search saw.

    Attributes:
        certified: whether the optimum is stationary.
        decrement: see `newton.Solution`.
        agreed, starts: see `Fit`.
        without: the optimum with the constant at 0, None when the law has none or it is held.
    """

    certified: bool
    decrement: float
    agreed: int
    starts: int
    without: Point | None


@dataclass(frozen=True)
class Diagnosis:
    """See the attributes of the same names of `Fit`."""

    status: Status
    warnings: tuple[FitWarning, ...]
    unidentified: tuple[str, ...]


def diagnose(point: Point, seen: Seen, held: Constraints, data: dict[str, Array]) -> Diagnosis:
    """Judges the optimum; the gravest finding gives the status: failed, dead_term, not_identified, at_bound."""
    law = point.law
    if not seen.certified:
        sentence = (
            f"the best of {seen.starts} starts still promises a decrease of {seen.decrement:.1e} of the objective"
        )
        return Diagnosis("failed", (FitWarning("no certified optimum", sentence),), law.names())
    warnings: list[FitWarning] = []
    unidentified: list[str] = []
    bounded, edges = _bounds(point, held)
    warnings += bounded
    status: Status = "at_bound" if bounded else "converged"
    lost = _settings(point, warnings) or edges
    if not lost:
        lost = _loose(point)
        if lost:
            warnings.append(FitWarning("wide errors", f"not identified: the spread of {_listed(lost)} is too wide"))
    elif edges:
        warnings.append(FitWarning("search edge", f"not identified: {_listed(edges)} ended at the edge of the search"))
    if not lost:
        lost = _trade_off(point, seen)
        if lost:
            sentence = f"not identified: {_listed(lost)} trade off, {lost[0]} = 0 fits as well within the noise"
            warnings.append(FitWarning("trade-off", sentence))
    if lost:
        status = "not_identified"
        unidentified += lost
    dead = [
        name
        for term, (_, amplitude, exponents) in enumerate(layout(law))
        if not point.alive[term] and exponents and amplitude not in held.zero
        for name in (amplitude, *exponents)
    ]
    if dead:
        status = "dead_term"
        unidentified += dead
        warnings.append(FitWarning("dead term", f"{_listed(dead)} add nothing to any prediction"))
    warnings += _remarks(point, seen, data)
    return Diagnosis(status, tuple(warnings), tuple(dict.fromkeys(unidentified)))


def _flat(point: Point) -> list[str]:
    """The parameters along the direction in which the objective is flattest, all free ones at least a tenth as much."""
    names, free = solver_names(point.law), point.free
    if not free.any():
        return list(names)
    values, vectors = np.linalg.eigh(point.hessian()[np.ix_(free, free)])
    along = np.zeros(len(names))
    along[free] = np.abs(vectors[:, np.argmin(np.abs(values))])
    return [name for name, part in zip(names, along, strict=True) if part > 0.1 * along.max()]


def _listed(names: list[str]) -> str:
    return " and ".join(names)


def _bounds(point: Point, held: Constraints) -> tuple[list[FitWarning], list[str]]:
    """Warnings for parameters at 0 or at a bound of the user's; names of those at the edge of what is searched."""
    law = point.law
    names, low, high = solver_names(law), point.at_low, point.at_high
    warnings: list[FitWarning] = []
    edges: list[str] = []
    for j, name in enumerate(names):
        if low[j] or high[j]:
            ends = held.bounds.get(name, (None, None))
            end = ends[0] if low[j] else ends[1]
            if end is not None:
                warnings.append(FitWarning("bound reached", f"{name} = {end:g}, the bound that was given"))
            elif low[j] and issubclass(law, Smooth) and name in law.vanishing:
                kind = "constant at zero" if name == "E" else "parameter at zero"
                warnings.append(FitWarning(kind, f"{name} = 0, its bound, fits best"))
            else:
                edges.append(name)
    if issubclass(law, SumOfPowers) and law.constant and not point.alive[0] and law.constant not in held.zero:
        warnings.insert(0, FitWarning("constant at zero", f"{law.constant} = 0, its bound, fits best"))
    return warnings, edges


def _settings(point: Point, warnings: list[FitWarning]) -> list[str]:
    """All free parameters when there are fewer different settings than of them."""
    size = int((~point.pinned).sum())
    x = point.problem.x[:, point.weights > 0]
    if any(len(np.unique(row)) >= size for row in x):
        return []
    distinct = len(np.unique(x, axis=1).T)
    if distinct >= size:
        return []
    settings = f"{distinct} different values of {', '.join(point.law.variables)}"
    warnings.append(FitWarning("too few settings", f"not identified: {settings} for {size} parameters"))
    return [name for name, free in zip(solver_names(point.law), point.free, strict=True) if free]


def _loose(point: Point) -> list[str]:
    """Parameters whose spread is of their own size, or all free ones when the Hessian is singular."""
    law, free = point.law, point.free
    if point.dof < 1 or not free.any():
        return []
    names = solver_names(law)
    if issubclass(law, SumOfPowers) and int(point.alive.sum()) == 1:
        return []
    V = spread.covariance(point)
    level = [
        j for j, name in enumerate(names) if free[j] and name not in law.positive and abs(point.theta[j]) < ROUNDING
    ]
    if V is None or level:
        return [name for name, one in zip(names, free, strict=True) if one]
    scale = np.sqrt(spread.variance_ratio(point))
    loose = []
    for j, name in enumerate(names):
        if not free[j]:
            continue
        se = scale * np.sqrt(V[j, j])
        if name not in law.positive:
            if se > WIDE_EXPONENT * abs(point.theta[j]):
                loose.append(name)
        elif not issubclass(law, SumOfPowers) and se > WIDE_AMPLITUDE:
            loose.append(name)
    return loose


def _trade_off(point: Point, seen: Seen) -> list[str]:
    """The constant and the exponents that it trades against, when 0 fits as well at the 95 % level."""
    bare = seen.without
    if bare is None or point.dof < 1:
        return []
    law, names = point.law, solver_names(point.law)
    if issubclass(law, Smooth):
        at_zero = (bare.theta == bare.problem.lower) & (bare.theta < point.theta)
        vanished = [name for name, zero in zip(names, at_zero, strict=True) if zero and name in law.vanishing]
    else:
        vanished = [names[0]] if point.alive[0] else []
    t2 = (bare.value - point.value) * spread.calibration(point)
    if t2 > t_quantile(0.95, point.dof) ** 2 or not vanished:
        return []
    moved = [
        name
        for j, name in enumerate(names)
        if name not in law.positive
        and point.free[j]
        and (not bare.living[j] or abs(bare.theta[j] - point.theta[j]) > MOVES * abs(point.theta[j]))
    ]
    return [vanished[0], *moved] if moved else []


def _remarks(point: Point, seen: Seen, data: dict[str, Array]) -> list[FitWarning]:
    """Warnings that change no status."""
    law, names = point.law, solver_names(point.law)
    found = [
        FitWarning("negative exponent", f"{names[j]} is negative: the loss rises along its variable")
        for j in _exponents(law)
        if point.living[j] and not point.pinned[j] and point.theta[j] < -1e-9
    ]
    kept = point.weights > 0
    data, runs = {letter: values[kept] for letter, values in data.items()}, int(kept.sum())
    if point.dof < 1:
        found.append(FitWarning("no spread", f"{runs} runs for as many parameters, which leaves no spread"))
    if isinstance(point.problem.objective, Huber):
        r, _ = point.residuals()
        inside = int((np.abs(r[kept]) <= point.problem.objective.width).sum())
        if inside < 0.5 * runs:
            sentence = (
                f"{inside} of {runs} residuals lie inside delta, so the objective is close to absolute deviations"
            )
            found.append(FitWarning("mostly outside delta", sentence))
    if seen.agreed < 2 and seen.starts > 1:
        found.append(FitWarning("few starts agree", f"only {seen.agreed} of {seen.starts} starts reached this optimum"))
    copies = 0
    if len(np.unique(data["L"])) < runs:
        rows = np.stack([data[letter] for letter in (*law.variables, "L")])
        copies = runs - np.unique(rows, axis=1).shape[1]
    if copies:
        found.append(FitWarning("duplicate runs", f"{copies} of {runs} rows repeat another in every number"))
    if {"N", "D"} <= data.keys() and runs > 1 and np.ptp(np.log(data["N"]) + np.log(data["D"])) < ONE_COMPUTE:
        found.append(FitWarning("one compute", "N x D is the same in all runs"))
    return found


def _exponents(law: type[Law]) -> list[int]:
    """Places of a sum's exponents in the solver's theta."""
    return [at + 1 + i for at, _, exponents in layout(law) for i in range(len(exponents))]
