"""What a descent keeps of its rows: what is their own, those on their way, and those that have ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.newton.calculus import Derivatives
from scalelaw.newton.problem import Array, Mask


@dataclass(frozen=True)
class Solution:
    """Rows of solutions.

    Attributes:
        theta: (rows, size) in the solver's coordinates; a dead term's entries mean nothing.
        value: (rows,) objective, scaled units, a sum.
        decrement: (rows,) predicted further decrease of the objective by an undamped Newton step, over the objective.
        alive: (rows, terms) False where a term was switched off.
        certified: (rows,) stationary to `CERTIFIED`, with a positive semidefinite Hessian.
        steps: (rows,) Newton steps taken.
    """

    theta: Array
    value: Array
    decrement: Array
    alive: Mask
    certified: Mask
    steps: NDArray[np.int64]

    def take(self, rows: slice | NDArray[np.int64]) -> Solution:
        """Some of the rows."""
        return Solution(*(values[rows] for values in vars(self).values()))

    @staticmethod
    def joined(parts: list[Solution]) -> Solution:
        """Rows of all parts, in order."""
        return Solution(*(np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])))


@dataclass(frozen=True)
class Pace:
    """How rows go: with exact second derivatives or not, at most so many steps, down to which tolerance, how many
    side by side."""

    exact: bool
    most: int
    tolerance: float
    side: int


@dataclass(frozen=True)
class Rows:
    """What the rows of a solve have of their own: weights, log loss, and which parameters may move.

    An array of one row is shared by all.
    """

    weights: Array
    y: Array
    free: Mask

    def take(self, kept: NDArray[np.int64] | Mask | slice) -> Rows:
        """Some of the rows; what is shared by all stays."""

        def pick(values: NDArray[Any]) -> NDArray[Any]:
            return values if len(values) == 1 else values[kept]

        return Rows(pick(self.weights), pick(self.y), pick(self.free))

    @cached_property
    def floor(self) -> Array:
        """Objective of residuals at rounding level: below it a fit is exact and nothing more is asked of it."""
        return np.asarray(1e-24 * self.weights.sum(axis=1) + 1e-300)


@dataclass
class Walk:
    """Rows on their way: which, where, what they see from there, and how bold they are."""

    row: NDArray[np.int64]
    theta: Array
    alive: Mask
    movable: Mask
    damping: Array
    impatience: Array
    steps: NDArray[np.int64]
    over: Mask
    own: Rows
    here: Derivatives

    def take(self, kept: Mask) -> Walk:
        """Some of the rows."""
        if kept.all():
            return self
        arrays = {name: values[kept] for name, values in self._arrays().items()}
        return replace(self, **arrays, own=self.own.take(kept), here=self.here.take(kept))

    def joined(self, other: Walk, rows: Rows) -> Walk:
        """With the rows of another walk, both of `rows`."""
        more = other._arrays()
        arrays = {name: np.concatenate([values, more[name]]) for name, values in self._arrays().items()}
        return replace(self, **arrays, own=rows.take(arrays["row"]), here=self.here.joined(other.here))

    def _arrays(self) -> dict[str, Any]:
        return {name: values for name, values in vars(self).items() if isinstance(values, np.ndarray)}


@dataclass(frozen=True)
class Proposal:
    """Where the walk's rows would go, twice the decrease that the quadratic model promises, and what to make of it."""

    trial: Array
    gain: Array
    small: Mask  # so near that the model may be trusted
    spent: Mask  # nothing more to gain
    short: Mask  # a step that may be taken without looking where it leads, once nothing is to gain

    def take(self, kept: Mask) -> Proposal:
        """Some of the rows."""
        return Proposal(*(values[kept] for values in vars(self).values()))
