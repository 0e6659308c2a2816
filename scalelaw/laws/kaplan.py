"""The first joint law of size and data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from scalelaw.laws import analytic
from scalelaw.laws.base import Array, ln
from scalelaw.laws.smooth import Smooth
from scalelaw.laws.split import balance
from scalelaw.laws.starting import log_amplitudes, ranked, thinned


@dataclass(frozen=True)
class KaplanJoint(Smooth):
    """L = ((Nc / N)^(aN / aD) + Dc / D)^aD (Kaplan et al. 2020, arXiv 2001.08361, eq. 1.5 and 4.1).

    Without a floor: (Nc / N)^aN for endless data, (Dc / D)^aD for an endless model. L^(1 / aD) is a sum of power laws
    of exponents aN / aD and 1, so that the best size at a budget has a closed form.
    """

    Nc: float
    Dc: float
    aN: float
    aD: float

    word: ClassVar[str] = "kaplan"
    equation: ClassVar[str] = "L = ((Nc / N)^(aN / aD) + Dc / D)^aD"
    variables: ClassVar[tuple[str, ...]] = ("N", "D")
    positive: ClassVar[frozenset[str]] = frozenset({"Nc", "Dc", "aN", "aD"})
    vanishing: ClassVar[frozenset[str]] = frozenset()
    derived: ClassVar[tuple[str, ...]] = (
        "size_exponent",
        "data_exponent",
        "compute_exponent",
        "overfitting_exponent",
        "optimal_size",
        "optimal_data",
        "optimal_loss",
        "data_for",
    )

    def predict(self, **variables: ArrayLike) -> Array:
        """See the class."""
        N, D = (np.asarray(variables[letter], float) for letter in "ND")
        # L = ((Nc / N)^(aN / aD) + Dc / D)^aD
        return self._loss(N, D)

    def _loss(self, N: Array, D: Array) -> Array:
        """The equation, in logs where its sum is beyond floating point."""
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            total = np.asarray((self.Nc / N) ** (self.aN / self.aD) + self.Dc / D)
            logs = analytic.log_add(self.aN / self.aD * (ln(self.Nc) - np.log(N)), ln(self.Dc) - np.log(D))
            return np.asarray(np.where(np.isfinite(total) & (total != 0), total**self.aD, analytic.exp(self.aD * logs)))

    @property
    def size_exponent(self) -> float:
        """a in N*(C) ~ C^a for C = k N D: aD / (aN + aD)."""
        return self.aD / (self.aN + self.aD)

    @property
    def data_exponent(self) -> float:
        """b in D*(C) ~ C^b for C = k N D: aN / (aN + aD)."""
        return self.aN / (self.aN + self.aD)

    @property
    def compute_exponent(self) -> float:
        """Of the lowest loss against compute, L* ~ C^-(aN aD / (aN + aD)), for C = k N D."""
        return self.aN * self.aD / (self.aN + self.aD)

    @property
    def overfitting_exponent(self) -> float:
        """aN / aD: data must grow like N to this power to keep overfitting where it is (eq. 4.4; .74 in the paper)."""
        return self.aN / self.aD

    def data_for(self, N: ArrayLike, excess: float) -> Array:
        """D at which a model of size N loses the share `excess` to overfitting (eq. 4.3; .02 makes eq. 4.4)."""
        share = (np.asarray(N, float) / self.Nc) ** (self.aN / self.aD) * self.Dc
        return np.asarray(share / np.expm1(np.log1p(excess) / self.aD))

    def optimal_size(self, C: ArrayLike, k: float) -> Array:
        """N of the lowest loss at compute C = k N D."""
        ratio = self.aN / self.aD
        logs = np.log(np.asarray(C, float)) - np.log(k)
        return np.asarray(np.exp(balance(ratio * ln(self.Nc), ratio, ln(self.Dc), 1.0) + self.size_exponent * logs))

    def optimal_data(self, C: ArrayLike, k: float) -> Array:
        """D of the lowest loss at compute C = k N D."""
        return np.asarray(np.asarray(C, float) / k / self.optimal_size(C, k))

    def optimal_loss(self, C: ArrayLike, k: float) -> Array:
        """The lowest loss at compute C = k N D."""
        N = self.optimal_size(C, k)
        D = np.asarray(C, float) / k / N
        return self._loss(N, D)

    @classmethod
    def log_curve(cls, theta: Array, logs: Array) -> Array:
        """ln L = aD ln(e^((aN / aD) ln(Nc / N)) + e^ln(Dc / D))."""
        log_nc, log_dc, log_an, log_ad = analytic.columns(theta)
        n, d = logs
        ratio, power = analytic.exp(log_an - log_ad), analytic.exp(log_ad)
        return np.asarray(power * analytic.log_add(ratio * (log_nc - n), log_dc - d))

    @classmethod
    def unscaled(cls, theta: Array, log_units: Mapping[str, float]) -> Array:
        """Nc has the unit N L^(1 / aN), Dc the unit D L^(1 / aD): the law has no amplitude of its own."""
        raw, L = np.array(theta), log_units["L"]
        raw[:, 0] += log_units["N"] + L * np.exp(-theta[:, 2])
        raw[:, 1] += log_units["D"] + L * np.exp(-theta[:, 3])
        return raw

    @classmethod
    def starts(cls, L: Array, **variables: Array) -> Array:
        """A grid of exponents; given these, L^(1 / aD) is linear in Nc^(aN / aD) and Dc."""
        logs, y = thinned(L, [variables[letter] for letter in cls.variables])
        n, d = logs
        exponents = np.geomspace(0.02, 2.0, 10)
        grid = np.array(list(product(exponents, exponents)))
        an, ad = grid.T[:, :, None]
        features = np.stack([-an / ad * n, np.broadcast_to(-d, (len(grid), len(d)))], axis=1)
        log_size, log_dc = log_amplitudes(features, y / ad).T
        theta = np.c_[log_size * grid[:, 1] / grid[:, 0], log_dc, np.log(grid)]
        return ranked(cls, theta, [at // 3 for at in range(len(grid))], L, variables)

    @classmethod
    def box(cls, L: Array, **variables: Array) -> tuple[Array, Array]:
        """Exponents from .001 to 10, and scales at which they make losses of the data's size."""
        n, d = (np.log(variables[letter]) for letter in cls.variables)
        reach = max(np.abs(n).max(), np.abs(d).max()) + (np.abs(np.log(L)).max() + 20) / 1e-3
        low, high = np.log(1e-3), np.log(10.0)
        return np.array([-reach, -reach, low, low]), np.array([reach, reach, high, high])
