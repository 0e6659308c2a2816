"""The error of an answer where departures from the form are estimated with the surface, as `plan.average` does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scalelaw.plan.design.forms import VARIANCE, departures, shares
from scalelaw.plan.design.information import PRIOR, Scales
from scalelaw.plan.design.worlds import Worlds

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

FORMS = 1 + len(VARIANCE)
"""That the truth may have: none of the departures, or one."""


@dataclass(frozen=True, eq=False)
class Ground:
    """What an estimate rests on in every world, whatever runs there are.

    Unknowns are the surface's five parameters and a factor for each of `forms.departures`.

    Attributes:
        worlds: surfaces that the runs allow.
        scales: standard deviations.
        ends: (2, 2) the smallest and the largest ln N and ln D of the runs there are.
        answer: (worlds, unknowns) derivative of ln of the lowest loss.
        cells: (worlds, cells, unknowns) of ln L over the noise at the cells that could be bought.
        sizes: (cells,) number of each cell's size.
    """

    worlds: Worlds
    scales: Scales
    ends: Array
    answer: Array
    cells: Array
    sizes: Labels

    @classmethod
    def of(cls, worlds: Worlds, scales: Scales, runs: Array, cells: Array, sizes: Labels, log_work: float) -> Self:
        """For runs (2, runs) and cells (2, cells) at ln N and ln D, and the lowest loss at ln N + ln D = log_work."""
        ends = np.stack([runs.min(axis=1), runs.max(axis=1)])
        moved = departures(worlds, worlds.best(log_work), ends)[:, :, 0]  # at the best size size does not matter
        answer = np.concatenate([worlds.gradient("loss", log_work), moved], axis=1)
        bare = cls(worlds, scales, ends, answer, np.empty(0), sizes)
        return replace(bare, cells=bare.rows(cells))

    def rows(self, x: Array) -> Array:
        """(worlds, points, unknowns) derivative of ln L at logs x (2, points), over the noise."""
        bent = np.swapaxes(departures(self.worlds, x, self.ends), 1, 2)
        both = np.concatenate([self.worlds.jacobian(x), bent], axis=2)
        return np.asarray(both / self.scales.noise[:, None, None])


@dataclass(frozen=True, eq=False)
class Estimated:
    """Sums over the runs.

    The estimate is the most probable one where parameters have the wide prior and departures' factors are normal about
    0. Its squared error is taken under each form: no departure, or one as large as the runs there are leave it likely.

    Attributes:
        ground: see there.
        factors: (worlds, departures) of the departures where the truth has them.
        shared: (worlds,) variance of an effect that runs of one size share, over the noise's.
        gram: (worlds, unknowns, unknowns) precision of the unknowns.
        by_size: (worlds, sizes, unknowns) sums of rows over the runs of each size.
    """

    ground: Ground
    factors: Array
    shared: Array
    gram: Array
    by_size: Array

    @classmethod
    def of(cls, ground: Ground, runs: Array, sizes: Labels, log_loss: Array) -> Self:
        """From runs (2, runs) of numbered sizes (runs,), and their ln L (runs,)."""
        rows, worlds = ground.rows(runs), ground.worlds
        bent, residual = departures(worlds, runs, ground.ends), log_loss - worlds.log_loss(runs)
        factors = shares(bent, worlds.jacobian(runs), residual, ground.scales.noise)
        by_size = np.zeros((len(rows), int(max(sizes.max(), ground.sizes.max(initial=0))) + 1, rows.shape[2]))
        for size in np.unique(sizes):
            by_size[:, size] = rows[:, sizes == size].sum(axis=1)
        held = np.concatenate([PRIOR**-2.0, 1 / VARIANCE])
        shared = (ground.scales.size / ground.scales.noise) ** 2
        return cls(ground, factors, shared, np.swapaxes(rows, 1, 2) @ rows + np.diag(held), by_size)

    def typical(self) -> Self:
        """With effects that runs of one size share equally large in all worlds, at their median.

        Few sizes leave large ones possible; a mean over worlds would be about these before all else.
        """
        return replace(self, shared=np.full_like(self.shared, np.median(self.shared)))

    @property
    def sizes(self) -> Labels:
        """(cells,) number of each cell's size."""
        return self.ground.sizes

    def with_runs(self, row: Array, size: int, count: int) -> Self:
        """With `count` more equal runs (fewer where negative) of a row (worlds, unknowns)."""
        by_size = self.by_size.copy()
        by_size[:, size] += count * row
        return replace(self, gram=self.gram + count * row[:, :, None] * row[:, None], by_size=by_size)

    def changed(self, cell: int, count: int = 1) -> Self:
        """With `count` more runs of a cell."""
        return self.with_runs(self.ground.cells[:, cell], int(self.sizes[cell]), count)

    def with_counts(self, counts: Labels) -> Self:
        """With counts (cells,) of further runs."""
        found = self
        for cell in np.flatnonzero(counts):
            found = found.changed(int(cell), int(counts[cell]))
        return found

    def errors(self) -> tuple[Array, Array]:
        """(worlds x forms,) squared error of the answer from chance, and from the departure that is the truth's."""
        answer = self.ground.answer
        v = np.asarray(np.linalg.solve(self.gram, answer[:, :, None]), float)
        chance, form = self._parts(v, (v[:, :, 0] * answer).sum(axis=1)[:, None])
        own = np.einsum("wkp,wp->wk", self.by_size, v[:, :, 0])
        chance = chance + (self.shared * (own**2).sum(axis=1))[:, None]
        return np.repeat(chance.ravel(), FORMS), form.ravel()

    def after(self) -> Array:
        """(worlds x forms, cells) squared error with one more run of each cell."""
        answer, rows = self.ground.answer, np.swapaxes(self.ground.cells, 1, 2)
        inverse = np.linalg.inv(self.gram)
        v = np.asarray(inverse @ answer[:, :, None], float)
        u = inverse @ rows
        # Sherman and Morrison: (M + j j')^-1 a = v - u (j v) / (1 + j M^-1 j)
        told = (np.swapaxes(v, 1, 2) @ rows)[:, 0]
        share = told / (1 + np.einsum("wpc,wpc->wc", u, rows))
        moved = v - share[:, None] * u
        left = (v[:, :, 0] * answer).sum(axis=1)[:, None] - told * share
        chance, form = self._parts(moved, left)
        if self.shared.any():
            of_size = self.by_size @ moved
            own = of_size[:, self.sizes, np.arange(len(self.sizes))]
            of_all = np.einsum("wsc,wsc->wc", of_size, of_size) + 2 * share * own + share**2
            chance = chance + self.shared[:, None] * of_all
        both = chance[:, None] + form
        return np.asarray(both.reshape(-1, both.shape[2]))

    def _parts(self, v: Array, left: Array) -> tuple[Array, Array]:
        """(worlds, cells) from noise and from parameters, (worlds, forms, cells) from the form, of v = M^-1 a (worlds,
        unknowns, cells) and the posterior variance a'v (worlds, cells): that takes factors to vary about 0."""
        off = (v[:, 1 - FORMS :] / VARIANCE[:, None]) ** 2
        chance = left - VARIANCE @ off
        return chance, np.concatenate([np.zeros_like(off[:, :1]), self.factors[:, :, None] ** 2 * off], axis=1)
