"""The error of an answer in every world under each of several forms of the truth, one at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scalelaw.plan.design.forms import errors_of_form, shares
from scalelaw.plan.design.information import Information
from scalelaw.plan.design.worlds import Worlds

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scenarios:
    """Sums over the runs; a scenario is a world with one form.

    Attributes:
        sums: without an error of the form.
        at_runs: (worlds, forms, runs) of ln L at the runs there are, by which a form differs from the fitted one.
        at_cells: (worlds, forms, cells) the same at the cells.
        at_answer: (worlds, forms) by which it moves the true answer.
        by_form: (worlds, forms, 5) sums over the runs of that difference x J.
    """

    sums: Information
    at_runs: Array
    at_cells: Array
    at_answer: Array
    by_form: Array

    @classmethod
    def of(
        cls,
        sums: Information,
        worlds: Worlds,
        runs: Array,
        log_loss: Array,
        cells: Array,
        stencil: tuple[Array, Array],
    ) -> Self:
        """What runs say of a size or a loss.

        Args:
            sums: of the runs, without features of a form's error.
            worlds: surfaces of the fitted form.
            runs: (2, runs) ln N and ln D.
            log_loss: (runs,) ln L.
            cells: (2, cells) the same of what could be bought.
            stencil: how an error of ln L moves the answer, as `Worlds.stencil` has it.
        """
        ends, jacobian = runs.max(axis=1), worlds.jacobian(runs)
        points, factors = stencil
        found = [errors_of_form(worlds, x, ends) for x in (runs, cells, points)]
        share = shares(found[0], jacobian, log_loss - worlds.log_loss(runs), sums.question.scales.noise)[:, :, None]
        at_runs, at_cells, at_points = (share * errors for errors in found)
        return cls(sums, at_runs, at_cells, (at_points @ factors[:, :, None])[:, :, 0], at_runs @ jacobian)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(cells,) number of each cell's size."""
        return self.sums.sizes

    def with_runs(self, jacobian: Array, size: int, errors: Array, count: int) -> Self:
        """With `count` more equal runs (fewer where negative): jacobian (worlds, 5), errors (worlds, forms)."""
        sums = self.sums.with_runs(jacobian, size, np.empty(0), count)
        return replace(self, sums=sums, by_form=self.by_form + count * errors[:, :, None] * jacobian[:, None])

    def changed(self, cell: int, count: int = 1) -> Self:
        """With `count` more runs of a cell."""
        q = self.sums.question
        return self.with_runs(q.jacobian[:, cell], int(q.sizes[cell]), self.at_cells[:, :, cell], count)

    def errors(self) -> tuple[Array, Array]:
        """(worlds x forms,) squared error of the answer from noise and size effects, and from the form."""
        v = np.linalg.solve(self.sums.gram, self.sums.question.gradient[:, :, None])
        form = (self.by_form @ v)[:, :, 0] - self.at_answer
        chance = np.repeat(self.sums.errors()[0], form.shape[1])
        return chance, np.asarray(form.ravel() ** 2)

    def after(self, cells: NDArray[np.int64] | None = None) -> Array:
        """(worlds x forms, cells) squared error with one more run of each cell, or of each numbered one."""
        jv, v = self.sums.moved()
        form = self.by_form @ v + self.at_cells * jv[:, None] - self.at_answer[:, :, None]
        both = self.sums.chance_after(jv, v)[:, None] + form**2
        every = both.reshape(-1, both.shape[2])
        return np.asarray(every if cells is None else every[:, cells])
