"""Standard errors and intervals of parameters, derived quantities and curves.

A converged fit takes Student's t in working coordinates, with the variance and degrees of freedom of its unit: runs, or
model sizes where these give the wider errors. A fit at a bound, or with parameters that the data do not determine,
takes profiles of the objective, whose threshold is widened by the same unit; their ends may be open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scalelaw import newton
from scalelaw.errors import UserError
from scalelaw.fitting import quantities, spread
from scalelaw.fitting.band import Band
from scalelaw.fitting.linear import linearised
from scalelaw.fitting.point import Point, solver_order
from scalelaw.fitting.profile import Quantities, Rows, floor_of, profile
from scalelaw.fitting.units import grouped
from scalelaw.laws import Law

if TYPE_CHECKING:
    from scalelaw.fitting.result import Fit

Array = NDArray[np.float64]
Ends = tuple[float | None, float | None]

CENTRAL = 0.6826894921370859
"""Share of replicates within one standard error: half the width of the middle 68 % bears runaway replicates."""
STEP = 1e-30
SHARES = np.array([0.25, 0.5, 0.75, 0.9])
"""Shares of the lowest loss at which a constant is held to see what it does to standard errors."""
SIDE_BY_SIDE = 32
"""Points of a curve that are profiled together."""


def on_log_scale(law: type[Law], name: str) -> bool:
    """Whether a quantity's interval is taken on the log scale: all but exponents and what is a logarithm already."""
    if name in law.names():
        return name in law.positive
    return not (name.endswith("exponent") or name.startswith("log_"))


def half_width(level: float, dof: Array) -> Array:
    """Two-sided quantile of Student's t, standard errors: an interval's half width, for each of `dof`."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(dof, 0.5 + level / 2))


@dataclass(frozen=True)
class Several:
    """Quantities of a law by name, as functions of the solver's theta, on their working scale."""

    point: Point
    names: tuple[str, ...]
    at: Mapping[str, Any]

    def __call__(self, theta: Array, alive: newton.Mask, which: Rows) -> tuple[Array, Array]:
        """See `profile.Quantities`."""
        rows, size = theta.shape
        moved = theta[:, None, :] + 1j * STEP * np.eye(size)  # all complex steps side by side
        alive, which = np.repeat(alive, size, axis=0), np.repeat(which, size)
        found = self._values(moved.reshape(-1, size), alive, which).reshape(rows, size)
        return found[:, 0].real, found.imag / STEP

    def _values(self, theta: NDArray[Any], alive: newton.Mask, which: Rows) -> NDArray[Any]:
        law = self.point.law
        natural = self.point.natural_of(theta, alive)
        made = law.decode(natural)
        found = np.empty(len(theta), natural.dtype)
        for k, name in enumerate(self.names):
            mine = which == k
            if name in law.positive:  # its logarithm is the working coordinate itself
                found[mine] = natural[mine, law.names().index(name)]
            else:
                with np.errstate(all="ignore"):
                    value = np.broadcast_to(quantities.value(made, name, self.at), len(theta))[mine]
                    found[mine] = np.log(value) if on_log_scale(law, name) else value
        return found


@dataclass(frozen=True)
class Points:
    """The log prediction at several points of a curve: the solver's x (rows of x, points)."""

    point: Point
    x: Array

    def __call__(self, theta: Array, alive: newton.Mask, which: Rows) -> tuple[Array, Array]:
        """See `profile.Quantities`."""
        found = self.point.problem.curve(theta, alive, self.x)
        rows = np.arange(len(theta))
        return found.f[rows, which], found.jacobian[rows, :, which]


def standard_errors(fit: Fit, gradients: Array, values: Array | None) -> tuple[Array, Array]:
    """Standard errors and degrees of freedom (quantities,) on the working scale; NaN where unknown.

    Args:
        fit: a fit.
        gradients: (quantities, size) by the solver's theta.
        values: (replicates, quantities) of the fit's own bootstrap, where its standard errors rest on one.
    """
    unknown = np.full(len(gradients), np.nan)
    if fit.linear is None:
        return unknown, unknown
    variance, dof = fit.linear.variance(gradients, fit.unit.clusters)
    if fit.basis != "bootstrap":
        return np.sqrt(variance), dof
    if values is None or not fit.own_bootstrap.usable:
        return unknown, dof
    low, high = np.nanquantile(values, [0.5 - CENTRAL / 2, 0.5 + CENTRAL / 2], axis=0)
    return 0.5 * (high - low), dof


