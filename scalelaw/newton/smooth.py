"""Any other law: its log-prediction with derivatives by complex step (Squire and Trapp 1998, exact to rounding)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scalelaw.laws import Smooth
from scalelaw.newton.problem import Array, Curve, Mask, Objective, Problem, Space

STEP = 1e-30
"""Imaginary step: no difference is taken, so it may be as small as one likes."""
AT_ONCE = 2**12
"""Values that steps of several parameters may fill side by side: with few the interpreter's time counts, not theirs."""
DIFFERENCE = 1e-5
"""Real step for second derivatives, differences of exact first ones."""


@dataclass(frozen=True)
class SmoothProblem(Problem):
    """A law without closed-form solution with its data, every variable over its geometric mean.

    Attributes:
        law: the class; theta are its working coordinates.
        log_units: letter -> ln of what its variable, or the loss L, was divided by.
        eased: whether theta here are the law's search coordinates; not where one of them is pinned or bounded.
        zeros: names of parameters that count as 0 at the lower end of the box, which is not where they are held.
    """

    law: type[Smooth]
    log_units: Mapping[str, float]
    eased: bool
    zeros: frozenset[str]

    @classmethod
    def of(
        cls,
        law: type[Smooth],
        logs: Array,
        log_loss: Array,
        objective: Objective,
        space: Space,
        *,
        log_units: Mapping[str, float],
        lower: Array,
        upper: Array,
        eased: bool = False,
        zeros: frozenset[str] = frozenset(),
    ) -> SmoothProblem:
        """Takes natural `logs` (variables, runs), `log_loss` (runs,) and the units to divide by."""
        shift = np.array([log_units[letter] for letter in law.variables])
        level = log_units["L"]
        return cls(
            x=logs - shift[:, None],
            y=(log_loss - level)[None],
            level=level,
            objective=cls.in_units(objective, space, level),
            space=space,
            lower=lower,
            upper=upper,
            law=law,
            log_units=log_units,
            eased=eased,
            zeros=zeros,
        )

    @property
    def size(self) -> int:
        """Number of the law's parameters."""
        return len(self.lower)

    @property
    def n_terms(self) -> int:
        """No term is switched off here: parameters that vanish end at the box."""
        return 0

    def curve(self, theta: Array, alive: Mask, x: Array | None = None) -> Curve:
        """Value and complex-step Jacobian; pinned parameters have derivative 0."""
        x = self.x if x is None else x
        jacobian = np.zeros((len(theta), self.size, x.shape[1]))
        free = np.flatnonzero(self.free)
        together = max(1, AT_ONCE // (len(theta) * x.shape[1] or 1))
        f = None
        for first in range(0, len(free), together):
            moved = free[first : first + together]
            shifted = np.tile(theta.astype(complex), (len(moved), 1, 1))
            shifted[np.arange(len(moved)), :, moved] += 1j * STEP
            found = self.law.log_curve(self.working(shifted.reshape(-1, self.size)), x)
            found = found.reshape(len(moved), len(theta), -1)
            jacobian[:, moved] = found.imag.swapaxes(0, 1) / STEP
            f = found[0].real if f is None else f
        if f is None:
            f = self.law.log_curve(self.working(theta), x)
        return Curve(np.ascontiguousarray(f), jacobian)

    def working(self, theta: Array) -> Array:
        """The law's working coordinates of the solver's."""
        return self.law.from_search(theta) if self.eased else theta

    def bent(self, theta: Array, curve: Curve, slope: Array) -> Array:
        """sum_i slope_i (d2f_i + g_i g_i^T), (rows, size, size), by central differences of sum_i slope_i g_i."""
        alive = np.ones((len(theta), 0), bool)
        found = np.zeros((len(theta), self.size, self.size))
        for j in np.flatnonzero(self.free):
            move = np.zeros(self.size)
            move[j] = DIFFERENCE
            up = np.einsum("rsp,rp->rs", self.curve(theta + move, alive).jacobian, slope)
            down = np.einsum("rsp,rp->rs", self.curve(theta - move, alive).jacobian, slope)
            found[:, j] = (up - down) / (2 * DIFFERENCE)
        g = curve.jacobian
        return 0.5 * np.asarray(found + found.transpose(0, 2, 1)) + (g * slope[:, None, :]) @ g.transpose(0, 2, 1)

    def owned(self, alive: Mask) -> Mask:
        """All that are not pinned."""
        return np.repeat(self.free[None], len(alive), axis=0)

    def natural(self, theta: Array) -> Array:
        """The law's working coordinates in the user's units."""
        return np.asarray(self.law.unscaled(self.working(theta), self.log_units))

    def natural_jacobian(self, theta: Array) -> Array:
        """By complex step."""
        shifted = theta[None] + 1j * STEP * np.eye(self.size)
        return np.asarray(self.law.unscaled(self.working(shifted), self.log_units).imag.T / STEP)

    def logs(self, logs: Array) -> Array:
        """Divides further variables (variables, points), given by their logs, by the units."""
        return np.asarray(logs - np.array([self.log_units[letter] for letter in self.law.variables])[:, None])
