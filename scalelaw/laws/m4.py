"""A law from random guessing down to a floor, implicit in the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from scalelaw.laws import analytic
from scalelaw.laws.base import Array, ln
from scalelaw.laws.smooth import Smooth
from scalelaw.laws.starting import ranked, regress, steepest, thinned

MOST_STEPS = 60
"""Newton steps of the implicit solve: 4 to 8 are usual, 20 next to E0 when a is 1e-8, 40 when it is 0."""
CERTAIN = 1e3
"""1 / (1 + e^-z) is 1 to rounding from z = 40 on."""


@dataclass(frozen=True)
class M4(Smooth):
    """(L - E) / (E0 - L)^a = B C^-c: estimator M4 of Alabdulmohsin et al. 2022 (arXiv 2209.06640, section 3).

    The loss falls from E0, that of random guessing, to E. As a goes to 0 it becomes `OffsetPowerLaw` cut off at E0,
    which is what a = 0 stands for here; at a = 1 it is logistic in ln C.
    """

    E: float
    E0: float
    a: float
    B: float
    c: float

    word: ClassVar[str] = "m4"
    equation: ClassVar[str] = "(L - E) / (E0 - L)^a = B C^-c"
    variables: ClassVar[tuple[str, ...]] = ("C",)
    positive: ClassVar[frozenset[str]] = frozenset({"E", "E0", "a", "B"})
    vanishing: ClassVar[frozenset[str]] = frozenset({"E", "a"})
    derived: ClassVar[tuple[str, ...]] = ("compute_for",)
    eased: ClassVar[frozenset[str]] = frozenset({"B"})

    def predict(self, **variables: ArrayLike) -> Array:
        """The root L in (E, E0) of the equation."""
        x = np.log(np.asarray(variables["C"], float))
        return np.asarray(analytic.exp(_log_loss(ln(self.E), ln(self.E0), self.a, ln(self.B), self.c, x)))

    def compute_for(self, L: ArrayLike) -> Array:
        """The compute that reaches loss L, in the unit of C: (B (E0 - L)^a / (L - E))^(1 / c).

        inf for L <= E, which none reaches; 0 for L >= E0, which needs none.
        """
        L = np.asarray(L, float)
        above, below = L - np.asarray(self.E), np.asarray(self.E0) - L
        inside = (above.real > 0) & (below.real > 0)
        with np.errstate(all="ignore"):
            ratio = ln(self.B) + self.a * ln(np.where(inside, below, 1.0)) - ln(np.where(inside, above, 1.0))
            C = np.exp(ratio / self.c)
        return np.asarray(np.where(inside, C, np.where(above.real > 0, 0.0, np.inf)))

    @classmethod
    def log_curve(cls, theta: Array, logs: Array) -> Array:
        """See `_log_loss`."""
        log_e, log_e0, log_a, log_b, c = analytic.columns(theta)
        return np.asarray(_log_loss(log_e, log_e0, analytic.exp(log_a), log_b, c, logs[0]))

    @classmethod
    def unscaled(cls, theta: Array, log_units: Mapping[str, float]) -> Array:
        """E and E0 have the loss's unit; B that of L^(1 - a) C^c."""
        log_e, log_e0, log_a, log_b, c = theta.T
        C, L = log_units["C"], log_units["L"]
        return np.stack([log_e + L, log_e0 + L, log_a, log_b + c * C + (1 - np.exp(log_a)) * L, c], axis=1)

    @classmethod
    def to_search(cls, theta: Array) -> Array:
        """ln B gives way to tau at C = 1: B takes up the power a of E0, so that the valley of good fits bends."""
        searched = np.array(theta)
        searched[:, 3] -= (1 - np.exp(theta[:, 2])) * _log_span(theta[:, 0], theta[:, 1])
        return searched

    @classmethod
    def from_search(cls, searched: Array) -> Array:
        """See the base class."""
        theta = np.array(searched)
        theta[:, 3] += (1 - np.exp(searched[:, 2])) * _log_span(searched[:, 0], searched[:, 1])
        return theta

    @classmethod
    def starts(cls, L: Array, **variables: Array) -> Array:
        """A grid of floors, ceilings and a; given these, ln (L - E) / (E0 - L)^a is linear in ln C."""
        logs, y = thinned(L, [variables["C"]])
        floors, ceilings, powers = (0.01, 0.5, 0.8, 0.95), (1.003, 1.1, 1.5, 3.0, 8.0), (1e-3, 0.2, 1.0, 3.0)
        grid = np.array(list(product(floors, ceilings, powers)))
        log_e, log_e0 = y.min() + np.log(grid[:, 0]), y.max() + np.log(grid[:, 1])
        a, losses = grid[:, 2:], np.exp(y)
        above, below = losses - np.exp(log_e)[:, None], np.exp(log_e0)[:, None] - losses
        features = np.stack([np.ones_like(above), np.broadcast_to(-logs[0], above.shape)], axis=1)
        slope = losses / above + a * losses / below  # of the target by ln L
        log_b, c = regress(features, np.log(above) - a * np.log(below), slope**-2).T
        theta = np.stack([log_e, log_e0, np.log(a[:, 0]), log_b, c], axis=1)
        return ranked(cls, theta, [tuple(row) for row in grid[:, :2]], L, variables)

    @classmethod
    def box(cls, L: Array, **variables: Array) -> tuple[Array, Array]:
        """E from 2e-9 of the lowest loss, a from 1e-7 to 10, E0 up to 10 times the highest loss.

        Far above the data only the ratio a / E0 shows, so that E0 and a could grow together without end.
        """
        x, y, steep = np.log(variables["C"]), np.log(L), steepest(L, variables["C"])
        reach = steep * (np.abs(x).max() + 5) + 10 * (np.abs(y).max() + 4)
        low = np.array([y.min() - 20, y.min(), np.log(1e-7), -reach, -steep])
        return low, np.array([y.max(), y.max() + np.log(10), np.log(10), reach, steep])


