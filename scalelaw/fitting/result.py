"""Fit: the estimate, how it was certified, and how sure it is."""

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
from scalelaw.fitting.diagnosis import Layout, Status, layout
from scalelaw.fitting.objectives import LeastSquares, Objective
from scalelaw.fitting.resampling import Bootstrap, bootstrap
from scalelaw.fitting.straightness import t_quantile
from scalelaw.laws import Law, build

Array = NDArray[np.float64]
Basis = Literal["residual variance", "sandwich", "bootstrap", "unknown"]

OWN_REPLICATES = 1000
"""Bootstrap replicates that a fit takes by itself where no formula for its spread is to be believed."""
ENOUGH_INSIDE = 30, 0.5
"""A sandwich needs this many residuals and this share of them inside delta: the density of residuals near 0 comes
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
    def layout(self) -> Layout:
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
        with np.errstate(over="ignore"):
            ratio = float(np.exp(t * se / value))
        ends = value / ratio, value * ratio
        return ends[0] if ends[0] > 0 else 0.0, ends[1] if np.isfinite(ends[1]) else None

    def _profiles(self, name: str, level: float) -> tuple[float | None, float | None]:
        index, is_amplitude, term = self._where(name)
        if not self.point.alive[term] and not is_amplitude:
            return None, None
        threshold = t_quantile(level, self.point.dof) ** 2 / spread.calibration(self.point)
        low, high = spread.profile(self.point, index, threshold, self.start)
        T, shift = self.point.problem.to_natural
        if not is_amplitude:
            unit = float(T[index, index])
            return (None if low is None else low * unit), (None if high is None else high * unit)
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
