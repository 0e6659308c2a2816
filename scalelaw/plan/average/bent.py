"""Loss surfaces with one departure from E + A N^-alpha + B D^-beta, and their derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
        breaks: (rows, 2) ln N and ln D at which an exponent may change.
        floored: whether the loss has a floor E above 0.
    """

    law: Split
    centre: tuple[float, float]
    form: int
    breaks: Array
    floored: bool = True

    @property
    def free(self) -> list[int]:
        """Numbers of the parameters that this form has: of ln E, ln A, ln B, alpha, beta and the factor."""
        return [k for k in range(6) if (k > 0 or self.floored) and (k < 5 or self.form != ADDITIVE)]

    def log_loss(self, theta: Array, x: Array) -> tuple[Array, Array]:
        """(rows, points) ln L at logs x (2, points), NaN where the sum is not positive, and (rows, points, 6) its
        derivative by theta (rows, 6): ln E, ln A, ln B, alpha, beta and the departure's factor."""
        e, a, b, alpha, beta, factor = (column[:, None] for column in theta.T)
        n, d = x[0] - self.centre[0], x[1] - self.centre[1]
        reach = np.zeros((len(theta), x.shape[1]))
        if self.form in (OF_SIZE, OF_DATA):
            axis = self.form - OF_SIZE
            reach = BREAK * np.logaddexp(0.0, SHARP * (x[axis] - self.breaks[:, [axis]])) / SHARP
        bent = factor * reach
        size = np.exp(a - alpha * n + (bent if self.form == OF_SIZE else 0.0))
        data = np.exp(b - beta * d + (bent if self.form == OF_DATA else 0.0))
        mixed = MIXED * np.sqrt(size * data) if self.form == MIXING else np.zeros_like(size)
        floor = np.broadcast_to(np.exp(e) if self.floored else 0 * e, size.shape)
        S = floor + size + data + factor * mixed
        by_size, by_data = (term + factor * mixed / 2 for term in (size, data))
        by_factor = {OF_SIZE: size * reach, OF_DATA: data * reach}.get(self.form, mixed)
        parts = np.stack([floor, by_size, by_data, -n * by_size, -d * by_data, by_factor], axis=2)
        known = np.where(S > 0, S, np.nan)
        return np.log(self.law.of_sum(known)), parts * (self.law.steepness(known) / known)[:, :, None]
