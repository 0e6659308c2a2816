"""The error of an answer that is estimated as a mean over forms weighed by evidence, as `plan.average` does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scalelaw.plan.design.forms import PROBABLE, departures, shares
from scalelaw.plan.design.information import PRIOR, Scales
from scalelaw.plan.design.weighed import FINE, Rest, weighed
from scalelaw.plan.design.worlds import Worlds

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

SURFACE = len(PRIOR)
"""Unknowns of the fitted form."""
FORMS = 1 + len(PROBABLE)
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

    Each form is fitted by itself, linear about a world: the additive one has the five parameters with their wide prior,
    every other a departure too, whose factor is normal about 0 and 1. The estimate is their mean, weighed by evidence.

    Attributes:
        ground: see there.
        factors: (worlds, departures) of the departures where the truth has them.
        shared: (worlds,) variance of an effect that runs of one size share, over the noise's.
        gram: (worlds, unknowns, unknowns) precision of the unknowns, factors without their prior.
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
        held = np.concatenate([PRIOR**-2.0, np.zeros(len(PROBABLE))])
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

    def errors(self) -> tuple[Array, Array]:
        """(worlds x forms,) squared error of the answer from chance, and from the departure that is the truth's."""
        fit = self._fit()
        rest = Rest(fit.scores.astype(self._kind)[..., None], fit.reach[..., None], fit.variance[:, None])
        found = weighed(rest, self.factors)
        chance = found.chance
        if self.shared.any():
            v = _moved(fit, found.pulled, fit.v[:, :, None])
            chance = chance + (self.shared * ((self.by_size @ v) ** 2).sum(axis=(1, 2)))[:, None, None]
        return chance.ravel(), found.form.ravel()

    def after(self, cells: Labels | None = None) -> Array:
        """(worlds x forms, cells) squared error with one more run of each cell, or of each of the numbered ones."""
        fit, ground = self._fit(), self.ground
        chosen = ground.cells if cells is None else ground.cells[:, cells]
        sizes = ground.sizes if cells is None else ground.sizes[cells]
        rows = np.ascontiguousarray(np.swapaxes(chosen, 1, 2))
        own = rows[:, :SURFACE]
        u = fit.inverse @ own
        # Sherman and Morrison: (M + j j')^-1 = M^-1 - u u' / (1 + j'u)
        spread = 1 / (1 + (u * own).sum(axis=1))
        told = (fit.v[:, None] @ own)[:, 0]
        beyond = rows[:, SURFACE:] - fit.left @ own
        scaled = beyond * spread[:, None]
        scores = beyond.astype(self._kind)[:, :, None] * scaled.astype(self._kind)[:, None]
        scores += fit.scores.astype(self._kind)[..., None]
        rest = Rest(
            scores,
            fit.reach[..., None] - scaled * told[:, None],
            fit.variance[:, None] - told**2 * spread,
        )
        found = weighed(rest, self.factors)
        chance = found.chance
        if self.shared.any():
            share = (told + (beyond * found.pulled).sum(axis=1)) * spread
            v = _moved(fit, found.pulled, fit.v[:, :, None] - u * share[:, None])
            of_size, mine = self.by_size @ v, (rows * v).sum(axis=1)
            there = of_size[:, sizes, np.arange(len(sizes))]
            of_all = np.einsum("wsc,wsc->wc", of_size, of_size) + 2 * mine * there + mine**2
            chance = chance + (self.shared[:, None] * of_all)[:, None]
        both = chance + found.form
        return np.asarray(both.reshape(-1, both.shape[2]))

    @property
    def _kind(self) -> type[np.float32] | type[np.float64]:
        return np.float32 if self.ground.scales.noise.min() >= FINE else np.float64

    def _fit(self) -> _Fit:
        gram, answer = self.gram, self.ground.answer[:, :, None]
        inverse = np.asarray(np.linalg.inv(gram[:, :SURFACE, :SURFACE]), float)
        left = gram[:, SURFACE:, :SURFACE] @ inverse
        v = (inverse @ answer[:, :SURFACE])[:, :, 0]
        return _Fit(
            inverse,
            left,
            v,
            scores=gram[:, SURFACE:, SURFACE:] - left @ gram[:, :SURFACE, SURFACE:],
            reach=(answer[:, SURFACE:] - left @ answer[:, :SURFACE])[:, :, 0],
            variance=(v * answer[:, :SURFACE, 0]).sum(axis=1),
        )


@dataclass(frozen=True, eq=False)
class _Fit:
    """Of the surface alone: (worlds, 5, 5) M^-1 of its own part M of the precision, (worlds, departures, 5) the
    departures' part times M^-1, (worlds, 5) v = M^-1 a of the answer a, and `Rest` without cells."""

    inverse: Array
    left: Array
    v: Array
    scores: Array
    reach: Array
    variance: Array


def _moved(fit: _Fit, pulled: Array, v: Array) -> Array:
    """(worlds, unknowns, cells) by how much rows times residuals move the mean over forms."""
    return np.concatenate([v - np.swapaxes(fit.left, 1, 2) @ pulled, pulled], axis=1)
