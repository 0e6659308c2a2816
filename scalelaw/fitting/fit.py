"""fit(law, ...) -> Fit: the estimate, how it was certified, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw import newton
from scalelaw.errors import UserError, nearest
from scalelaw.fitting import report, spread
from scalelaw.fitting.band import Band
from scalelaw.fitting.bootstrap import Bootstrap, bootstrap
from scalelaw.fitting.checks import positive_arrays
from scalelaw.fitting.diagnosis import Diagnosis, Status, diagnose
from scalelaw.fitting.objectives import Huber, LeastSquares, Objective
from scalelaw.fitting.straightness import t_quantile
from scalelaw.laws import Law, build

Array = NDArray[np.float64]
Basis = Literal["residual variance", "sandwich", "bootstrap", "unknown"]

OWN_REPLICATES = 1000
"""Bootstrap replicates that a fit takes by itself where no formula for its spread is to be believed."""
ENOUGH_INSIDE = 30, 0.5
"""A sandwich needs this many residuals and this share of them inside delta: the density of residuals near 0 is estimated
from them, and with 16 % inside it made standard errors 1.6 times those of 12,000 bootstrap replicates."""


@dataclass(frozen=True)
class Fit:
    """A fitted law.

    Attributes:
        law: the law's class.
        params: name -> estimate, in the units of the data; NaN for the exponent of a dead term.
        status: converged, at_bound, not_identified, dead_term or failed.
        warnings: sentences; empty when all is well.
        objective: what was minimised.
        objective_value: its value at the optimum, a sum over runs.
        space: where residuals are taken: log (of ln L) or linear.
        n: runs.
        points: how the runs were selected (all, best, envelope), None when unsaid.
        inside: share of residuals inside Huber's delta; 1 for least squares.
        decrement: predicted further decrease of the objective by a Newton step, as a share of it.
        agreed, starts: how many of the independent starts reached this optimum.
        unidentified: names of parameters that the data do not determine; they have no standard error.
        data: letter -> (runs,) values.
    """

    law: type[Law]
    params: dict[str, float]
    status: Status
    warnings: tuple[str, ...]
    objective: Objective
    objective_value: float
    space: newton.Space
    n: int
    points: str | None
    inside: float
    decrement: float
    agreed: int
    starts: int
    unidentified: tuple[str, ...]
    data: dict[str, Array] = field(repr=False)
    point: spread.Point = field(repr=False)
    start: Array = field(repr=False)

    @property
    def layout(self) -> tuple[tuple[int, str, tuple[str, ...]], ...]:
        """Per term, the constant first: index in theta, amplitude's name, exponents' names."""
        return layout(self.law)

    @property
    def fitted(self) -> Law:
        """The law with its estimates."""
        return build(self.law, self.params)

    @property
    def residuals(self) -> Array:
        """(runs,) ln prediction - ln L, whatever the space of the fit."""
        return self.point.curve(self.point.problem.x)[0] - self.point.problem.y

    @property
    def basis(self) -> Basis:
        """What the standard errors rest on."""
        if self.status == "failed" or self.point.dof < 1:
            return "unknown"
        if isinstance(self.objective, LeastSquares):
            return "residual variance"
        if self.inside * self.n >= ENOUGH_INSIDE[0] and self.inside >= ENOUGH_INSIDE[1]:
            return "sandwich"
        return "bootstrap" if self.n >= 3 * len(self.law.names()) else "unknown"

    @cached_property
    def covariance(self) -> Array | None:
        """Covariance (size, size) of natural theta (ln amplitudes and exponents, in the order of `layout`).

        NaN for dead terms; None when it is unknown.
        """
        T, _ = self.point.problem.to_natural
        centred = self._centred_covariance
        if centred is None:
            return None
        known = self.point.free
        full = np.full(centred.shape, np.nan)
        living = np.ix_(known, known)
        full[living] = T[living] @ centred[living] @ T[living].T
        return full

    @cached_property
    def _centred_covariance(self) -> Array | None:
        if self.basis == "unknown":
            return None
        if self.basis == "bootstrap":
            own = self._own_bootstrap
            if not own.certified.mean() >= 0.9 or not own.alive[own.certified].all():
                return None
            return np.atleast_2d(np.cov(own.theta[own.certified], rowvar=False))
        return spread.covariance(self.point, robust=self.basis == "sandwich")

    @cached_property
    def _own_bootstrap(self) -> Bootstrap:
        return self.bootstrap(OWN_REPLICATES)

    @cached_property
    def stderr(self) -> dict[str, float | None]:
        """Name -> standard error; None where it is unknown, a bound is hit or the parameter is not identified."""
        result: dict[str, float | None] = dict.fromkeys(self.law.names())
        if self.covariance is None:
            return result
        root = np.sqrt(np.diag(self.covariance))
        for at, amplitude, exponents in self.layout:
            result[amplitude] = float(root[at]) * self.params[amplitude]
            result.update({name: float(root[j]) for j, name in enumerate(exponents, start=at + 1)})
        return {
            name: None if value is None or not np.isfinite(value) or name in self.unidentified else value
            for name, value in result.items()
        }

    def interval(self, name: str, level: float = 0.95) -> tuple[float | None, float | None]:
        """Interval of a parameter; None for an end that is open or unknown.

        Student t around the estimate (amplitudes on the log scale) for a converged fit. Where a bound is hit or a
        parameter is not identified, a profile of the objective, whose ends may be open.

        Raises:
            UserError: for a name that the law does not have.
        """
        if name not in self.params:
            known = list(self.params)
            raise UserError(f"unknown parameter {name!r}{nearest(name, known)} (known: {', '.join(known)})")
        if not 0 < level < 1:
            raise UserError(f"interval: level = {level!r} must lie between 0 and 1")
        if self.basis == "unknown":
            return None, None
        if self.status != "converged":
            if self.basis == "bootstrap":
                low, high = self._own_bootstrap.interval(name, level)
                return (None, None) if name in self.unidentified else (low, high)
            return self._profiles(name, level)
        se, t = self.stderr[name], t_quantile(level, self.point.dof)
        if se is None:
            return None, None
        value = self.params[name]
        if name in self.law.exponent_names():
            return value - t * se, value + t * se
        ratio = float(np.exp(min(t * se / value, 700.0)))
        return value / ratio, value * ratio

    def _profiles(self, name: str, level: float) -> tuple[float | None, float | None]:
        index, is_amplitude, term = self._where(name)
        if not self.point.alive[term] and not is_amplitude:
            return None, None
        threshold = t_quantile(level, self.point.dof) ** 2 / spread.calibration(self.point)
        low, high = spread.profile(self.point, index, threshold, self.start)
        T, shift = self.point.problem.to_natural
        if not is_amplitude:
            return (None if low is None else low * T[index, index]), (None if high is None else high * T[index, index])
        # ln of an amplitude is profiled at the centre of the data; away from it the exponent moves along with it
        if index + 1 < len(self.start) and T[index].nonzero()[0].size > 1:
            return None, None
        ends = [None if end is None else float(np.exp(end + shift[index])) for end in (low, high)]
        return (0.0 if ends[0] is None else ends[0]), ends[1]

    def _where(self, name: str) -> tuple[int, bool, int]:
        """Index in theta, whether it is an amplitude, and the term."""
        for term, (at, amplitude, exponents) in enumerate(self.layout):
            if name == amplitude:
                return at, True, term
            if name in exponents:
                return at + 1 + exponents.index(name), False, term
        raise KeyError(name)

    def centred(self, variables: dict[str, ArrayLike]) -> tuple[Array, tuple[int, ...]]:
        """Centred logs (variables, points) of positive values, and their broadcast shape."""
        missing = [letter for letter in self.law.variables if letter not in variables]
        surplus = [letter for letter in variables if letter not in self.law.variables]
        if missing or surplus:
            wanted, got = ", ".join(self.law.variables), ", ".join(variables) or "nothing"
            raise UserError(f"predict {self.law.word}: give exactly {wanted}, not {got}")
        arrays = np.broadcast_arrays(*(np.asarray(variables[letter], float) for letter in self.law.variables))
        if not all((np.isfinite(array) & (array > 0)).all() for array in arrays):
            raise UserError(f"predict {self.law.word}: {', '.join(self.law.variables)} must be positive and finite")
        return self.point.problem.logs(np.log(np.stack([array.ravel() for array in arrays]))), arrays[0].shape

    def mean(self, x: Array) -> Array:
        """Predictions (points,) at centred logs (variables, points)."""
        return np.exp(self.point.curve(x)[0] + self.point.problem.level)

    def predict(self, level: float = 0.95, *, new_run: bool = False, **variables: ArrayLike) -> Band:
        """The curve and its interval: of the mean, or of a single further run with its own noise.

        The delta method in log space for a converged fit; otherwise percentiles of a bootstrap by run, which let bounds
        and trade-offs show. The ends are None where the spread is unknown.
        """
        x, shape = self.centred(variables)
        mid = self.mean(x)
        if self.basis == "unknown" or (self._centred_covariance is None and self.status == "converged"):
            return Band(mid.reshape(shape), None, None, level)
        t = t_quantile(level, self.point.dof)
        noise = float(self.residuals @ self.residuals) / self.point.dof if new_run else 0.0
        low = high = mid
        if self._centred_covariance is not None:
            known = self.point.free
            J = self.point.curve(x)[1][known]
            V = self._centred_covariance[np.ix_(known, known)]
            half = t * np.sqrt(np.maximum(np.einsum("ip,ij,jp->p", J, V, J), 0.0) + noise)
            low, high = mid * np.exp(-half), mid * np.exp(half)
        if self.status != "converged":
            if self.n < 3 * len(self.law.names()):
                return Band(mid.reshape(shape), None, None, level)
            own = self._own_bootstrap.predict(level, **variables)
            if own.low is None or own.high is None:
                return Band(mid.reshape(shape), None, None, level)
            below = np.hypot(np.log(mid / own.low.ravel()), t * np.sqrt(noise))
            above = np.hypot(np.log(own.high.ravel() / mid), t * np.sqrt(noise))
            low, high = np.minimum(low, mid * np.exp(-below)), np.maximum(high, mid * np.exp(above))
        return Band(mid.reshape(shape), low.reshape(shape), high.reshape(shape), level)

    def bootstrap(self, n: int = 4000, unit: str | ArrayLike = "run", seed: int = 0) -> Bootstrap:
        """Refits on `n` resamples with replacement, two starts each.

        Args:
            n: replicates.
            unit: what is drawn: "run", "size" (all runs of one N together), or one label a run.
            seed: equal seeds give equal bits.
        """
        return bootstrap(self, n, unit, seed)

    def to_dict(self) -> dict[str, Any]:
        """What `scalelaw fit --json` prints: plain numbers, None for what is unknown."""
        return {
            "law": self.law.word,
            "params": {name: value if np.isfinite(value) else None for name, value in self.params.items()},
            "stderr": self.stderr,
            "interval": {name: list(self.interval(name)) for name in self.params},
            "objective": self.objective.word,
            "objective_value": self.objective_value,
            "space": self.space,
            "points": self.points,
            "n": self.n,
            "status": self.status,
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        return report.table(self)


def layout(law: type[Law]) -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """Where a law's parameters are in the solver's theta: per term its index, amplitude and exponents."""
    rows: list[tuple[int, str, tuple[str, ...]]] = [(0, law.constant, ())] if law.constant else []
    at = len(rows)
    for term in law.terms:
        rows.append((at, term.amplitude, tuple(name for _, name in term.exponents)))
        at += 1 + len(term.exponents)
    return tuple(rows)


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


def _guess(law: type[Law], data: dict[str, Array], problem: newton.Problem) -> Array:
    """The law's own guess in centred coordinates."""
    guess = law.guess(**data).params
    natural = np.zeros(problem.form.size)
    for at, amplitude, exponents in layout(law):
        natural[at] = np.log(max(guess[amplitude], 1e-300))
        natural[at + 1 : at + 1 + len(exponents)] = [guess[name] for name in exponents]
    return problem.from_natural(natural)


