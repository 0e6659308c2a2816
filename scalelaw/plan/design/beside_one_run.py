"""What runs say beside what the best single run for as much would: no form may make the choice much worse than that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scalelaw.plan.design.scenarios import Scenarios

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BesideOneRun:
    """Squared errors over those of one run, as their mean over forms in every world.

    A mean of logarithms would trade a form under which the choice fails for others under which it shines.

    Attributes:
        told: what the runs say.
        one: (worlds, forms) squared errors with the single run.
    """

    told: Scenarios
    one: Array

    @classmethod
    def of(cls, told: Scenarios, cost: Array, spend: float) -> Self:
        """Beside the affordable run that helps most; beside none where none is affordable.

        Args:
            told: what the runs there are say.
            cost: (cells,) of one run of each cell, in the unit of `spend`.
            spend: what may be spent.
        """
        affordable = np.flatnonzero(cost <= spend * (1 + 1e-9))
        forms = told.at_answer.shape
        if not len(affordable):
            return cls(told, np.add(*told.errors()).reshape(forms))
        after = told.after()[:, affordable]
        return cls(told, after[:, int(np.log(after).mean(axis=0).argmin())].reshape(forms))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(cells,) number of each cell's size."""
        return self.told.sizes

    def changed(self, cell: int, count: int = 1) -> Self:
        """With `count` more runs of a cell."""
        return replace(self, told=self.told.changed(cell, count))

    def with_counts(self, counts: NDArray[np.int64]) -> Self:
        """With counts (cells,) of further runs."""
        return replace(self, told=self.told.with_counts(counts))

    def errors(self) -> tuple[Array, Array]:
        """(worlds,) mean over forms of the squared error beside one run's, and zeros: chance and form are not apart."""
        mean = self._mean(np.add(*self.told.errors())[:, None])[:, 0]
        return mean, np.zeros_like(mean)

    def after(self) -> Array:
        """(worlds, cells) the same with one more run of each cell."""
        return self._mean(self.told.after())

    def _mean(self, errors: Array) -> Array:
        beside = errors.reshape(*self.one.shape, -1) / self.one[:, :, None]
        return np.asarray(beside.mean(axis=1))