def _log_loss(log_e: Any, log_e0: Any, a: Any, log_b: Any, c: Any, x: Any) -> Any:
    """ln L of (L - E) / (E0 - L)^a = B e^(-c x), elementwise; NaN where E >= E0.

    With s = (L - E) / (E0 - E) = 1 / (1 + e^-z) it reads a ln(1 + e^z) - ln(1 + e^-z) = tau. The root is found in real
    arithmetic; one more Newton step, along the imaginary parts of tau and a, carries the derivatives.
    """
    a = np.asarray(a)
    tau = log_b - c * x - (1 - a) * _log_span(log_e, log_e0)
    z = _root(tau.real, a.real)
    if np.iscomplexobj(tau) or np.iscomplexobj(a):
        share = analytic.sigmoid(z)
        off = tau - a * analytic.softplus(z)
        z = analytic.first_order(z, 1 / (analytic.sigmoid(-z) + a.real * share), off)
    return analytic.log_add(log_e - analytic.softplus(z), log_e0 - analytic.softplus(-z))


def _log_span(log_e: Any, log_e0: Any) -> Any:
    """ln (E0 - E), NaN where E >= E0."""
    gap = log_e - log_e0
    gap = np.where(gap.real < 0, gap, np.nan)
    return log_e0 + analytic.log(-analytic.expm1(gap))


def _root(tau: Array, a: Array) -> Array:
    """z with a softplus(z) - softplus(-z) = tau, for real tau and a >= 0 that broadcast; at most `CERTAIN`.

    The left side increases, convex for a > 1 and concave for a < 1, between the lines z and a z: from where the nearer
    line meets tau Newton moves one way and cannot overshoot.
    """
    with np.errstate(all="ignore"):
        z = np.where(tau > 0, np.minimum(tau / a, CERTAIN), tau)
        for _ in range(MOST_STEPS):
            small = np.exp(-np.abs(z))
            rest = np.log1p(small)
            upper, lower = np.where(z > 0, 1.0, small), np.where(z > 0, small, 1.0)
            left = a * (np.maximum(z, 0.0) + rest) - np.maximum(-z, 0.0) - rest
            before, z = z, np.minimum(z - (left - tau) * (1 + small) / (lower + a * upper), CERTAIN)
            if not np.nanmax(np.abs(z - before) / (1 + np.abs(z)), initial=0.0) > 1e-14:
                break
    return np.asarray(z)
