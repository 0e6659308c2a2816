"""Points of a learning curve: logs, averaged where they crowd, with what share of an independent point each is."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MOST = 400
"""Points of one run are averaged in at most this many bins of equal width in ln x."""
MOST_OF_ALL = 2000
"""Points in all; of more, those of the largest x are kept."""


@dataclass(frozen=True)
class Points:
    """Averaged points, x ascending.

    Attributes:
        t: (points,) ln x, 0 at the largest.
        y: (points,) mean ln loss.
        label: (points,) number of the run that each belongs to.
        within: variance of ln loss inside the averages, pooled; 0 where every point is alone.
        kinship: see `Settings`.
    """

    t: Array
    y: Array
    label: NDArray[np.int64]
    within: float
    kinship: float

    def take(self, kept: Mask) -> Points:
        """Some of the points, t counted from the largest x that is left."""
        t = self.t[kept]
        return Points(t - t[-1], self.y[kept], self.label[kept], self.within, self.kinship)

    def independence(self) -> Array:
        """(points,) share of an independent point that each brings.

        1 / sum_j k_ij over the points of its own run, k_ij = exp(-(t_i - t_j)^2 / (2 kinship^2)): points closer than
        that count as one together, lonely ones and those of different runs count whole.
        """
        share = np.ones(len(self.t))
        for rows in self._runs():
            share[rows] = 1 / self._kin(self.t[rows]).sum(1)
        return share

    def pieces(self, weight: Array) -> float:
        """Number of independent points that a mean with this weight (points,) amounts to."""
        squares = float(weight @ weight)
        for rows in self._runs():
            w = weight[rows]
            squares += float(w @ self._kin(self.t[rows]) @ w) - float(w @ w)
        return float(weight.sum()) ** 2 / squares

    def _kin(self, t: Array) -> Array:
        """(points, points) exp(-(t_i - t_j)^2 / (2 kinship^2))."""
        return np.asarray(np.exp(-0.5 * ((t[:, None] - t) / self.kinship) ** 2))

    def _runs(self) -> list[NDArray[np.int64]]:
        """Rows of each run that has several points."""
        order = np.argsort(self.label, kind="stable")
        edges = np.flatnonzero(np.diff(self.label[order])) + 1
        if len(edges) == len(order) - 1 > 0:
            return []
        return [rows for rows in np.split(order, edges) if len(rows) > 1]


def gather(x: Array, loss: Array, label: NDArray[np.int64], kinship: float) -> Points:
    """Averages points of one run at the same x, and those of long runs in bins of equal width in ln x."""
    order = np.lexsort((x, label))
    t, y, owner = (np.log(x) - np.log(x.max()))[order], np.log(loss)[order], label[order]
    new = np.append(True, (np.diff(owner) > 0) | (np.diff(t) > 0))
    starts = np.append(np.flatnonzero(np.append(True, np.diff(owner) > 0)), len(t))
    for first, last in itertools.pairwise(starts):
        if new[first:last].sum() > MOST:
            place = np.ceil((t[first:last] - t[first]) / (t[last - 1] - t[first]) * MOST)
            new[first:last] = np.append(True, np.diff(np.maximum(place, 1)) > 0)
    group = np.cumsum(new) - 1
    size = np.bincount(group)
    mean_t, mean_y = (np.bincount(group, values) / size for values in (t, y))
    spare = len(t) - len(size)
    within = float(((y - mean_y[group]) ** 2).sum()) / spare if spare else 0.0
    kept = np.argsort(mean_t, kind="stable")[-MOST_OF_ALL:]
    return Points(mean_t[kept] - mean_t[kept[-1]], mean_y[kept], owner[new][kept], within, kinship)
