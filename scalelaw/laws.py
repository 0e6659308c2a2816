"""The functional forms of scaling laws, each a frozen dataclass of its parameters.

A law's fields make its parameter names, the order of its covariance and the header of its table. To add a law, write
one more class and enter it in `LAWS`: the contract tests come by themselves.

Every law here is a sum of power laws, E + sum_k A_k prod_j x_j^-a_kj. It states its terms (`constant`, `terms`) for
the solver and writes its equation once more, as its paper does, in `predict`; a contract test holds the two together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw.errors import UserError, nearest

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Term:
    """One power law: the name of its amplitude, and (variable, name of its exponent) pairs."""

    amplitude: str
    exponents: tuple[tuple[str, str], ...]


class Law(ABC):
    """A loss law L(variables), a sum of power laws with amplitudes above 0.

    Class attributes:
        word: the law's name on the command line.
        variables: letters of what it depends on (C compute, N size, D data); L is the loss.
        constant: name of the additive constant, None when there is none.
        terms: the power laws that are added to it.
    """

    word: ClassVar[str]
    equation: ClassVar[str]
    variables: ClassVar[tuple[str, ...]]
    constant: ClassVar[str | None]
    terms: ClassVar[tuple[Term, ...]]

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
    def exponent_names(cls) -> tuple[str, ...]:
        """Names of the exponents, term by term."""
        return tuple(name for term in cls.terms for _, name in term.exponents)


def _exp(x: float) -> float:
    """exp(x) within the range of floating point: a guess must be finite whatever the units."""
    return float(np.exp(np.clip(x, -700.0, 700.0)))


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Intercept and slope of the least-squares line y = a + b x; slope 0 when x does not vary."""
    centred = x - x.mean()
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread if spread > 0 else 0.0
    return float(y.mean()) - slope * float(x.mean()), slope


@dataclass(frozen=True)
class PowerLaw(Law):
    """L = A C^-alpha: a straight line in log-log (Hestness et al. 2017, arXiv 1712.00409; Kaplan et al. 2020, eq. 1.3).

    A has the loss's unit times the unit of C to the power alpha; alpha is positive when the loss falls.
    """

    A: float
    alpha: float

    word: ClassVar[str] = "power"
    equation: ClassVar[str] = "L = A C^-alpha"
    variables: ClassVar[tuple[str, ...]] = ("C",)
    constant: ClassVar[str | None] = None
    terms: ClassVar[tuple[Term, ...]] = (Term("A", (("C", "alpha"),)),)

    def predict(self, **variables: ArrayLike) -> Array:
        """See the class."""
        C = np.asarray(variables["C"], float)
        # L = A C^-alpha
        return np.asarray(self.A * C**-self.alpha)

    @classmethod
    def guess(cls, L: Array, **variables: Array) -> Self:
        """The regression line of ln L on ln C, which is the answer itself for least squares in log space."""
        intercept, slope = _line(np.log(variables["C"]), np.log(L))
        return cls(A=_exp(intercept), alpha=-slope)


@dataclass(frozen=True)
class OffsetPowerLaw(Law):
    """L = E + A C^-alpha: a power law above an irreducible loss (Henighan et al. 2020, arXiv 2010.14701, eq. 1.1)."""

    E: float
    A: float
    alpha: float

    word: ClassVar[str] = "offset"
    equation: ClassVar[str] = "L = E + A C^-alpha"
    variables: ClassVar[tuple[str, ...]] = ("C",)
    constant: ClassVar[str | None] = "E"
    terms: ClassVar[tuple[Term, ...]] = (Term("A", (("C", "alpha"),)),)

    def predict(self, **variables: ArrayLike) -> Array:
        """See the class."""
        C = np.asarray(variables["C"], float)
        # L = E + A C^-alpha
        return np.asarray(self.E + self.A * C**-self.alpha)

    @classmethod
    def guess(cls, L: Array, **variables: Array) -> Self:
        """Half of the lowest loss is irreducible, the rest a power law."""
        E = 0.5 * float(L.min())
        intercept, slope = _line(np.log(variables["C"]), np.log(L - E))
        return cls(E=E, A=_exp(intercept), alpha=-slope)