def _search(problem: newton.Problem, guess: Array) -> tuple[spread.Point, Array, Faces]:
    """Newton from the law's guess and from the screened grid; with a constant, also on the face where it is 0."""
    weights = np.ones((1, problem.x.shape[1]))
    screened, _ = newton.screen(problem, weights)
    starts = np.concatenate([guess[None], screened[0]])
    rows, terms = len(starts), problem.form.n_terms
    alive = np.ones((rows, terms), bool)
    if problem.form.constant:
        starts = np.concatenate([starts, starts])
        alive = np.concatenate([alive, alive])
        alive[rows:, 0] = False
    solved = newton.solve(problem, starts, weights, alive=alive)
    # an uncertified row wins only when no row is certified
    ranked = np.where(solved.certified, solved.value, np.inf)
    if not solved.certified.any():
        ranked = np.where(np.isfinite(solved.value), solved.value, np.inf)
    whole = int(np.argmin(ranked[:rows]))
    best = whole
    without = None
    if problem.form.constant:
        bare = rows + int(np.argmin(ranked[rows:]))
        without = spread.Point(problem, solved.theta[bare], solved.alive[bare], float(solved.value[bare]))
        floor = 1e-12 * abs(ranked[bare]) + 1e-22 * problem.x.shape[1]
        best = bare if ranked[bare] <= ranked[whole] + floor else whole
    value = float(solved.value[best])
    near = np.abs(solved.value[:rows] - value) <= 1e-6 * value + 1e-20
    start = solved.theta[best].copy()
    for k, (at, _) in enumerate(problem.form.blocks):
        if not solved.alive[best, k]:  # a dead term starts a hundredth of the smallest loss when it is tried again
            start[at] = problem.y.min() + np.log(1e-2)
    point = spread.Point(problem, solved.theta[best], solved.alive[best], value)
    agreed = int((near & solved.certified[:rows]).sum())
    return point, start, Faces(bool(solved.certified[best]), float(solved.decrement[best]), agreed, rows, without)


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
    params: dict[str, float] = {}
    for term, (at, amplitude, exponents) in enumerate(layout(law)):
        living = bool(point.alive[term])
        params[amplitude] = float(np.exp(natural[at])) if living else 0.0
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
