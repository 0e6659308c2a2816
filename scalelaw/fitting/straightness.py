"""How straight a loss curve is in log-log: straightness is a finding, not a premise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from scalelaw.fitting.checks import positive_arrays
from scalelaw.laws import PowerLaw

ROUNDING = 1e-9
"""Compute that differs by less than this share is equal: one budget, computed in two ways."""


def t_quantile(level: float, dof: float) -> float:
    """Two-sided quantile of Student's t: half the width, in standard errors, of an interval at `level`."""
    return float(stdtrit(dof, 0.5 + level / 2))


@dataclass(frozen=True)
class Curvature:
    """The quadratic term q of ln L = a + b ln C + q (ln C)^2.

    Attributes:
        value: q; positive when the curve flattens at large compute.
        low, high: ends of its interval, None with fewer than four runs.
        n: runs.
        level: of the interval.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    level: float = 0.95

    @property
    def straight(self) -> bool | None:
        """Whether the interval contains 0; None where there is no interval."""
        return None if self.low is None or self.high is None else self.low <= 0 <= self.high

    def __str__(self) -> str:
        ends = "interval unknown"
        if self.low is not None:
            ends = f"{100 * self.level:g} % interval {self.low:.4f} to {self.high:.4f}"
        return f"quadratic term of ln L in ln C: {self.value:.4f} ({ends}, {self.n} runs)"


def curvature(C: ArrayLike, L: ArrayLike, level: float = 0.95) -> Curvature | None:
    """Least squares of ln L on 1, ln C, (ln C)^2 with a Student-t interval; None for fewer than three different C.

    Args:
        C: (runs,) compute, any unit: the quadratic term does not depend on it.
        L: (runs,) loss.
    """
    data = positive_arrays(PowerLaw, {"C": C, "L": L})
    u = np.log(data["C"])
    u = u - u.mean()
    if 1 + int((np.diff(np.sort(u)) > ROUNDING).sum()) < 3:
        return None
    design = np.stack([np.ones_like(u), u, u * u], axis=1)
    y = np.log(data["L"])
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    q, dof = float(coefficients[2]), len(u) - 3
    if dof < 1:
        return Curvature(q, None, None, len(u), level)
    residual = y - design @ coefficients
    variance = float(residual @ residual) / dof * float(np.linalg.inv(design.T @ design)[2, 2])
    half = t_quantile(level, dof) * np.sqrt(variance)
    return Curvature(q, float(q - half), float(q + half), len(u), level)
