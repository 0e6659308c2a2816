"""What the residuals say about noise and form: seed replicates, lack of fit, residuals that bend."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw import newton
from scalelaw.fitting.linear import Linear, linearised
from scalelaw.fitting.objectives import LeastSquares
from scalelaw.fitting.point import Point
from scalelaw.fitting.units import ENOUGH_SIZES, grouped, sizes
from scalelaw.fitting.warnings import FitWarning

Array = NDArray[np.float64]

ALARM = 0.05
"""A fit is said to lack something when that would happen by chance less often than this."""


@dataclass(frozen=True)
class Noise:
    """Noise of single runs from replicates: runs that are equal in every variable, as those that differ in seed only.

    Attributes:
        sd: standard deviation of ln L (log space) or of L (linear space, in its unit), of a run of weight 1.
        low, high: its interval.
        level: of the interval.
        dof: replicates beyond the first of each setting.
        settings: different settings of the variables.
        F: lack of fit over noise, each per degree of freedom; None where settings are not more than parameters.
        p: probability of so large an F if the law were true and runs independent.
    """

    sd: float
    low: float
    high: float
    level: float
    dof: int
    settings: int
    F: float | None
    p: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers under the names of the fields."""
        return dict(vars(self))

    def __str__(self) -> str:
        text = f"noise of a run: {self.sd:.3g} ({100 * self.level:g} % interval {self.low:.3g} to {self.high:.3g}, "
        text += f"{self.dof} replicates)"
        return text if self.p is None else f"{text}; lack of fit: F = {self.F:.3g}, p = {self.p:.2g}"


def noise(point: Point, data: dict[str, Array], level: float = 0.95) -> Noise | None:
    """The noise that replicates show, and the F test of the law's form against it; None without replicates.

    The test takes the law's least-squares fit in the same space, whatever the objective was.
    """
    from scipy.special import chdtri, fdtrc

    kept = point.weights > 0
    letters = [letter for letter in data if letter != "L"]
    if any(len(np.unique(data[letter][kept])) == kept.sum() for letter in letters):  # no two runs are equal in it
        return None
    setting = np.unique(np.stack([data[letter][kept] for letter in letters]), axis=1, return_inverse=True)[1].ravel()
    settings = int(setting.max()) + 1
    dof = len(setting) - settings
    if dof < 1:
        return None
    w, y = point.weights[kept], point.y[kept]
    if point.problem.space == "linear":
        y = np.exp(y)
    total = np.bincount(setting, w)
    deviation = y - (np.bincount(setting, w * y) / total)[setting]
    pure = float(w @ deviation**2)
    if pure <= 1e-24 * float(w.sum()):  # copies, no replicates
        return None
    unit = float(np.exp(point.problem.level)) if point.problem.space == "linear" else 1.0
    sd = unit * float(np.sqrt(pure / dof))
    tails = [float(chdtri(dof, q)) for q in ((1 - level) / 2, (1 + level) / 2)]  # upper tail: the larger first
    low, high = (unit * float(np.sqrt(pure / tail)) for tail in tails)
    F = p = None
    spare = settings - int(point.free.sum())
    if spare > 0:
        plain = replace(point.problem, objective=LeastSquares())
        found = newton.solve(plain, point.theta[None], point.weights[None], alive=point.alive[None])
        F = max(float(found.value[0]) - pure, 0.0) / spare / (pure / dof)
        p = float(fdtrc(spare, dof, F))
    return Noise(sd, low, high, level, dof, settings, F, p)


@dataclass(frozen=True)
class Bend:
    """A trend that the residuals follow although the law has no part for it.

    Attributes:
        first, second: letters; the trend is ln first x ln second, less what the law can follow.
        t: its size in standard errors.
        p: probability of so large a |t| by chance, for any of the trends that were tried.
    """

    first: str
    second: str
    t: float
    p: float

    def __str__(self) -> str:
        trend = f"(ln {self.first})^2" if self.first == self.second else f"ln {self.first} ln {self.second}"
        return f"residuals bend along {trend} (t = {self.t:.1f}, p = {self.p:.1g})"


def bend(point: Point, data: dict[str, Array], linear: Linear | None = None) -> Bend | None:
    """The strongest quadratic trend of the residuals in the logs of the variables; None where none can be told.

    Each is one more column of the linearised fit; the one that takes most of the residuals is tested, for as many
    trends as were tried, with runs taken as independent and, where that rejects, with sizes: the larger p counts.
    """
    linear = linearised(point, robust=False) if linear is None else linear
    if linear is None or linear.dof < 2:
        return None
    letters = point.law.variables
    root = np.sqrt(point.weights[linear.kept])
    logs = np.stack([np.log(data[letter][linear.kept]) for letter in letters])
    logs = logs - logs.mean(axis=1, keepdims=True)
    tried = 0
    strongest: tuple[float, str, str, Array] | None = None
    for i, first in enumerate(letters):
        for j in range(i, len(letters)):
            z = root * logs[i] * logs[j]
            column = z - linear.design @ (linear.design.T @ z)
            column = column - linear.design @ (linear.design.T @ column)  # once more, for rounding
            norm = float(np.sqrt(column @ column))
            if norm <= 1e-6 * float(np.sqrt(z @ z)) or norm == 0:
                continue
            tried += 1
            column = column / norm
            size = float(column @ linear.scores)
            if strongest is None or abs(size) > abs(strongest[0]):
                strongest = size, first, letters[j], column
    if strongest is None:
        return None
    size, first, second, column = strongest
    more = _with_column(linear, column, linear.scores - size * column)
    gradient = np.eye(len(more.free))[-1:]
    t, p = _tested(size, *more.variance(gradient), tried)
    clusters = grouped(more, data) if p < ALARM else None
    if clusters is not None:
        shared = _tested(size, *more.variance(gradient, clusters), tried)
        t, p = max((t, p), shared, key=lambda one: one[1])
    return Bend(first, second, t, p)


def _tested(size: float, variance: Array, dof: Array, tried: int) -> tuple[float, float]:
    """t value of an estimate, and the probability of one so large for any of so many trends."""
    from scipy.special import stdtr

    t = size / float(np.sqrt(variance[0])) if variance[0] > 0 else 0.0
    return t, min(1.0, tried * 2 * float(stdtr(dof[0], -abs(t))))


def _with_column(linear: Linear, column: Array, scores: Array) -> Linear:
    """The linearised fit with one more (orthogonal, unit) column."""
    size = len(linear.back) + 1
    return Linear(
        free=np.ones(size, bool),
        back=np.eye(size),
        design=np.column_stack([linear.design, column]),
        scores=scores,
        pooled=True,
        kept=linear.kept,
    )


def cautions(point: Point, data: dict[str, Array]) -> list[FitWarning]:
    """Warnings about what standard errors cannot know: too few sizes, and a form that the residuals contradict."""
    found = []
    labels = sizes({letter: values[point.weights > 0] for letter, values in data.items()})
    if labels is not None and labels.max() + 1 < ENOUGH_SIZES:
        count = int(labels.max()) + 1
        found.append(FitWarning("too few sizes", f"{count} sizes say little about effects that runs of one size share"))
    if point.dof < 1:
        return found
    seen = noise(point, data)
    if seen is not None and seen.p is not None and seen.p < ALARM:
        found.append(
            FitWarning(
                "lack of fit", f"the curve misses by more than replicates differ (F = {seen.F:.3g}, p = {seen.p:.1g})"
            )
        )
    trend = bend(point, data)
    if trend is not None and trend.p < ALARM:
        found.append(FitWarning("bent residuals", str(trend)))
    return found
