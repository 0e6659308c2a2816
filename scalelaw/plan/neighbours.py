"""The plan's neighbours: one size down and up at its budget, and half and double its epochs with its model.

Both losses come from one surface, so most of what is uncertain in it cancels in their ratio: the interval is that of
ln(neighbour / plan) as a quantity of its own, whose gradient is the difference of the two gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw import newton
from scalelaw.fitting import Fit
from scalelaw.fitting.intervals import half_width, profiled, standard_errors
from scalelaw.fitting.point import Point
from scalelaw.fitting.profile import Rows
from scalelaw.plan.interval import point_of
from scalelaw.plan.models import Candidate

Array = NDArray[np.float64]

LEVEL = 0.95


@dataclass(frozen=True)
class Neighbour:
    """Another run that might be trained instead.

    Attributes:
        name: size down, size up, half the epochs, double the epochs.
        variant: its model.
        images: it sees.
        epochs: None where the training set's size is unknown.
        compute: its cost, as a multiple of the plan's.
        loss: expected.
        difference: its expected loss less the plan's.
        low, high: 95 % interval of that difference, where only the surface's parameters are uncertain; None when
            unknown. Single runs differ by their seeds too.
    """

    name: str
    variant: str
    images: float
    epochs: float | None
    compute: float
    loss: float
    difference: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        length = f"{self.images:,.0f} images" if self.epochs is None else f"{self.epochs:.3g} epochs"
        known = self.low is not None and self.high is not None
        ends = f"{self.low:+.4f} to {self.high:+.4f}" if known else "interval unknown"
        return f"{self.loss:.4f}: {self.difference:+.4f} ({ends}), {self.variant}, {length}, {self.compute:g} x compute"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        return dict(vars(self))


def neighbours(
    surface: Fit, options: Sequence[Candidate], chosen: Candidate, images: float, unique: float | None
) -> tuple[Neighbour, ...]:
    """One size down and up, half and double the epochs; a size only where there is one to be built.

    Args:
        surface: a fitted law of size and images, or of repetition.
        options: the models to choose from, by rising multiply-adds.
        chosen: one of them.
        images: that it sees.
        unique: different ones among the training images.
    """
    at = options.index(chosen)
    flop = chosen.macs_per_image * images
    others = [
        (name, options[k], flop / options[k].macs_per_image, 1.0)
        for name, k in (("size down", at - 1), ("size up", at + 1))
        if 0 <= k < len(options)
    ]
    others += [("half the epochs", chosen, images / 2, 0.5), ("double the epochs", chosen, images * 2, 2.0)]
    macs = np.array([chosen.macs_per_image, *(option.macs_per_image for _, option, _, _ in others)])
    seen = np.array([images, *(many for _, _, many, _ in others)])
    x, _ = surface.centred(point_of(surface, macs, seen, unique))
    loss = surface.mean(x)  # each one's own interval is not asked for, and takes long
    low, high = ratios(surface, x)
    return tuple(
        Neighbour(
            name=name,
            variant=option.variant,
            images=float(round(many)),
            epochs=None if unique is None else many / unique,
            compute=compute,
            loss=float(loss[k + 1]),
            difference=float(loss[k + 1] - loss[0]),
            low=_difference(loss[0], low[k]),
            high=_difference(loss[0], high[k]),
        )
        for k, (name, option, many, compute) in enumerate(others)
    )


def _difference(loss: float, log_ratio: float) -> float | None:
    with np.errstate(over="ignore"):
        found = float(loss * np.expm1(log_ratio))
    return found if np.isfinite(found) else None


@dataclass(frozen=True)
class _Ratios:
    """ln of the curve at several points over that at the first: the solver's x (rows of x, 1 + points)."""

    point: Point
    x: Array

    def __call__(self, theta: Array, alive: newton.Mask, which: Rows) -> tuple[Array, Array]:
        """See `fitting.profile.Quantities`."""
        found = self.point.problem.curve(theta, alive, self.x)
        rows = np.arange(len(theta))
        ratio = found.f[rows, which + 1] - found.f[rows, 0]
        return ratio, found.jacobian[rows, :, which + 1] - found.jacobian[rows, :, 0]


@np.errstate(all="ignore")
def ratios(surface: Fit, x: Array) -> tuple[Array, Array]:
    """Ends of ln(loss / loss of the first point) at the solver's x, each (points - 1,); NaN where unknown."""
    count = x.shape[1] - 1
    unknown = np.full(count, np.nan)
    if surface.basis == "unknown":
        return unknown, unknown
    if surface.status != "converged":
        return profiled(surface, _Ratios(surface.point, x), count, LEVEL)
    f, jacobian = surface.point.curve(x)
    stderr, dof = standard_errors(surface, (jacobian[:, 1:] - jacobian[:, :1]).T, None)
    half = half_width(LEVEL, dof) * stderr
    return f[1:] - f[0] - half, f[1:] - f[0] + half
