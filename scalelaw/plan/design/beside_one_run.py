"""What runs say beside what the best single run for as much would: under no form may the choice fare much worse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scalelaw.plan.design.estimated import FORMS, Estimated

Array = NDArray[np.float64]

POWER = 8
"""Of the mean over forms: the one under which the choice fares worst counts most."""


@dataclass(frozen=True)
class BesideOneRun:
    """Squared errors, their mean over worlds, over those of one run; the mean to the power `POWER` of forms.

    A mean of logarithms would trade a form, or a world, in which the choice fails for others in which it shines.

    Attributes:
        told: what the runs say.
        one: (forms,) mean squared errors with the single run.
    """

    told: Estimated
    one: Array

    @classmethod
    def of(cls, told: Estimated, cost: Array, spend: float) -> Self:
        """Beside the affordable run that helps most; beside none where none is affordable.

        Args:
            told: what the runs there are say.
            cost: (cells,) of one run of each cell, in the unit of `spend`.
            spend: what may be spent.
        """
        affordable = np.flatnonzero(cost <= spend * (1 + 1e-9))
        if not len(affordable):
            return cls(told, _over_worlds(np.add(*told.errors())[:, None])[:, 0])
        after = _over_worlds(told.after(affordable))
        return cls(told, after[:, int(np.log(after).mean(axis=0).argmin())])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(cells,) number of each cell's size."""
        return self.told.sizes

    def changed(self, cell: int, count: int = 1) -> Self:
        """With `count` more runs of a cell."""
        return replace(self, told=self.told.changed(cell, count))

    def errors(self) -> tuple[Array, Array]:
        """(1,) the squared error beside one run's, and zero: chance and form are not apart."""
        mean = self._beside(np.add(*self.told.errors())[:, None])[:, 0]
        return mean, np.zeros_like(mean)

    def after(self, cells: NDArray[np.int64] | None = None) -> Array:
        """(1, cells) the same with one more run of each cell, or of each numbered one."""
        return self._beside(self.told.after(cells))

    def _beside(self, errors: Array) -> Array:
        beside = _over_worlds(errors) / self.one[:, None]
        return np.asarray((beside**POWER).mean(axis=0) ** (1 / POWER))[None]


def _over_worlds(errors: Array) -> Array:
    """(forms, cells) mean over worlds of (worlds x forms, cells)."""
    return np.asarray(errors.reshape(-1, FORMS, errors.shape[1]).mean(axis=0))
