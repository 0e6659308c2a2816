"""Laws of repeated data from the loss of guessing downwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from scalelaw.laws import analytic
from scalelaw.laws.base import Array
from scalelaw.laws.chance import below
from scalelaw.laws.overfit import Overfit
from scalelaw.laws.repetition import DataRepetition, Repeated

TURNS, TOPS = (2.0, 5.0), (1.02, 1.3)
"""How sharply searches first take the law to turn, and below how many times the highest loss."""
STARTS_EACH = 5
"""Starts of the law without a ceiling that are kept for each of these."""


class BelowGuessing(Repeated):
    """L^-p = L0^-p + S^-p, where S is a law of repeated data that knows no ceiling; see `ChanceSizeData`.

    Class attributes:
        inner: the law of S, whose fields come first here.
    """

    L0: float
    p: float

    inner: ClassVar[type[Repeated]]
    derived: ClassVar[tuple[str, ...]] = ("log_gain",)

    def predict(self, **variables: ArrayLike) -> Array:
        """See the class."""
        S = self.inner(*(getattr(self, name) for name in self.inner.names())).predict(**variables)
        # L^-p = L0^-p + S^-p
        return below(S, self.L0, self.p)

    @classmethod
    def log_curve(cls, theta: Array, logs: Array) -> Array:
        """ln L = -ln(e^(-p ln L0) + e^(-p ln S)) / p."""
        log_top, p = theta[:, -2:-1], analytic.exp(theta[:, -1:])
        log_sum = cls.inner.log_curve(theta[:, :-2], logs)
        return np.asarray(-analytic.log_add(-p * log_top, -p * log_sum) / p)

    @classmethod
    def unscaled(cls, theta: Array, log_units: Mapping[str, float]) -> Array:
        """L0 has the loss's unit, as S does."""
        top = theta[:, -2:-1] + log_units["L"]
        return np.concatenate([cls.inner.unscaled(theta[:, :-2], log_units), top, theta[:, -1:]], axis=1)

    @classmethod
    def starts(cls, L: Array, **variables: Array) -> Array:
        """Starts of the law of S for what S would be below a top just above the highest loss, for several turns."""
        found = []
        for p in TURNS:
            for share in TOPS:
                top = share * L.max()
                S = L * (1 - (L / top) ** p) ** (-1 / p)
                inner = cls.inner.starts(S, **variables)[:STARTS_EACH]
                ends = np.broadcast_to(np.log([top, p]), (len(inner), 2))
                found.append(np.concatenate([inner, ends], axis=1))
        theta = np.clip(np.concatenate(found), *cls.box(L, **variables))
        logs = np.log(np.stack([variables[letter] for letter in cls.variables]))
        with np.errstate(all="ignore"):
            misfit = np.abs(cls.log_curve(theta, logs) - np.log(L)).mean(axis=1)
        order = np.argsort(np.round(np.where(np.isfinite(misfit), misfit, np.inf), 9), kind="stable")
        return np.asarray(theta[order])

    @classmethod
    def box(cls, L: Array, **variables: Array) -> tuple[Array, Array]:
        """That of S; tops up to e^3 times the highest loss, turns from as wide as it to a corner."""
        top = float(np.log(L).max())
        low, high = cls.inner.box(L, **variables)
        return np.array([*low, top - 1.0, np.log(0.5)]), np.array([*high, top + 3.0, np.log(60.0)])


@dataclass(frozen=True)
class ChanceRepetition(BelowGuessing):
    """L^-p = L0^-p + (E + A N'^-alpha + B D'^-beta)^-p: `DataRepetition` that levels off at the loss L0 of guessing.

    The decay of repeated data is that of Muennighoff et al. 2023 (arXiv 2305.16264), the ceiling that of
    `ChanceSizeData`. Where cheap runs end near L0, a law without it takes their levelling off for wear.
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    R_D: float
    R_N: float
    L0: float
    p: float

    word: ClassVar[str] = "repetition-chance"
    equation: ClassVar[str] = "L^-p = L0^-p + (E + A N'^-alpha + B D'^-beta)^-p"
    positive: ClassVar[frozenset[str]] = DataRepetition.positive | {"L0", "p"}
    vanishing: ClassVar[frozenset[str]] = DataRepetition.vanishing
    inner: ClassVar[type[Repeated]] = DataRepetition


@dataclass(frozen=True)
class ChanceOverfit(BelowGuessing):
    """L^-p = L0^-p + (E + A N^-alpha + B D^-beta + P r^delta (N / U)^kappa)^-p, r = D / U - 1: `Overfit` below L0.

    A price of repetition (after Lovelace et al. 2026, arXiv 2605.01640) with the ceiling of `ChanceSizeData`, which
    bounds the penalty too: no loss is promised above L0, that of guessing.
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    P: float
    delta: float
    kappa: float
    L0: float
    p: float

    word: ClassVar[str] = "overfit-chance"
    equation: ClassVar[str] = "L^-p = L0^-p + (E + A N^-alpha + B D^-beta + P r^delta (N / U)^kappa)^-p, r = D / U - 1"
    positive: ClassVar[frozenset[str]] = Overfit.positive | {"L0", "p"}
    vanishing: ClassVar[frozenset[str]] = Overfit.vanishing
    inner: ClassVar[type[Repeated]] = Overfit
