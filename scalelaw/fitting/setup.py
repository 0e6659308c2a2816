"""The solver's problem for a law, its data and what the user holds."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from scalelaw import newton
from scalelaw.fitting.constraints import Constraints
from scalelaw.fitting.point import layout, solver_order
from scalelaw.laws import Law, Smooth, SumOfPowers

Array = NDArray[np.float64]

FARTHEST = 600.0
"""Working coordinates of amplitudes in the user's units may lie this far from 0: exp(600) is still a number."""


def problem_of(
    law: type[Law], data: dict[str, Array], weights: Array, objective: object, space: newton.Space, held: Constraints
) -> newton.Problem:
    """Takes logs, centres them, translates pins and bounds."""
    goal = cast(newton.Objective, objective)
    logs, log_loss = np.log(np.stack([data[letter] for letter in law.variables])), np.log(data["L"])
    if issubclass(law, SumOfPowers):
        return _sum(law, logs, log_loss, weights, goal, space, held)
    assert issubclass(law, Smooth)
    return _smooth(law, data, logs, log_loss, weights, goal, space, held)


def _sum(
    law: type[SumOfPowers],
    logs: Array,
    log_loss: Array,
    weights: Array,
    goal: newton.Objective,
    space: newton.Space,
    held: Constraints,
) -> newton.SumProblem:
    terms = tuple(tuple(law.variables.index(letter) for letter, _ in term.exponents) for term in law.terms)
    anchored = tuple(held.bounded(term.amplitude) for term in law.terms)
    order = solver_order(law)
    lower, upper = np.empty(len(order)), np.empty(len(order))
    lower[order], upper[order] = held.lower, held.upper
    for at, amplitude, _ in layout(law):
        if amplitude in held.zero:  # its term is switched off; the box says nothing about it
            lower[at], upper[at] = -np.inf, np.inf
    form = newton.Form(law.constant is not None, terms)
    return newton.SumProblem.of(
        form, logs, log_loss, goal, space, weights=weights, anchored=anchored, lower=lower, upper=upper
    )


def _smooth(
    law: type[Smooth],
    data: dict[str, Array],
    logs: Array,
    log_loss: Array,
    weights: Array,
    goal: newton.Objective,
    space: newton.Space,
    held: Constraints,
) -> newton.SmoothProblem:
    """Over geometric means; where a held parameter is tangled with others by units, in the user's units."""
    units = log_units(law, logs, log_loss, weights)
    low, high = law.box(**in_units(law, data, units))
    shift, tangled = _untangled(law, units)
    names = law.names()
    if any(tangled[j] for j, name in enumerate(names) if name in held.fix or name in held.bounds):
        low = np.where(tangled, -FARTHEST, low + shift)
        high = np.where(tangled, FARTHEST, high + shift)
        units, shift = dict.fromkeys(units, 0.0), np.zeros(len(names))
    for j, name in enumerate(names):
        if name in held.zero:
            high[j] = low[j]
        elif name in held.fix:
            low[j] = high[j] = held.lower[j] - shift[j]
        elif name in held.bounds:
            low[j], high[j] = max(low[j], held.lower[j] - shift[j]), min(high[j], held.upper[j] - shift[j])
    eased = not law.eased & {*held.fix, *held.bounds}
    zeros = law.vanishing - ({*held.fix, *held.bounds} - held.zero)
    return newton.SmoothProblem.of(
        law, logs, log_loss, goal, space, log_units=units, lower=low, upper=high, eased=eased, zeros=zeros
    )


def log_units(law: type[Smooth], logs: Array, log_loss: Array, weights: Array) -> dict[str, float]:
    """ln of the geometric means of the variables and of L; letters of one unit share the first one's."""
    share = weights / weights.sum()
    units = dict(zip(law.variables, (logs @ share).tolist(), strict=True))
    for letter in law.one_unit[1:]:
        units[letter] = units[law.one_unit[0]]
    return {**units, "L": float(log_loss @ share)}


def in_units(law: type[Smooth], data: dict[str, Array], units: dict[str, float]) -> dict[str, Array]:
    """The data over their units."""
    return {letter: np.exp(np.log(data[letter]) - units[letter]) for letter in (*law.variables, "L")}


def _untangled(law: type[Smooth], units: dict[str, float]) -> tuple[Array, NDArray[np.bool_]]:
    """What units add to each working coordinate, and whether that depends on other parameters."""
    size = len(law.names())
    base = np.full((1, size), 0.5)
    moved = base + np.concatenate([np.zeros((1, size)), 0.25 * np.eye(size)])
    gap = law.unscaled(moved, units) - moved
    return gap[0], np.asarray((np.abs(gap[1:] - gap[0]) > 1e-12 * (1 + np.abs(gap[0]))).any(axis=0))