@np.errstate(all="ignore")
def interval(fit: Fit, name: str, level: float, at: Mapping[str, Any]) -> Ends:
    """See `Fit.interval`."""
    if any(np.ndim(one) for one in at.values()):
        raise UserError(f"{name}: an interval is asked at one place at a time; ask for each")
    log = on_log_scale(fit.law, name)
    if fit.status == "converged":
        several = Several(fit.point, (name,), at)
        middle, gradients = several(fit.point.theta[None], fit.point.alive[None], np.zeros(1, np.int64))
        values = None
        if fit.basis == "bootstrap":
            drawn = fit.own_bootstrap.values(name, **at)
            values = (np.log(drawn) if log else drawn)[:, None]
        se, dof = standard_errors(fit, gradients, values)
        if values is not None and not np.isfinite(se[0]):  # many replicates at a bound: their percentiles show it
            return fit.own_bootstrap.interval(name, level, **at)
        half = half_width(level, dof) * se
        return _ends(float(middle[0] - half[0]), float(middle[0] + half[0]), log)
    if name in fit.params and fit.params[name] != fit.params[name]:
        return None, None  # the exponent of a dead term
    if name in fit.params:
        low, high = fit.profiles(level)[name]
    else:
        lows, highs = profiled(fit, Several(fit.point, (name,), at), 1, level)
        low, high = float(lows[0]), float(highs[0])
    low_end, high_end = _ends(low, high, log)
    value = float(fit.estimate(name, **at))  # may lie on the boundary of what was profiled, as a constant of 0
    low_end = None if low_end is None else min(low_end, value)
    high_end = None if high_end is None else max(high_end, value)
    least, most = fit.bounds.get(name, (None, None))  # a profile that is open goes as far as the bound
    if least is not None:
        low_end = least if low_end is None else max(low_end, least)
    return low_end, most if high_end is None else high_end


def _ends(low: float, high: float, log: bool) -> Ends:
    """Ends on the quantity's own scale; None where open: below a positive quantity lies 0, which is no opening."""
    if np.isnan(low) or np.isnan(high):
        return None, None
    if not log:
        return low if np.isfinite(low) else None, high if np.isfinite(high) else None
    with np.errstate(over="ignore"):
        low, high = float(np.exp(low)), float(np.exp(high))
    return low if np.isfinite(low) else None, high if np.isfinite(high) else None


def profiled(fit: Fit, several: Quantities, count: int, level: float) -> tuple[Array, Array]:
    """Profile intervals (count,) on the working scale.

    The root of the objective's rise ends them at Student's t times the ratio of the unit's standard error to that of
    independent runs. An optimum with a constant of 0 does not feel what the constant does to the others, so the ratio
    is taken with the constant held at other likely values too, and the widest counts.
    """
    point = fit.point
    alive = fit.allowed | point.alive
    start = np.clip(fit.start, np.maximum(point.problem.lower, floor_of(point.problem)), point.problem.upper)
    which = np.arange(count)
    scale = np.ones(count)
    threshold = np.full(count, float(half_width(level, np.array([float(point.dof)]))[0]))
    for k, theta in enumerate([start, *_likely(fit, start, alive, threshold[0])]):
        there = linearised(point, robust=False, theta=theta, alive=alive)
        if there is None:
            continue
        _, gradients = several(np.repeat(theta[None], count, axis=0), np.repeat(alive[None], count, axis=0), which)
        by_run, _ = there.variance(gradients)
        if k == 0:
            scale = np.where(np.isfinite(by_run) & (by_run > 0), np.sqrt(by_run), 1.0)
        clusters = grouped(there, fit.data) if fit.unit.word == "size" else None
        if clusters is not None:
            by_unit, dof = there.variance(gradients, clusters)
            wider = half_width(level, dof) * np.sqrt(by_unit / by_run)
            threshold = np.fmax(threshold, wider) if k else np.where(np.isfinite(wider), wider, threshold)
    return profile(point, start, alive, several, np.minimum(scale, 1.0), threshold)


