"""What is wrong with a fit: the status word, the parameters that the data do not determine, and the sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from scalelaw.fitting import spread
from scalelaw.fitting.objectives import Huber
from scalelaw.fitting.straightness import t_quantile
from scalelaw.laws import Law

Layout = tuple[tuple[int, str, tuple[str, ...]], ...]
Status = Literal["converged", "at_bound", "not_identified", "dead_term", "set_by_grid", "failed"]

WIDE_EXPONENT = 0.5
"""An exponent beside other terms is not identified when its standard error exceeds this share of it."""
MOVES = 0.1
"""E and an exponent trade off when E = 0 fits as well and moves the exponent by more than this share."""


@dataclass(frozen=True)
class Faces:
    """What else the search saw.

    Attributes:
        certified: whether the optimum is stationary.
        decrement: see `newton.Solution`.
        agreed, starts: see `Fit`.
        without_constant: the optimum with the constant at 0, None when the law has none.
    """

    certified: bool
    decrement: float
    agreed: int
    starts: int
    without_constant: spread.Point | None


@dataclass(frozen=True)
class Diagnosis:
    """See the attributes of the same names of `Fit`."""

    status: Status
    warnings: tuple[str, ...]
    unidentified: tuple[str, ...]


def layout(law: type[Law]) -> Layout:
    """Where a law's parameters are in the solver's theta: per term its index, amplitude and exponents."""
    rows: list[tuple[int, str, tuple[str, ...]]] = [(0, law.constant, ())] if law.constant else []
    at = len(rows)
    for term in law.terms:
        rows.append((at, term.amplitude, tuple(name for _, name in term.exponents)))
        at += 1 + len(term.exponents)
    return tuple(rows)


def diagnose(law: type[Law], rows: Layout, point: spread.Point, faces: Faces) -> Diagnosis:
    """Judges the optimum; the gravest finding gives the status: failed, dead_term, not_identified, at_bound."""
    warnings: list[str] = []
    unidentified: list[str] = []
    if not faces.certified:
        warnings.append(
            f"no certified optimum: the best of {faces.starts} starts still promises a decrease of "
            f"{faces.decrement:.1e} of the objective; check the data or choose a law with fewer parameters."
        )
        return Diagnosis("failed", tuple(warnings), law.names())
    status: Status = "converged"
    has_constant = law.constant is not None
    if has_constant and not point.alive[0]:
        status = "at_bound"
        warnings.append(f"{law.constant} = 0, its bound, fits best; the standard errors of the others hold there only.")
    bad = _loose_exponents(rows, point)
    distinct = len(np.unique(point.problem.x, axis=1).T)
    if distinct < len(law.names()):
        status = "not_identified"
        unidentified += law.names()
        settings = f"{distinct} different values of {', '.join(law.variables)}"
        warnings.append(f"not identified: {settings} for {len(law.names())} parameters; add runs at other values.")
    elif bad:
        status = "not_identified"
        unidentified += bad
        warnings.append(
            f"not identified: standard errors exceed half of {' and '.join(bad)}; add runs over a wider range."
        )
    elif has_constant and point.alive[0]:
        traded = _trade_off(rows, point, faces)
        if traded:
            status = "not_identified"
            unidentified += traded
            warnings.append(
                f"not identified: {' and '.join(traded)} trade off, {law.constant} = 0 fits as well within the noise; "
                "add cheaper or dearer runs, or a law without it."
            )
    dead = [row for term, row in enumerate(rows) if not point.alive[term] and not (has_constant and term == 0)]
    if dead:
        status = "dead_term"
        names = [name for _, amplitude, exponents in dead for name in (amplitude, *exponents)]
        unidentified += names
        warnings.append(f"dead term: {', '.join(names)} add nothing to any prediction; choose a law without that term.")
    warnings += _remarks(rows, point, faces)
    return Diagnosis(status, tuple(warnings), tuple(dict.fromkeys(unidentified)))


def _loose_exponents(rows: Layout, point: spread.Point) -> list[str]:
    """Exponents whose spread is of their own size, or all living parameters when the Hessian is singular."""
    if point.dof < 1 or point.problem.form.n_terms == 1:
        return []
    V = spread.covariance(point, robust=False)
    living = [(at, a, es) for term, (at, a, es) in enumerate(rows) if point.alive[term]]
    if V is None:
        return [name for _, amplitude, exponents in living for name in (amplitude, *exponents)]
    scale = np.sqrt(_variance_ratio(point))
    alone = len(living) == 1
    return [
        name
        for at, _, exponents in living
        for j, name in enumerate(exponents, start=at + 1)
        if not alone and scale * np.sqrt(V[j, j]) > WIDE_EXPONENT * abs(point.theta[j])
    ]


def _variance_ratio(point: spread.Point) -> float:
    """Variance of a robust estimate over that of the least-squares formula at the same residuals."""
    if not isinstance(point.problem.objective, Huber):
        return 1.0
    r, _ = point.residuals()
    objective = point.problem.objective
    inside = max(float(objective.curvature(r).mean()), 1.0 / len(r))
    return float((objective.psi(r) ** 2).mean()) / inside**2 / max(float((r * r).mean()), 1e-300)


def _trade_off(rows: Layout, point: spread.Point, faces: Faces) -> list[str]:
    """The constant and the exponents that it trades against, when 0 fits as well at the 95 % level."""
    bare = faces.without_constant
    if bare is None or point.dof < 1:
        return []
    t2 = (bare.value - point.value) * spread.calibration(point)
    if t2 > t_quantile(0.95, point.dof) ** 2:
        return []
    moved = [
        name
        for term, (at, _, exponents) in enumerate(rows)
        for j, name in enumerate(exponents, start=at + 1)
        if not bare.alive[term] or abs(bare.theta[j] / point.theta[j] - 1) > MOVES
    ]
    return [rows[0][1], *moved] if moved else []


def _remarks(rows: Layout, point: spread.Point, faces: Faces) -> list[str]:
    """Sentences that change no status."""
    remarks = [
        f"{name} is negative: the loss rises along its variable."
        for term, (at, _, exponents) in enumerate(rows)
        for j, name in enumerate(exponents, start=at + 1)
        if point.alive[term] and point.theta[j] < -1e-9
    ]
    runs = point.problem.x.shape[1]
    if point.dof < 1:
        remarks.append(f"{runs} runs for as many parameters: the curve meets all of them, which leaves no spread.")
    if isinstance(point.problem.objective, Huber):
        r, _ = point.residuals()
        inside = int((np.abs(r) <= point.problem.objective.delta).sum())
        if inside < 0.5 * runs:
            remarks.append(
                f"{inside} of {runs} residuals lie inside delta, so the objective is close to the sum of absolute "
                "residuals; the spread comes from a bootstrap by run."
            )
    if faces.agreed < 2 and faces.starts > 1:
        remarks.append(f"only {faces.agreed} of {faces.starts} starts reached this optimum.")
    return remarks
