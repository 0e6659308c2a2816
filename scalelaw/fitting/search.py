"""fit(law, ...) -> Fit: the search for the optimum from many starts, and on the faces where parameters are 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw import newton
from scalelaw.errors import UserError, nearest
from scalelaw.fitting.checks import checked_weights, positive_arrays
from scalelaw.fitting.constraints import Bounds, Constraints, constraints
from scalelaw.fitting.diagnosis import Seen, diagnose
from scalelaw.fitting.noise import cautions
from scalelaw.fitting.objectives import AbsoluteDeviation, Huber, LeastSquares, Objective
from scalelaw.fitting.point import Point, layout, solver_order
from scalelaw.fitting.result import Fit
from scalelaw.fitting.setup import in_units, log_units, problem_of
from scalelaw.fitting.starts import best_ends
from scalelaw.laws import Law, Smooth

Array = NDArray[np.float64]

ENOUGH_TO_SEARCH = 3000
"""Runs that tell good starts from bad ones; beyond them a search costs time and finds nothing new."""
STARTS = 7
"""Starts of a sum of power laws: the law's guess, and the best points of the screened grid."""


def fit(
    law: type[Law],
    *,
    objective: Objective | None = None,
    space: newton.Space = "log",
    weights: ArrayLike | None = None,
    fix: Mapping[str, float] | None = None,
    bounds: Bounds | None = None,
    points: str | None = None,
    **variables: ArrayLike,
) -> Fit:
    """Fits a law to runs.

    Args:
        law: a class from `scalelaw.laws`.
        objective: LeastSquares() by default; Huber, AbsoluteDeviation or LowerEnvelope: a sum over runs.
        space: residuals of ln L ("log") or of L ("linear", where a delta has the unit of L).
        weights: (runs,) of the runs in that sum, 1 by default; only their ratios matter for standard errors.
        fix: parameter -> value to pin it at, in the units of the data.
        bounds: parameter -> (low, high), None where open.
        points: how the runs were selected, for the record.
        variables: the law's variables and L by their letters, one positive value a run.

    Raises:
        UserError: for anything but positive, finite arrays of one length with at least as many runs as parameters, and
            for constraints that the law's form does not allow.
    """
    if not (isinstance(law, type) and issubclass(law, Law)):
        raise UserError(f"fit: {law!r} is no law; pass a class as scalelaw.laws.PowerLaw, or laws.law('power')")
    held = constraints(law, fix, bounds)
    data = positive_arrays(law, variables, held.fix)
    objective = LeastSquares() if objective is None else objective
    if not isinstance(objective, Objective):
        raise UserError(f"fit {law.word}: {objective!r} is no objective; pass one as Huber(1e-3) or LeastSquares()")
    if space not in ("log", "linear"):
        close = nearest(str(space), ["log", "linear"])
        raise UserError(f"fit {law.word}: unknown space {space!r}{close} (known: log, linear)")
    w = checked_weights(weights, len(data["L"]), len(law.names()) - len(held.fix))
    objective = _settled(law, objective, space, data, w, held)
    problem = problem_of(law, data, w, objective, space, held)
    found = _search(law, problem, data, w, held)
    judged = diagnose(found.point, found.seen, held, data)
    r, _ = found.point.residuals()
    goal = problem.objective
    return Fit(
        law=law,
        params=_params(found.point, held),
        status=judged.status,
        warnings=(*judged.warnings, *(() if judged.status == "failed" else cautions(found.point, data))),
        objective=objective,
        objective_value=found.point.value * problem.value_unit,
        space=space,
        n=len(data["L"]),
        points=points,
        inside=_inside(goal, r[w > 0]),
        decrement=found.seen.decrement,
        agreed=found.seen.agreed,
        starts=found.seen.starts,
        unidentified=judged.unidentified,
        fix=held.fix,
        bounds=held.bounds,
        data=data,
        weights=w,
        point=found.point,
        start=found.start,
    )


def _settled(
    law: type[Law], objective: Objective, space: newton.Space, data: dict[str, Array], w: Array, held: Constraints
) -> Objective:
    """The objective with its delta, from the residuals of least absolute deviations where it is a multiple of them."""
    if not isinstance(objective, Huber) or objective.delta is not None:
        return objective
    problem = problem_of(law, data, w, AbsoluteDeviation(), space, held)
    r, _ = _search(law, problem, data, w, held).point.residuals()
    unit = float(np.exp(problem.level)) if space == "linear" else 1.0
    return objective.settled(r[w > 0] * unit)


def _inside(goal: newton.Objective, r: Array) -> float:
    """Share of residuals inside delta: 1 where there is no delta, 0 for absolute deviations, whose delta is 0."""
    if isinstance(goal, Huber):
        return float((np.abs(r) <= goal.width).mean())
    return 0.0 if isinstance(goal, AbsoluteDeviation) else 1.0


@dataclass(frozen=True)
class _Found:
    """The optimum, a finite start near it (for replicates and profiles), and what else the search saw."""

    point: Point
    start: Array
    seen: Seen


