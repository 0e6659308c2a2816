"""extrapolate(x, y, x_new) -> Band: how a learning curve goes on, with an interval for single further points."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw.backtest.bending import average
from scalelaw.backtest.points import Points, gather
from scalelaw.backtest.settings import USUAL, Settings
from scalelaw.errors import UserError
from scalelaw.fitting import Band
from scalelaw.fitting.checks import check_level
from scalelaw.fitting.straightness import t_quantile

Array = NDArray[np.float64]

FEWEST = 4
"""Different x that a curve needs."""
ORIGINS = (0.5, 1.0, 1.5, 2.0)
"""Back-tests leave out what lies within these multiples of the extrapolation's distance from the curve's end."""
FEWEST_LEFT = 6
"""Points that a back-test must leave."""


def extrapolate(
    x: ArrayLike, y: ArrayLike, x_new: ArrayLike, *, level: float = 0.95, labels: ArrayLike | None = None
) -> Band:
    """Continues a learning or scaling curve by the averaged bending power law (`scalelaw.backtest.bending`).

    The interval is for single further points. Its variance in ln y is that of the points about the curve at its end,
    plus the larger of what the curve leaves open (between the laws, and of each one's line) and what back-tests of it
    found: cut before its end, it is continued over the same distance in ln x, and the mean square error grows with the
    square of that distance. Student's t with as many degrees of freedom as independent points leave.

    Args:
        x: (points,) examples, tokens, steps or compute; y: (points,) losses or error rates. Positive, any units.
        x_new: where to continue to, any shape, nowhere below the largest x.
        level: probability that each interval is meant to cover.
        labels: (points,) the run of each point; all one run by default. Points of one run that are close in ln x count
            as one; those of different runs are independent (finished runs: a label each).

    Raises:
        UserError: for values that are not positive and finite, lengths that differ, fewer than 4 different x, or x_new
            inside the curve.
    """
    return continued(x, y, x_new, level=level, labels=labels, settings=USUAL)


def continued(
    x: ArrayLike, y: ArrayLike, x_new: ArrayLike, *, level: float, labels: ArrayLike | None, settings: Settings
) -> Band:
    """`extrapolate` under other settings, for the study of how much they matter."""
    x, y = _positive("x", x), _positive("y", y)
    ahead = _positive("x_new", x_new, shaped=True)
    if x.shape != y.shape:
        raise UserError(f"extrapolate: x has {len(x)} values and y {len(y)}; give one y for every x")
    check_level("extrapolate", level)
    if len(np.unique(x)) < FEWEST:
        raise UserError(f"x: {len(np.unique(x))} different values; a curve needs {FEWEST} to be continued")
    if (ahead < x.max() * (1 - 1e-12)).any():
        raise UserError(
            f"x_new: {float(ahead.min()):g} lies below the largest x, {float(x.max()):g}; "
            "extrapolate goes on from a curve's end, fit a law for what lies inside"
        )
    curve = gather(x, y, _numbers(labels, len(x)), settings.kinship)
    t = np.log(ahead.ravel()) - np.log(x.max())
    law = average(curve, settings)
    mid, open_variance = law.at(t)
    grown = _backtested(curve, float(t.max(initial=0.0)), settings) * t**2
    spread = np.sqrt(law.noise + np.maximum(open_variance, grown))
    half = t_quantile(level, law.dof) * spread
    with np.errstate(over="ignore"):
        low, mid, high = (np.exp(value).reshape(ahead.shape) for value in (mid - half, mid, mid + half))
    return Band(mid, low, high, level, np.maximum(ahead / x.max(), 1.0))


def _backtested(curve: Points, distance: float, settings: Settings) -> float:
    """Mean square error of ln y in back-tests, per square of the distance in ln x; 0 where no cut leaves enough.

    The distance is that of the extrapolation, but at least a tail's width, and at most half of the curve.
    """
    distance = min(max(distance, settings.tail), -float(curve.t[0]) / 2)
    ratios = []
    for multiple in ORIGINS:
        cut = -multiple * distance
        seen = curve.t <= cut + 1e-9
        hidden = ~seen & (curve.t <= cut + distance + 1e-9)
        if len(np.unique(curve.t[seen])) < FEWEST_LEFT or not hidden.any():
            continue
        ahead = curve.t[hidden] - curve.t[seen].max()
        error = average(curve.take(seen), settings).mean(ahead) - curve.y[hidden]
        ratios.append(float(np.mean(error**2) / np.mean(ahead**2)))
    return float(np.mean(ratios)) if ratios else 0.0


def _positive(name: str, values: ArrayLike, shaped: bool = False) -> Array:
    """Positive, finite float64 values: one-dimensional unless `shaped`."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: holds what is not a number; mend or drop it") from error
    if not shaped and array.ndim != 1:
        raise UserError(f"{name}: has shape {array.shape}; pass one value a point, shape (points,)")
    bad = ~(np.isfinite(array) & (array > 0))
    if bad.any():
        first = float(array.ravel()[np.argmax(bad.ravel())])
        raise UserError(f"{name}: {int(bad.sum())} of {array.size} values (as {first:g}) are not positive and finite")
    return array


def _numbers(labels: ArrayLike | None, count: int) -> NDArray[np.int64]:
    """(points,) runs numbered from 0."""
    if labels is None:
        return np.zeros(count, np.int64)
    given = np.asarray(labels)
    if given.shape != (count,):
        raise UserError(f"labels: have shape {given.shape}; give one for every point, shape ({count},)")
    return np.asarray(np.unique(given, return_inverse=True)[1], np.int64)
