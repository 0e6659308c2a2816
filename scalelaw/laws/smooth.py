"""Smooth: a law that is no sum of power laws, fitted by damped Gauss-Newton with complex-step derivatives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from scalelaw.laws.base import Array, Law


class Smooth(Law):
    """A law whose log-prediction is analytic in theta, its parameters with the logarithms of the positive ones.

    The fit works on data in units of their geometric means: `box` and `log_curve` see logs that average 0.

    Class attributes:
        eased: parameters whose coordinate `to_search` replaces.
        one_unit: letters that are measured in one unit and must stay so (unique and repeated data).
        vanishing: positive parameters for which 0 is a legitimate value; at the floor of the box they count as 0.
    """

    vanishing: ClassVar[frozenset[str]]
    one_unit: ClassVar[tuple[str, ...]] = ()
    eased: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    @abstractmethod
    def log_curve(cls, theta: Array, logs: Array) -> Array:
        """ln prediction (rows, points) at theta (rows, size) and ln variables (len(variables), points).

        Analytic: theta + i h e_j with h tiny gives h times the derivative as the imaginary part. Rows outside the
        law's domain give NaN, without exception or warning.
        """

    @classmethod
    @abstractmethod
    def unscaled(cls, theta: Array, log_units: Mapping[str, float]) -> Array:
        """theta in raw units of theta (rows, size) that was fitted to variables and L, each divided by its unit.

        Args:
            theta: may be complex; the map is analytic.
            log_units: ln of the unit of every variable and of L, by letter.
        """

    @classmethod
    @abstractmethod
    def starts(cls, L: Array, **variables: Array) -> Array:
        """8 to 40 diverse theta (starts, size) to search from, best guesses first, for positive data (runs,)."""

    @classmethod
    @abstractmethod
    def box(cls, L: Array, **variables: Array) -> tuple[Array, Array]:
        """Lowest and highest theta (size,) of any sensible fit to data whose geometric means are 1."""

    @classmethod
    def to_search(cls, theta: Array) -> Array:
        """theta (rows, size) in the coordinates that searches move in; the box holds in these too.

        They differ from theta in the `eased` parameters only, where the valley of good fits would bend too much.
        """
        return theta

    @classmethod
    def from_search(cls, searched: Array) -> Array:
        """The inverse of `to_search`, analytic."""
        return searched

    @classmethod
    def log_units(cls, L: Array, **variables: Array) -> dict[str, float]:
        """ln of the geometric means of the data by letter, one for letters that share their unit."""
        units = {letter: float(np.mean(np.log(values))) for letter, values in {"L": L, **variables}.items()}
        return {letter: units[cls.one_unit[0] if letter in cls.one_unit else letter] for letter in units}

    @classmethod
    def guess(cls, L: Array, **variables: Array) -> Self:
        """The best of the starts, found on data in units of their geometric means."""
        units = cls.log_units(L, **variables)
        scaled = {letter: values * np.exp(-units[letter]) for letter, values in {"L": L, **variables}.items()}
        theta = cls.unscaled(cls.starts(**scaled)[:1], units)[0]
        positive = np.array([name in cls.positive for name in cls.names()])
        return cls.decode(np.where(positive, np.clip(theta, -700.0, 700.0), theta))
