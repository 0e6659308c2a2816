"""fit(law, ...) -> Fit: the search for the optimum from many starts and on the face where the constant is 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw import newton
from scalelaw.errors import UserError, nearest
from scalelaw.fitting import spread
from scalelaw.fitting.checks import positive_arrays
from scalelaw.fitting.diagnosis import Diagnosis, Faces, diagnose, layout
from scalelaw.fitting.objectives import Huber, LeastSquares, Objective
from scalelaw.fitting.result import Fit
from scalelaw.laws import Law

Array = NDArray[np.float64]

ENOUGH_TO_SEARCH = 3000
"""Runs that tell good starts from bad ones; beyond them a search costs time and finds nothing new."""


def fit(
    law: type[Law],
    *,
    objective: Objective | None = None,
    space: newton.Space = "log",
    points: str | None = None,
    **variables: ArrayLike,
) -> Fit:
    """Fits a law to runs.

    Args:
        law: a class from `scalelaw.laws`.
        objective: LeastSquares() by default, or Huber(delta); a sum over runs.
        space: residuals of ln L ("log") or of L ("linear", where a delta has the unit of L).
        points: how the runs were selected, for the record.
        variables: the law's variables and L by their letters, one positive value a run.

    Raises:
        UserError: for anything but positive, finite arrays of one length with at least as many runs as parameters.
    """
    data = positive_arrays(law, variables)
    objective = LeastSquares() if objective is None else objective
    if space not in ("log", "linear"):
        close = nearest(str(space), ["log", "linear"])
        raise UserError(f"fit {law.word}: unknown space {space!r}{close} (known: log, linear)")
    terms = tuple(tuple(law.variables.index(letter) for letter, _ in term.exponents) for term in law.terms)
    form = newton.Form(law.constant is not None, terms)
    logs = np.log(np.stack([data[letter] for letter in law.variables]))
    problem = newton.Problem.of(form, logs, np.log(data["L"]), objective, space)
    point, start, faces = _search(problem, _guess(law, data, problem))
    judged = diagnose(law, layout(law), point, faces)
    return _assemble(law, data, objective, space, points, point, start, faces, judged)


def _guess(law: type[Law], data: dict[str, Array], problem: newton.Problem) -> Array:
    """The law's own guess in centred coordinates."""
    guess = law.guess(**data).params
    natural = np.zeros(problem.form.size)
    for at, amplitude, exponents in layout(law):
        natural[at] = np.log(max(guess[amplitude], 1e-300))
        natural[at + 1 : at + 1 + len(exponents)] = [guess[name] for name in exponents]
    return problem.from_natural(natural)


def _search(problem: newton.Problem, guess: Array) -> tuple[spread.Point, Array, Faces]:
    """Newton from the law's guess and from the screened grid; with a constant, also on the face where it is 0.

    Many runs are thinned to a fixed sample for the search; all of them then take the last steps from what it found.
    """
    runs = problem.x.shape[1]
    sample = (
        np.arange(runs) if runs <= ENOUGH_TO_SEARCH else np.random.default_rng(0).permutation(runs)[:ENOUGH_TO_SEARCH]
    )
    thin = replace(problem, x=problem.x[:, sample], y=problem.y[sample])
    weights = np.ones((1, len(sample)))
    screened, _ = newton.screen(thin, weights)
    starts = np.concatenate([guess[None], screened[0]])
    rows = len(starts)
    whole = np.ones((rows, problem.form.n_terms), bool)
    face = whole.copy()
    face[:, 0] = False
    sides = (whole, face) if problem.form.constant else (whole,)
    found, agreed = [], []
    for alive in sides:
        solved = newton.solve(thin, starts, weights, alive=alive)
        value = np.where(solved.certified, solved.value, np.inf)
        if not solved.certified.any():  # an uncertified row counts only where no row is certified
            value = np.where(np.isfinite(solved.value), solved.value, np.inf)
        best = _lowest(value, solved.decrement)
        near = np.abs(solved.value - value[best]) <= 1e-6 * value[best] + 1e-20
        agreed.append(int((near & solved.certified).sum()))
        at = slice(best, best + 1)
        if len(sample) < runs:
            solved = newton.solve(problem, solved.theta[at], np.ones((1, runs)), alive=solved.alive[at])
            at = slice(0, 1)
        found.append(newton.Solution(*(values[at] for values in vars(solved).values())))
    chosen = 0
    if len(found) == 2:
        floor = 1e-12 * abs(found[1].value[0]) + 1e-22 * runs
        usable = found[1].certified[0] or not found[0].certified[0]
        chosen = int(usable and (found[1].value[0] <= found[0].value[0] + floor or not found[0].certified[0]))
    points = [spread.Point(problem, one.theta[0], one.alive[0], float(one.value[0])) for one in found]
    start = points[chosen].theta.copy()
    for k, (index, _) in enumerate(problem.form.blocks):
        if not points[chosen].alive[k]:  # a dead term starts a hundredth of the smallest loss when it is tried again
            start[index] = problem.y.min() + np.log(1e-2)
    best_row = found[chosen]
    without = points[1] if len(points) == 2 else None
    faces = Faces(bool(best_row.certified[0]), float(best_row.decrement[0]), agreed[chosen], rows, without)
    return points[chosen], start, faces


def _lowest(value: Array, decrement: Array) -> int:
    """The row of lowest value; of those equal to rounding, the most nearly stationary."""
    return int(np.argmin(np.where(value <= value.min() * (1 + 1e-12), decrement, np.inf)))


def _assemble(
    law: type[Law],
    data: dict[str, Array],
    objective: Objective,
    space: newton.Space,
    points: str | None,
    point: spread.Point,
    start: Array,
    faces: Faces,
    judged: Diagnosis,
) -> Fit:
    T, shift = point.problem.to_natural
    natural = T @ point.theta + shift
    with np.errstate(over="ignore"):  # an amplitude at a far origin may exceed floating point: it is then infinite
        amplitudes = np.exp(natural)
    params: dict[str, float] = {}
    for term, (at, amplitude, exponents) in enumerate(layout(law)):
        living = bool(point.alive[term])
        params[amplitude] = float(amplitudes[at]) if living else 0.0
        params.update({n: float(natural[j]) if living else float("nan") for j, n in enumerate(exponents, start=at + 1)})
    r, _ = point.residuals()
    delta = point.problem.objective.delta if isinstance(point.problem.objective, Huber) else np.inf
    return Fit(
        law=law,
        params={name: params[name] for name in law.names()},
        status=judged.status,
        warnings=judged.warnings,
        objective=objective,
        objective_value=point.value * point.problem.value_unit,
        space=space,
        n=len(data["L"]),
        points=points,
        inside=float((np.abs(r) <= delta).mean()),
        decrement=faces.decrement,
        agreed=faces.agreed,
        starts=faces.starts,
        unidentified=judged.unidentified,
        data=data,
        point=point,
        start=start,
    )