@dataclass(frozen=True)
class SizeData(Law):
    """L = E + A N^-alpha + B D^-beta (Hoffmann et al. 2022, arXiv 2203.15556, eq. 2 and section D.2).

    N is the model's size and D the data seen. For convolutional networks take N = multiply-adds an image and D =
    images, for which training FLOP = 6 N D is exact; for transformers on text, parameters and tokens.
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    word: ClassVar[str] = "size-data"
    equation: ClassVar[str] = "L = E + A N^-alpha + B D^-beta"
    variables: ClassVar[tuple[str, ...]] = ("N", "D")
    constant: ClassVar[str | None] = "E"
    terms: ClassVar[tuple[Term, ...]] = (Term("A", (("N", "alpha"),)), Term("B", (("D", "beta"),)))

    def predict(self, **variables: ArrayLike) -> Array:
        """See the class."""
        N, D = (np.asarray(variables[letter], float) for letter in "ND")
        # L = E + A N^-alpha + B D^-beta
        return np.asarray(self.E + self.A * N**-self.alpha + self.B * D**-self.beta)

    @classmethod
    def guess(cls, L: Array, **variables: Array) -> Self:
        """Half of the lowest loss is irreducible; size and data share the rest equally."""
        E = 0.5 * float(L.min())
        design = np.stack([np.ones_like(L), -np.log(variables["N"]), -np.log(variables["D"])], axis=1)
        (_, alpha, beta), *_ = np.linalg.lstsq(design, np.log(L - E), rcond=None)
        alpha, beta = max(float(alpha), 0.05), max(float(beta), 0.05)
        scale = float(np.exp(np.mean(np.log(L - E)))) / 2
        A = scale * _exp(alpha * float(np.mean(np.log(variables["N"]))))
        B = scale * _exp(beta * float(np.mean(np.log(variables["D"]))))
        return cls(E=E, A=A, B=B, alpha=alpha, beta=beta)

    @property
    def size_exponent(self) -> float:
        """a in N*(C) = G (C / k)^a for C = k N D: beta / (alpha + beta) (Hoffmann et al. 2022, eq. 4)."""
        return self.beta / (self.alpha + self.beta)

    @property
    def data_exponent(self) -> float:
        """b in D*(C) = (C / k)^b / G for C = k N D: alpha / (alpha + beta) (Hoffmann et al. 2022, eq. 4)."""
        return self.alpha / (self.alpha + self.beta)

    @property
    def log_balance(self) -> float:
        """ln G, G = (alpha A / (beta B))^(1 / (alpha + beta)) (Hoffmann et al. 2022, eq. 4)."""
        ratio = np.log(self.alpha) + np.log(self.A) - np.log(self.beta) - np.log(self.B)
        return float(ratio) / (self.alpha + self.beta)

    def optimum(self, C: ArrayLike, *, k: float) -> tuple[Array, Array]:
        """Size and data of the lowest loss at compute C = k N D, in closed form (Hoffmann et al. 2022, eq. 4).

        Args:
            C: compute, any shape, in the unit that makes C = k N D.
            k: FLOP per unit of size and data: 6 for multiply-adds x images and for parameters x tokens.
        """
        logs = np.log(np.asarray(C, float)) - np.log(k)
        return (
            np.exp(self.log_balance + self.size_exponent * logs),
            np.exp(-self.log_balance + self.data_exponent * logs),
        )


LAWS: dict[str, type[Law]] = {law.word: law for law in (PowerLaw, OffsetPowerLaw, SizeData)}


def law(word: str) -> type[Law]:
    """Looks a law up by its word.

    Raises:
        UserError: for an unknown word, naming the nearest.
    """
    if word not in LAWS:
        raise UserError(f"unknown law {word!r}{nearest(word, list(LAWS))} (known: {', '.join(LAWS)})")
    return LAWS[word]


def build(kind: type[Law], params: dict[str, Any]) -> Law:
    """A law of `kind` from a mapping of its parameters."""
    return kind(**{name: float(params[name]) for name in kind.names()})
