"""The truth that sweeps are drawn from: a loss law, a basin of learning rates, noise of seeds and of sizes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw.errors import UserError
from scalelaw.laws import Law

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RateBasin:
    """How the loss depends on the learning rate.

    The best rate follows powers of size and epochs, rate* = rate (M / size)^by_size epochs^by_epochs. Away from it, at
    u = ln(rate / rate*), ln loss is higher by 2 bend (e^(s u) - 1 - s u) / s^2 with s = lopsided (Varian 1975's LINEX),
    which is bend u^2 at s = 0 and close to u = 0.

    Attributes:
        rate: the best rate at `size` and one epoch.
        size: multiply-adds per image that `rate` refers to.
        by_size, by_epochs: exponents of the best rate.
        bend: quadratic coefficient of ln loss in ln rate at the best rate; 0 makes the rate irrelevant.
        lopsided: s above; above 0 too high a rate costs more than too low a one.
        diverges: rates above this multiple of the best one diverge; infinity for none.
        scatter: standard deviation of a cell's ln rate* about the trend.
    """

    rate: float
    size: float
    by_size: float = -0.2
    by_epochs: float = -0.4
    bend: float = 0.1
    lopsided: float = 0.7
    diverges: float = 4.0
    scatter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rate", "size"):
            if not 0 < getattr(self, name) < np.inf:
                raise UserError(f"learning-rate basin: {name} = {getattr(self, name)!r} must be positive and finite")
        if not self.diverges > 0:
            raise UserError(f"learning-rate basin: diverges = {self.diverges!r} must be positive")
        for name in ("bend", "scatter"):
            if not 0 <= getattr(self, name) < np.inf:
                raise UserError(f"learning-rate basin: {name} = {getattr(self, name)!r} must be 0 or more, and finite")
        if not np.isfinite([self.by_size, self.by_epochs, self.lopsided]).all():
            raise UserError("learning-rate basin: by_size, by_epochs and lopsided must be finite")

    def log_best(self, macs: ArrayLike, epochs: ArrayLike) -> Array:
        """ln of the best rate at sizes (multiply-adds per image) and lengths (epochs); arrays broadcast."""
        macs, epochs = np.asarray(macs, float), np.asarray(epochs, float)
        # rate* = rate (M / size)^by_size epochs^by_epochs
        return np.asarray(np.log(self.rate) + self.by_size * np.log(macs / self.size) + self.by_epochs * np.log(epochs))

    def penalty(self, u: ArrayLike) -> Array:
        """What ln loss is higher by at u = ln(rate / best rate)."""
        u = np.asarray(u, float)
        s = self.lopsided
        if abs(s) < 1e-6:  # the limit, where expm1 cancels
            return np.asarray(self.bend * u * u)
        with np.errstate(over="ignore"):
            # 2 bend (e^(s u) - 1 - s u) / s^2
            return np.asarray(2 * self.bend * (np.expm1(s * u) - s * u) / s**2)


@dataclass(frozen=True)
class Truth:
    """A known world: ln loss of a run = ln law + the basin's penalty + an effect of its size + noise of its seed.

    Attributes:
        law: loss in N (multiply-adds per image), D (images seen) and, where repeats count less, U (unique images).
        rates: how loss depends on the learning rate; None where it does not.
        noise: standard deviation of ln loss between seeds.
        size_noise: standard deviation of an effect on ln loss that all runs of one variant share.
    """

    law: Law
    rates: RateBasin | None = field(default=None)
    noise: float = 0.02
    size_noise: float = 0.0

    def __post_init__(self) -> None:
        if unknown := set(self.law.variables) - set("NDU"):
            raise UserError(
                f"simulate: law {self.law.word!r} depends on {', '.join(sorted(unknown))}; take one in N, D and U alone"
            )
        for name in ("noise", "size_noise"):
            if not 0 <= getattr(self, name) < np.inf:
                raise UserError(f"simulate: {name} = {getattr(self, name)!r} must be 0 or more, and finite")

    def best_loss(self, macs: ArrayLike, images: ArrayLike, unique: ArrayLike) -> Array:
        """Loss at the best learning rate, without noise; arrays broadcast, of sizes, images seen and unique images."""
        values = {"N": np.asarray(macs, float), "D": np.asarray(images, float), "U": np.asarray(unique, float)}
        return np.asarray(self.law.predict(**{letter: values[letter] for letter in self.law.variables}))

    def loss(self, macs: ArrayLike, images: ArrayLike, unique: ArrayLike, rate: ArrayLike) -> Array:
        """Loss at a learning rate, without noise; NaN where it diverges or is beyond floating point."""
        best = self.best_loss(macs, images, unique)
        if self.rates is None:
            return best
        u = np.log(np.asarray(rate, float)) - self.rates.log_best(macs, np.asarray(images, float) / unique)
        return self.at(best, u)

    def at(self, best: ArrayLike, u: ArrayLike) -> Array:
        """Loss where the best rate gives `best` and the rate is e^u times it; NaN where that diverges."""
        if self.rates is None:
            return np.asarray(best, float)
        with np.errstate(over="ignore"):
            loss = np.asarray(best, float) * np.exp(self.rates.penalty(u))
        return np.where((np.asarray(u) > np.log(self.rates.diverges)) | ~np.isfinite(loss), np.nan, loss)
