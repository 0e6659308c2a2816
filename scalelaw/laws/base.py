"""Law: what every scaling law is, a frozen dataclass of its parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Law(ABC):
    """A loss law L(variables).

    The order of the fields is the order of theta and of every covariance. Fields may be arrays or complex: everything
    broadcasts, so that curves and derived quantities work on bootstrap rows, and a complex step differentiates them.

    Class attributes:
        word: the law's name on the command line.
        equation: as a reader would write it.
        variables: letters of what it depends on (C compute, N size, D data, U unique data); L is the loss.
        positive: parameters above 0, which theta holds as logarithms.
        derived: properties, and methods of keyword arguments, that are quantities of interest.
    """

    word: ClassVar[str]
    equation: ClassVar[str]
    variables: ClassVar[tuple[str, ...]]
    positive: ClassVar[frozenset[str]]
    derived: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def predict(self, **variables: ArrayLike) -> Array:
        """The loss at the given variables (by letter; arrays broadcast), in the loss's unit."""

    @classmethod
    @abstractmethod
    def guess(cls, L: Array, **variables: Array) -> Self:
        """A rough start from positive data (runs,): the right order of magnitude, no more."""

    @property
    def params(self) -> dict[str, float]:
        """Parameter name -> value, in the order of the fields."""
        return {name: float(getattr(self, name)) for name in self.names()}

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Parameter names in the order of the fields."""
        return tuple(field.name for field in fields(cls))  # type: ignore[arg-type]

    @classmethod
    def encode(cls, params: Mapping[str, float]) -> Array:
        """theta (size,) of a mapping of parameters: ln of the positive ones (ln 0 = -inf), the others as they are."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.array([np.log(params[name]) if name in cls.positive else params[name] for name in cls.names()])

    @classmethod
    def decode(cls, theta: ArrayLike) -> Self:
        """The law of theta (..., size): its fields have shape (...); complex numbers pass through."""
        values = np.moveaxis(np.asarray(theta), -1, 0)
        with np.errstate(over="ignore"):
            named = {
                name: np.exp(v) if name in cls.positive else v for name, v in zip(cls.names(), values, strict=True)
            }
        return cls(**named)


def ln(x: Any) -> Any:
    """ln x by the sign of the real part: NaN below 0, -inf at 0, no warnings; analytic above, for complex steps."""
    x = np.asarray(x)
    log = np.log(np.where(x.real > 0, x, 1))
    return np.where(x.real > 0, log, np.where(x.real == 0, -np.inf, np.nan))[()]


def finite_exp(x: float) -> float:
    """exp(x) within the range of floating point: a guess must be finite whatever the units."""
    return float(np.exp(np.clip(x, -700.0, 700.0)))


def line(x: Array, y: Array) -> tuple[float, float]:
    """Intercept and slope of the least-squares line y = a + b x; slope 0 when x does not vary."""
    centred = x - x.mean()
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread if spread > 0 else 0.0
    return float(y.mean()) - slope * float(x.mean()), slope
