"""Sums of power laws, E + sum_k A_k prod_j x_j^-a_kj, and the two in a single variable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from scalelaw.laws.base import Array, Law, finite_exp, line, ln


@dataclass(frozen=True)
class Term:
    """One power law: the name of its amplitude, and (variable, name of its exponent) pairs."""

    amplitude: str
    exponents: tuple[tuple[str, str], ...]


class SumOfPowers(Law):
    """A law that is a sum of power laws with amplitudes above 0: the closed-form Newton solver fits it.

    It states its terms for the solver and writes its equation once more, as its paper does, in `predict`; a contract
    test holds the two together.

    Class attributes:
        constant: name of the additive constant, None when there is none.
        terms: the power laws that are added to it.
    """

    constant: ClassVar[str | None]
    terms: ClassVar[tuple[Term, ...]]

    def __init_subclass__(cls, **options: Any) -> None:
        """The amplitudes are what is positive."""
        super().__init_subclass__(**options)
        if "terms" in cls.__dict__:
            constant = () if cls.constant is None else (cls.constant,)
            cls.positive = frozenset((*constant, *(term.amplitude for term in cls.terms)))

    @classmethod
    def exponent_names(cls) -> tuple[str, ...]:
        """Names of the exponents, term by term."""
        return tuple(name for term in cls.terms for _, name in term.exponents)


@dataclass(frozen=True)
class PowerLaw(SumOfPowers):
    """L = A C^-alpha: a straight line in log-log (Hestness et al. 2017, arXiv 1712.00409; Kaplan et al. 2020, eq. 1.3).

    A has the loss's unit times the unit of C to the power alpha; alpha is positive when the loss falls.
    """

    A: float
    alpha: float

    word: ClassVar[str] = "power"
    equation: ClassVar[str] = "L = A C^-alpha"
    variables: ClassVar[tuple[str, ...]] = ("C",)
    derived: ClassVar[tuple[str, ...]] = ("compute_for",)
    constant: ClassVar[str | None] = None
    terms: ClassVar[tuple[Term, ...]] = (Term("A", (("C", "alpha"),)),)

    def predict(self, **variables: ArrayLike) -> Array:
        """See the class."""
        C = np.asarray(variables["C"], float)
        # L = A C^-alpha
        return np.asarray(self.A * C**-self.alpha)

    def compute_for(self, L: ArrayLike) -> Array:
        """The compute that reaches loss L, in the unit of C: (A / L)^(1 / alpha)."""
        return _inverse(np.asarray(L, float), self.A, self.alpha)

    @classmethod
    def guess(cls, L: Array, **variables: Array) -> Self:
        """The regression line of ln L on ln C, which is the answer itself for least squares in log space."""
        intercept, slope = line(np.log(variables["C"]), np.log(L))
        return cls(A=finite_exp(intercept), alpha=-slope)


@dataclass(frozen=True)
class OffsetPowerLaw(SumOfPowers):
    """L = E + A C^-alpha: a power law above an irreducible loss (Henighan et al. 2020, arXiv 2010.14701, eq. 1.1)."""

    E: float
    A: float
    alpha: float

    word: ClassVar[str] = "offset"
    equation: ClassVar[str] = "L = E + A C^-alpha"
    variables: ClassVar[tuple[str, ...]] = ("C",)
    derived: ClassVar[tuple[str, ...]] = ("compute_for",)
    constant: ClassVar[str | None] = "E"
    terms: ClassVar[tuple[Term, ...]] = (Term("A", (("C", "alpha"),)),)

    def predict(self, **variables: ArrayLike) -> Array:
        """See the class."""
        C = np.asarray(variables["C"], float)
        # L = E + A C^-alpha
        return np.asarray(self.E + self.A * C**-self.alpha)

    def compute_for(self, L: ArrayLike) -> Array:
        """The compute that reaches loss L, in the unit of C: (A / (L - E))^(1 / alpha); inf for L <= E."""
        return _inverse(np.asarray(L, float) - self.E, self.A, self.alpha)

    @classmethod
    def guess(cls, L: Array, **variables: Array) -> Self:
        """Half of the lowest loss is irreducible, the rest a power law."""
        E = 0.5 * float(L.min())
        intercept, slope = line(np.log(variables["C"]), np.log(L - E))
        return cls(E=E, A=finite_exp(intercept), alpha=-slope)


def _inverse(above: Array, A: float, alpha: float) -> Array:
    """C at which A C^-alpha = above; inf where no compute reaches it."""
    reachable = above.real > 0
    with np.errstate(all="ignore"):
        C = np.exp((ln(A) - ln(np.where(reachable, above, 1.0))) / alpha)
    return np.asarray(np.where(reachable, C, np.inf))