def _likely(fit: Fit, start: Array, alive: newton.Mask, limit: float) -> list[Array]:
    """Solutions with the constant held at shares of the lowest loss, where the fit has it at 0 and they fit it well."""
    problem, point = fit.point.problem, fit.point
    if not (isinstance(problem, newton.SumProblem) and problem.form.constant and alive[0] and not point.alive[0]):
        return []
    theta = np.repeat(start[None], len(SHARES), axis=0)
    theta[:, 0] = problem.y.min() + np.log(SHARES)
    free = np.ones(theta.shape, bool)
    free[:, 0] = False
    held = newton.solve(
        problem, theta, point.weights[None], alive=np.repeat(alive[None], len(SHARES), axis=0), free=free
    )
    z = np.sqrt(np.maximum(held.value - point.value, 0.0) * spread.calibration(point))
    return list(held.theta[(z < limit) & held.certified])


def band(fit: Fit, x: Array, level: float, new_run: bool) -> tuple[Array, Array] | None:
    """Ends (2 arrays of points,) of the log prediction at the solver's x, relative to its level; None if unknown."""
    point = fit.point
    if fit.basis == "unknown":
        return None
    f, jacobian = point.curve(x)
    typical = point.weights[point.weights > 0].mean()  # a further run is as sure as those that were fitted
    noise = float(fit.residuals @ (point.weights * fit.residuals)) / point.dof / typical if new_run else 0.0
    noise *= float(half_width(level, np.array([float(point.dof)]))[0]) ** 2
    if fit.status == "converged":
        values = None
        if fit.basis == "bootstrap":
            own = fit.own_bootstrap
            if not own.usable:
                return None
            values = point.problem.curve(own.theta[own.certified], own.alive[own.certified], x).f
        se, dof = standard_errors(fit, jacobian.T, values)
        half = np.sqrt((half_width(level, dof) * se) ** 2 + noise)
        return None if np.isnan(half).any() else (f - half, f + half)
    parts = [x[:, at : at + SIDE_BY_SIDE] for at in range(0, x.shape[1], SIDE_BY_SIDE)]
    ends = [profiled(fit, Points(point, part), part.shape[1], level) for part in parts]
    low, high = (np.concatenate([pair[k] for pair in ends]) for k in (0, 1))
    return f - np.hypot(f - low, np.sqrt(noise)), f + np.hypot(high - f, np.sqrt(noise))


@np.errstate(all="ignore")
def predicted(fit: Fit, level: float, new_run: bool, variables: Mapping[str, Any]) -> Band:
    """See `Fit.predict`."""
    x, shape = fit.centred(variables)
    mid = fit.mean(x).reshape(shape)
    ends = band(fit, x, level, new_run)
    if ends is None:
        return Band(mid, None, None, level)
    with np.errstate(over="ignore"):
        low, high = (np.exp(end + fit.point.problem.level).reshape(shape) for end in ends)
    return Band(mid, low, high, level)


@np.errstate(all="ignore")
def all_profiles(fit: Fit, level: float) -> dict[str, tuple[float, float]]:
    """Profile intervals of all parameters that are no exponents of dead terms, on the working scale."""
    names = tuple(name for name, value in fit.params.items() if value == value and name not in fit.fix)
    low, high = profiled(fit, Several(fit.point, names, {}), len(names), level)
    return dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True))


@np.errstate(all="ignore")
def covariance(fit: Fit) -> Array | None:
    """See `Fit.covariance`."""
    linear, point = fit.linear, fit.point
    if linear is None:
        return None
    free = point.free
    V = linear.covariance(fit.unit.clusters)[np.ix_(free, free)]
    if fit.basis == "bootstrap":
        own = fit.own_bootstrap
        same = (own.alive[own.certified] == point.alive).all(axis=1)  # those in which the same terms live
        if not own.usable or same.mean() < 0.5:
            return None
        drawn = own.theta[own.certified][same]
        se, _ = standard_errors(fit, np.eye(len(free)), drawn)
        # correlations of all replicates, widths of the middle ones: a few run far away
        V = np.corrcoef(drawn[:, free], rowvar=False).reshape(V.shape) * np.outer(se[free], se[free])
    G = point.natural_jacobian[:, free]
    full = G @ V @ G.T
    held = ~free[solver_order(fit.law)]
    full[held], full[:, held] = np.nan, np.nan
    return np.asarray(full)
