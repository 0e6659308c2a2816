"""What a fit minimises: the sum over runs of rho(residual). Always a sum, never a mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LeastSquares:
    """rho(r) = r^2: the maximum-likelihood objective for Gaussian noise."""

    word: ClassVar[str] = "least-squares"

    def rho(self, r: Array) -> Array:
        """r^2."""
        return r * r

    def psi(self, r: Array) -> Array:
        """2 r."""
        return 2.0 * r

    def curvature(self, r: Array) -> Array:
        """2."""
        return np.full_like(r, 2.0)

    def weight(self, r: Array) -> Array:
        """2."""
        return np.full_like(r, 2.0)

    def scaled(self, unit: float) -> LeastSquares:
        """Least squares has no scale of its own."""
        return self

    def __str__(self) -> str:
        return self.word


@dataclass(frozen=True)
class Huber:
    """rho(r) = r^2 / 2 for |r| <= delta, else delta (|r| - delta / 2) (Huber 1964, eq. 3).

    Attributes:
        delta: where the quadratic ends, in the unit of the residual: of ln L in log space, of L in linear space. As
            delta falls the objective, divided by delta, tends to the sum of absolute residuals.
    """

    delta: float

    word: ClassVar[str] = "huber"

    def __post_init__(self) -> None:
        if not 0 < self.delta < float("inf"):
            raise UserError(f"huber: delta = {self.delta!r} must be a positive, finite number")

    def rho(self, r: Array) -> Array:
        """See the class."""
        inside = np.minimum(np.abs(r), self.delta)
        return np.asarray(inside * (np.abs(r) - 0.5 * inside))

    def psi(self, r: Array) -> Array:
        """r, cut off at +-delta."""
        return np.clip(r, -self.delta, self.delta)

    def curvature(self, r: Array) -> Array:
        """1 inside delta, else 0."""
        return (np.abs(r) <= self.delta).astype(float)

    def weight(self, r: Array) -> Array:
        """min(1, delta / |r|)."""
        return np.asarray(self.delta / np.maximum(np.abs(r), self.delta))

    def scaled(self, unit: float) -> Huber:
        """The same objective for residuals divided by `unit`."""
        return Huber(self.delta / unit)

    def __str__(self) -> str:
        return f"{self.word} (delta {self.delta:g})"


Objective = LeastSquares | Huber
OBJECTIVES: dict[str, type[Objective]] = {"least-squares": LeastSquares, "huber": Huber}
