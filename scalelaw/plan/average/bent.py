"""Loss surfaces with one departure from E + A N^-alpha + B D^-beta, and their derivatives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from scalelaw.laws import Split
from scalelaw.plan.design.forms import BREAK, MIXED, NAMES, SHARP

Array = NDArray[np.float64]

ADDITIVE, MIXING, OF_SIZE, OF_DATA = range(len(NAMES))


@dataclass(frozen=True)
class Bent:
    """Surfaces of one form, a row each.

    Attributes:
        law: how the loss follows from the sum; its own parameters are not used.
        centre: ln N and ln D of the unit of size and of data.
        form: number of its name in `design.forms.NAMES`.
        middle, half: (rows, 2) of the ln N and of the ln D among which an exponent may change.
        floored: whether the loss has a floor E above 0.
    """

    law: Split
    centre: tuple[float, float]
    form: int
    middle: Array
    half: Array
    floored: bool = True

    def only(self, rows: NDArray[np.int64]) -> Bent:
        """Some rows."""
        return replace(self, middle=self.middle[rows], half=self.half[rows])

    @property
    def free(self) -> list[int]:
        """Numbers of the parameters that this form has: of ln E, ln A, ln B, alpha, beta, the factor and the place."""
        lacks = {ADDITIVE: (5, 6), MIXING: (6,)}.get(self.form, ()) + (() if self.floored else (0,))
        return [k for k in range(7) if k not in lacks]

    def log_loss(self, theta: Array, x: Array) -> tuple[Array, Array]:
        """(rows, points) ln L at logs x (2, points), NaN where the sum is not positive, and (rows, points, 7) its
        derivative by theta (rows, 7): ln E, ln A, ln B, alpha, beta, the departure's factor and its place."""
        e, a, b, alpha, beta, factor, place = (column[:, None] for column in theta.T)
        n, d = x[0] - self.centre[0], x[1] - self.centre[1]
        reach = moved = np.zeros((len(theta), x.shape[1]))
        if self.form in (OF_SIZE, OF_DATA):
            axis = self.form - OF_SIZE
            half = self.half[:, [axis]]
            beyond = SHARP * (x[axis] - self.middle[:, [axis]] - place * half)
            reach, moved = BREAK * np.logaddexp(0.0, beyond) / SHARP, -BREAK * half * expit(beyond)
        bent = factor * reach
        size = np.exp(a - alpha * n + (bent if self.form == OF_SIZE else 0.0))
        data = np.exp(b - beta * d + (bent if self.form == OF_DATA else 0.0))
        mixed = MIXED * np.sqrt(size * data) if self.form == MIXING else np.zeros_like(size)
        floor = np.broadcast_to(np.exp(e) if self.floored else 0 * e, size.shape)
        S = floor + size + data + factor * mixed
        by_size, by_data = (term + factor * mixed / 2 for term in (size, data))
        by_factor = {OF_SIZE: size * reach, OF_DATA: data * reach}.get(self.form, mixed)
        by_place = factor * {OF_SIZE: size, OF_DATA: data}.get(self.form, 0.0) * moved
        parts = np.stack([floor, by_size, by_data, -n * by_size, -d * by_data, by_factor, by_place], axis=2)
        known = np.where(S > 0, S, np.nan)
        return np.log(self.law.of_sum(known)), parts * (self.law.steepness(known) / known)[:, :, None]
