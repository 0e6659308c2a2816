"""Fit: the estimate, how it was certified, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw import newton
from scalelaw.fitting import beyond as reach
from scalelaw.fitting import intervals, quantities, record, report, trade_offs
from scalelaw.fitting.band import Band
from scalelaw.fitting.basis import Basis, basis_of
from scalelaw.fitting.checks import asked_points, check_level
from scalelaw.fitting.diagnosis import Status
from scalelaw.fitting.linear import Linear, linearised
from scalelaw.fitting.noise import Noise, noise
from scalelaw.fitting.objectives import Objective
from scalelaw.fitting.point import Point, layout
from scalelaw.fitting.resampling import Bootstrap, bootstrap
from scalelaw.fitting.side_by_side import Spreads, spreads
from scalelaw.fitting.units import Unit, widest
from scalelaw.fitting.warnings import FitWarning
from scalelaw.laws import Law, build

Array = NDArray[np.float64]

OWN_REPLICATES = 500
"""Bootstrap replicates that a fit takes by itself where no formula for its spread is to be believed."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted law.

    Attributes:
        law: the law's class.
        params: name -> estimate, in the units of the data; NaN for the exponent of a dead term.
        status: converged, at_bound, not_identified, dead_term or failed.
        warnings: each a text with name, sentence and mend; empty when all is well.
        objective: what was minimised, with its delta where that came from the residuals.
        objective_value: its value at the optimum, a sum over runs.
        space: where residuals are taken: log (of ln L) or linear.
        n: runs.
        points: how the runs were selected (all, best, envelope), None when unsaid.
        inside: share of residuals inside Huber's delta; 1 without a delta, 0 for absolute deviations.
        decrement: predicted further decrease of the objective by a Newton step, as a share of it; for absolute
            deviations a bound on all that can be gained nearby.
        agreed, starts: how many of the independent starts reached this optimum.
        unidentified: names of parameters that the data do not determine; they have no standard error.
        fix, bounds: what was held, in the user's units.
        data: letter -> (runs,) values.
        weights: (runs,).
    """

    law: type[Law]
    params: dict[str, float]
    status: Status
    warnings: tuple[FitWarning, ...]
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
    fix: dict[str, float]
    bounds: dict[str, tuple[float | None, float | None]]
    data: dict[str, Array] = field(repr=False)
    weights: Array = field(repr=False)
    point: Point = field(repr=False)
    start: Array = field(repr=False)

    @property
    def fitted(self) -> Law:
        """The law with its estimates."""
        return build(self.law, self.params)

    @property
    def allowed(self) -> newton.Mask:
        """(terms,) terms that no pin at 0 switches off."""
        return np.array([self.fix.get(amplitude) != 0 for _, amplitude, _ in layout(self.law)], bool)

    @property
    def residuals(self) -> Array:
        """(runs,) ln prediction - ln L, whatever the space of the fit."""
        return np.asarray(self.point.curve(self.point.problem.x)[0] - self.point.y)

    @cached_property
    def basis(self) -> Basis:
        """What the standard errors rest on: see `Basis`."""
        return "unknown" if self.status == "failed" else basis_of(self.point)

    @cached_property
    def linear(self) -> Linear | None:
        """The fit linearised at its optimum; None where it has no spread."""
        if self.basis == "unknown":
            return None
        return linearised(self.point, robust=self.basis == "sandwich")

    @cached_property
    def unit(self) -> Unit:
        """What standard errors take as independent: runs, or model sizes where these give wider errors."""
        alive = self.allowed | self.point.alive
        revived = None
        if self.linear is not None and (alive != self.point.alive).any():
            revived = linearised(self.point, robust=False, theta=self.start, alive=alive)
        return widest(self.linear, self.data, revived)

    @cached_property
    def own_bootstrap(self) -> Bootstrap:
        """The replicates that a fit takes by itself where its basis is the bootstrap."""
        return self.bootstrap(OWN_REPLICATES, starts=1)

    @cached_property
    def covariance(self) -> Array | None:
        """Covariance (size, size) of the working coordinates, in the order of the law's fields: logarithms of the
        positive parameters, the others as they are.

        NaN for what was not estimated; None when it is unknown.
        """
        return intervals.covariance(self)

    @property
    def trade_offs(self) -> tuple[trade_offs.TradeOff, ...]:
        """Pairs of parameters whose estimates correlate beyond .95, the strongest first."""
        return trade_offs.trade_offs(self)

    @cached_property
    def stderr(self) -> dict[str, float | None]:
        """Name -> standard error; None where it is unknown, the parameter was held or it is not identified."""
        result: dict[str, float | None] = dict.fromkeys(self.law.names())
        if self.covariance is None:
            return result
        for name, variance in zip(result, np.diag(self.covariance), strict=True):
            if np.isfinite(variance) and name not in self.unidentified:
                unit = self.params[name] if name in self.law.positive else 1.0
                result[name] = float(np.sqrt(variance)) * unit
        return result

    def estimate(self, name: str, **at: ArrayLike) -> Any:
        """A parameter, or what the law derives from its parameters.

        Args:
            name: a parameter or one of `law.derived`, as "size_exponent" or "optimal_params".
            at: its arguments, as C=1e24.

        Raises:
            UserError: for a name that the law does not have, or arguments that it does not take.
        """
        quantities.check(self.law, name, at)
        found = np.asarray(quantities.value(self.fitted, name, at), dtype=float)
        return float(found) if found.ndim == 0 else found

    def interval(self, name: str, level: float = 0.95, **at: float) -> tuple[float | None, float | None]:
        """Interval of a parameter or of a derived quantity; None for an end that is open or unknown.

        Student's t around the estimate for a converged fit (positive quantities on the log scale), with the variance
        and degrees of freedom of its `unit`. Where a bound is hit or parameters are not identified, a profile of the
        objective, whose ends may be open.

        Raises:
            UserError: for a name that the law does not have, or arguments that it does not take.
        """
        quantities.check(self.law, name, at)
        check_level("interval", level)
        if self.basis == "unknown" or name in self.fix:
            return None, None
        return intervals.interval(self, name, level, at)

    def profiles(self, level: float = 0.95) -> dict[str, tuple[float, float]]:
        """Profile intervals of all parameters on their working scale, infinite where open."""
        if level not in self._profiles:
            self._profiles[level] = intervals.all_profiles(self, level)
        return self._profiles[level]

    @cached_property
    def _profiles(self) -> dict[float, dict[str, tuple[float, float]]]:
        return {}

    def centred(self, variables: Mapping[str, ArrayLike]) -> tuple[Array, tuple[int, ...]]:
        """The solver's logs (rows of x, points) of positive values, and their broadcast shape."""
        arrays = [*asked_points(self.law, variables).values()]
        return self.point.problem.logs(np.log(np.stack([array.ravel() for array in arrays]))), arrays[0].shape

    def mean(self, x: Array) -> Array:
        """Predictions (points,) at the solver's logs (rows of x, points)."""
        return np.exp(self.point.curve(x)[0] + self.point.problem.level)

    def predict(self, level: float = 0.95, *, new_run: bool = False, **variables: ArrayLike) -> Band:
        """The curve and its interval: of the mean, or of a single further run with its own noise.

        As `interval`, in log space, at every point. The ends are None where the spread is unknown.

        Raises:
            UserError: for letters other than the law's variables, values that are not positive, finite numbers, or
                shapes that do not broadcast.
        """
        check_level("interval", level)
        band = intervals.predicted(self, level, new_run, variables)
        return replace(band, beyond=np.asarray(self.beyond(None, **variables)))

    def beyond(self, name: str | None = None, **at: ArrayLike) -> Any:
        """How many times beyond the runs a derived quantity, or without a name a prediction, is asked.

        The largest ratio over the law's variables and N D, above the largest run or below the smallest; 1.0 inside,
        inf where no finite value is reached, None where it is not defined, as for an exponent. The best split of
        C = k N D is asked at the best size and data.

        Raises:
            UserError: for a name that the law does not have, or arguments that it does not take.
        """
        found = reach.of(self, name, at)
        if found is None or (found.factor.size and np.isnan(found.factor).all()):
            return None
        return float(found.factor) if found.factor.ndim == 0 else found.factor

    def cautions(self, name: str | None = None, **at: ArrayLike) -> tuple[FitWarning, ...]:
        """What else to know of a derived quantity, or without a name of a prediction, asked there: see `beyond`.

        Raises:
            UserError: see `beyond`.
        """
        return reach.cautions(reach.of(self, name, at))

    def bootstrap(
        self, n: int = 4000, unit: str | ArrayLike | None = None, seed: int = 0, *, starts: int = 2
    ) -> Bootstrap:
        """Refits on `n` resamples with replacement.

        Args:
            n: replicates.
            unit: what is drawn: "run"; "size" (all runs of one N together); "compute" (runs of one budget); a letter of
                the data; one label a run; or new losses for the same runs: "wild" (residuals with random signs),
                "wild-size" (one sign a size), "residual" (residuals drawn from all). By default the fit's own `unit`.
            seed: equal seeds give equal bits.
            starts: 2 also starts a sum of power laws from a global search of each replicate's own, 1 from the fit only.
        """
        return bootstrap(self, n, self.unit.word if unit is None else unit, seed, starts=starts)

    def spreads(self, n: int = 4000, seed: int = 0) -> Spreads:
        """Standard errors under each resampling unit, for they may differ several times."""
        return spreads(self, n, seed)

    def noise(self, level: float = 0.95) -> Noise | None:
        """Noise of single runs and lack of fit, from runs that are equal in every variable; None without such runs."""
        check_level("interval", level)
        return noise(self.point, self.data, level)

    def named(self, theta: Array, alive: newton.Mask) -> dict[str, Array]:
        """Name -> (rows,) parameters in the user's units of rows of the solver's theta and living terms."""
        natural, law = self.point.natural_of(theta, alive), self.law
        with np.errstate(over="ignore"):
            return {n: np.exp(natural[:, j]) if n in law.positive else natural[:, j] for j, n in enumerate(law.names())}

    def to_dict(self, *, data: bool = True) -> dict[str, Any]:
        """Plain numbers for JSON, None for what is unknown; without `data` it cannot be read back."""
        return record.to_dict(self, data)

    @staticmethod
    def from_dict(saved: Mapping[str, Any]) -> Fit:
        """The fit that `to_dict` wrote.

        Raises:
            UserError: for a record without data, or one whose numbers its data do not give.
        """
        return record.from_dict(saved)

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, Fit) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return report.table(self)
