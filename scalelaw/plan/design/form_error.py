"""The error of the form: a smooth random surface on top of the law, of which near runs tell more than far ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LENGTH = 6.0
"""Distance in ln N and in ln D over which the form's error changes: a factor of 400. Within less it is close to a low
polynomial, so that it grows with distance from the target; with a factor of 20 runs in far corners looked safer than
they were (analysis/next_runs.py: wrong forms)."""
SPACING = 0.8
"""Knots of the expansion lie this share of `LENGTH` apart, three of them at least: it then misses about a hundredth of
the variance at most."""
SMALL = 3e-4
"""Products of features with a smaller share of the variance are left out."""


@dataclass(frozen=True)
class FormError:
    """A Gaussian process with covariance exp(-distance^2 / (2 LENGTH^2)) in ln N and ln D, as a sum of features.

    Attributes:
        knots: ln N and ln D of the knots, two vectors.
        roots: matrices that make the features of each axis independent.
        kept: pairs of such features whose product matters.
    """

    knots: tuple[Array, Array]
    roots: tuple[Array, Array]
    kept: tuple[NDArray[np.int64], NDArray[np.int64]]

    @classmethod
    def over(cls, x: Array) -> FormError:
        """The expansion that covers points x (2, points)."""
        knots = []
        for axis in x:
            count = max(3, int(np.ceil(np.ptp(axis) / (SPACING * LENGTH))) + 1)
            knots.append(np.linspace(axis.min(), axis.max(), count) if np.ptp(axis) else axis[:1])
        weights, roots = [], []
        for axis in knots:
            values, vectors = np.linalg.eigh(_bell(axis, axis))
            values = np.maximum(values, 1e-9)
            weights.append(values / len(axis))
            roots.append(vectors / np.sqrt(values))
        kept = np.nonzero(np.outer(*weights) > SMALL)
        return cls((knots[0], knots[1]), (roots[0], roots[1]), (kept[0], kept[1]))

    def features(self, x: Array) -> Array:
        """(..., points, features) at points x (..., 2, points); their products are the covariance."""
        first, second = (_bell(x[..., k, :], self.knots[k]) @ self.roots[k] for k in (0, 1))
        both = first[..., :, None] * second[..., None, :]
        return np.asarray(both[..., self.kept[0], self.kept[1]])


def _bell(x: Array, knots: Array) -> Array:
    return np.asarray(np.exp(-0.5 * ((x[..., None] - knots) / LENGTH) ** 2))