def _search(law: type[Law], problem: newton.Problem, data: dict[str, Array], w: Array, held: Constraints) -> _Found:
    """The best of many starts.

    Many runs are thinned to a fixed sample for the search; all of them then take the last steps from what it found.
    """
    thin, few, few_w = problem, data, w
    if problem.runs > ENOUGH_TO_SEARCH:
        sample = np.sort(np.random.default_rng(0).permutation(np.flatnonzero(w > 0))[:ENOUGH_TO_SEARCH])
        thin = replace(problem, x=problem.x[:, sample], y=problem.y[:, sample])
        few, few_w = {letter: values[sample] for letter, values in data.items()}, w[sample]
    if isinstance(problem, newton.SumProblem):
        assert isinstance(thin, newton.SumProblem)
        return _search_sum(law, problem, thin, few, w, few_w, held)
    assert isinstance(problem, newton.SmoothProblem)
    return _search_smooth(law, problem, thin, few, w, few_w)


def _search_sum(
    law: type[Law],
    problem: newton.SumProblem,
    thin: newton.SumProblem,
    few: dict[str, Array],
    w: Array,
    few_w: Array,
    held: Constraints,
) -> _Found:
    """Newton from the law's guess and from the screened grid; with a constant, also on the face where it is 0."""
    screened, real = newton.screen(thin, few_w[None], starts=STARTS - 1, faces=False)
    if not real.all():  # few points of the grid allow every term: those with one at 0 are starts too
        screened, _ = newton.screen(thin, few_w[None], starts=STARTS - 1)
    starts = np.concatenate([_guess(law, few, thin)[None], screened[0]])
    living = np.array([amplitude not in held.zero for _, amplitude, _ in layout(law)])
    sides = [living]
    if problem.form.constant and living[0] and not held.bounded(layout(law)[0][1]):
        sides.append(living & (np.arange(len(living)) > 0))
    best = best_ends(law, problem, thin, starts, sides, w, few_w)
    chosen = 0
    if len(best) == 2:
        inner, face = best[0].solution, best[1].solution
        floor = 1e-12 * abs(face.value[0]) + 1e-22 * problem.runs
        chosen = int(face.value[0] <= inner.value[0] + floor or not np.isfinite(inner.value[0]))
    points = [Point(law, problem, one.solution.theta[0], one.solution.alive[0], float(one.solution.value[0]), w)
              for one in best]  # fmt: skip
    start = points[chosen].theta.copy()
    for k, (index, _) in enumerate(problem.form.blocks):
        if not points[chosen].alive[k]:  # a dead term starts a hundredth of the smallest loss when it is tried again
            start[index] = problem.y.min() + np.log(1e-2)
    without = points[1] if len(points) == 2 else None
    return _Found(points[chosen], start, best[chosen].seen(without))


def _guess(law: type[Law], data: dict[str, Array], problem: newton.SumProblem) -> Array:
    """The law's own guess in centred coordinates."""
    natural = np.empty(problem.size)
    natural[solver_order(law)] = np.maximum(law.encode(law.guess(**data).params), -690.0)
    return problem.from_natural(natural)


def _search_smooth(
    law: type[Law], problem: newton.SmoothProblem, thin: newton.Problem, few: dict[str, Array], w: Array, few_w: Array
) -> _Found:
    """Gauss-Newton from the law's own starts, then exact Newton from the best end."""
    assert issubclass(law, Smooth)
    logs = np.log(np.stack([few[letter] for letter in law.variables]))
    units = log_units(law, logs, np.log(few["L"]), few_w)
    starts = law.starts(**in_units(law, few, units))
    gap = {letter: units[letter] - problem.log_units[letter] for letter in units}
    starts = law.unscaled(starts, gap)
    if problem.eased:
        starts = law.to_search(starts)
    nothing = np.ones(0, bool)
    (best,) = best_ends(law, problem, thin, starts, [nothing], w, few_w)
    theta = best.solution.theta[0]
    without = None
    for j, name in enumerate(law.names()):  # the face where a parameter is 0, for the trade-off with it
        if name in law.vanishing and problem.lower[j] < theta[j]:
            at_zero, free = theta[None].copy(), np.ones((1, problem.size), bool)
            at_zero[0, j], free[0, j] = problem.lower[j], False
            one = newton.solve(problem, at_zero, w[None], free=free)
            face = Point(law, problem, one.theta[0], nothing, float(one.value[0]), w)
            if without is None or face.value < without.value:
                without = face
    point = Point(law, problem, theta, nothing, float(best.solution.value[0]), w)
    return _Found(point, theta.copy(), best.seen(without))


def _params(point: Point, held: Constraints) -> dict[str, float]:
    """name -> estimate in the user's units; 0 for what vanished, NaN for the exponent of a dead term."""
    law = point.law
    order = solver_order(law)
    living, low = point.living[order], point.at_low[order]
    params: dict[str, float] = {}
    for j, name in enumerate(law.names()):
        if name in held.fix:
            params[name] = held.fix[name]
        elif not living[j]:
            params[name] = 0.0 if name in law.positive else float("nan")
        elif low[j] and issubclass(law, Smooth) and name in law.vanishing and name not in held.bounds:
            params[name] = 0.0
        else:
            with np.errstate(over="ignore"):  # an amplitude at a far origin may exceed floating point: then infinite
                params[name] = float(np.exp(point.natural[j]) if name in law.positive else point.natural[j])
    return params
