"""The error of an answer where the form's departure is estimated with the surface, as `plan.average` does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scalelaw.plan.design.scenarios import Scenarios

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimated(Scenarios):
    """Scenarios whose departure's factor is one more parameter, normal about 0 as the runs there are leave it.

    Further runs tell the factor by what no parameter of the surface explains of its departure there: with I the sum of
    squares of that over the variance of a run's noise, 1 / (1 + I) of the squared error of an additive estimate stays.

    Attributes:
        squares: (worlds, forms) sums over the runs of the departure's squares.
        known: (worlds, forms) what of these no parameter explained when the factor's size was judged.
    """

    squares: Array
    known: Array

    @classmethod
    def learnt(cls, plain: Scenarios) -> Self:
        """Of scenarios of the runs there are."""
        squares = (plain.at_runs**2).sum(axis=2)
        found = cls(**vars(plain), squares=squares, known=np.zeros_like(squares))
        return replace(found, known=found._unexplained())

    def with_runs(self, jacobian: Array, size: int, errors: Array, count: int) -> Self:
        """As `Scenarios.with_runs`."""
        return replace(super().with_runs(jacobian, size, errors, count), squares=self.squares + count * errors**2)

    def errors(self) -> tuple[Array, Array]:
        """(worlds x forms,) squared error of the answer from noise and size effects, and from the departure."""
        chance, form = super().errors()
        return chance, form * self._stays(self._unexplained()).ravel()

    def after(self) -> Array:
        """(worlds x forms, cells) squared error with one more run of each cell."""
        jv, v = self.sums.moved()
        j, _ = self.sums.question.columns
        u = np.linalg.solve(self.sums.gram, j)
        # what one run adds to the unexplained: its own unexplained part squared, over 1 + j M^-1 j
        adds = (self.at_cells - self.by_form @ u) ** 2 / (1 + (u * j).sum(axis=1))[:, None]
        form = self.by_form @ v + self.at_cells * jv[:, None] - self.at_answer[:, :, None]
        stays = self._stays(self._unexplained()[:, :, None] + adds)
        both = self.sums.chance_after(jv, v)[:, None] + form**2 * stays
        return np.asarray(both.reshape(-1, both.shape[2]))

    def _unexplained(self) -> Array:
        """(worlds, forms) sums of squares of the departure beyond the surface's parameters: a Schur complement."""
        explained = np.linalg.solve(self.sums.gram, np.swapaxes(self.by_form, 1, 2))
        return np.asarray(self.squares - (self.by_form * np.swapaxes(explained, 1, 2)).sum(axis=2))

    def _stays(self, unexplained: Array) -> Array:
        """(worlds, forms, ...) share of the departure's squared error that is left."""
        trailing = (slice(None), slice(None), *[None] * (unexplained.ndim - 2))
        noise = self.sums.question.scales.noise.reshape(-1, *[1] * (unexplained.ndim - 1))
        return np.asarray(1 / (1 + np.maximum(unexplained - self.known[trailing], 0.0) / noise**2))
