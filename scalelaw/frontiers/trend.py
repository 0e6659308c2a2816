"""Trend: a quantity that follows a power of compute, with its spread."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw.fitting import Band, FitWarning, Status
from scalelaw.fitting.beyond import Reach, cautions, reach
from scalelaw.fitting.checks import check_level, points
from scalelaw.fitting.straightness import t_quantile

Array = NDArray[np.float64]

TOO_WIDE = 0.1
"""An exponent of size or epochs whose 95 % interval reaches further than this on either side is called not identified:
it could not tell one half from six tenths."""
SURELY = 0.9
"""Level of the upper bound of a scatter that a few points tell by themselves."""


@dataclass(frozen=True)
class Trend:
    """quantity = A C^alpha; for the loss, A C^-alpha.

    Attributes:
        quantity: column that is predicted.
        compute: column that C is: core_hours or train_flop.
        log_amplitude, slope: of ln quantity = log_amplitude + slope ln C; NaN when there is no trend.
        covariance: (2, 2) of the two; None when unknown.
        dof: degrees of freedom of Student's t for intervals.
        status: a fit's status word.
        note: what a reader must know; empty when nothing.
        falls: whether alpha is minus the slope (the loss) or the slope.
        reached: smallest and largest compute of what it was drawn through; None when not recorded.
    """

    quantity: str
    compute: str
    log_amplitude: float
    slope: float
    covariance: Array | None = field(repr=False)
    dof: float
    status: Status
    note: str = ""
    falls: bool = False
    reached: tuple[float, float] | None = None

    @property
    def params(self) -> dict[str, float]:
        """A (the quantity's unit at C = 1) and alpha."""
        return {"A": float(np.exp(self.log_amplitude)), "alpha": -self.slope if self.falls else self.slope}

    @property
    def stderr(self) -> dict[str, float | None]:
        """Standard errors of A and alpha; None when unknown."""
        if self.covariance is None:
            return {"A": None, "alpha": None}
        root = np.sqrt(np.diag(self.covariance))
        return {"A": float(root[0]) * self.params["A"], "alpha": float(root[1])}

    @property
    def interval(self) -> dict[str, tuple[float | None, float | None]]:
        """95 % intervals of A and alpha; (None, None) when unknown."""
        if self.covariance is None:
            return {"A": (None, None), "alpha": (None, None)}
        half = t_quantile(0.95, self.dof) * np.sqrt(np.diag(self.covariance))
        amplitude = self.log_amplitude + np.clip(np.array([-1, 1]) * half[0], -700, 700)
        alpha = self.params["alpha"]
        low, high = np.exp(np.clip(amplitude, -745, 709))
        return {"A": (float(low), float(high)), "alpha": (alpha - float(half[1]), alpha + float(half[1]))}

    def predict(self, C: ArrayLike, level: float = 0.95) -> Band:
        """The trend at compute `C` (any shape, in the unit of `compute`), and how far beyond its range that lies.

        Raises:
            UserError: for values that are not positive, finite numbers, or a level that is no probability.
        """
        check_level("predict", level)
        C = points("predict", {"C": C})["C"]
        logs = np.log(C)
        mid = np.asarray(np.exp(self.log_amplitude + self.slope * logs))
        spread, found = self.log_stderr(C), self._reach(C)
        beyond = None if found is None else found.factor
        if spread is None:
            return Band(mid, None, None, level, beyond)
        half = t_quantile(level, self.dof) * spread
        return Band(mid, mid * np.exp(-half), mid * np.exp(half), level, beyond)

    def cautions(self, C: ArrayLike) -> tuple[FitWarning, ...]:
        """What else to know of the trend at compute `C`: see `Fit.cautions`."""
        return cautions(self._reach(C))

    def _reach(self, C: ArrayLike) -> Reach | None:
        return None if self.reached is None else reach({"C": np.array(self.reached)}, {"C": C})

    def log_stderr(self, C: ArrayLike) -> Array | None:
        """Standard error of ln quantity at compute `C` (any shape); None when unknown."""
        if self.covariance is None or not np.isfinite(self.slope):
            return None
        logs, V = np.log(np.asarray(C, float)), self.covariance
        return np.asarray(np.sqrt(np.maximum(V[0, 0] + 2 * logs * V[0, 1] + logs * logs * V[1, 1], 0.0)))

    def over(self, quantity: str, unit: float) -> Trend:
        """The trend of this quantity over `unit`, under another name: epochs are data over unique data."""
        return replace(self, quantity=quantity, log_amplitude=self.log_amplitude - float(np.log(unit)))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        known = {name: value if np.isfinite(value) else None for name, value in self.params.items()}
        return {
            "params": known,
            "stderr": self.stderr,
            "interval": {name: list(ends) for name, ends in self.interval.items()},
            "status": self.status,
            "note": self.note,
            "quantity": self.quantity,
            "compute": self.compute,
        }

    def __str__(self) -> str:
        low, high = self.interval["alpha"]
        ends = "interval unknown" if low is None else f"95 % interval {low:.3f} to {high:.3f}"
        text = f"{self.quantity} ~ {self.compute}^{self.slope:.3f} ({ends}); status: {self.status}"
        return text + (f"; {self.note}" if self.note else "")


def nothing(quantity: str, compute: str, note: str, status: Status = "failed") -> Trend:
    """A trend that could not be had, and why."""
    return Trend(quantity, compute, float("nan"), float("nan"), None, float("nan"), status, note)


def judged(trend: Trend, own_scatter: bool = False) -> Trend:
    """The trend with status not_identified when its exponent's interval is unknown or too wide to use.

    Where a few points tell their own scatter, it may come out small by luck, and those draws would pass alone: such a
    trend must be narrow enough also at the 90 % upper bound of its scatter.
    """
    if trend.status != "converged":
        return trend
    low, high = trend.interval["alpha"]
    if low is None or high is None:
        return _with(trend, "the data leave no estimate of the exponent's spread")
    if own_scatter and (high - low) * _upper(trend.dof) > 2 * TOO_WIDE:
        return _with(
            trend, f"the exponent's 95 % interval is not surely narrower than +-{TOO_WIDE:g}: its points are few"
        )
    if high - low > 2 * TOO_WIDE:
        return _with(trend, f"the exponent's 95 % interval is wider than +-{TOO_WIDE:g}")
    return trend


def _upper(dof: float) -> float:
    """Upper bound (`SURELY`) of a standard deviation over its estimate from so many degrees of freedom."""
    from scipy.special import chdtri

    return float(np.sqrt(dof / chdtri(dof, SURELY)))


def _with(trend: Trend, reason: str) -> Trend:
    note = f"{trend.note}; {reason}" if trend.note else reason
    return replace(trend, status="not_identified", note=note)


def through(
    quantity: str,
    compute: str,
    log_compute: Array,
    log_quantity: Array,
    stderr: Array | None = None,
    dof: float | None = None,
) -> Trend:
    """The weighted line of ln quantity on ln compute.

    With known standard errors of the points (and the degrees of freedom behind them) the spread of the line is what
    they imply, or what the scatter about the line implies where that is larger. Without, the scatter alone.
    """
    n = len(log_compute)
    if n < 2 or np.ptp(log_compute) <= 0:
        return nothing(quantity, compute, f"{n} point{'s' * (n != 1)}: a trend needs two at different compute")
    weight = np.ones(n) if stderr is None else 1.0 / stderr**2
    centre = float((weight * log_compute).sum() / weight.sum())
    design = np.stack([np.ones(n), log_compute - centre], axis=1)
    inverse = np.linalg.inv(design.T @ (weight[:, None] * design))
    coefficients = inverse @ (design.T @ (weight * log_quantity))
    residual = log_quantity - design @ coefficients
    scatter = float((weight * residual**2).sum()) / (n - 2) if n > 2 else None
    covariance: Array | None
    if stderr is not None and dof is not None:
        covariance = np.asarray(inverse * max(1.0, scatter or 0.0), float)
        used = dof if scatter is None or scatter <= 1 else float(n - 2)
    else:
        covariance = None if scatter is None else np.asarray(inverse * scatter, float)
        used = float(max(n - 2, 1))
    shift = np.array([[1.0, -centre], [0.0, 1.0]])  # from the centre of the data to ln C = 0
    moved = None if covariance is None else np.asarray(shift @ covariance @ shift.T, float)
    at_zero = float(coefficients[0] - coefficients[1] * centre)
    ends = np.exp([log_compute.min(), log_compute.max()])
    line = Trend(quantity, compute, at_zero, float(coefficients[1]), moved, used, "converged")
    line = replace(line, reached=(float(ends[0]), float(ends[1])))
    return judged(line, own_scatter=stderr is None or dof is None)
