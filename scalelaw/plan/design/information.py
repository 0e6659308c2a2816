"""The error of an answer under least squares, and what one run more or less makes of it, in closed form.

With J the Jacobian of ln L at the runs, M = J'J and v = M^-1 g the estimate's error is v'J'(noise + size effects + form
error) less what the form's error does to the true answer. Its square needs sums over runs of no more than 5 x 5 numbers
a world, to which every further run adds its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PRIOR = np.array([3.0, 3.0, 3.0, 0.5, 0.5])
"""Standard deviations of ln E, ln A, ln B (at the centre of the data), alpha and beta before any run: so wide that only
what no run determines is held."""


@dataclass(frozen=True)
class Scales:
    """Standard deviations of ln L in every world, (worlds,) each.

    Attributes:
        noise: of a single run.
        size: of an effect that all runs of one size share.
        form: of the form's error.
    """

    noise: Array
    size: Array
    form: Array


@dataclass(frozen=True)
class Question:
    """What is asked in every world, and the runs that could answer it.

    Attributes:
        gradient: (worlds, 5) of the answer by the parameters.
        jacobian: (worlds, cells, 5) of ln L at the cells that could be bought.
        sizes: (cells,) number of each cell's size.
        features: (cells, features) of the form's error at unit variance.
        answer_features: (worlds, features) of what the form's error does to the true answer.
        scales: standard deviations.
    """

    gradient: Array
    jacobian: Array
    sizes: NDArray[np.int64]
    features: Array
    answer_features: Array
    scales: Scales

    @cached_property
    def columns(self) -> tuple[Array, Array]:
        """(worlds, 5, cells) the Jacobian with cells last, and (cells,) the features' squared lengths."""
        return np.ascontiguousarray(np.swapaxes(self.jacobian, 1, 2)), (self.features**2).sum(axis=1)


@dataclass(frozen=True)
class Information:
    """Sums over the runs.

    Attributes:
        question: see there.
        gram: (worlds, 5, 5) M: of J'J and the prior.
        by_size: (worlds, sizes, 5) sums of J over the runs of each size.
        by_feature: (worlds, features, 5) sums of feature x J.
    """

    question: Question
    gram: Array
    by_size: Array
    by_feature: Array

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(cells,) number of each cell's size."""
        return self.question.sizes

    @classmethod
    def of(cls, question: Question, jacobian: Array, sizes: NDArray[np.int64], features: Array) -> Self:
        """What runs say: jacobian (worlds, runs, 5), sizes (runs,), features (runs, features)."""
        worlds, _, width = jacobian.shape
        count = int(max(sizes.max(initial=0), question.sizes.max(initial=0))) + 1
        by_size = np.zeros((worlds, count, width))
        for k in range(count):
            by_size[:, k] = jacobian[:, sizes == k].sum(axis=1)
        held = question.scales.noise[:, None] ** 2 / PRIOR**2
        gram = np.swapaxes(jacobian, 1, 2) @ jacobian + held[:, :, None] * np.eye(width)
        return cls(question, gram, by_size, features.T @ jacobian)

    def with_runs(self, jacobian: Array, size: int, features: Array, count: int) -> Self:
        """With `count` more equal runs (fewer where negative): jacobian (worlds, 5), features (features,)."""
        by_size = self.by_size.copy()
        by_size[:, size] += count * jacobian
        gram = self.gram + count * jacobian[:, :, None] * jacobian[:, None, :]
        by_feature = self.by_feature + count * features[:, None] * jacobian[:, None, :]
        return replace(self, gram=gram, by_size=by_size, by_feature=by_feature)

    def changed(self, cell: int, count: int = 1) -> Self:
        """With `count` more runs of a cell."""
        q = self.question
        return self.with_runs(q.jacobian[:, cell], int(q.sizes[cell]), q.features[cell], count)

    def errors(self) -> tuple[Array, Array]:
        """(worlds,) squared error of the answer from noise and size effects, and from the form."""
        q = self.question
        v = np.linalg.solve(self.gram, q.gradient[:, :, None])[:, :, 0]
        chance = q.scales.noise**2 * np.einsum("wp,wpq,wq->w", v, self.gram, v)
        chance = chance + q.scales.size**2 * (np.einsum("wkp,wp->wk", self.by_size, v) ** 2).sum(axis=1)
        form = np.einsum("wfp,wp->wf", self.by_feature, v) - q.answer_features
        return chance, np.asarray(q.scales.form**2 * (form**2).sum(axis=1))

    def after(self, cells: NDArray[np.int64] | None = None, sign: int = 1) -> Array:
        """(worlds, cells) squared error with one more run (fewer for sign -1) of each cell, or of each numbered one."""
        q, P = self.question, self.by_feature
        jv, v = self.moved(sign)
        square = jv**2
        weight = np.swapaxes(q.features @ P, 1, 2)
        answer = q.answer_features[:, None] @ P
        form = _form(np.swapaxes(P, 1, 2) @ P, v) - 2 * (answer @ v)[:, 0]
        form += 2 * sign * jv * ((weight * v).sum(axis=1) - q.answer_features @ q.features.T)
        form += square * q.columns[1] + (q.answer_features**2).sum(axis=1)[:, None]
        both = self.chance_after(jv, v, sign) + q.scales.form[:, None] ** 2 * np.maximum(form, 0.0)
        return np.asarray(both if cells is None else both[:, cells])

    def moved(self, sign: int = 1) -> tuple[Array, Array]:
        """(worlds, cells) j'v and (worlds, 5, cells) v with one more run of each cell (one fewer for sign -1)."""
        q = self.question
        inverse = np.linalg.inv(self.gram)
        now = inverse @ q.gradient[:, :, None]
        j, _ = q.columns
        u = inverse @ j
        # Sherman and Morrison: (M + s j j')^-1 g = v - s u (j v) / (1 + s j M^-1 j), of which j times that is jv
        jv = (now[:, :, 0][:, None] @ j)[:, 0] / (1 + sign * (u * j).sum(axis=1))
        return jv, now - sign * jv[:, None] * u

    def chance_after(self, jv: Array, v: Array, sign: int = 1) -> Array:
        """(worlds, cells) squared error from noise and size effects with `moved` sums."""
        q, s, square = self.question, self.question.scales, jv**2
        gram = _form(self.gram, v) + sign * square
        own = (self.by_size[:, q.sizes].swapaxes(1, 2) * v).sum(axis=1) if s.size.any() else jv
        size = _form(np.swapaxes(self.by_size, 1, 2) @ self.by_size, v) + 2 * sign * jv * own + square
        return np.asarray(s.noise[:, None] ** 2 * gram + s.size[:, None] ** 2 * size)


def _form(matrix: Array, v: Array) -> Array:
    """v' matrix v, (worlds, cells), of v (worlds, 5, cells)."""
    return np.asarray(((matrix @ v) * v).sum(axis=1))
