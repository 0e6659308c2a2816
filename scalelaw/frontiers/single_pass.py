"""One pass: the budget at which the optimal number of images is the number that you have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scalelaw.errors import UserError
from scalelaw.fitting import Status
from scalelaw.fitting.straightness import t_quantile
from scalelaw.frontiers.trend import Trend

FAR = 1.1
"""A budget that lies beyond the runs by this factor or more says so."""


@dataclass(frozen=True)
class OnePass:
    """The compute at which optimal images = your images: below it one pass is too many, above it too few.

    No law of repetition is behind it: up to there no image is seen twice.

    Attributes:
        unique_images: your images.
        compute: the budget, None where the trend has none.
        interval: its 95 % interval; None for an open end: the runs do not bound it.
        unit: the column that compute is.
        status: of the trend of optimal images.
        extrapolation_factor: compute over the dearest run, or the cheapest run over compute, where it lies beyond them;
            1 between them, None where there is no budget.
        below: whether it lies below the cheapest run.
    """

    unique_images: float
    compute: float | None
    interval: tuple[float | None, float | None]
    unit: str
    status: Status
    extrapolation_factor: float | None
    below: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        return {**vars(self), "interval": list(self.interval)}

    def __str__(self) -> str:
        images = f"one pass is best where optimal images = your {self.unique_images:,.0f} images"
        if self.compute is None:
            return f"{images}: at an unknown budget; status: {self.status}"
        low, high = self.interval
        if low is None and high is None:
            ends = "the runs bound it on neither side"
        else:
            ends = " to ".join("open" if end is None else f"{end:.3g}" for end in self.interval)
        factor = self.extrapolation_factor or 1.0
        where = "below the cheapest run" if self.below else "above the dearest run"
        far = "" if factor < FAR else f", {factor:.3g} times {where}"
        return f"{images}: at {self.compute:.3g} {self.unit} ({ends}){far}; status: {self.status}"


def one_pass(data: Trend, unique_images: float, cheapest: float, dearest: float) -> OnePass:
    """Solves optimal images(C) = unique images.

    The interval is Fieller's: the budgets at which the number of images lies inside the trend's 95 % band. It is open
    where the exponent of images may be 0.

    Args:
        data: trend of the optimal number of images.
        unique_images: how many there are.
        cheapest, dearest: compute of the runs, in the trend's unit.

    Raises:
        UserError: for a number of images that is not positive and finite.
    """
    if not 0 < unique_images < np.inf:
        raise UserError(f"one pass: {unique_images!r} unique images; the number must be positive and finite")
    slope = data.slope
    if not np.isfinite(slope) or slope <= 0:
        return OnePass(unique_images, None, (None, None), data.compute, data.status, None)
    target = float(np.log(unique_images)) - data.log_amplitude
    x = target / slope
    compute = float(np.exp(np.clip(x, -700, 700)))
    beyond = max(compute / dearest, cheapest / compute, 1.0)
    ends = _fieller(data, target)
    return OnePass(unique_images, compute, ends, data.compute, data.status, beyond, compute < cheapest)


def _fieller(data: Trend, target: float) -> tuple[float | None, float | None]:
    """Compute where (slope x - target)^2 <= t^2 var(log_amplitude + slope x); None for ends that are open."""
    V = data.covariance
    if V is None or not np.isfinite(V).all():
        return None, None
    t2 = t_quantile(0.95, data.dof) ** 2
    square = data.slope**2 - t2 * V[1, 1]
    linear = -2 * (data.slope * target + t2 * V[0, 1])
    constant = target**2 - t2 * V[0, 0]
    root = linear**2 - 4 * square * constant
    if square <= 0 or root < 0:  # the exponent may be 0: no budget is too large, or none too small
        return None, None
    ends = (-linear + np.array([-1.0, 1.0]) * np.sqrt(root)) / (2 * square)
    low, high = np.exp(np.clip(ends, -700, 700))
    return float(low), float(high)
